"""Which columns of a table are features: bookkeeping is none of them, and what was taken is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.commands.select import _print_selection
from interpdisc_core.errors import PlanError
from interpdisc_core.pipeline.feature_readers import read_feature_table
from interpdisc_core.pipeline.select_features import select_rows
from interpdisc_core.pipeline.select_options import SelectOptions
from interpdisc_core.selectors import Demud

VALUES = np.random.default_rng(5).normal(size=(40, 4))
FEATURES = {f"band_{number}": VALUES[:, number] for number in range(4)}
COUNTER = np.arange(40)
BOOKKEEPING = {
    "Unnamed: 0": "index",
    "": "index",
    "__index_level_0__": "index",
    "index": "index",
    "row": "index",
    "sample_id": "id",
    "frameId": "id",
    "file_number": "id",
    "timestamp": "time",
    "created_at": "time",
    "start_sclk": "time",
    "Category": "label",
}
NEAR_NAMES = ["exposure_time", "refractive_index", "grid", "humid", "level_1", "rowing", "dated", "indexes", "sol"]


def write_table(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None) -> str:
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return str(path)


def test_bookkeeping_columns_are_no_features_and_are_named(tmp_path: Path) -> None:
    """Counters, ids and times beside the features change no pick; names that only resemble theirs are features."""
    plain = write_table(tmp_path / "plain.parquet", FEATURES)
    full = write_table(
        tmp_path / "full.parquet", {"label": ["a"] * 40, **dict.fromkeys(BOOKKEEPING, COUNTER), **FEATURES}
    )
    results = [
        select_rows(SelectOptions(source=source, selector=Demud(rank=3), picks=6), f"{source}.picks")
        for source in (plain, full)
    ]
    made = [[(pick["row"], pick["score"]) for pick in result["picks"]] for result in results]
    assert made[0] == made[1]
    written = json.loads(Path(f"{full}.picks", "result.json").read_text())["columns"]
    assert written["taken"] == list(FEATURES)
    assert {name: kind in written["left_out"][name] for name, kind in BOOKKEEPING.items()} == dict.fromkeys(
        BOOKKEEPING, True
    )
    near = write_table(tmp_path / "near.parquet", dict.fromkeys(NEAR_NAMES, COUNTER))
    assert list(read_feature_table(near).feature_columns.taken) == NEAR_NAMES


def test_an_index_of_pandas_and_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    """pandas' metadata name index columns, whatever their name; damaged metadata cost nothing."""
    columns = {**FEATURES, "depth": COUNTER, "seen": COUNTER.astype("datetime64[s]"), "note": ["x"] * 40}
    by_metadata = {
        '{"index_columns": ["depth", {"kind": "range"}]}': True,
        '{"index_columns": "depth"}': False,
        "[" * 100_000: False,
        "\N{SNOWMAN}": False,
    }
    for metadata, is_index in by_metadata.items():
        table = read_feature_table(write_table(tmp_path / "t.parquet", columns, {"pandas": metadata}))
        assert table.feature_columns.taken == (*FEATURES, *([] if is_index else ["depth"])), metadata
        assert {"seen", "note"} <= set(table.feature_columns.left_out)
        assert table.rows.shape == (40, len(table.feature_columns.taken))
    only = write_table(tmp_path / "only.parquet", {"timestamp": COUNTER, "Unnamed: 0": COUNTER})
    with pytest.raises(PlanError, match=r"no column of numbers.*timestamp \(a time by its name\)"):
        read_feature_table(only)


def test_the_terminal_names_the_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Few are all named, of many the first and the last."""
    many = {f"x{number}": VALUES[:, number % 4] + number for number in range(50)}
    source = write_table(tmp_path / "many.parquet", {"Unnamed: 0": COUNTER, **many})
    _print_selection(select_rows(SelectOptions(source=source, picks=2), str(tmp_path / "o")), 2)
    lines = capsys.readouterr().out.splitlines()
    assert (
        "features are the 50 columns x0, x1, x2, x3, x4, x5, x6, …, x49; left out: Unnamed: 0 (an index by its name)"
        in lines
    )


def test_a_background_of_other_columns_is_refused(tmp_path: Path) -> None:
    """The same number of columns is not enough: they are compared by name and order."""
    source = write_table(tmp_path / "a.parquet", FEATURES)
    turned = write_table(tmp_path / "b.parquet", dict(reversed(FEATURES.items())))
    with pytest.raises(PlanError, match=r"b\.parquet: its columns .*'band_0', it has 'band_3'"):
        select_rows(SelectOptions(source=source, background=(turned,), picks=2), str(tmp_path / "o"))
