"""Names of tables as people write them, and the images they are of."""

import os
import unicodedata
from pathlib import Path

import pytest

from interpdisc_core.pipeline.match_names import match_names
from interpdisc_core.sources.uris import file_uri

IDS = ["a/00.jpg", "a/01.jpg", "b/00.jpg"]


def match(
    names: list[str], ids: list[str], folder: Path
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    matches = match_names(names, str(folder / "labels.csv"), ids, [file_uri(str(folder / "in" / i)) for i in ids])
    return matches.ids_by_name, matches.unclear


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "./{}",
        "in/{}",
        "./in/../in/{}",
        "../{folder.name}/in/{}",
        "{folder}/in/{}",
        "file://{folder}/in/{}",
        "{windows}",
        "in\\{windows}",
    ],
)
@pytest.mark.parametrize("has_suffix", [True, False])
def test_a_path_is_that_of_one_image_in_every_form(tmp_path: Path, form: str, has_suffix: bool) -> None:
    names = [
        form.format(path, folder=tmp_path, windows=path.replace("/", "\\"))
        for path in (image if has_suffix else image.removesuffix(".jpg") for image in IDS)
    ]
    assert match(names, IDS, tmp_path) == ({name: (image,) for name, image in zip(names, IDS, strict=True)}, {})


def test_a_path_of_another_folder_is_no_image(tmp_path: Path) -> None:
    assert match(["c/00.jpg", "/elsewhere/a/00.jpg", "0.jpg", "a", "01.png", ""], IDS, tmp_path) == ({}, {})


def test_a_bare_name_is_that_of_one_image_or_unclear(tmp_path: Path) -> None:
    assert match(["00.jpg", "01.jpg"], IDS, tmp_path) == (
        {"01.jpg": ("a/01.jpg",)},
        {"00.jpg": ("a/00.jpg", "b/00.jpg")},
    )
    assert match(["00.jpg"], ["00.jpg", "a/00.jpg"], tmp_path) == ({"00.jpg": ("00.jpg",)}, {})


def test_rows_without_a_suffix_are_named_by_files(tmp_path: Path) -> None:
    """Ids of a table of features; no addresses."""
    assert match_names(["00.jpg"], "labels.csv", ["00", "01"]).ids_by_name == {"00.jpg": ("00",)}


@pytest.mark.parametrize(("first", "second"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_unicode_forms_are_equal(tmp_path: Path, first: str, second: str) -> None:
    name, image = (unicodedata.normalize(form, "höhle/å.jpg") for form in (first, second))  # type: ignore[arg-type]
    assert match([name], [image], tmp_path)[0] == {name: (image,)}
    assert match_names([f"s3://b/{name}"], "labels.csv", ["1"], [f"s3://b/{image}"]).image_count == 1


def test_bytes_of_a_name_are_compared_as_they_are_and_as_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"h\xf6hle.jpg")
    for image in ("höhle.jpg", "h\\xf6hle.jpg"):
        assert match([name], [image], tmp_path)[0] == {name: (image,)}
