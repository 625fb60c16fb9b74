"""A day's picks as CSV, Parquet and JSON: the same rows, keyed by image id."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from interpdisc_core.archive.day_result import DayComposition, DayPick, DayResult
from interpdisc_core.metrics.definitions import TRUST_METRIC

PICKS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("rank", pa.int64()),
        *((name, pa.string()) for name in ("key", "day")),
        ("sol", pa.int64()),
        *((name, pa.float64()) for name in ("score", "prior_score", "tail_probability", "alarms_a_day")),
        *((name, pa.string()) for name in ("instrument", "filter", "radiometry", "label", "observation", "members")),
        *((name, pa.string()) for name in ("taken", "received", "lmst")),
        ("site", pa.int64()),
        ("drive", pa.int64()),
        ("mast_az", pa.float64()),
        ("mast_el", pa.float64()),
        *((name, pa.int64()) for name in ("tile_x", "tile_y", "tile_width", "tile_height", "width", "height")),
        *((name, pa.string()) for name in ("nearest_id", "nearest_day")),
        ("nearest_distance", pa.float64()),
        ("expected_nearest_id", pa.string()),
        ("expected_count", pa.int64()),
        ("strongest_id", pa.string()),
        *((name, pa.float64()) for name in ("strongest_weight", "weights_total", "weights_share")),
        ("new", pa.bool_()),
        ("seen_again", pa.int64()),
        ("trusted", pa.bool_()),
        ("cosine", pa.float64()),
        *((name, pa.string()) for name in ("verdict", "verdict_by", "link", "uri", "sha256", "record")),
    ]
)
"""members and record are JSON; angles are degrees; tile and frame are pixels."""


def build_pick_rows(day: DayResult) -> list[dict[str, Any]]:
    """One row per pick, in order of rank, with the columns of `PICKS_SCHEMA`; None if a value is unknown."""
    return [_build_row(day, pick) for pick in day.picks]


def _build_row(day: DayResult, pick: DayPick) -> dict[str, Any]:
    near, tile, frame = (
        (pick.nearest[0] if pick.nearest else None),
        pick.tile or (None,) * 4,
        pick.frame or (None, None),
    )
    return {
        "id": pick.id,
        "rank": pick.rank,
        "key": pick.key,
        "day": day.day,
        "sol": pick.sol,
        "score": pick.score,
        "prior_score": pick.prior_score,
        "tail_probability": pick.tail_probability,
        "alarms_a_day": pick.alarms_a_day,
        **{
            name: getattr(pick, name) or None
            for name in ("instrument", "filter", "radiometry", "label", "observation", "taken", "received", "lmst")
        },
        "members": json.dumps(pick.members, ensure_ascii=True),
        "site": pick.site,
        "drive": pick.drive,
        "mast_az": pick.mast_az,
        "mast_el": pick.mast_el,
        "tile_x": tile[0],
        "tile_y": tile[1],
        "tile_width": tile[2],
        "tile_height": tile[3],
        "width": frame[0],
        "height": frame[1],
        "nearest_id": near and near.id,
        "nearest_day": near and near.day,
        "nearest_distance": near and near.distance,
        **_build_composition_columns(pick.composition),
        "new": pick.new,
        "seen_again": pick.recurrence.count,
        "trusted": pick.trusted,
        "cosine": pick.numbers.get(TRUST_METRIC),
        "verdict": pick.verdict and pick.verdict.verdict,
        "verdict_by": pick.verdict and pick.verdict.by,
        "link": pick.link or None,
        "uri": pick.uri,
        "sha256": pick.sha256,
        "record": json.dumps(pick.record, ensure_ascii=True, sort_keys=True),
    }


def _build_composition_columns(composition: DayComposition | None) -> dict[str, Any]:
    images = composition.images if composition else ()
    strongest = max(images, key=lambda image: abs(image.weight or 0.0), default=None)
    nearest = next((image for image in images if image.is_nearest), None)
    return {
        "expected_nearest_id": nearest and nearest.id,
        "expected_count": composition and composition.count,
        "strongest_id": strongest and strongest.id,
        "strongest_weight": strongest and strongest.weight,
        "weights_total": composition and composition.total,
        "weights_share": composition and composition.share,
    }


def encode_picks_json(rows: Sequence[dict[str, Any]], day: DayResult) -> bytes:
    """The rows by image id, as JSON. If two picks share an id, the later one is under `<id> <key>`."""
    row_by_id: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["id"] if row["id"] not in row_by_id else f"{row['id']} {row['key']}"
        row_by_id[name] = row | {"members": json.loads(row["members"]), "record": json.loads(row["record"])}
    value = {"day": day.day, "sol": day.sol, "revision": day.revision, "run": day.run, "picks": row_by_id}
    return json.dumps(value, indent=1, ensure_ascii=True).encode() + b"\n"
