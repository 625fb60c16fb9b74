"""What a selection is made of: every form gives the same rows, and what cannot be meant is one sentence."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from interpdisc_core.archive.batches import list_batches
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.pipeline import feature_readers
from interpdisc_core.pipeline.feature_readers import read_feature_table
from interpdisc_core.pipeline.feature_table import FeatureTable
from interpdisc_core.pipeline.ingest import IngestResult
from interpdisc_core.pipeline.select import load_member_features
from interpdisc_core.plan import Plan
from interpdisc_core.representations import PixelValues
from interpdisc_core.selectors.rows import Rows, gather_float64, l2_normalize
from interpdisc_core.storage.location import Location
from tests.pipeline.test_ingest import (
    PLAN,
    make_image_bytes,
    open_run,
    run_extract,
    run_ingest,
    write_file,
    write_photos,
)

Values = npt.NDArray[Any]
VALUES = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
IDS = [f"image {number}" for number in range(11)]
LABELS = ["a", "b", None, "a", "c", "a", "a", "b", None, "a", "a"]
SOLS = list(range(100, 111))


def read_all(rows: Rows) -> Values:
    """All values, in float64."""
    return gather_float64(rows, np.arange(rows.shape[0]))


def label_texts() -> Values:
    """Labels as an array of text."""
    return np.array([label or "" for label in LABELS])


def write_npy(path: Path) -> Path:
    np.save(path / "f.npy", VALUES)
    return path / "f.npy"


def write_npz(path: Path) -> Path:
    np.savez(
        path / "f.npz", features=VALUES, ids=np.array(IDS), labels=label_texts(), sol=np.array(SOLS), more=np.eye(4)
    )
    return path / "f.npz"


def write_zarr_array(path: Path) -> Path:
    zarr.create_array(path / "f", data=VALUES, chunks=(4, 2))
    return path / "f"


def write_zarr_group(path: Path) -> Path:
    group = zarr.create_group(path / "f.zarr")
    group.create_array("vectors", data=VALUES, chunks=(4, 3))
    for name, values in (("ids", IDS), ("labels", label_texts().tolist())):
        group.create_array(name, shape=(11,), dtype="string")[:] = np.array(values, dtype=object)
    group.create_array("sol", data=np.array(SOLS))
    return path / "f.zarr"


def write_parquet(path: Path, features: dict[str, Any] | None = None, **options: Any) -> Path:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(VALUES.ravel()), 3)
    table = pa.table({"ImageID": IDS, "class": LABELS, "sol": SOLS, **(features or {"f": lists})})
    pq.write_table(table, path / "f.parquet", row_group_size=4, **options)
    return path / "f.parquet"


def write_parquet_lists(path: Path) -> Path:
    return write_parquet(path, {"features": pa.array(VALUES.tolist(), pa.list_(pa.float32())), "other": [[1.0]] * 11})


def write_parquet_columns(path: Path) -> Path:
    table = pa.table({"id": IDS, "label": LABELS, **{f"f{j}": VALUES[:, j] for j in range(3)}})
    pq.write_table(table, path / "f.pq", row_group_size=4)
    return path / "f.pq"


def write_csv(path: Path, labels: list[str] = [label or "" for label in LABELS]) -> Path:  # noqa: B006
    lines = [f"{label}," + ",".join(repr(float(v)) for v in row) for label, row in zip(labels, VALUES, strict=True)]
    (path / "f.csv").write_text("\n".join(["# label, the numbers", "#", *lines, ""]))
    return path / "f.csv"


FORMS = [
    write_npy,
    write_npz,
    write_zarr_array,
    write_zarr_group,
    write_parquet,
    write_parquet_lists,
    write_parquet_columns,
    write_csv,
]
over_forms = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)


@over_forms
def test_every_form_gives_the_same_rows(form: Callable[[Path], Path], tmp_path: Path) -> None:
    """Values to the last bit, in any order; ids and labels where the form has them; other rows by number."""
    table = read_feature_table(str(form(tmp_path)))
    assert table.rows.shape == (11, 3)
    np.testing.assert_array_equal(read_all(table.rows), VALUES.astype(np.float64))
    some = np.array([7, 0, 10, 7])
    np.testing.assert_array_equal(gather_float64(table.rows, some), VALUES[some].astype(np.float64))
    has_ids = form not in (write_npy, write_zarr_array, write_csv)
    assert list(table.ids) == (IDS if has_ids else [str(row) for row in range(11)])
    assert list(table.labels) == ([None] * 11 if form in (write_npy, write_zarr_array) else LABELS)
    assert table.numbers.tolist() == list(range(11))


@over_forms
def test_filtering_keeps_ids_labels_and_row_numbers_aligned(form: Callable[[Path], Path], tmp_path: Path) -> None:
    """`where` leaves rows with all that belongs to them; numbers are those in the source; it can be done again."""
    table = read_feature_table(str(form(tmp_path)))
    part = table.filter_rows("row >= 5 and row != 7")
    assert part.numbers.tolist() == [5, 6, 8, 9, 10]
    np.testing.assert_array_equal(read_all(part.rows), VALUES[part.numbers].astype(np.float64))
    assert list(part.ids) == [table.ids[row] for row in part.numbers]
    assert part.filter_rows("row < 7").numbers.tolist() == [5, 6]
    assert part.identity == table.identity
    with pytest.raises(PlanError, match="true of none of its 11 rows"):
        table.filter_rows("row > 11")


@over_forms
def test_normalized_rows_are_those_of_a_run(form: Callable[[Path], Path], tmp_path: Path) -> None:
    """Each row divided by its length; a row's bits do not depend on which others are read with it."""
    rows = read_feature_table(str(form(tmp_path))).normalize().rows
    stored = VALUES.astype(rows.dtype)
    lengths = np.linalg.norm(stored, axis=1)
    np.testing.assert_array_equal(read_all(rows), (stored / lengths[:, None]).astype(np.float64))
    for row in range(11):
        np.testing.assert_array_equal(gather_float64(rows, np.array([row]))[0], read_all(rows)[row])


