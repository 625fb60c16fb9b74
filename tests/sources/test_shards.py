"""Tars and zips as sources: every member is listed, is read by its URI and in one pass, and none is missed silently."""

import contextlib
import gc
import io
import json
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.sources import (
    Shards,
    SourceEntry,
    file_uri,
    list_entries,
    parse_source,
    read_input,
    shards,
    tar_index,
    webdataset,
    zip_index,
)
from interpdisc_core.sources.shard_members import REST_REASON, make_range_reader

Files = list[tuple[str, bytes]]


def write_tar(path: Path, files: Files, form: int = tarfile.PAX_FORMAT) -> str:
    """A tar of these members, by the standard library; its URI."""
    with tarfile.open(path, "w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file_uri(str(path))


def write_zip(path: Path, files: Files, method: int = zipfile.ZIP_DEFLATED) -> str:
    """A zip of these members; its URI."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file_uri(str(path))


def list_members(uri: str) -> list[SourceEntry]:
    """The members as the source lists them."""
    return list(Shards(of=uri.removeprefix("file://")).list())


def skip_reasons(uri: str) -> dict[str, str]:
    """The skip reasons by id; one pass gives the same entries as the listing."""
    items = list_members(uri)
    assert [item for item, _ in shards.iter_members(uri)] == items
    return {item.id: item.skip_reason for item in items}


# ---------------------------------------------------------------------------------------- laws

PARTS = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)) | st.sampled_from("a.b %&#="),
    min_size=1,
    max_size=20,
).filter(lambda part: part not in (".", "..") and not part.startswith(".") and "\\" not in part)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=1300)), min_size=1, max_size=8, unique_by=lambda pair: pair[0])


@given(MEMBERS, st.sampled_from(["ustar", "gnu", "pax", "stored", "deflated"]))
@example([("x" * 150 + "/" + "y" * 120 + ".jpg", b"long")], "gnu")
@example([("x" * 90 + "/" + "y" * 90 + ".jpg", b"long")], "ustar")
@example([("a.jpg", b""), ("a.json", b"{}"), ("a.jpg.jpg", b"PK\x03\x04")], "stored")
def test_every_format_lists_the_same_members(files: Files, form: str) -> None:
    """Names, sizes and bytes: by the listing, by each URI, and in one pass."""
    with tempfile.TemporaryDirectory() as root:
        if form in ("stored", "deflated"):
            method = zipfile.ZIP_STORED if form == "stored" else zipfile.ZIP_DEFLATED
            uri = write_zip(Path(root, "it.zip"), files, method)
        else:
            forms = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
            try:
                uri = write_tar(Path(root, "it.tar"), files, forms[form])
            except ValueError:  # ustar has no room for the name
                return
        items = list_members(uri)
        assert [(item.id, item.size) for item in items] == [(name, len(data)) for name, data in files]
        assert [read_input(item.uri) for item in items] == [data for _, data in files]
        entries = list(shards.iter_members(uri))
        assert [item for item, _ in entries] == items
        for (item, data), (_, wanted) in zip(entries, files, strict=True):
            assert data == (b"" if item.skip_reason else wanted)
            assert item.uri.isascii()
            json.dumps([item.id, item.record]).encode()


RECORD = {"imageid": "7", "nested": {"list": [1, 2.5, None, "UNK"]}, "名": "火"}


@pytest.mark.parametrize("make", [write_tar, write_zip])
def test_members_with_one_name_are_one_sample(tmp_path: Path, make: Any) -> None:
    """The record is the JSON verbatim, with class and caption; each member is listed."""
    uri = make(
        tmp_path / ("it.zip" if make is write_zip else "it.tar"),
        [
            ("a/7.left.jpg", b"left"),
            ("a/7.right.jpg", b"right"),
            ("a/7.json", json.dumps(RECORD).encode()),
            ("a/7.cls", b"rock\n"),
            ("a/8.cls", b"dust"),
            ("a/8.txt", "a caption, é".encode()),
            ("a/8.jpg", b"8"),
            ("b/8.jpg", b"b8"),
            ("9.png", b"9"),
            ("10.json", b'{"label": "sand"}'),
            ("10.png", b"10"),
            ("README.txt", b"hello"),
        ],
    )
    by_id = {item.id: item for item in list_members(uri)}
    assert len(by_id) == 12
    for eye in ("left", "right"):
        assert by_id[f"a/7.{eye}.jpg"].record == RECORD | {"cls": "rock\n"}
        assert by_id[f"a/7.{eye}.jpg"].label == "rock"
    assert (by_id["a/8.jpg"].record, by_id["a/8.jpg"].label) == ({"cls": "dust", "txt": "a caption, é"}, "dust")
    assert (by_id["b/8.jpg"].record, by_id["b/8.jpg"].label) == ({}, None)
    assert (by_id["9.png"].record, by_id["9.png"].label) == ({}, None)
    assert by_id["10.png"].label == "sand"
    assert by_id["a/7.json"].skip_reason == "the record of a/7.left.jpg"
    assert by_id["README.txt"].skip_reason == "not an image by its name (.txt)"
    assert {name for name, item in by_id.items() if not item.skip_reason} == {
        "a/7.left.jpg",
        "a/7.right.jpg",
        "a/8.jpg",
        "b/8.jpg",
        "9.png",
        "10.png",
    }
    skip_reasons(uri)


def test_names_with_dots_have_their_own_records(tmp_path: Path) -> None:
    """Times and versions: the longest stem decides, in runs far longer than a sample; an orphan is told, and is nobody's."""
    files: Files = []
    for second in range(150):
        stem = f"cam/2024-05-01_12.30.{second:03d}"
        sides = [(f"{stem}.cls", f"c{second}".encode()), (f"{stem}.json", json.dumps({"n": second}).encode())]
        picture = [(f"{stem}.jpg", b"p%d" % second)]
        files += [*sides, *picture] if second % 2 else [*picture, *sides]
        if second % 40 == 3:
            files.append((f"{stem}5.json", b'{"n": -1}'))
    uri = write_tar(tmp_path / "it.tar", files)
    items = list_members(uri)
    images = [item for item in items if not item.skip_reason]
    assert [(item.record["n"], item.label) for item in images] == [(n, f"c{n}") for n in range(150)]
    reasons = skip_reasons(uri)
    assert reasons["cam/2024-05-01_12.30.007.json"] == "the record of cam/2024-05-01_12.30.007.jpg"
    assert "none of the images" in reasons["cam/2024-05-01_12.30.0435.json"]
    with (tmp_path / "it.tar").open("rb") as file:
        read = partial(tar_index.read_tar_member, make_range_reader(file))
        members = tar_index.walk_tar(file, (tmp_path / "it.tar").stat().st_size)
        assert [item for item, _ in webdataset.group_samples(members, uri, items[0].stamp, read, True, 20)] == items


def test_the_longest_stem_is_the_owner(tmp_path: Path) -> None:
    """Two eyes with a record each and one for both; a record named by the whole name; a field of several images."""
    files = [
        ("7.left.jpg", b"l"),
        ("7.left.json", b'{"eye": "left", "class": "x"}'),
        ("7.right.jpg", b"r"),
        ("7.json", b'{"eye": "?", "sol": 7}'),
        ("8.jpg.json", b'{"n": 8}'),
        ("8.jpg", b"8"),
        ("9.a.png", b"a"),
        ("9.b.png", b"b"),
        ("9.meta.json", b'{"n": 9}'),
        ("v1.2.jpg", b"v"),
        ("v1.3.json", b'{"n": 3}'),
    ]
    by_id = {item.id: item for item in list_members(write_tar(tmp_path / "it.tar", files))}
    assert by_id["7.left.jpg"].record == {"eye": "left", "class": "x", "sol": 7}
    assert (by_id["7.left.jpg"].label, by_id["7.right.jpg"].label) == ("x", None)
    assert by_id["7.right.jpg"].record == {"eye": "?", "sol": 7}
    assert by_id["8.jpg"].record == {"n": 8}
    assert by_id["9.a.png"].record == by_id["9.b.png"].record == {"meta.json": {"n": 9}}
    assert by_id["v1.2.jpg"].record == {}
    assert "none of the images" in by_id["v1.3.json"].skip_reason


@pytest.mark.parametrize(
    ("content", "record"),
    [
        (b"[1, 2]", {"json": [1, 2]}),
        (b"not JSON", {}),
        (b'{"a": NaN}', {"a": "NaN"}),
        (b"[" * 100_000, {}),
        (b'{"a": "\\ud800"}', {"a": "?"}),
        (b'{"a": ' + b"9" * 5000 + b"}", {}),
        (b"\xff\xfe{", {}),
        (b'{"a":' * 70 + b"1" + b"}" * 70, {}),
        (b"", {}),
    ],
)
def test_odd_records_do_not_hide_the_image(tmp_path: Path, content: bytes, record: dict[str, Any]) -> None:
    """An unreadable record has a reason at its own entry; a readable one can be written again."""
    uri = write_tar(tmp_path / "it.tar", [("1.jpg", b"1"), ("1.json", content), ("2.jpg", b"2")])
    image, side, other = list_members(uri)
    assert (image.skip_reason, image.record, other.record) == ("", record, {})
    assert side.skip_reason.startswith("the record of" if record else "a record that is not JSON")
    json.dumps(image.record, ensure_ascii=False, allow_nan=False).encode()


def test_a_huge_sample_is_split(tmp_path: Path) -> None:
    """By number of members and by bytes; each part has the record, nothing is lost, and one pass equals the listing."""
    files = [("s.json", b'{"a": 1}'), *((f"s.{number:03d}.jpg", bytes(100)) for number in range(150))]
    uri = write_tar(tmp_path / "it.tar", files)
    images = [item for item in list_members(uri) if not item.skip_reason]
    assert [item.record for item in images] == [{"a": 1}] * 150
    with (tmp_path / "it.tar").open("rb") as file:
        read = partial(tar_index.read_tar_member, make_range_reader(file))
        members = tar_index.walk_tar(file, (tmp_path / "it.tar").stat().st_size)
        entries = list(webdataset.group_samples(members, uri, images[0].stamp, read, True, max_sample_bytes=1000))
    assert [item for item, _ in entries] == list_members(uri)
    assert len([data for _, data in entries if data]) == 150


# ---------------------------------------------------------------------------------------- hostile and damaged tars


def write_special_tar(path: Path, *infos: tarfile.TarInfo) -> str:
    """A tar of headers without content, between two images."""
    with tarfile.open(path, "w") as archive:
        for info in (tarfile.TarInfo("first.jpg"), *infos, tarfile.TarInfo("last.jpg")):
            archive.addfile(info)
    return file_uri(str(path))


def make_header(name: str, form: bytes, link: str = "") -> tarfile.TarInfo:
    """A header of another kind."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = form, link
    return info


def test_members_that_are_not_regular_files_have_a_reason(tmp_path: Path) -> None:
    """Links, devices and pipes; names that lead out; hidden files; folders are not listed; duplicates differ by offset."""
    uri = write_special_tar(
        tmp_path / "it.tar",
        make_header("sym.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        make_header("hard.jpg", tarfile.LNKTYPE, "first.jpg"),
        make_header("dev.jpg", tarfile.CHRTYPE),
        make_header("pipe.jpg", tarfile.FIFOTYPE),
        make_header("folder.jpg", tarfile.DIRTYPE),
        make_header("odd.jpg", b"Z"),
        tarfile.TarInfo("../up.jpg"),
        tarfile.TarInfo("a/../../up.jpg"),
        tarfile.TarInfo("a\\..\\up.jpg"),
        tarfile.TarInfo("/abs/olute.jpg"),
        tarfile.TarInfo("./dotted.jpg"),
        tarfile.TarInfo(".hidden.jpg"),
        tarfile.TarInfo("first.jpg"),
        tarfile.TarInfo("inner.tar"),
    )
    items = list_members(uri)
    assert len({item.uri for item in items}) == len(items) == 15
    assert [item.id for item in items if not item.skip_reason] == [
        "first.jpg",
        "abs/olute.jpg",
        "dotted.jpg",
        "first.jpg",
        "last.jpg",
    ]
    reason_by_id = skip_reasons(uri)
    assert all("link" in reason_by_id[name] for name in ("sym.jpg", "hard.jpg"))
    assert all("regular" in reason_by_id[name] for name in ("dev.jpg", "pipe.jpg", "odd.jpg"))
    assert all("leads out" in reason_by_id[name] for name in ("../up.jpg", "a/../../up.jpg", "a\\..\\up.jpg"))
    assert "hidden" in reason_by_id[".hidden.jpg"]
    assert "archive" in reason_by_id["inner.tar"]


@pytest.mark.parametrize("cut", [100, 512, 600, 1111, 1112, 1535, 1536, 1600, 2048, 2559, 2560, 2600, 3072, 5000])
def test_a_truncated_tar_lists_its_rest(tmp_path: Path, cut: int) -> None:
    """Members before the end are listed and read; one entry stands for the rest, wherever it is truncated."""
    path = tmp_path / "it.tar"
    write_tar(path, [("1.jpg", b"1" * 600), ("2.jpg", b"2" * 512), ("3.jpg", b"3" * 2000)], tarfile.USTAR_FORMAT)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    *before, rest = list_members(file_uri(str(path)))
    assert shards.is_rest_entry(rest)
    assert "byte" in rest.skip_reason
    assert not any(shards.is_rest_entry(item) for item in before)
    assert [item.id for item in before] == [f"{n}.jpg" for n, end in ((1, 1112), (2, 2560)) if end <= cut]
    assert [len(read_input(item.uri)) for item in before] == [600, 512][: len(before)]
    skip_reasons(file_uri(str(path)))


def test_a_damaged_header_lists_the_rest(tmp_path: Path) -> None:
    """The standard library would end there silently."""
    path = tmp_path / "it.tar"
    uri = write_tar(path, [("1.jpg", b"1"), ("2.jpg", b"2"), ("3.jpg", b"3")], tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    data[1024 + 150] ^= 0xFF
    path.write_bytes(data)
    first, rest = list_members(uri)
    assert (first.id, shards.is_rest_entry(rest)) == ("1.jpg", True)
    assert "damaged" in rest.skip_reason


def test_concatenated_tars_are_one(tmp_path: Path) -> None:
    """`cat a.tar b.tar`: members after the first end mark count; anything else there is listed as the rest."""
    write_tar(tmp_path / "a.tar", [("1.jpg", b"1")])
    write_tar(tmp_path / "b.tar", [("2.jpg", b"2")])
    both = tmp_path / "both.tar"
    both.write_bytes((tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes())
    assert [(item.id, read_input(item.uri)) for item in list_members(file_uri(str(both)))] == [
        ("1.jpg", b"1"),
        ("2.jpg", b"2"),
    ]
    both.write_bytes((tmp_path / "a.tar").read_bytes() + b"what is this?" * 100)
    first, rest = list_members(file_uri(str(both)))
    assert (first.id, shards.is_rest_entry(rest)) == ("1.jpg", True)


def header(name: str, size: int = 0, form: bytes = b"0", field: bytes | None = None) -> bytes:
    """A tar header with any size, its checksum right."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = field if field is not None else b"%011o\0" % size
    block[156:157] = form
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


NEGATIVE = struct.pack(">Bxxxq", 0xFF, -1024).replace(b"\xff\0\0\0", b"\xff\xff\xff\xff", 1)
HUGE = b"\x80" + b"\0" * 3 + (2**62).to_bytes(8, "big")


def pax(form: bytes = b"x", **records: str) -> bytes:
    """An extended header with these records."""
    body = b""
    for key, value in records.items():
        line = f" {key}={value}\n".encode()
        length = len(line) + 1
        while len(str(length)) + len(line) != length:
            length = len(str(length)) + len(line)
        body += str(length).encode() + line
    return header("pax", len(body), form) + body + bytes(-len(body) % 512)


@pytest.mark.parametrize(
    "hostile",
    [
        header("back.jpg", field=NEGATIVE),
        header("huge.jpg", field=HUGE),
        header("long.jpg", 2**30, b"L"),
        header("pax", 2**30, b"x"),
        pax(size="-512") + header("back.jpg", 0),
        pax(size="-99999") + header("back.jpg"),
        pax(size=str(2**70)) + header("far.jpg"),
        header("dev.jpg", field=HUGE, form=b"Z"),
        pax(**{"GNU.sparse.map": "x,y"}) + header("sparse.jpg"),
        pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}) + header("sparse.jpg", 512) + b"9999999\n" * 64,
        pax(hdrcharset="\x00") + header("charset.jpg"),
        header("pax", 0, b"g") * 3000 + header("deep.jpg"),
        b"".join(pax(form=b"g", **{f"k{n}-{m}": "v" for m in range(400)}) + header("g.jpg") for n in range(4)),
        pax(comment="7" * 9000) + header("digits.jpg"),
        b"\x01" * 512,
        header("pax", 20, b"x") + b"0 a=b\n".ljust(512, b"\0") + header("zero.jpg"),
    ],
    ids=[
        "negative",
        "huge",
        "long name",
        "long pax",
        "pax back",
        "pax further back",
        "pax beyond",
        "special huge",
        "sparse",
        "sparse endless",
        "charset",
        "deep",
        "globals",
        "digits",
        "no header",
        "zero length",
    ],
)
def test_hostile_headers_end_the_walk_with_a_reason(tmp_path: Path, hostile: bytes) -> None:
    """In the middle of an intact tar: members before it are listed."""
    write_tar(tmp_path / "good.tar", [("1.jpg", b"1")], tarfile.USTAR_FORMAT)
    good = (tmp_path / "good.tar").read_bytes()[:1024]
    path = tmp_path / "it.tar"
    path.write_bytes(good + hostile + header("2.jpg", 1) + b"2".ljust(512, b"\0") + bytes(1024))
    first, *others = list_members(file_uri(str(path)))
    assert (first.id, read_input(first.uri)) == ("1.jpg", b"1")
    assert others[-1].id == "2.jpg" or shards.is_rest_entry(others[-1])
    assert len(others) < 5
    skip_reasons(file_uri(str(path)))


