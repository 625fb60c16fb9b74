"""Tars and zips as sources: every member is listed, is read alone by its address and in one pass, and nothing hides."""

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
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.sources import Listed, Shards, file_uri, listing, parse, read, samples, shards, tars, zips
from interpdisc_core.sources.members import bytes_of

Files = list[tuple[str, bytes]]


def tar(path: Path, files: Files, form: int = tarfile.PAX_FORMAT) -> str:
    """A tar of these members, by the standard library; its address."""
    with tarfile.open(path, "w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file_uri(str(path))


def zipped(path: Path, files: Files, method: int = zipfile.ZIP_DEFLATED) -> str:
    """A zip of these members; its address."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file_uri(str(path))


def listed(uri: str) -> list[Listed]:
    """The members as the source lists them."""
    return list(Shards(of=uri.removeprefix("file://")).list())


def reasons(uri: str) -> dict[str, str]:
    """Why members are not tried, by id; one pass says the same as the listing."""
    items = listed(uri)
    assert [item for item, _ in shards.members(uri)] == items
    return {item.id: item.skipped for item in items}


# ---------------------------------------------------------------------------------------- laws

PARTS = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)) | st.sampled_from("a.b %&#="), min_size=1,
    max_size=20,
).filter(lambda part: part not in (".", "..") and not part.startswith(".") and "\\" not in part)  # fmt: skip
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=1300)), min_size=1, max_size=8, unique_by=lambda pair: pair[0])


@given(MEMBERS, st.sampled_from(["ustar", "gnu", "pax", "stored", "deflated"]))
@example([("x" * 150 + "/" + "y" * 120 + ".jpg", b"long")], "gnu")
@example([("x" * 90 + "/" + "y" * 90 + ".jpg", b"long")], "ustar")
@example([("a.jpg", b""), ("a.json", b"{}"), ("a.jpg.jpg", b"PK\x03\x04")], "stored")
def test_a_listing_is_the_members_whatever_the_form(files: Files, form: str) -> None:
    """Names, sizes and bytes, by the listing, by each address alone, and in one pass; the same in every form."""
    with tempfile.TemporaryDirectory() as root:
        if form in ("stored", "deflated"):
            method = zipfile.ZIP_STORED if form == "stored" else zipfile.ZIP_DEFLATED
            uri = zipped(Path(root, "it.zip"), files, method)
        else:
            forms = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
            try:
                uri = tar(Path(root, "it.tar"), files, forms[form])
            except ValueError:  # ustar has no room for the name
                return
        items = listed(uri)
        assert [(item.id, item.size) for item in items] == [(name, len(data)) for name, data in files]
        assert [read(item.uri) for item in items] == [data for _, data in files]
        once = list(shards.members(uri))
        assert [item for item, _ in once] == items
        for (item, data), (_, wanted) in zip(once, files, strict=True):
            assert data == (b"" if item.skipped else wanted)
            assert item.uri.isascii()
            json.dumps([item.id, item.record]).encode()


RECORD = {"imageid": "7", "nested": {"list": [1, 2.5, None, "UNK"]}, "名": "火"}


@pytest.mark.parametrize("make", [tar, zipped])
def test_members_with_one_name_are_one_sample(tmp_path: Path, make: Any) -> None:
    """The record is the JSON as it stands, the class and the caption beside it; each part is accounted for."""
    uri = make(tmp_path / ("it.zip" if make is zipped else "it.tar"), [
        ("a/7.left.jpg", b"left"), ("a/7.right.jpg", b"right"), ("a/7.json", json.dumps(RECORD).encode()), ("a/7.cls", b"rock\n"),
        ("a/8.cls", b"dust"), ("a/8.txt", "a caption, é".encode()), ("a/8.jpg", b"8"),
        ("b/8.jpg", b"b8"), ("9.png", b"9"), ("10.json", b'{"label": "sand"}'), ("10.png", b"10"), ("README.txt", b"hello"),
    ])  # fmt: skip
    found = {item.id: item for item in listed(uri)}
    assert len(found) == 12
    for eye in ("left", "right"):
        assert found[f"a/7.{eye}.jpg"].record == RECORD | {"cls": "rock\n"}
        assert found[f"a/7.{eye}.jpg"].label == "rock"
    assert (found["a/8.jpg"].record, found["a/8.jpg"].label) == ({"cls": "dust", "txt": "a caption, é"}, "dust")
    assert (found["b/8.jpg"].record, found["b/8.jpg"].label) == ({}, None)
    assert (found["9.png"].record, found["9.png"].label) == ({}, None)
    assert found["10.png"].label == "sand"
    assert found["a/7.json"].skipped == "the record of a/7.left.jpg"
    assert found["README.txt"].skipped == "not an image by its name (.txt)"
    assert {name for name, item in found.items() if not item.skipped} == {
        "a/7.left.jpg", "a/7.right.jpg", "a/8.jpg", "b/8.jpg", "9.png", "10.png",
    }  # fmt: skip
    reasons(uri)


@pytest.mark.parametrize(
    ("content", "record"),
    [
        (b"[1, 2]", {"json": [1, 2]}), (b"not JSON", {}), (b'{"a": NaN}', {"a": "NaN"}), (b"[" * 100_000, {}),
        (b'{"a": "\\ud800"}', {"a": "?"}), (b'{"a": ' + b"9" * 5000 + b"}", {}), (b"\xff\xfe{", {}),
        (b'{"a":' * 70 + b"1" + b"}" * 70, {}), (b"", {}),
    ],
)  # fmt: skip
def test_a_record_that_is_odd(tmp_path: Path, content: bytes, record: dict[str, Any]) -> None:
    """The image is listed all the same; what cannot be taken says so at its own entry; what is taken can be written."""
    uri = tar(tmp_path / "it.tar", [("1.jpg", b"1"), ("1.json", content), ("2.jpg", b"2")])
    image, side, other = listed(uri)
    assert (image.skipped, image.record, other.record) == ("", record, {})
    assert side.skipped.startswith("the record of" if record else "a record that is not JSON")
    json.dumps(image.record, ensure_ascii=False, allow_nan=False).encode()


def test_a_huge_sample_is_taken_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by bytes; the record goes along, nothing is lost, and one pass still agrees with the listing."""
    files = [("s.json", b'{"a": 1}'), *((f"s.{number:03d}.jpg", bytes(100)) for number in range(150))]
    uri = tar(tmp_path / "it.tar", files)
    found = [item for item in listed(uri) if not item.skipped]
    assert [item.record for item in found] == [{"a": 1}] * 150
    monkeypatch.setattr(samples, "_MOST_BYTES", 1000)
    assert [item.id for item, _ in shards.members(uri)] == [name for name, _ in files]
    assert len([data for _, data in shards.members(uri) if data]) == 150


# ---------------------------------------------------------------------------------------- hostile and damaged tars


def special(path: Path, *infos: tarfile.TarInfo) -> str:
    """A tar of headers without content, between two images."""
    with tarfile.open(path, "w") as archive:
        for info in (tarfile.TarInfo("first.jpg"), *infos, tarfile.TarInfo("last.jpg")):
            archive.addfile(info)
    return file_uri(str(path))


def kind(name: str, form: bytes, link: str = "") -> tarfile.TarInfo:
    """A header of another kind."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = form, link
    return info


def test_what_is_no_plain_file_is_listed_with_a_reason(tmp_path: Path) -> None:
    """Links, devices and pipes; names that lead out; hidden ones; a folder is no input; copies are told by place."""
    uri = special(
        tmp_path / "it.tar", kind("sym.jpg", tarfile.SYMTYPE, "/etc/passwd"), kind("hard.jpg", tarfile.LNKTYPE, "first.jpg"),
        kind("dev.jpg", tarfile.CHRTYPE), kind("pipe.jpg", tarfile.FIFOTYPE), kind("folder.jpg", tarfile.DIRTYPE),
        kind("odd.jpg", b"Z"), tarfile.TarInfo("../up.jpg"), tarfile.TarInfo("a/../../up.jpg"), tarfile.TarInfo("a\\..\\up.jpg"),
        tarfile.TarInfo("/abs/olute.jpg"), tarfile.TarInfo("./dotted.jpg"), tarfile.TarInfo(".hidden.jpg"),
        tarfile.TarInfo("first.jpg"), tarfile.TarInfo("inner.tar"),
    )  # fmt: skip
    items = listed(uri)
    assert len({item.uri for item in items}) == len(items) == 15
    assert [item.id for item in items if not item.skipped] == [
        "first.jpg", "abs/olute.jpg", "dotted.jpg", "first.jpg", "last.jpg",
    ]  # fmt: skip
    why = reasons(uri)
    assert all("link" in why[name] for name in ("sym.jpg", "hard.jpg"))
    assert all("regular" in why[name] for name in ("dev.jpg", "pipe.jpg", "odd.jpg"))
    assert all("leads out" in why[name] for name in ("../up.jpg", "a/../../up.jpg", "a\\..\\up.jpg"))
    assert "hidden" in why[".hidden.jpg"]
    assert "archive" in why["inner.tar"]


@pytest.mark.parametrize("cut", [100, 512, 600, 1111, 1112, 1535, 1536, 1600, 2048, 2559, 2560, 2600, 3072, 5000])
def test_a_tar_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    """Members before the cut are listed and read; one entry stands for the rest, wherever the cut is."""
    path = tmp_path / "it.tar"
    tar(path, [("1.jpg", b"1" * 600), ("2.jpg", b"2" * 512), ("3.jpg", b"3" * 2000)], tarfile.USTAR_FORMAT)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    *before, rest = listed(file_uri(str(path)))
    assert shards.is_rest(rest)
    assert "byte" in rest.skipped
    assert not any(shards.is_rest(item) for item in before)
    assert [item.id for item in before] == [f"{n}.jpg" for n, end in ((1, 1112), (2, 2560)) if end <= cut]
    assert [len(read(item.uri)) for item in before] == [600, 512][: len(before)]
    reasons(file_uri(str(path)))


def test_a_header_that_is_damaged(tmp_path: Path) -> None:
    """The library would end there without a word; here the rest is told of."""
    path = tmp_path / "it.tar"
    uri = tar(path, [("1.jpg", b"1"), ("2.jpg", b"2"), ("3.jpg", b"3")], tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    data[1024 + 150] ^= 0xFF
    path.write_bytes(data)
    first, rest = listed(uri)
    assert (first.id, shards.is_rest(rest)) == ("1.jpg", True)
    assert "damaged" in rest.skipped


def test_tars_one_after_the_other(tmp_path: Path) -> None:
    """`cat a.tar b.tar`: members behind the first end mark count too; anything else there is told of."""
    tar(tmp_path / "a.tar", [("1.jpg", b"1")])
    tar(tmp_path / "b.tar", [("2.jpg", b"2")])
    both = tmp_path / "both.tar"
    both.write_bytes((tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes())
    assert [(item.id, read(item.uri)) for item in listed(file_uri(str(both)))] == [("1.jpg", b"1"), ("2.jpg", b"2")]
    both.write_bytes((tmp_path / "a.tar").read_bytes() + b"what is this?" * 100)
    first, rest = listed(file_uri(str(both)))
    assert (first.id, shards.is_rest(rest)) == ("1.jpg", True)


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
    "evil",
    [
        header("back.jpg", field=NEGATIVE), header("huge.jpg", field=HUGE), header("long.jpg", 2**30, b"L"),
        header("pax", 2**30, b"x"), pax(size="-512") + header("back.jpg", 0), pax(size="-99999") + header("back.jpg"),
        pax(size=str(2**70)) + header("far.jpg"), header("dev.jpg", field=HUGE, form=b"Z"),
        pax(**{"GNU.sparse.map": "x,y"}) + header("sparse.jpg"), pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
        + header("sparse.jpg", 512) + b"9999999\n" * 64, pax(hdrcharset="\x00") + header("charset.jpg"),
        header("pax", 0, b"g") * 3000 + header("deep.jpg"),
        b"".join(pax(form=b"g", **{f"k{n}-{m}": "v" for m in range(400)}) + header("g.jpg") for n in range(4)), pax(comment="7" * 9000) + header("digits.jpg"), b"\x01" * 512,
        header("pax", 20, b"x") + b"0 a=b\n".ljust(512, b"\0") + header("zero.jpg"),
    ],
    ids=["negative", "huge", "long name", "long pax", "pax back", "pax further back", "pax beyond", "special huge", "sparse",
         "sparse endless", "charset", "deep", "globals", "digits", "no header", "zero length"],
)  # fmt: skip
def test_headers_that_are_made_to_hurt(tmp_path: Path, evil: bytes) -> None:
    """In the middle of a good tar: what comes before is listed, and the walk ends soon, with a word."""
    tar(tmp_path / "good.tar", [("1.jpg", b"1")], tarfile.USTAR_FORMAT)
    good = (tmp_path / "good.tar").read_bytes()[:1024]
    path = tmp_path / "it.tar"
    path.write_bytes(good + evil + header("2.jpg", 1) + b"2".ljust(512, b"\0") + bytes(1024))
    first, *others = listed(file_uri(str(path)))
    assert (first.id, read(first.uri)) == ("1.jpg", b"1")
    assert others[-1].id == "2.jpg" or shards.is_rest(others[-1])
    assert len(others) < 5
    reasons(file_uri(str(path)))


@given(st.binary(max_size=3000), st.integers(0, 3000), st.sampled_from(["tar", "zip"]))
def test_any_bytes_in_a_shard(noise: bytes, at: int, suffix: str) -> None:
    """Noise over a good shard: listing never raises, and reading what is listed gives bytes or a reason."""
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, f"it.{suffix}")
        (tar if suffix == "tar" else zipped)(path, [("1.jpg", b"1" * 700), ("2.jpg", b"2" * 700)])
        data = bytearray(path.read_bytes())
        data[at : at + len(noise)] = noise
        path.write_bytes(data)
        items = listed(file_uri(str(path)))
        assert items
        for item in items:
            if not item.skipped:
                with contextlib.suppress(Unreadable):
                    assert len(read(item.uri)) == item.size


# ---------------------------------------------------------------------------------------- hostile and damaged zips


def forged(path: Path, **fields: int) -> str:
    """A zip of one deflated member whose directory says other things of it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"a" * 5000)
        info = archive.infolist()[0]
        for name, value in fields.items():
            setattr(info, name, value)
    return file_uri(str(path))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"flag_bits": 1}, "encrypted"), ({"compress_type": 9}, "deflate64"), ({"compress_type": 14}, "lzma"),
        ({"file_size": 2**31 - 2}, "bomb"), ({"file_size": 100_000_000}, "bomb"), ({"compress_size": 10**6}, "not all there"),
        ({"external_attr": (stat.S_IFLNK | 0o777) << 16}, "link"), ({"header_offset": 10**6}, "not all there"),
    ],
)  # fmt: skip
def test_a_zip_member_that_is_refused(tmp_path: Path, fields: dict[str, int], said: str) -> None:
    """By what the directory says, before a byte is unpacked."""
    assert said in reasons(forged(tmp_path / "it.zip", **fields))["a.jpg"]