def test_normalizing_keeps_zeros_and_missing_values() -> None:
    """A row of zeros stays; NaN stays NaN and adds nothing; float16 does not overflow."""
    values = np.array([[0, 0, 0], [3, np.nan, 4], [60000, 60000, 0]], dtype=np.float16)
    actual = l2_normalize(values)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual[0], 0)
    np.testing.assert_allclose(actual[1], [0.6, np.nan, 0.8], rtol=1e-6)
    np.testing.assert_allclose(actual[2], [0.5**0.5, 0.5**0.5, 0], rtol=1e-6)


@pytest.mark.parametrize("fields", ["npz", "zarr"])
def test_quantized_rows_are_multiplied_by_their_scale(fields: str, tmp_path: Path) -> None:
    """int8 with `scale` (N,), or one for all: the values are their products, in float64."""
    steps = np.random.default_rng(1).integers(-127, 128, (9, 4), dtype=np.int8)
    for number, scale in enumerate((np.linspace(0.1, 3, 9), np.array([0.25]))):
        path = tmp_path / f"{number}.{fields}"
        if fields == "npz":
            np.savez(path, features=steps, scale=scale)
        else:
            group = zarr.create_group(path)
            group.create_array("features", data=steps, chunks=(4, 4))
            group.create_array("scale", data=scale)
        expected = steps * np.broadcast_to(scale, (9,))[:, None]
        np.testing.assert_array_equal(read_all(read_feature_table(str(path)).rows), expected)


