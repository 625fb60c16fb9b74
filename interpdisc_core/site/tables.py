"""A day's picks as CSV, Parquet and JSON: the same rows, keyed by image id."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from interpdisc_core import catalog
from interpdisc_core.measures import TRUST
from interpdisc_core.site.day import Day, DayPick

SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("rank", pa.int64()), *((name, pa.string()) for name in ("key", "day")), ("sol", pa.int64()),
        *((name, pa.float64()) for name in ("score", "prior_score", "novelty_rank", "alarms_a_day")),
        *((name, pa.string()) for name in ("instrument", "filter", "radiometry", "label", "observation", "members")),
        *((name, pa.string()) for name in ("taken", "received", "lmst")), ("site", pa.int64()), ("drive", pa.int64()),
        ("mast_az", pa.float64()), ("mast_el", pa.float64()),
        *((name, pa.int64()) for name in ("tile_x", "tile_y", "tile_width", "tile_height", "width", "height")),
        *((name, pa.string()) for name in ("nearest_id", "nearest_day")), ("nearest_distance", pa.float64()),
        ("new", pa.bool_()), ("seen_again", pa.int64()), ("trusted", pa.bool_()), ("cosine", pa.float64()),
        *((name, pa.string()) for name in ("verdict", "verdict_by", "link", "uri", "sha256", "record")),
    ]
)  # fmt: skip
"""members and record are JSON; angles are degrees; tile and frame are pixels."""


def rows(day: Day) -> list[dict[str, Any]]:
    """A row a pick, in order of rank, with the fields of SCHEMA; None where something is not known."""
    return [_row(day, pick) for pick in day.picks]


def _row(day: Day, pick: DayPick) -> dict[str, Any]:
    near, tile, frame = (
        (pick.nearest[0] if pick.nearest else None),
        pick.tile or (None,) * 4,
        pick.frame or (None, None),
    )
    return {
        "id": pick.id, "rank": pick.rank, "key": pick.key, "day": day.day, "sol": pick.sol, "score": pick.score,
        "prior_score": pick.prior_score, "novelty_rank": pick.novelty_rank, "alarms_a_day": pick.alarms_a_day,
        **{name: getattr(pick, name) or None for name in (
            "instrument", "filter", "radiometry", "label", "observation", "taken", "received", "lmst")},
        "members": json.dumps(pick.members, ensure_ascii=True),
        "site": pick.site, "drive": pick.drive, "mast_az": pick.mast_az, "mast_el": pick.mast_el,
        "tile_x": tile[0], "tile_y": tile[1], "tile_width": tile[2], "tile_height": tile[3], "width": frame[0], "height": frame[1],
        "nearest_id": near and near.id, "nearest_day": near and near.day, "nearest_distance": near and near.distance,
        "new": pick.new, "seen_again": pick.seen_count, "trusted": pick.trusted, "cosine": pick.numbers.get(TRUST),
        "verdict": pick.verdict and pick.verdict.verdict, "verdict_by": pick.verdict and pick.verdict.by,
        "link": pick.link or None, "uri": pick.uri, "sha256": pick.sha256,
        "record": json.dumps(pick.record, ensure_ascii=True, sort_keys=True),
    }  # fmt: skip


def comma_separated(table: Sequence[dict[str, Any]]) -> bytes:
    """UTF-8 with every text quoted, so that names with commas, quotes and line ends come back as they were."""
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, fieldnames=SCHEMA.names, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writeheader()
    said = {True: "yes", False: "no", None: ""}
    writer.writerows(row | {name: said[row[name]] for name in ("new", "trusted")} for row in table)
    return sink.getvalue().encode("utf-8", "backslashreplace")


def parquet(table: Sequence[dict[str, Any]]) -> bytes:
    """As Parquet, with the types of SCHEMA."""
    safe = [{name: _storable(value) for name, value in row.items()} for row in table]
    return catalog.parquet(pa.Table.from_pylist(safe, schema=SCHEMA))


def by_id(table: Sequence[dict[str, Any]], day: Day) -> bytes:
    """As JSON: the rows by image id. Where two picks have one id, the later is under `<id> <key>`."""
    found: dict[str, dict[str, Any]] = {}
    for row in table:
        name = row["id"] if row["id"] not in found else f"{row['id']} {row['key']}"
        found[name] = row | {"members": json.loads(row["members"]), "record": json.loads(row["record"])}
    value = {"day": day.day, "sol": day.sol, "revision": day.revision, "run": day.run, "picks": found}
    return json.dumps(value, indent=1, ensure_ascii=True).encode() + b"\n"


def _storable(value: Any) -> Any:
    """Text as UTF-8 can hold it: lone surrogates by their number, as in the CSV."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
