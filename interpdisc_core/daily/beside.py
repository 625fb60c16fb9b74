"""What is beside the picks: images that a budget left out, and the artefact lane."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from interpdisc_core.daily.commit import rows_of
from interpdisc_core.daily.horizon import novelty
from interpdisc_core.daily.marked import MOST
from interpdisc_core.daily.opening import Look
from interpdisc_core.daily.settings import Daily
from interpdisc_core.daily.strata import ALL
from interpdisc_core.runs import Pick
from interpdisc_core.storage import Place
from interpdisc_core.terms import ANY


def beyond_budget(
    settings: Daily, seen: Look, picks: Sequence[Pick], scores: Mapping[str, float]
) -> list[dict[str, Any]]:  # fmt: skip
    """Images newer than the last pick's that were not picked, since their instrument's budget was spent."""
    if not settings.budget or not picks:
        return []
    picked = {pick.key for pick in picks}
    done = {seen.parted.observation_of[key] for key in picked}
    used = Counter(item.told.instrument for item in seen.parted.science if item.entry.key in picked)
    floor = min(scores.get(key, np.inf) for key in picked)
    found: list[dict[str, Any]] = []
    for item in seen.parted.science:
        most = settings.budget.get(item.told.instrument, settings.budget.get(ANY))
        score = scores.get(item.entry.key, float("nan"))
        spent = most is not None and used[item.told.instrument] >= most
        if spent and seen.parted.observation_of[item.entry.key] not in done and score >= floor:
            found.append({"id": item.entry.id, "key": item.entry.key, "instrument": item.told.instrument,
                          "score": score, "uri": item.address, "sha256": item.entry.sha256})  # fmt: skip
    return sorted(found, key=lambda one: (-one["score"], one["id"]))[:MOST]


def artefacts(archive: Place, settings: Daily, seen: Look) -> list[dict[str, Any]]:
    """The artefact lane, ranked by how new each is beside the days before; the newest first."""
    flagged = seen.parted.artefacts
    if not flagged:
        return []
    prior = seen.horizon.seen(archive, settings, ALL)
    scores = novelty(prior, settings.selector.rank, rows_of(archive, settings, [one.item for one in flagged]))
    found: list[dict[str, Any]] = [
        {"id": one.item.entry.id, "key": one.item.entry.key, "uri": one.item.address, "sha256": one.item.entry.sha256,
         "reasons": list(one.reasons), "by": one.by, "score": float(score) if np.isfinite(score) else None}
        for one, score in zip(flagged, scores, strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-(one["score"] or 0.0), one["id"]))
