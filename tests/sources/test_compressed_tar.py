"""Compressed tars are read in sequence: the same members as of the tar, in bounded memory, and damage is told."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from interpdisc_core.errors import Unreadable
from interpdisc_core.operations.backfill.member_count import count_members
from interpdisc_core.sources import Shards, compressed_tar, file_uri, read_input, shards


def compress_zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "tar.gz": gzip.compress,
    "tgz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": compress_zstd,
}
over_methods = pytest.mark.parametrize("suffix", COMPRESSORS)


def make_tar(count: int = 40, size: int = 9000) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(count):
            for suffix, data in (("jpg", os.urandom(size)), ("json", b'{"n": %d}' % number)):
                info = tarfile.TarInfo(f"sol-{number}/é{'x' * 120}.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def describe(uri: str) -> list[Any]:
    """What a listing says of each member, without the shard's own address and stamp."""
    items = list(Shards(of=uri.removeprefix("file://")).list())
    assert [item for item, _ in shards.iter_members(uri)] == items
    return [(item.id, item.size, item.skip_reason, item.record, item.uri.partition("#")[2]) for item in items]


@over_methods
def test_the_members_are_those_of_the_tar(tmp_path: Path, suffix: str) -> None:
    """By the listing, in one pass, by their URIs in any order, and by the count of headers; two streams in one too."""
    data = make_tar()
    (tmp_path / "it.tar").write_bytes(data)
    compress = COMPRESSORS[suffix]
    plain_uri = file_uri(str(tmp_path / "it.tar"))
    for name, content in {"one": compress(data), "two": compress(data[:70_001]) + compress(data[70_001:])}.items():
        (tmp_path / f"{name}.{suffix}").write_bytes(content)
        uri = file_uri(str(tmp_path / f"{name}.{suffix}"))
        assert describe(uri) == describe(plain_uri)
        assert count_members(uri) == count_members(plain_uri) == 80
        images = [item for item in Shards(of=str(tmp_path / f"{name}.{suffix}")).list() if not item.skip_reason]
        wanted = [read_input(item.uri.replace(f"{name}.{suffix}", "it.tar")) for item in images]
        assert [contents for item, contents in shards.iter_members(uri) if not item.skip_reason] == wanted
        for order in (range(40), range(39, -1, -13)):
            assert [read_input(images[number].uri) for number in order] == [wanted[number] for number in order]


@over_methods
def test_a_cut_or_damaged_one_is_read_up_to_the_damage(tmp_path: Path, suffix: str) -> None:
    """What comes before is as in the tar; the rest is one entry with the reason; nothing raises."""
    data = make_tar(200)
    compressed = COMPRESSORS[suffix](data)
    (tmp_path / "it.tar").write_bytes(data)
    whole = describe(file_uri(str(tmp_path / "it.tar")))
    half = len(compressed) // 2
    for number, content in enumerate(
        (compressed[:half], compressed[:half] + bytes(500) + compressed[half + 500 :], b"")
    ):
        (tmp_path / f"{number}.{suffix}").write_bytes(content)
        *before, rest = describe(file_uri(str(tmp_path / f"{number}.{suffix}")))
        assert rest[2].startswith("the rest of the shard")
        assert [entry[0] for entry in before] == [entry[0] for entry in whole[: len(before)]]
        if content and suffix in ("tar.gz", "tgz"):
            assert len(before) > 100
            assert "damaged or cut off" in rest[2]


def test_memory_is_bounded_and_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading 64 MB takes a few; a bomb is a fault of its shard before it is decompressed."""
    path = tmp_path / "long.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(os.urandom(1 << 18) * 4)
    tracemalloc.start()
    compressed_tar._measure_tar(file_uri(str(path)), compressed_tar.fetch.stat_uri(file_uri(str(path))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20
    monkeypatch.setattr(compressed_tar, "_BOMB_LIMITS", (4 << 20, 200))
    for suffix, compress in COMPRESSORS.items():
        bomb = tmp_path / f"bomb.{suffix}"
        bomb.write_bytes(compress(bytes(32 << 20)))
        (entry,) = Shards(of=str(bomb)).list()
        assert "decompression bomb" in entry.skip_reason
        with pytest.raises(Unreadable, match="bomb"):
            count_members(file_uri(str(bomb)))


def test_members_in_order_are_decompressed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading each by its URI begins at the start once; a file that changed is begun again."""
    path = tmp_path / "it.tgz"
    path.write_bytes(gzip.compress(make_tar(300, 40_000), 1))
    images = [item for item in Shards(of=str(path)).list() if not item.skip_reason]
    starts = []
    restart = compressed_tar.SequentialTar._restart
    monkeypatch.setattr(compressed_tar.SequentialTar, "_restart", lambda self: starts.append(1) or restart(self))
    for item in images:
        read_input(item.uri)
    assert len(starts) == 1
    path.write_bytes(gzip.compress(make_tar(1), 1))
    with pytest.raises(Unreadable, match="shorter"):
        read_input(images[-1].uri)
