"""Detached labels: label and data beside each other are one input; read, it is always the same bundle of both."""

import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import Unreadable
from interpdisc_core.sources import Listed, listing, read
from interpdisc_core.sources.products import data_names

PDS3 = """PDS_VERSION_ID = PDS3\r
RECORD_TYPE = FIXED_LENGTH\r
^IMAGE_HEADER = ("{name}",1)\r
^TABLE = "OTHER.TAB"\r
^IMAGE = {pointer}\r
END\r
"""
PDS4 = """<?xml version="1.0"?>
<Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1"><File_Area_Observational>
<File><file_name>{name}</file_name></File><Array_3D_Image><axes>3</axes></Array_3D_Image>
</File_Area_Observational><File_Area_Supplemental><File><file_name>notes.txt</file_name></File></File_Area_Supplemental>
</Product_Observational>
"""


def pds3(name: str, pointer: str = '("{name}", 5 <BYTES>)') -> bytes:
    """A detached PDS3 label for the data of that name."""
    return PDS3.format(name=name, pointer=pointer.format(name=name)).encode()


def pds4(name: str) -> bytes:
    """A PDS4 label for the data of that name."""
    return PDS4.format(name=name).encode()


def put(folder: Path, **files: bytes) -> Path:
    """A folder with these files; `__` stands for the dot."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def found(*sources: Path | str) -> dict[str, Listed]:
    """What sources list, by id."""
    return {item.id: item for item in listing(map(str, sources))}


def members(data: bytes) -> dict[str, bytes]:
    """The contents of a bundle."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_product_is_one_input(tmp_path: Path) -> None:
    """Of either kind; the label stands for it, its data is accounted for, a picture beside it stays an input."""
    label, other = pds3("A.IMG"), pds4("b.img")
    folder = put(
        tmp_path / "in", A__LBL=label, A__IMG=b"data", b__xml=other, b__img=b"more", c__jpg=b"c", d__IMG=b"attached"
    )
    items = found(folder)
    assert {name for name, item in items.items() if not item.skipped} == {"A.LBL", "b.xml", "c.jpg", "d.IMG"}
    assert items["A.IMG"].skipped == "the data of A.LBL"
    assert items["b.img"].skipped == "the data of b.xml"
    assert items["A.LBL"].size == len(label) + 4
    assert members(read(items["A.LBL"].uri)) == {"A.LBL": label, "A.IMG": b"data"}
    assert members(read(items["b.xml"].uri)) == {"b.xml": other, "b.img": b"more"}
    assert read(items["d.IMG"].uri) == b"attached"


def test_the_bundle_is_always_the_same(tmp_path: Path) -> None:
    """Copied to another place at another time: the same bytes, so the same content."""
    first = put(tmp_path / "first", A__LBL=pds3("A.IMG"), A__IMG=b"data")
    other = put(tmp_path / "other", A__LBL=pds3("A.IMG"), A__IMG=b"data")
    for path in other.iterdir():
        os.utime(path, ns=(1, 1))
    assert read(found(first)["A.LBL"].uri) == read(found(other)["A.LBL"].uri)


def test_the_stamp_covers_both_files(tmp_path: Path) -> None:
    """New data under an old label is a new version."""
    folder = put(tmp_path / "in", A__LBL=pds3("A.IMG"), A__IMG=b"data")
    before = found(folder)["A.LBL"]
    assert found(folder)["A.LBL"] == before
    put(folder, A__IMG=b"atad")
    after = found(folder)["A.LBL"]
    assert (after.uri, after.size) == (before.uri, before.size)
    assert after.stamp != before.stamp


@pytest.mark.parametrize("name", ["a.img", "A.IMG", "A.img"])
def test_case_does_not_matter(tmp_path: Path, name: str) -> None:
    """Archives were moved between systems; in the bundle the data has the name that the label uses."""
    folder = put(tmp_path / "in", A__LBL=pds3(name))
    (folder / ("a.img" if name != "a.img" else "A.IMG")).write_bytes(b"data")
    items = found(folder)
    assert sorted(item.skipped for item in items.values()) == ["", "the data of A.LBL"]
    assert members(read(items["A.LBL"].uri))[name] == b"data"


@pytest.mark.parametrize(
    "pointer", ['"{name}"', '("{name}", 7)', '("{name}",3072<BYTES>)', '(\r\n   "{name}" , 7)', '  "{name}"   /* it */'],
)  # fmt: skip
def test_the_ways_to_point(pointer: str) -> None:
    """A name alone, with a record, with a byte, over two lines."""
    assert data_names(pds3("A.IMG", pointer).decode()) == ("A.IMG",)