@given(st.binary(max_size=3000), st.integers(0, 3000), st.sampled_from(["tar", "zip"]))
def test_noise_in_a_shard_never_raises(noise: bytes, at: int, suffix: str) -> None:
    """Reading a listed member gives its bytes or a reason."""
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, f"it.{suffix}")
        (write_tar if suffix == "tar" else write_zip)(path, [("1.jpg", b"1" * 700), ("2.jpg", b"2" * 700)])
        data = bytearray(path.read_bytes())
        data[at : at + len(noise)] = noise
        path.write_bytes(data)
        items = list_members(file_uri(str(path)))
        assert items
        for item in items:
            if not item.skip_reason:
                with contextlib.suppress(Unreadable):
                    assert len(read_input(item.uri)) == item.size


# ---------------------------------------------------------------------------------------- hostile and damaged zips


def write_forged_zip(path: Path, **fields: int) -> str:
    """A zip of one deflated member with forged fields in its directory; its URI."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"a" * 5000)
        info = archive.infolist()[0]
        for name, value in fields.items():
            setattr(info, name, value)
    return file_uri(str(path))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"flag_bits": 1}, "encrypted"),
        ({"compress_type": 9}, "deflate64"),
        ({"compress_type": 14}, "lzma"),
        ({"file_size": 2**31 - 2}, "bomb"),
        ({"file_size": 100_000_000}, "bomb"),
        ({"compress_size": 10**6}, "truncated"),
        ({"external_attr": (stat.S_IFLNK | 0o777) << 16}, "link"),
        ({"header_offset": 10**6}, "truncated"),
    ],
)
def test_zip_members_are_refused_by_their_directory(tmp_path: Path, fields: dict[str, int], expected: str) -> None:
    """Before a byte is decompressed."""
    assert expected in skip_reasons(write_forged_zip(tmp_path / "it.zip", **fields))["a.jpg"]


@pytest.mark.parametrize("fields", [{"file_size": 4000}, {"file_size": 6000}, {"CRC": 1}, {"compress_size": 5}])
def test_a_zip_member_with_a_forged_directory_is_damaged(tmp_path: Path, fields: dict[str, int]) -> None:
    """By its URI and in one pass; it never gives more bytes than its size."""
    uri = write_forged_zip(tmp_path / "it.zip", **fields)
    (item,) = list_members(uri)
    with pytest.raises(Unreadable, match="damaged in its shard") as caught:
        read_input(item.uri)
    assert not caught.value.retryable
    ((entry, data),) = shards.iter_members(uri)
    assert data == b""
    assert replace(entry, skip_reason="") == item
    assert "damaged" in entry.skip_reason


def test_overlapping_zip_members_are_refused(tmp_path: Path) -> None:
    """Many entries of the same bytes are one bomb: all but the last are refused."""
    path = tmp_path / "it.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"a" * 5000)
        info = archive.infolist()[0]
        for number in range(5):
            other = zipfile.ZipInfo(f"{number}.jpg")
            for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(other, name, getattr(info, name))
            archive.filelist.append(other)
    reason_by_id = skip_reasons(file_uri(str(path)))
    assert sum("overlaps" in reason for reason in reason_by_id.values()) == 5


def test_a_zip_with_a_large_directory_is_refused(tmp_path: Path) -> None:
    """It is not read into memory; the reason says what to do."""
    path = tmp_path / "it.zip"
    write_zip(path, [(f"{number}.jpg", b"1") for number in range(100)])
    with path.open("rb") as file:
        (rest,) = zip_index.walk_zip(file, path.stat().st_size, max_directory_bytes=1000)
    assert rest.skip_reason.startswith(REST_REASON)
    assert "split it into several zips" in rest.skip_reason


def test_an_endless_name_is_cut(tmp_path: Path) -> None:
    """And the member is refused, so that no entry of a catalog is a megabyte."""
    uri = write_tar(tmp_path / "it.tar", [("x" * 900_000 + ".jpg", b"1"), ("y" * 4092 + ".jpg", b"2"), ("z.jpg", b"3")])
    long, fits, other = list_members(uri)
    assert len(long.id) == 200
    assert "900,004 characters" in long.skip_reason
    assert (fits.skip_reason, read_input(fits.uri), read_input(other.uri)) == ("", b"2", b"3")


def test_files_that_are_not_an_archive(tmp_path: Path) -> None:
    """One entry with the reason; the other shards of the source are listed."""
    (tmp_path / "a.tar").write_bytes(b"no tar at all" * 100)
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (tmp_path / "d.zip").write_bytes(b"")
    write_tar(tmp_path / "e.tar", [("1.jpg", b"1")])
    items = list(Shards(of=str(tmp_path)).list())
    assert ["not a tar" in item.skip_reason for item in items] == [True, True, False, False, False]
    assert [item.id for item in items] == ["a.tar", "b.tar", "c.zip", "d.zip", "1.jpg"]
    assert [shards.is_rest_entry(item) for item in items] == [True, True, True, True, False]
    assert len({item.uri for item in items}) == 5


def test_names_that_are_not_utf8_are_escaped_in_the_id(tmp_path: Path) -> None:
    """They survive in the URI."""
    name = os.fsdecode(b"caf\xe9.jpg")
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        (item,) = list_members(write_tar(tmp_path / "it.tar", [(name, b"1")], form))
        assert (item.id, read_input(item.uri)) == ("caf\\xe9.jpg", b"1")
        assert "%E9" in item.uri


# ---------------------------------------------------------------------------------------- reading


def test_members_of_a_changed_shard_are_retryable(tmp_path: Path) -> None:
    """Its stamp changes; a member of a shard that is shorter or deleted has a reason."""
    path = tmp_path / "it.tar"
    uri = write_tar(path, [("1.jpg", b"1" * 1000)])
    (before,) = list_members(uri)
    os.utime(path, ns=(1, 1))
    (after,) = list_members(uri)
    assert (after.uri, after.stamp) == (before.uri, "1")
    path.write_bytes(path.read_bytes()[:700])
    for expected in ("shorter", "vanished"):
        with pytest.raises(Unreadable, match=expected) as caught:
            read_input(before.uri)
        assert caught.value.retryable
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "tail", ["", "#offset=0", "#offset=-1&size=1&name=x", "#offset=0&size=1e9&name=x", "#size=1&offset=0&name=x"]
)
def test_an_incomplete_member_uri_is_refused(tmp_path: Path, tail: str) -> None:
    """Whatever is missing in it."""
    uri = write_tar(tmp_path / "it.tar", [("1.jpg", b"1")])
    with pytest.raises(Unreadable, match="incomplete URI"):
        read_input(f"shard+{uri}{tail}")


def test_a_member_uri_of_another_scheme_or_size_is_refused(tmp_path: Path) -> None:
    """No request to http, and no terabytes of memory."""
    uri = write_tar(tmp_path / "it.tar", [("1.jpg", b"1")])
    for hostile in (f"shard+{uri}#offset=0&size=999999999999&name=x", "shard+http://host/x.tar#offset=0&size=1&name=x"):
        with pytest.raises(Unreadable):
            read_input(hostile)


class Counting(io.BytesIO):
    """A file that counts the bytes that are read from it."""

    bytes_read = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def test_a_listing_reads_headers_only_in_bounded_memory(tmp_path: Path) -> None:
    """The library's own list of members does not grow."""
    path = tmp_path / "it.tar"
    write_tar(path, [(f"{number:05d}.jpg", bytes(5000)) for number in range(400)], tarfile.USTAR_FORMAT)
    file = Counting(path.read_bytes())
    max_infos = 0
    for number, _ in enumerate(tar_index.walk_tar(file, path.stat().st_size)):
        if number % 100 == 99:
            gc.collect()
            max_infos = max(max_infos, sum(isinstance(each, tarfile.TarInfo) for each in gc.get_objects()))
    assert number == 399
    assert max_infos < 5
    assert file.bytes_read < 400 * 1500