@pytest.mark.parametrize("fields", [{"file_size": 4000}, {"file_size": 6000}, {"CRC": 1}, {"compress_size": 5}])
def test_a_zip_member_that_lies(tmp_path: Path, fields: dict[str, int]) -> None:
    """It never gives more than it says, and what does not fit is damaged: by its address, and in one pass."""
    uri = forged(tmp_path / "it.zip", **fields)
    (item,) = listed(uri)
    with pytest.raises(Unreadable, match="damaged in its shard") as caught:
        read(item.uri)
    assert not caught.value.access
    ((once, data),) = shards.members(uri)
    assert data == b""
    assert replace(once, skipped="") == item
    assert "damaged" in once.skipped


def test_zip_members_that_overlap(tmp_path: Path) -> None:
    """Many entries over the same bytes are one bomb: all but the last are refused."""
    path = tmp_path / "it.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"a" * 5000)
        info = archive.infolist()[0]
        for number in range(5):
            other = zipfile.ZipInfo(f"{number}.jpg")
            for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(other, name, getattr(info, name))
            archive.filelist.append(other)
    why = reasons(file_uri(str(path)))
    assert sum("overlaps" in said for said in why.values()) == 5


def test_a_directory_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read into memory; a sentence says what to do."""
    uri = zipped(tmp_path / "it.zip", [(f"{number}.jpg", b"1") for number in range(100)])
    monkeypatch.setattr(zips, "_DIRECTORY", 1000)
    (rest,) = listed(uri)
    assert shards.is_rest(rest)
    assert "make several zips" in rest.skipped


def test_a_name_without_end(tmp_path: Path) -> None:
    """It is cut, and the member refused, so that no entry of a catalog is a megabyte."""
    uri = tar(tmp_path / "it.tar", [("x" * 900_000 + ".jpg", b"1"), ("y" * 4092 + ".jpg", b"2"), ("z.jpg", b"3")])
    long, fits, other = listed(uri)
    assert len(long.id) == 200
    assert "900,004 characters" in long.skipped
    assert (fits.skipped, read(fits.uri), read(other.uri)) == ("", b"2", b"3")


def test_what_is_no_archive(tmp_path: Path) -> None:
    """One entry, with the reason; the other shards of the source are listed."""
    (tmp_path / "a.tar").write_bytes(b"no tar at all" * 100)
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (tmp_path / "d.zip").write_bytes(b"")
    tar(tmp_path / "e.tar", [("1.jpg", b"1")])
    items = list(Shards(of=str(tmp_path)).list())
    assert ["not a tar" in item.skipped for item in items] == [True, True, False, False, False]
    assert [item.id for item in items] == ["a.tar", "b.tar", "c.zip", "d.zip", "1.jpg"]
    assert [shards.is_rest(item) for item in items] == [True, True, True, True, False]
    assert len({item.uri for item in items}) == 5


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """They survive in the address and are spelled out in the id."""
    name = os.fsdecode(b"caf\xe9.jpg")
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        (item,) = listed(tar(tmp_path / "it.tar", [(name, b"1")], form))
        assert (item.id, read(item.uri)) == ("caf\\xe9.jpg", b"1")
        assert "%E9" in item.uri


# ---------------------------------------------------------------------------------------- reading


def test_a_shard_that_changes(tmp_path: Path) -> None:
    """Stamps change with it; a member of a shard that shrank or vanished says so, and may be all right another time."""
    path = tmp_path / "it.tar"
    uri = tar(path, [("1.jpg", b"1" * 1000)])
    (before,) = listed(uri)
    os.utime(path, ns=(1, 1))
    (after,) = listed(uri)
    assert (after.uri, after.stamp) == (before.uri, "1")
    path.write_bytes(path.read_bytes()[:700])
    for said in ("shorter", "vanished"):
        with pytest.raises(Unreadable, match=said) as caught:
            read(before.uri)
        assert caught.value.access
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "tail", ["", "#offset=0", "#offset=-1&size=1&name=x", "#offset=0&size=1e9&name=x", "#size=1&offset=0&name=x"]
)
def test_an_address_that_is_none(tmp_path: Path, tail: str) -> None:
    """One sentence, whatever stands there."""
    uri = tar(tmp_path / "it.tar", [("1.jpg", b"1")])
    with pytest.raises(Unreadable, match="address"):
        read(f"shard+{uri}{tail}")


def test_an_address_that_asks_for_too_much(tmp_path: Path) -> None:
    """Neither a shard of another scheme nor terabytes of memory."""
    uri = tar(tmp_path / "it.tar", [("1.jpg", b"1")])
    for evil in (f"shard+{uri}#offset=0&size=999999999999&name=x", "shard+http://host/x.tar#offset=0&size=1&name=x"):
        with pytest.raises(Unreadable):
            read(evil)


class Counting(io.BytesIO):
    """A file that counts the bytes that are read from it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_a_listing_jumps_over_content_and_keeps_nothing(tmp_path: Path) -> None:
    """Headers only are read, and the library's own list of members does not grow: memory stays flat."""
    path = tmp_path / "it.tar"
    tar(path, [(f"{number:05d}.jpg", bytes(5000)) for number in range(400)], tarfile.USTAR_FORMAT)
    file = Counting(path.read_bytes())
    most = 0
    for number, _ in enumerate(tars.walk(file, path.stat().st_size)):
        if number % 100 == 99:
            gc.collect()
            most = max(most, sum(isinstance(each, tarfile.TarInfo) for each in gc.get_objects()))
    assert number == 399
    assert most < 5
    assert file.taken < 400 * 1500


