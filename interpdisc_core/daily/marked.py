"""What people's word does on a day: images like an interesting one, images like a boring one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from interpdisc_core.daily.calendar import Item
from interpdisc_core.daily.commit import rows_of
from interpdisc_core.daily.horizon import novelty
from interpdisc_core.daily.likeness import alike, nearest_before
from interpdisc_core.daily.opening import Look
from interpdisc_core.daily.settings import Daily
from interpdisc_core.daily.strata import ALL
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.storage import Place
from interpdisc_core.terms import absorbing

MOST = 20
"""Images that a lane names, at most."""
_HALVED = 0.5
"""An image is said to be like a boring one where that takes at least half of its novelty."""


def tracked(archive: Place, settings: Daily, seen: Look, rows: Floats) -> list[dict[str, Any]]:
    """This day's images that are like one that somebody called interesting, each with that one."""
    marked = [
        (name, item) for name, items in seen.days.items() for item in items
        if item.readable and (mark := seen.said.get(item.entry.sha256)) and mark.verdict == "interesting"
    ]  # fmt: skip
    found = []
    for name, item in marked:
        x = rows_of(archive, settings, [item])
        earlier = _before(seen.days, name)
        near = nearest_before(archive, settings, earlier, x)[0]
        reach = near[0].distance if near else np.inf
        for place in alike(x, rows, np.array([reach]))[0][:MOST]:
            chosen = seen.parted.science[int(place)]
            other = chosen.entry
            if other.sha256 != item.entry.sha256:
                distance = float(np.sqrt(((rows[int(place)] - x[0]) ** 2).sum()))
                found.append({"id": other.id, "key": other.key, "uri": chosen.address, "sha256": other.sha256,
                              "like": item.entry.id, "like_day": name, "distance": distance})  # fmt: skip
    return sorted(found, key=lambda one: (one["distance"], one["id"]))[:MOST]


def _before(days: Mapping[str, list[Item]], day: str) -> dict[str, list[Item]]:
    """The images of the last days before one, as many days as a horizon of sols has by default."""
    names = list(days)
    earlier = names[: names.index(day)][-30:]
    return {name: [item for item in days[name] if item.readable] for name in earlier}


def absorbed(archive: Place, settings: Daily, seen: Look, rows: Floats) -> list[dict[str, Any]]:
    """Images that would be among the newest, were not something like them marked boring."""
    if not seen.boring or not len(rows):
        return []
    prior = seen.horizon.seen(archive, settings, ALL)
    boring, rank = rows_of(archive, settings, seen.boring), settings.selector.rank
    plain, less = novelty(prior, rank, rows), novelty(absorbing(prior, boring), rank, rows)
    top = np.argsort(-np.nan_to_num(plain), kind="stable")[: settings.plan.picks]
    found = []
    for place in top:
        if np.isfinite(plain[place]) and less[place] < _HALVED * plain[place]:
            chosen = seen.parted.science[int(place)]
            entry = chosen.entry
            like = int(np.argmin(((boring - rows[place]) ** 2).sum(axis=1)))
            found.append({"id": entry.id, "key": entry.key, "uri": chosen.address, "sha256": entry.sha256,
                          "like": seen.boring[like].entry.id})  # fmt: skip
    return found