@pytest.mark.parametrize("pointer", ["5", "(5)", "{name}", '"OTHER.TXT"', '""', '"' + "A" * 300 + '"'])
def test_pointers_that_name_no_image(pointer: str) -> None:
    """An attached label, one without quotes, text, nothing."""
    assert data_names(pds3("A.IMG", pointer).decode()) == ()


def test_other_labels_are_skipped_as_ever(tmp_path: Path) -> None:
    """Without its data, of a table, of no planetary kind, too large: not images by their names."""
    big = pds3("A.IMG") + b" " * (1 << 20)
    table = b"<Product_Observational><file_name>A.IMG</file_name><Table_Delimited/></Product_Observational>"
    folder = put(
        tmp_path / "in", A__IMG=b"1", alone__lbl=pds3("GONE.IMG"), table__xml=table, voc__xml=b"<annotation/>", big__lbl=big,
        folder__xml=b"",
    )  # fmt: skip
    items = found(folder)
    assert {name for name, item in items.items() if not item.skipped} == {"A.IMG"}
    assert all("not an image by its name" in item.skipped for name, item in items.items() if name != "A.IMG")
    assert read(items["voc.xml"].uri) == b"<annotation/>"


@pytest.mark.parametrize(
    "name", ["../secret.img", "/etc/passwd.img", "a/b.img", "a\\b.img", "..", ".hidden.img", "a\x01.img"]
)
def test_a_label_that_points_elsewhere(tmp_path: Path, name: str) -> None:
    """It is refused by a sentence, in a listing and when it is read; what it points to is not touched."""
    put(tmp_path, secret__img=b"secret")
    for label in (pds3(name), pds4(name)):
        folder = put(tmp_path / "in", a__lbl=label, b__img=b"b")
        item = found(folder)["a.lbl"]
        assert "points elsewhere" in item.skipped
        assert item.skipped.isprintable()
        with pytest.raises(Unreadable, match="points elsewhere") as caught:
            read(item.uri)
        assert not caught.value.access


def test_two_labels_of_one_file(tmp_path: Path) -> None:
    """One of them stands for it; the other says which."""
    items = found(put(tmp_path / "in", a__lbl=pds3("a.img"), a__xml=pds4("a.img"), a__img=b"data"))
    assert {name: item.skipped for name, item in items.items()} == {
        "a.lbl": "", "a.xml": "another label of the data that a.lbl describes", "a.img": "the data of a.lbl",
    }  # fmt: skip


def test_data_that_vanishes(tmp_path: Path) -> None:
    """Between listing and reading: it may be all right another time."""
    folder = put(tmp_path / "in", A__LBL=pds3("A.IMG"), A__IMG=b"data")
    uri = found(folder)["A.LBL"].uri
    (folder / "A.IMG").unlink()
    with pytest.raises(Unreadable, match="not beside it") as caught:
        read(uri)
    assert caught.value.access


def test_every_way_to_name_it(tmp_path: Path) -> None:
    """By a pattern, as a file and in a list, also where the data is not named."""
    folder = put(tmp_path / "in", A__LBL=pds3("A.IMG"), A__IMG=b"data")
    table = tmp_path / "list.csv"
    table.write_text("path,sol\nin/A.LBL,7\nin/A.IMG,7\n")
    whole = found(folder)["A.LBL"]
    for source in (f"{folder}/*.LBL", folder / "A.LBL", f"{folder}/*"):
        item = found(source)["A.LBL"]
        assert (item.uri, item.size, item.stamp, item.skipped) == (whole.uri, whole.size, whole.stamp, "")
    items = found(table)
    assert (items["in/A.LBL"].stamp, items["in/A.LBL"].record["sol"]) == (whole.stamp, "7")
    assert items["in/A.IMG"].skipped == "the data of in/A.LBL"


@given(st.text(max_size=400) | st.binary(max_size=400).map(lambda data: data.decode("latin-1")))
def test_any_text_as_a_label(text: str) -> None:
    """Names or none, never an error."""
    for given_text in (text, "PDS_VERSION_ID" + text, "<Array_2D" + text, f'PDS_VERSION_ID\n^IMAGE = "{text}"'):
        assert all(name and len(name) < 256 for name in data_names(given_text))


def test_a_label_made_to_be_slow() -> None:
    """Patterns are followed in time that grows with the label: a megabyte of beginnings takes no minutes."""
    for evil in ("^IMAGE =" + "\n" * 10**6, "<file_name>" * 90_000, "<file_name>" + " " * 10**6, '^IMAGE=("' * 100_000):
        assert data_names(f"PDS_VERSION_ID {evil}") == ()
        assert data_names(f"<Array_2D {evil}") == ()