def test_one_pass_reads_each_byte_about_once(tmp_path: Path) -> None:
    """Sequential reading, so that a shard can be streamed."""
    path = tmp_path / "it.tar"
    files = [(f"{number:05d}.jpg", bytes(5000)) for number in range(50)]
    tar(path, files, tarfile.USTAR_FORMAT)
    file = Counting(path.read_bytes())
    between = bytes_of(file)
    for member in tars.walk(file, path.stat().st_size):
        assert len(tars.content(between, member)) == 5000
    assert file.taken < 1.3 * path.stat().st_size


# ---------------------------------------------------------------------------------------- naming shards


def test_the_ways_to_name_shards(tmp_path: Path) -> None:
    """One, a pattern, a row of numbers, a folder; what else lies there is accounted for."""
    for number in range(12):
        tar(tmp_path / f"s-{number:03d}.tar", [(f"{number}.jpg", b"%d" % number)])
    zipped(tmp_path / "z.ZIP", [("z.jpg", b"z")])
    (tmp_path / "notes.txt").write_bytes(b"")
    (tmp_path / "old.tar.gz").write_bytes(b"")

    def ids(source: str) -> list[str]:
        return sorted(item.id for item in listing([source]))

    assert ids(f"{tmp_path}/s-003.tar") == ["3.jpg"]
    assert ids(f"{tmp_path}/z.ZIP") == ["z.jpg"]
    assert ids(f"{tmp_path}/s-00?.tar") == sorted(f"{n}.jpg" for n in range(10))
    assert ids(f"{tmp_path}/s-{{002..004}}.tar") == ["2.jpg", "3.jpg", "4.jpg"]
    assert ids(f"{tmp_path}/s-{{010,011}}.tar") == ["10.jpg", "11.jpg"]
    assert ids(f"shards:{tmp_path}") == sorted([*(f"{n}.jpg" for n in range(12)), "z.jpg", "notes.txt", "old.tar.gz"])
    addresses = shards.addresses(Shards(of=f"{tmp_path}/s-*.tar"))
    assert [(item.id, item.size > 0, item.skipped) for item in addresses] == [
        (f"s-{n:03d}.tar", True, "") for n in range(12)
    ]
    missing = {item.id: item.skipped for item in listing([f"{tmp_path}/s-{{010..012}}.tar"])}
    assert shards.is_rest(Listed("", "", skipped=missing["s-012.tar"]))
    plain = {item.id: item.skipped for item in listing([str(tmp_path)])}
    assert "name it as a source" in plain["s-000.tar"]
    assert "name it as a source" in plain["old.tar.gz"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("old.tar.gz", "decompress"), ("*.tar.gz", "decompress"), ("gone-{0..3}.tar", "no shards"), ("{0..99999999}.tar", "million"),
        ("shards:nowhere", "no shards"), ("gone.tar", "no such file"), ("{a,b}{0..999999}.tar", "million"),
    ],
)  # fmt: skip
def test_shards_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    """A sentence, before any work."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(PlanError, match=said):
        listing([name])


def test_shards_in_s3_are_as_local_ones(tmp_path: Path, s3: Any) -> None:
    """The same members, bytes and reasons; a member alone is a request for its range; a pass is few requests."""
    tar(
        tmp_path / "a-0.tar",
        [("7.jpg", os.urandom(9000)), ("7.json", b'{"a": 1}'), *((f"{n}.png", bytes(n)) for n in range(90))],
    )
    zipped(tmp_path / "a-1.zip", [("x/8.jpg", b"8" * 5000), ("é.jpg", b"")])
    (tmp_path / "a-2.tar").write_bytes((tmp_path / "a-0.tar").read_bytes()[:20_000])
    for path in sorted(tmp_path.iterdir()):
        s3.pipe_file(f"shards/{path.name}", path.read_bytes())

    def told(source: str) -> list[tuple[Any, ...]]:
        return [(i.id, i.size, i.skipped, i.record, i.uri.split("#")[1]) for i in Shards(of=source).list()]

    local = told(str(tmp_path))
    for source in ("s3://shards", "s3://shards/a-*", "s3://shards/a-{0.tar,1.zip,2.tar}"):
        assert told(source) == local
    assert shards.is_rest(list(parse("s3://shards/a-2.tar").list())[-1])
    for shard in shards.addresses(Shards(of="s3://shards")):
        for item, data in shards.members(shard.uri):
            assert shards.is_rest(item) or read(item.uri) == (data if not item.skipped else read(item.uri))
    for name in ("p/A.LBL", "p/b.lbl", "p/a.img"):
        s3.pipe_file(f"shards/{name}", b'PDS_VERSION_ID = PDS3\n^IMAGE = "A.IMG"\n' if name == "p/A.LBL" else b"data")
    product = {item.id: item for item in listing(["s3://shards/p"])}
    assert (product["A.LBL"].skipped, product["a.img"].skipped) == ("", "the data of A.LBL")
    assert ".lbl" in product["b.lbl"].skipped
    with zipfile.ZipFile(io.BytesIO(read(product["A.LBL"].uri))) as bundle:
        assert bundle.read("A.IMG") == b"data"
    (item, *_) = parse("s3://shards/a-0.tar").list()
    s3.rm("shards/a-0.tar")
    with pytest.raises(Unreadable, match="vanished"):
        read(item.uri)
    with pytest.raises(Unreadable, match="vanished"):
        next(shards.members("s3://shards/a-0.tar"))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system on an S3 server in this process; bucket `shards` exists."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    from interpdisc_core import storage

    storage._s3.cache_clear()
    files = storage.s3_filesystem()
    files.mkdir("shards")
    try:
        yield files
    finally:
        storage._s3.cache_clear()
        server.stop()
