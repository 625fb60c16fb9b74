"""Classes from CSV files as people have them."""

from pathlib import Path

import pytest

from interpdisc_core.errors import PlanError
from interpdisc_core.pipeline.labels import load_labels

IDS = ["a/00.jpg", "a/01.jpg", "a/02.jpg"]


@pytest.mark.parametrize(
    "text",
    [
        "filename, label\r\n00.jpg,rock \r\n 01.jpg , sand\r\n02.jpg,rock\r\n",
        "filename;label\n00.jpg;rock\n01.jpg;sand\n02.jpg;rock\n",
        "filename\tlabel\n00.jpg\trock\n01.jpg\tsand\n02.jpg\trock\n",
    ],
)
def test_blanks_and_separators_make_no_other_classes(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_bytes(text.encode())
    labels = load_labels(str(tmp_path / "labels.csv"), IDS)
    assert labels.by_id == dict(zip(IDS, ("rock", "sand", "rock"), strict=True))
    assert not labels.notes


@pytest.mark.parametrize("missing", ["", " ", "NaN", "nan", "None", "null", "<NA>"])
def test_a_missing_value_is_no_class(tmp_path: Path, missing: str) -> None:
    (tmp_path / "labels.csv").write_text(f"filename,label\n00.jpg,rock\n01.jpg,{missing}\n")
    assert load_labels(str(tmp_path / "labels.csv"), IDS).by_id == {IDS[0]: "rock"}


@pytest.mark.parametrize("order", [("rock", "sand"), ("sand", "rock")])
def test_an_image_with_several_classes_has_none_and_is_told(tmp_path: Path, order: tuple[str, str]) -> None:
    rows = "".join(f"00.jpg,{label}\n" for label in order)
    (tmp_path / "labels.csv").write_text(f"filename,label\n{rows}01.jpg,rock\n")
    labels = load_labels(str(tmp_path / "labels.csv"), IDS)
    assert labels.by_id == {IDS[1]: "rock"}
    assert len(labels.notes) == 1
    assert "several classes" in labels.notes[0]
    assert "'a/00.jpg'" in labels.notes[0]


def test_where_nothing_fits_a_name_and_an_image_are_shown(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("filename,label\nother.jpg,rock\n")
    with pytest.raises(PlanError, match=r"'other\.jpg'.*'a/00\.jpg'"):
        load_labels(str(tmp_path / "labels.csv"), IDS)


def test_the_column_that_names_most_images_is_taken_and_told(tmp_path: Path) -> None:
    """`2` is `2.jpg` without its suffix, and fits one image; the other column fits all."""
    images = ["2.jpg", "10.jpg", "11.jpg"]
    (tmp_path / "labels.csv").write_text("id,frame,class\n1,2.jpg,rock\n2,10.jpg,sand\n3,11.jpg,rock\n")
    labels = load_labels(str(tmp_path / "labels.csv"), images)
    assert labels.by_id == dict(zip(images, ("rock", "sand", "rock"), strict=True))
    assert labels.notes == (
        "labels.csv: its column 'frame' is taken as the images' names, for it fits most: 3 of 3 images.",
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings_are_recognised_or_told(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "labels.csv").write_bytes("file_name;label\nhöhle.jpg;Geröll\n01.jpg;sand\n".encode(encoding))
    labels = load_labels(str(tmp_path / "labels.csv"), ["höhle.jpg", "01.jpg"])
    assert labels.by_id == {"höhle.jpg": "Geröll", "01.jpg": "sand"}
    assert bool(labels.notes) == (encoding == "cp1252")
    assert all("Windows-1252" in note for note in labels.notes)


def test_unicode_forms_of_a_class_are_one_class(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n00.jpg,Ger\u00f6ll\n01.jpg,Gero\u0308ll\n02.jpg,Gero\u0308ll\n")
    assert set(load_labels(str(tmp_path / "labels.csv"), IDS).by_id.values()) == {"Ger\u00f6ll"}


def test_a_bare_name_of_several_images_labels_none_and_is_told(tmp_path: Path) -> None:
    images = ["a/same.jpg", "b/same.jpg", "b/other.jpg"]
    (tmp_path / "labels.csv").write_text("file,label\nsame.jpg,rock\nother.jpg,sand\n")
    labels = load_labels(str(tmp_path / "labels.csv"), images)
    assert labels.by_id == {"b/other.jpg": "sand"}
    assert "1 name fits several images" in labels.notes[0]
    (tmp_path / "labels.csv").write_text("file,label\nsame.jpg,rock\n")
    with pytest.raises(PlanError, match=r"'same\.jpg' is that of 'a/same\.jpg' and 'b/same\.jpg'"):
        load_labels(str(tmp_path / "labels.csv"), images)


def test_a_contradiction_between_forms_of_a_name_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\na/00.jpg,rock\n00.jpg,sand\n01.jpg,rock\n./01.jpg,rock\n")
    labels = load_labels(str(tmp_path / "labels.csv"), IDS)
    assert labels.by_id == {"a/01.jpg": "rock"}
    assert labels.notes == ("labels.csv: 1 image has several classes, so taken as unlabelled: 'a/00.jpg'.",)


@pytest.mark.parametrize(
    "header",
    ['"a;b;c;d",file,label', 'file,"x ""y;;;"" z",label', "sep=,\nfile,label,more", '"two\nlines;;;",file,label'],
)
def test_the_separator_is_not_guessed_from_quoted_cells(tmp_path: Path, header: str) -> None:
    columns = header.count(",") - header.startswith("sep") + 1
    at = 1 if header.startswith('"') else 0
    row = ["x"] * columns
    row[at], row[columns - 1 if "more" not in header else 1] = "00.jpg", "rock"
    (tmp_path / "labels.csv").write_text(header + "\n" + ",".join(row) + "\n")
    assert load_labels(str(tmp_path / "labels.csv"), IDS).by_id == {"a/00.jpg": "rock"}


@pytest.mark.parametrize(("head", "message"), [(b"PK\x03\x04", "spreadsheet"), (b"PAR1", "Parquet")])
def test_a_table_of_another_format_is_named(tmp_path: Path, head: bytes, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(head + b"\x00\x01" * 20)
    with pytest.raises(PlanError, match=message):
        load_labels(str(tmp_path / "labels.csv"), IDS)


def test_a_table_without_a_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n00.jpg,NaN\n")
    with pytest.raises(PlanError, match="none of its rows has a class"):
        load_labels(str(tmp_path / "labels.csv"), IDS)
