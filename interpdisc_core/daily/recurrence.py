"""What is seen again: how many of a day's images are nearer to an earlier pick than anything before that pick was."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from interpdisc_core.daily.calendar import Item
from interpdisc_core.daily.commit import rows_of
from interpdisc_core.daily.likeness import alike
from interpdisc_core.daily.opening import Look
from interpdisc_core.daily.settings import Daily
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.storage import Place


def seen_again(archive: Place, settings: Daily, seen: Look, rows: Floats) -> list[dict[str, Any]]:
    """Earlier days' picks that this day saw again: how many of its images are nearer to one than anything before it was."""
    earlier: list[tuple[str, Item, float]] = []
    for commit in seen.horizon.days:
        path = f"days/{commit.day}/day.json"
        if not commit.run or not archive.exists(path):
            continue
        by_key = {item.entry.key: item for item in seen.days.get(commit.day, [])}
        for pick in archive.read_json(path)["picks"]:
            item = by_key.get(pick["key"])
            if item is not None and item.readable and pick["nearest"]:
                earlier.append((commit.day, item, float(pick["nearest"][0]["distance"])))
    if not earlier or not len(rows):
        return []
    values = rows_of(archive, settings, [item for _, item, _ in earlier])
    hits = alike(values, rows, np.array([reach for _, _, reach in earlier]))
    return [
        {"id": item.entry.id, "key": item.entry.key, "day": name, "seen_again": len(found),
         "by": [seen.parted.science[int(place)].entry.id for place in found[:3]]}
        for (name, item, _), found in zip(earlier, hits, strict=True) if len(found)
    ]  # fmt: skip


def seen_again_later(archive: Place, day: str, days: Mapping[str, list[Item]]) -> dict[str, dict[str, int]]:
    """By pick of this day, how often later days have seen it again."""
    names = list(days)
    found: dict[str, dict[str, int]] = {}
    for later in names[names.index(day) + 1 :]:
        path = f"days/{later}/day.json"
        if archive.exists(path):
            for one in archive.read_json(path)["discoveries"]:
                if one["day"] == day:
                    found.setdefault(one["id"], {})[later] = one["seen_again"]
    return found
