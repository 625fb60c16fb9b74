"""Detached labels: a label and its data in one folder are one input, whose bytes are always the same bundle."""

import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import Unreadable
from interpdisc_core.sources import SourceEntry, list_entries, read_input
from interpdisc_core.sources.detached_labels import find_data_names

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


def pds3_label(name: str, pointer: str = '("{name}", 5 <BYTES>)') -> bytes:
    """A detached PDS3 label for the data of that name."""
    return PDS3.format(name=name, pointer=pointer.format(name=name)).encode()


def pds4_label(name: str) -> bytes:
    """A PDS4 label for the data of that name."""
    return PDS4.format(name=name).encode()


def write_files(folder: Path, **files: bytes) -> Path:
    """A folder with these files; `__` stands for the dot."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def list_by_id(*sources: Path | str) -> dict[str, SourceEntry]:
    """What sources list, by id."""
    return {item.id: item for item in list_entries(map(str, sources))}


def read_bundle_files(data: bytes) -> dict[str, bytes]:
    """The contents of a bundle."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_label_and_its_data_are_one_input(tmp_path: Path) -> None:
    """PDS3 and PDS4: the label stands for both, the data have a skip reason, other pictures stay inputs."""
    label, other = pds3_label("A.IMG"), pds4_label("b.img")
    folder = write_files(
        tmp_path / "in", A__LBL=label, A__IMG=b"data", b__xml=other, b__img=b"more", c__jpg=b"c", d__IMG=b"attached"
    )
    items = list_by_id(folder)
    assert {name for name, item in items.items() if not item.skip_reason} == {"A.LBL", "b.xml", "c.jpg", "d.IMG"}
    assert items["A.IMG"].skip_reason == "the data of A.LBL"
    assert items["b.img"].skip_reason == "the data of b.xml"
    assert items["A.LBL"].size == len(label) + 4
    assert read_bundle_files(read_input(items["A.LBL"].uri)) == {"A.LBL": label, "A.IMG": b"data"}
    assert read_bundle_files(read_input(items["b.xml"].uri)) == {"b.xml": other, "b.img": b"more"}
    assert read_input(items["d.IMG"].uri) == b"attached"


def test_the_bundle_is_always_the_same(tmp_path: Path) -> None:
    """Copied to another folder at another time: the same bytes, so the same content."""
    first = write_files(tmp_path / "first", A__LBL=pds3_label("A.IMG"), A__IMG=b"data")
    other = write_files(tmp_path / "other", A__LBL=pds3_label("A.IMG"), A__IMG=b"data")
    for path in other.iterdir():
        os.utime(path, ns=(1, 1))
    assert read_input(list_by_id(first)["A.LBL"].uri) == read_input(list_by_id(other)["A.LBL"].uri)


def test_the_stamp_covers_both_files(tmp_path: Path) -> None:
    """New data under an unchanged label are a new version."""
    folder = write_files(tmp_path / "in", A__LBL=pds3_label("A.IMG"), A__IMG=b"data")
    before = list_by_id(folder)["A.LBL"]
    assert list_by_id(folder)["A.LBL"] == before
    write_files(folder, A__IMG=b"atad")
    after = list_by_id(folder)["A.LBL"]
    assert (after.uri, after.size) == (before.uri, before.size)
    assert after.stamp != before.stamp


@pytest.mark.parametrize("name", ["a.img", "A.IMG", "A.img"])
def test_the_case_of_file_names_is_ignored(tmp_path: Path, name: str) -> None:
    """In the bundle the data have the name that the label uses."""
    folder = write_files(tmp_path / "in", A__LBL=pds3_label(name))
    (folder / ("a.img" if name != "a.img" else "A.IMG")).write_bytes(b"data")
    items = list_by_id(folder)
    assert sorted(item.skip_reason for item in items.values()) == ["", "the data of A.LBL"]
    assert read_bundle_files(read_input(items["A.LBL"].uri))[name] == b"data"


@pytest.mark.parametrize(
    "pointer",
    [
        '"{name}"',
        "'{name}'",
        '("{name}", 7)',
        '("{name}",3072<BYTES>)',
        '(\r\n   "{name}" , 7)',
        '  "{name}"   /* it */',
    ],
)
def test_forms_of_pds3_pointers(pointer: str) -> None:
    """A name alone, with a record, with a byte, over two lines."""
    assert find_data_names(pds3_label("A.IMG", pointer).decode()) == ("A.IMG",)


@pytest.mark.parametrize("pointer", ["5", "(5)", "{name}", '"OTHER.TXT"', '""', '"' + "A" * 300 + '"'])
def test_pointers_without_an_image_name(pointer: str) -> None:
    """An attached label, a name without quotes, a text file, an empty name, a long one."""
    assert find_data_names(pds3_label("A.IMG", pointer).decode()) == ()