def test_one_pass_reads_each_byte_about_once(tmp_path: Path) -> None:
    """Sequentially, so that a shard can be streamed."""
    path = tmp_path / "it.tar"
    files = [(f"{number:05d}.jpg", bytes(5000)) for number in range(50)]
    write_tar(path, files, tarfile.USTAR_FORMAT)
    file = Counting(path.read_bytes())
    read_range = make_range_reader(file)
    for member in tar_index.walk_tar(file, path.stat().st_size):
        assert len(tar_index.read_tar_member(read_range, member)) == 5000
    assert file.bytes_read < 1.3 * path.stat().st_size


# ---------------------------------------------------------------------------------------- naming shards


def test_shards_by_name_pattern_range_and_folder(tmp_path: Path) -> None:
    """Other files next to them are listed with a reason."""
    for number in range(12):
        write_tar(tmp_path / f"s-{number:03d}.tar", [(f"{number}.jpg", b"%d" % number)])
    write_zip(tmp_path / "z.ZIP", [("z.jpg", b"z")])
    (tmp_path / "notes.txt").write_bytes(b"")
    (tmp_path / "old.tar.lz4").write_bytes(b"")

    def ids(source: str) -> list[str]:
        return sorted(item.id for item in list_entries([source]))

    assert ids(f"{tmp_path}/s-003.tar") == ["3.jpg"]
    assert ids(f"{tmp_path}/z.ZIP") == ["z.jpg"]
    assert ids(f"{tmp_path}/s-00?.tar") == sorted(f"{n}.jpg" for n in range(10))
    assert ids(f"{tmp_path}/s-{{002..004}}.tar") == ["2.jpg", "3.jpg", "4.jpg"]
    assert ids(f"{tmp_path}/s-{{010,011}}.tar") == ["10.jpg", "11.jpg"]
    assert ids(f"shards:{tmp_path}") == sorted([*(f"{n}.jpg" for n in range(12)), "z.jpg", "notes.txt", "old.tar.lz4"])
    addresses = shards.list_shard_entries(Shards(of=f"{tmp_path}/s-*.tar"))
    assert [(item.id, item.size > 0, item.skip_reason) for item in addresses] == [
        (f"s-{n:03d}.tar", True, "") for n in range(12)
    ]
    missing = {item.id: item.skip_reason for item in list_entries([f"{tmp_path}/s-{{010..012}}.tar"])}
    assert shards.is_rest_entry(SourceEntry("", "", skip_reason=missing["s-012.tar"]))
    plain = {item.id: item.skip_reason for item in list_entries([str(tmp_path)])}
    assert "name it as a source" in plain["s-000.tar"]
    assert "name it as a source" in plain["old.tar.lz4"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("old.tar.lz4", "no shards"),
        ("*.tar.lz4", "no shards"),
        ("gone-{0..3}.tar", "no shards"),
        ("{0..99999999}.tar", "million"),
        ("shards:nowhere", "no shards"),
        ("gone.tar", "no such file"),
        ("{a,b}{0..999999}.tar", "million"),
    ],
)
def test_sources_without_shards_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    """Before any work."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.tar.lz4").write_bytes(b"\x04\x22")
    with pytest.raises(PlanError, match=expected):
        list_entries([name])


def test_shards_in_s3_equal_local_ones(tmp_path: Path, s3: Any) -> None:
    """The same members, bytes and reasons; a member is read by one range; one pass needs few requests."""
    write_tar(
        tmp_path / "a-0.tar",
        [("7.jpg", os.urandom(9000)), ("7.json", b'{"a": 1}'), *((f"{n}.png", bytes(n)) for n in range(90))],
    )
    write_zip(tmp_path / "a-1.zip", [("x/8.jpg", b"8" * 5000), ("é.jpg", b"")])
    (tmp_path / "a-2.tar").write_bytes((tmp_path / "a-0.tar").read_bytes()[:20_000])
    for path in sorted(tmp_path.iterdir()):
        s3.pipe_file(f"shards/{path.name}", path.read_bytes())

    def describe(source: str) -> list[tuple[Any, ...]]:
        return [(i.id, i.size, i.skip_reason, i.record, i.uri.split("#")[1]) for i in Shards(of=source).list()]

    local = describe(str(tmp_path))
    for source in ("s3://shards", "s3://shards/a-*", "s3://shards/a-{0.tar,1.zip,2.tar}"):
        assert describe(source) == local
    assert shards.is_rest_entry(list(parse_source("s3://shards/a-2.tar").list())[-1])
    for shard in shards.list_shard_entries(Shards(of="s3://shards")):
        for item, data in shards.iter_members(shard.uri):
            assert shards.is_rest_entry(item) or read_input(item.uri) == (
                data if not item.skip_reason else read_input(item.uri)
            )
    for name in ("p/A.LBL", "p/b.lbl", "p/a.img"):
        s3.pipe_file(f"shards/{name}", b'PDS_VERSION_ID = PDS3\n^IMAGE = "A.IMG"\n' if name == "p/A.LBL" else b"data")
    product = {item.id: item for item in list_entries(["s3://shards/p"])}
    assert (product["A.LBL"].skip_reason, product["a.img"].skip_reason) == ("", "the data of A.LBL")
    assert ".lbl" in product["b.lbl"].skip_reason
    with zipfile.ZipFile(io.BytesIO(read_input(product["A.LBL"].uri))) as bundle:
        assert bundle.read("A.IMG") == b"data"
    (item, *_) = parse_source("s3://shards/a-0.tar").list()
    s3.rm("shards/a-0.tar")
    with pytest.raises(Unreadable, match="vanished"):
        read_input(item.uri)
    with pytest.raises(Unreadable, match="vanished"):
        next(shards.iter_members("s3://shards/a-0.tar"))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system on an S3 server in this process; bucket `shards` exists."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    from interpdisc_core.storage import remote_files

    remote_files._make_s3_filesystem.cache_clear()
    files = remote_files.get_s3_filesystem()
    files.mkdir("shards")
    try:
        yield files
    finally:
        remote_files._make_s3_filesystem.cache_clear()
        server.stop()
