"""The account of each daily run: what the feed gave, what was done, how long it took."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from interpdisc_core.daily.arrivals import Arrived, Polled
from interpdisc_core.daily.closing import Closed
from interpdisc_core.storage import Place

FOLDER = "accounts"


def write(
    url: str, polled: Polled, arrived: Arrived, closed: Sequence[Closed], timings: Mapping[str, float]
) -> str:  # fmt: skip
    """Keep a run's account; returns its address. Each run has one of its own."""
    at = datetime.now(UTC)
    name = f"{FOLDER}/{at:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}.json"
    Place.of(url).write_json(name, told(polled, arrived, closed, timings) | {"at": at.isoformat(timespec="seconds")})
    return f"{Place.of(url).url}/{name}"


def told(
    polled: Polled, arrived: Arrived, closed: Sequence[Closed], timings: Mapping[str, float]
) -> dict[str, Any]:  # fmt: skip
    """The account as a JSON value."""
    return {
        "polled": asdict(polled),
        "days": [asdict(one) for one in closed],
        "remembered": [day for day in arrived.days if day not in arrived.listed],
        "images": arrived.images,
        "superseded": arrived.superseded,
        "timings": dict(timings),
    }
