"""Missing chunks of Zarr are no features: their rows are left out and counted, or the source is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.pipeline.feature_readers import read_feature_table
from interpdisc_core.pipeline.select_features import select_rows
from interpdisc_core.pipeline.select_options import SelectOptions
from interpdisc_core.selectors import Demud
from interpdisc_core.selectors.rows import gather_float64

VALUES = np.random.default_rng(2).normal(size=(23, 4))


def write_group(path: Path, **options: Any) -> Path:
    group = zarr.create_group(path, zarr_format=options.pop("zarr_format", 3))
    group.create_array("features", data=VALUES, chunks=options.pop("chunks", (4, 4)), **options)
    for name in ("ids", "sol"):
        group.create_array(name, data=np.arange(23) + 100, chunks=(5,))
    group.create_array("scale", data=np.ones(23), chunks=(5,))
    return path


@pytest.mark.parametrize(("chunks", "lost"), [((4, 4), [(2, 0)]), ((4, 3), [(2, 1)]), ((4, 1), [(2, 0), (2, 3)])])
@pytest.mark.parametrize("form", [2, 3])
def test_rows_of_missing_chunks_are_left_out_and_counted(
    tmp_path: Path, form: Any, chunks: tuple[int, int], lost: list[tuple[int, int]]
) -> None:
    """Wherever the chunks end, in a group and as an array alone, the other rows keep their numbers, ids and picks."""
    path = write_group(tmp_path / "f.zarr", zarr_format=form, chunks=chunks)
    array = zarr.open_array(path / "features", mode="r")
    for place in lost:
        (path / "features" / array.metadata.encode_chunk_key(place)).unlink()
    kept = [row for row in range(23) if not 8 <= row < 12]
    for source in (path, path / "features"):
        table = read_feature_table(str(source))
        assert table.numbers.tolist() == kept
        np.testing.assert_array_equal(gather_float64(table.rows, np.arange(19)), VALUES[kept])
        (note,) = table.notes
        assert "4 of 23 rows are in chunks that are missing" in note
    result = select_rows(SelectOptions(source=str(path), selector=Demud(rank=2), picks=19), str(tmp_path / "o"))
    assert {(pick["row"], pick["id"]) for pick in result["picks"]} <= {(row, str(row + 100)) for row in kept}
    assert result["left_out"] == [f"{path}: {note.partition(': ')[2]}"]
    filtered = read_feature_table(str(path)).filter_rows("sol >= 110")
    assert filtered.numbers.tolist() == list(range(12, 23))


def test_a_source_without_any_chunk_or_without_its_scale_is_refused(tmp_path: Path) -> None:
    """Nothing is left to select from; ids and scales are never made up; fields are, and are told."""
    for name, sentence in (
        ("features", "23 of 23 rows"),
        ("scale", "`scale` is incomplete"),
        ("ids", "`ids` is incom"),
    ):
        path = write_group(tmp_path / f"{name}.zarr")
        for chunk in (path / name / "c").rglob("*"):
            if chunk.is_file():
                chunk.unlink()
        with pytest.raises(PlanError, match=sentence):
            read_feature_table(str(path))
    path = write_group(tmp_path / "sol.zarr")
    (path / "sol" / "c" / "0").unlink()
    assert "`sol` of 5 rows" in read_feature_table(str(path)).notes[0]


def test_a_chunk_that_is_missing_within_a_shard_or_goes_meanwhile_is_refused(tmp_path: Path) -> None:
    """No file tells that it is missing: the reading does. Zeros that were written are features."""
    group = zarr.create_group(tmp_path / "s.zarr")
    for name, is_written in (("left-out", False), ("written", True)):
        values = VALUES.copy()
        values[4:8] = 0
        array = group.create_array(
            name, shape=(23, 4), chunks=(4, 4), shards=(8, 4), dtype="f8", config={"write_empty_chunks": is_written}
        )
        array[:] = values
    rows = read_feature_table(str(tmp_path / "s.zarr" / "written")).rows
    np.testing.assert_array_equal(gather_float64(rows, np.arange(23)), values)
    with pytest.raises(StoreError, match=r"left-out: chunk 1 cannot be read: it is missing.*write_empty_chunks"):
        select_rows(SelectOptions(source=str(tmp_path / "s.zarr" / "left-out"), picks=2), str(tmp_path / "o"))
    path = write_group(tmp_path / "f.zarr")
    rows = read_feature_table(str(path)).rows
    (path / "features" / "c" / "3" / "0").unlink()
    with pytest.raises(StoreError, match="chunk 3 cannot be read: it is missing"):
        rows.get(np.arange(23))