def test_other_labels_are_skipped_by_their_names(tmp_path: Path) -> None:
    """Of a table, not a PDS label, too large."""
    big = pds3_label("A.IMG") + b" " * (1 << 20)
    table = b"<Product_Observational><file_name>A.IMG</file_name><Table_Delimited/></Product_Observational>"
    folder = write_files(
        tmp_path / "in",
        A__IMG=b"1",
        table__xml=table,
        voc__xml=b"<annotation/>",
        big__lbl=big,
        folder__xml=b"",
    )
    items = list_by_id(folder)
    assert {name for name, item in items.items() if not item.skip_reason} == {"A.IMG"}
    assert all("not an image by its name" in item.skip_reason for name, item in items.items() if name != "A.IMG")
    assert read_input(items["voc.xml"].uri) == b"<annotation/>"


def test_a_label_whose_data_are_missing_says_which(tmp_path: Path) -> None:
    """PDS3 and PDS4; it is an image as soon as the data are there."""
    folder = write_files(tmp_path / "in", a__lbl=pds3_label("GONE.IMG"), b__xml=pds4_label("gone.dat"))
    items = list_by_id(folder)
    assert "data is missing ('GONE.IMG'" in items["a.lbl"].skip_reason
    assert "data is missing ('gone.dat'" in items["b.xml"].skip_reason
    write_files(folder, GONE__IMG=b"data")
    assert not list_by_id(folder)["a.lbl"].skip_reason


@pytest.mark.parametrize(
    "name", ["../secret.img", "/etc/passwd.img", "a/b.img", "a\\b.img", "..", ".hidden.img", "a\x01.img"]
)
def test_a_label_that_points_to_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    """In a listing and when it is read; the file that it names is not read."""
    write_files(tmp_path, secret__img=b"secret")
    for label in (pds3_label(name), pds4_label(name)):
        folder = write_files(tmp_path / "in", a__lbl=label, b__img=b"b")
        item = list_by_id(folder)["a.lbl"]
        assert "points elsewhere" in item.skip_reason
        assert item.skip_reason.isprintable()
        with pytest.raises(Unreadable, match="points elsewhere") as caught:
            read_input(item.uri)
        assert not caught.value.retryable


def test_one_of_two_labels_of_a_file_stands_for_it(tmp_path: Path) -> None:
    """The skip reason of the other names it."""
    items = list_by_id(
        write_files(tmp_path / "in", a__lbl=pds3_label("a.img"), a__xml=pds4_label("a.img"), a__img=b"data")
    )
    assert {name: item.skip_reason for name, item in items.items()} == {
        "a.lbl": "",
        "a.xml": "another label of the data that a.lbl describes",
        "a.img": "the data of a.lbl",
    }


def test_missing_data_are_retryable(tmp_path: Path) -> None:
    """Deleted between listing and reading."""
    folder = write_files(tmp_path / "in", A__LBL=pds3_label("A.IMG"), A__IMG=b"data")
    uri = list_by_id(folder)["A.LBL"].uri
    (folder / "A.IMG").unlink()
    with pytest.raises(Unreadable, match="not in its folder") as caught:
        read_input(uri)
    assert caught.value.retryable


def test_products_in_every_kind_of_source(tmp_path: Path) -> None:
    """By a pattern, as a file and in a list, also if the data are not listed."""
    folder = write_files(tmp_path / "in", A__LBL=pds3_label("A.IMG"), A__IMG=b"data")
    table = tmp_path / "list.csv"
    table.write_text("path,sol\nin/A.LBL,7\nin/A.IMG,7\n")
    expected = list_by_id(folder)["A.LBL"]
    for source in (f"{folder}/*.LBL", folder / "A.LBL", f"{folder}/*"):
        item = list_by_id(source)["A.LBL"]
        assert (item.uri, item.size, item.stamp, item.skip_reason) == (expected.uri, expected.size, expected.stamp, "")
    items = list_by_id(table)
    assert (items["in/A.LBL"].stamp, items["in/A.LBL"].record["sol"]) == (expected.stamp, "7")
    assert items["in/A.IMG"].skip_reason == "the data of in/A.LBL"


@given(st.text(max_size=400) | st.binary(max_size=400).map(lambda data: data.decode("latin-1")))
def test_any_text_gives_names_or_none(text: str) -> None:
    """Never an error."""
    for given_text in (text, "PDS_VERSION_ID" + text, "<Array_2D" + text, f'PDS_VERSION_ID\n^IMAGE = "{text}"'):
        assert all(name and len(name) < 256 for name in find_data_names(given_text))


def test_hostile_labels_are_searched_in_linear_time() -> None:
    """A megabyte of unfinished pointers takes less than minutes."""
    for hostile_text in (
        "\n^IMAGE =" + "\n" * 10**6,
        "^IMAGE =" + "\n" * 10**6,
        "<file_name>" * 90_000,
        "<file_name>" + " " * 10**6,
        '^IMAGE=("' * 100_000,
    ):
        assert find_data_names(f"PDS_VERSION_ID {hostile_text}") == ()
        assert find_data_names(f"<Array_2D {hostile_text}") == ()