def test_parquet_columns_are_fields_and_nulls_are_nan(tmp_path: Path) -> None:
    """Other columns are fields of an expression; null is NaN, in a list, for a list, and in a column."""
    lists = [[1.0, None], None, [3.0, 4.0], *[[0.0, 0.0]] * 8]
    table = read_feature_table(str(write_parquet(tmp_path, {"features": pa.array(lists, pa.list_(pa.float64(), 2))})))
    np.testing.assert_array_equal(read_all(table.rows)[:3], [[1, np.nan], [np.nan, np.nan], [3, 4]])
    assert table.filter_rows("sol > 108").numbers.tolist() == [9, 10]
    assert table.filter_rows("label == 'b' and id != 'image 1'").numbers.tolist() == [7]
    bare = [None] * 4 + [[1.0, 2.0]] * 4 + [None] * 3
    table = read_feature_table(str(write_parquet(tmp_path, {"features": pa.array(bare, pa.list_(pa.float64()))})))
    np.testing.assert_array_equal(read_all(table.rows)[[0, 4, 10]], [[np.nan] * 2, [1, 2], [np.nan] * 2])
    numbers = {"x": [1, None, *range(9)], "y": np.arange(11, dtype=np.float32), "__index_level_0__": range(11)}
    columns = read_feature_table(str(write_parquet(tmp_path, {name: list(values) for name, values in numbers.items()})))
    assert columns.rows.shape == (11, 3)  # sol, x and y; not the index that pandas wrote
    np.testing.assert_array_equal(read_all(columns.rows)[1], [101, np.nan, 1])


def test_a_csv_of_distinct_names_has_ids_and_no_classes(tmp_path: Path) -> None:
    """The first column is a class where it repeats and a name where it never does; an empty field is NaN."""
    table = read_feature_table(str(write_csv(tmp_path, IDS)))
    assert list(table.ids) == IDS
    assert list(table.labels) == [None] * 11
    path = tmp_path / "empty.csv"
    path.write_bytes(b'\xef\xbb\xbf# a header\r\n"x, y",1,,3\r\n\xff,nan,5,6e2\r\n')
    table = read_feature_table(str(path))
    assert list(table.ids) == ["x, y", "\\xff"]
    np.testing.assert_array_equal(read_all(table.rows), [[1, np.nan, 3], [np.nan, 5, 600]])


def test_labels_of_a_file_replace_those_of_the_source(tmp_path: Path) -> None:
    """A CSV of labels is by id; what it does not name keeps the source's own, and expressions see both."""
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\nimage 0,new\nimage 2,new\nelsewhere,x\n")
    table = read_feature_table(str(write_npz(tmp_path))).with_labels(str(labels))
    assert list(table.labels) == ["new", "b", "new", *LABELS[3:]]
    assert table.filter_rows("label == 'new'").numbers.tolist() == [0, 2]


def test_positions_of_ids_are_found(tmp_path: Path) -> None:
    """Places rise; an id that is not there, or there twice, is told."""
    table = read_feature_table(str(write_npz(tmp_path)))
    assert table.find_positions(["image 9", "image 2", "image 2"]) == [2, 9]
    with pytest.raises(PlanError, match="'nobody' is not among its 11 rows"):
        table.find_positions(["nobody"])
    np.savez(tmp_path / "twice.npz", features=VALUES, ids=np.array(["x", "x", *IDS[2:]]))
    with pytest.raises(PlanError, match="'x' is 2 times among"):
        read_feature_table(str(tmp_path / "twice.npz")).find_positions(["x"])


@over_forms
def test_the_identity_changes_when_a_file_is_written_again(form: Callable[[Path], Path], tmp_path: Path) -> None:
    """The identity is the same for the same files, wherever they are, and changes when one is written again."""
    source = form(tmp_path)
    first = read_feature_table(str(source))
    assert read_feature_table(str(source)).identity == first.identity
    moved = source.with_name("moved" + source.suffix)
    source.rename(moved)
    assert read_feature_table(str(moved)).identity == first.identity
    file = next(path for path in sorted([moved, *moved.rglob("*")]) if path.is_file() and path.stat().st_size)
    file.write_bytes(file.read_bytes())
    assert read_feature_table(str(moved)).identity != first.identity


# ------------------------------------------------------------------------------------------------ misuse


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """Pickles in every guise are refused, and not run."""
    mark = tmp_path / "ran"
    bomb = np.array([[Bomb(mark)]], dtype=object)
    np.save(tmp_path / "a.npy", bomb, allow_pickle=True)
    np.savez(tmp_path / "b.npz", features=bomb)
    np.savez(tmp_path / "c.npz", features=VALUES, ids=np.array([Bomb(mark)] * 11, dtype=object))
    (tmp_path / "d.npy").write_bytes(pickle.dumps(Bomb(mark)))
    array = zarr.create_array(tmp_path / "e", data=VALUES.astype(np.float64), chunks=(11, 3), zarr_format=2)
    metadata = json.loads((tmp_path / "e" / ".zarray").read_text())
    for number, codecs in enumerate(
        (
            {"compressor": {"id": "pickle"}},
            {"filters": [{"id": "pickle"}]},
            {"filters": [{"id": "delta", "dtype": "<f8"}], "compressor": {"id": "pickle"}},
            {"dtype": "|O", "fill_value": "", "filters": [{"id": "vlen-utf8"}], "compressor": {"id": "pickle"}},
        )
    ):
        (tmp_path / "e" / ".zarray").write_text(json.dumps(metadata | codecs))
        (tmp_path / "e" / "0.0").write_bytes(pickle.dumps(Bomb(mark)))
        with pytest.raises((PlanError, StoreError)):
            read_all(read_feature_table(str(tmp_path / "e")).rows)
        assert not mark.exists(), number
    assert array.shape == VALUES.shape
    for name in ("a.npy", "b.npz", "c.npz", "d.npy"):
        with pytest.raises(PlanError, match=name):
            read_feature_table(str(tmp_path / name))
        assert not mark.exists()


def write_unusable_sources(path: Path) -> dict[str, str]:
    """Sources that cannot be meant, and a part of what is said of each."""
    (path / "folder").mkdir()
    (path / "notes.txt").write_text("no features")
    (path / "cut.npy").write_bytes(write_npy(path).read_bytes()[:90])
    (path / "cut.npz").write_bytes(write_npz(path).read_bytes()[:90])
    (path / "cut.parquet").write_bytes(write_parquet(path).read_bytes()[:90])
    (path / "cut.zarr").mkdir()
    (path / "cut.zarr" / "zarr.json").write_text("{")
    np.save(path / "flat.npy", np.arange(4.0))
    np.save(path / "text.npy", np.array([["a"]]))
    np.save(path / "complex.npy", np.array([[1j]]))
    np.save(path / "none.npy", np.empty((0, 4)))
    np.savez(path / "two.npz", a=VALUES, b=VALUES)
    np.savez(path / "nothing.npz", a=np.arange(3))
    np.savez(path / "ids.npz", a=VALUES, ids=np.array(["x"]))
    np.savez(path / "scale.npz", a=VALUES, scale=np.ones(7))
    np.savez(path / "infinite.npz", a=VALUES, scale=np.full(11, np.inf))
    pq.write_table(pa.table({"id": IDS}), path / "no.parquet")
    pq.write_table(pa.table({"a": [[1.0]], "b": [[1.0]]}), path / "two.parquet")
    pq.write_table(pa.table({"a": [[1.0], [1.0, 2.0]]}), path / "ragged.parquet")
    (path / "list.csv").write_text("path,label\na.jpg,x\n")
    (path / "ragged.csv").write_text("a,1,2\nb,1\n")
    (path / "labels.csv").write_text("a\nb\n")
    (path / "only.csv").write_text("# a header\n")
    (path / "empty.csv").write_text("")
    return {
        "absent.npy": "no such file or folder",
        "folder": "`interpdisc discover` computes",
        "notes.txt": "end in .npy",
        "cut.npy": "cannot be read",
        "cut.npz": "cannot be read",
        "cut.parquet": "cannot be read",
        "cut.zarr": "Zarr",
        "flat.npy": r"array \(N, d\)",
        "text.npy": "of numbers",
        "complex.npy": "of numbers",
        "none.npy": "no features",
        "two.npz": "exactly one 2-D",
        "nothing.npz": "a (3,)",
        "ids.npz": "1 ids for 11 rows",
        "scale.npz": "11 finite",
        "infinite.npz": "finite",
        "no.parquet": "no column",
        "two.parquet": "call one `features`",
        "ragged.parquet": "different lengths",
        "list.csv": "interpdisc discover",
        "ragged.csv": "Expected 3",
        "labels.csv": "a label and numbers",
        "only.csv": "a label and numbers",
        "empty.csv": "a label and numbers",
        "*.npy": "give a single SOURCE",
    }


def test_unusable_sources_are_refused_with_one_sentence(tmp_path: Path) -> None:
    """Each names the source, and says what is wrong with it."""
    for name, said in write_unusable_sources(tmp_path).items():
        with pytest.raises((PlanError, StoreError)) as caught:
            read_all(read_feature_table(str(tmp_path / name)).rows)
        message = str(caught.value)
        assert name in message
        assert said.replace("\\", "") in message, message
        assert "\n" not in message
    with pytest.raises(PlanError, match="this is no archive"):
        read_feature_table(str(tmp_path / "f.npy"), features="pixels")


def test_a_damaged_chunk_is_reported(tmp_path: Path) -> None:
    """Bytes that a codec cannot read are a sentence that names the source."""
    source = write_zarr_array(tmp_path)
    (source / "c" / "0" / "0").write_bytes(b"no zstd")
    with pytest.raises(StoreError, match="chunk 0 cannot be read"):
        read_all(read_feature_table(str(source)).rows)


# ------------------------------------------------------------------------------------------------ archives


def make_archive(tmp_path: Path, count: int = 23, plan: Plan = PLAN, labels: str = "") -> tuple[Path, IngestResult]:
    """An archive of `count` photos with their features, in blocks of 5."""
    folder = write_photos(tmp_path / "photos", count)
    ingest_result = run_ingest(tmp_path / "archive", folder, plan=plan, labels=labels, block=5)
    run_extract(tmp_path / "archive", ingest_result, plan)
    return tmp_path / "archive", ingest_result


def check_same_as_run(table: FeatureTable, archive: Path, ingest_result: IngestResult) -> None:
    """Ids and rows are those of a run over the same images."""
    candidates, _ = load_member_features(open_run(archive, ingest_result))
    assert list(table.ids) == [member.id for member in candidates.members]
    np.testing.assert_array_equal(read_all(table.rows), read_all(candidates.rows))


@pytest.mark.parametrize("normalise", ["none", "l2"])
def test_an_archive_gives_the_rows_of_a_run(normalise: str, tmp_path: Path) -> None:
    """The same images in the same order with the same bits, in whatever blocks and batches they lie."""
    plan = Plan(representation=PLAN.representation, normalise=normalise, explain=0)  # type: ignore[arg-type]
    archive, _ = make_archive(tmp_path, plan=plan)
    write_photos(tmp_path / "photos", 31)
    write_file(tmp_path / "photos" / "0 copy.png", make_image_bytes(3))  # a duplicate, and first by its id
    write_file(tmp_path / "photos" / "bad.png", b"no image")
    ingest_result = run_ingest(archive, tmp_path / "photos", plan=plan, block=5)
    run_extract(archive, ingest_result, plan)
    table = read_feature_table(str(archive))
    table = table.normalize() if normalise == "l2" else table
    assert len(table.ids) == 31
    if normalise == "none":
        assert table.rows.dtype == np.float32
    candidates, _ = load_member_features(open_run(archive, ingest_result))
    # A run calls a content by its first id, the archive by that of the file that is ready: the other one is a duplicate.
    by_content = {member.sha256: row for row, member in enumerate(candidates.members)}
    order = [by_content[str(sha)] for sha in table.columns()["sha256"]]
    np.testing.assert_array_equal(read_all(table.rows), read_all(candidates.rows)[order])


def test_an_archive_of_one_run_gives_the_rows_of_that_run(tmp_path: Path) -> None:
    """Without duplicates, ids and order are a run's own."""
    archive, ingest_result = make_archive(tmp_path)
    check_same_as_run(read_feature_table(str(archive)), archive, ingest_result)


def test_records_and_labels_of_an_archive_are_fields(tmp_path: Path) -> None:
    """Metadata of a CSV list, facts of the images, ids and labels can be named."""
    write_photos(tmp_path, 6)
    list_path = tmp_path / "list.csv"
    list_path.write_text("path,sol,class\n" + "".join(f"{n:02d}.png,{n * 100},{'ab'[n % 2]}\n" for n in range(6)))
    ingest_result = run_ingest(tmp_path / "archive", list_path, block=4)
    run_extract(tmp_path / "archive", ingest_result)
    table = read_feature_table(str(tmp_path / "archive"))
    assert list(table.labels) == ["a", "b", "a", "b", "a", "b"]
    assert table.filter_rows("sol > 250 and label == 'b'").numbers.tolist() == [3, 5]
    assert table.filter_rows("format == 'PNG' and width == 11 and id in ('02.png', '04.png')").numbers.tolist() == [
        2,
        4,
    ]
    with pytest.raises(PlanError, match=r"choose from .*width.*sol.*label"):
        table.filter_rows("nothing == 1")


def test_a_label_that_runs_disagree_on_is_none(tmp_path: Path) -> None:
    """The classes are those of all runs; an image that has two has none."""
    folder = write_photos(tmp_path / "photos", 3)
    for names in ("x,y,y", "x,z,y"):
        labels_path = tmp_path / "labels.csv"
        labels_path.write_text(
            "id,label\n" + "".join(f"{n:02d}.png,{name}\n" for n, name in enumerate(names.split(",")))
        )
        run_extract(tmp_path / "archive", run_ingest(tmp_path / "archive", folder, labels=labels_path))
    assert list(read_feature_table(str(tmp_path / "archive")).labels) == ["x", None, "y"]


def test_one_of_several_representations_is_chosen_by_name(tmp_path: Path) -> None:
    """By the beginning of its name; none given, or a kind that two have, lists them. One that lacks images says so."""
    archive, _ = make_archive(tmp_path, 8)
    other = Plan(representation=PixelValues(side=4), explain=0)
    run_extract(archive, run_ingest(archive, write_photos(tmp_path / "photos", 8), plan=other, block=5), other)
    write_photos(tmp_path / "photos", 10)
    run_extract(archive, run_ingest(archive, tmp_path / "photos", plan=other, block=5), other)
    assert read_feature_table(str(archive), other.features_digest[:6]).rows.shape == (10, 4 * 4 * 3)
    first = read_feature_table(str(archive), PLAN.features_digest)
    assert first.rows.shape == (8, 8 * 8 * 3)
    assert first.notes[0].startswith("2 of 10 ready images")
    for name in ("", "pixels", "nothing"):
        with pytest.raises(PlanError, match=r"2 representations: .*pixels, side") as caught:
            read_feature_table(str(archive), name)
        assert PLAN.features_digest in str(caught.value)


def test_missing_or_damaged_features_of_an_archive_are_reported(tmp_path: Path) -> None:
    """Not extracted yet, nothing at all, a lost vector: each is a sentence; another block, another identity."""
    archive, _ = make_archive(tmp_path, 8)
    before = read_feature_table(str(archive)).identity
    assert read_feature_table(str(archive)).identity == before
    store = FeatureStore(Location.parse(archive), PLAN.features_digest)
    number = list_batches(Location.parse(archive))[0]
    array = zarr.open_array(archive / f"features/{PLAN.features_digest}/{number:06d}/values", mode="r+")
    array[2, :] = np.nan
    with pytest.raises(StoreError, match="its hash does not match its record"):
        read_all(read_feature_table(str(archive)).rows)
    records = archive / f"features/{PLAN.features_digest}/{number:06d}/records"
    (records / "000000.json").unlink()
    assert store.list_complete_blocks(number) == {1}
    part = read_feature_table(str(archive))
    assert part.rows.shape[0] == 3
    assert part.identity != before
    (records / "000001.json").unlink()
    with pytest.raises(PlanError, match="none of its 8 ready images has features"):
        read_feature_table(str(archive))
    fresh = tmp_path / "fresh"
    run_ingest(fresh, write_photos(tmp_path / "more", 2))
    with pytest.raises(PlanError, match="has features"):
        read_feature_table(str(fresh))
    assert feature_readers.FEATURE_FILE_SUFFIXES[0] == ".npy"
