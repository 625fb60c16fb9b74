"""A day's result: what was picked and why it is new, what came in, what is like what."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from interpdisc_core import catalog, tiles
from interpdisc_core.catalog import Entry
from interpdisc_core.daily import calendar
from interpdisc_core.daily.beside import artefacts, beyond_budget
from interpdisc_core.daily.calendar import Item, item_of
from interpdisc_core.daily.commit import rows_of
from interpdisc_core.daily.horizon import Calibration, calibrations, scores_of
from interpdisc_core.daily.likeness import nearest_before
from interpdisc_core.daily.marked import absorbed, tracked
from interpdisc_core.daily.opening import Look
from interpdisc_core.daily.recurrence import seen_again, seen_again_later
from interpdisc_core.daily.settings import Daily
from interpdisc_core.daily.strata import ALL
from interpdisc_core.runs import Pick, Run
from interpdisc_core.storage import Place


def told(
    archive: Place, settings: Daily, day: str, seen: Look, opened: Mapping[str, Any], timings: Mapping[str, float]
) -> dict[str, Any]:
    """A day's result as a JSON value, of what its runs picked. seen: what they looked at; opened: `Opened` as JSON.

    Times apart, the same images, records and words of people give the same value.
    """
    latest, days = seen.latest, seen.days
    before_days = {name: [item for item in days.get(name, []) if item.readable] for name in seen.horizon.names}
    science = {item.entry.key: item for item in seen.parted.science}
    run = Run(archive, opened["runs"][ALL]) if opened["runs"] else None
    picks = run.picks() if run else []
    scores, known_of = scores_of(archive, day), calibrations(archive, seen.horizon)
    values = np.array([run.vectors(pick.rank)[0] for pick in picks]) if run and picks else np.empty((0, 0))
    nearest = nearest_before(archive, settings, before_days, values) if picks else []
    last = _replaced(archive, day, opened["revision"])
    previous = {pick["observation"] for pick in last["picks"]} if last else set()
    again = seen_again_later(archive, day, days)
    ledger = _ledger(latest, day)
    inputs = sum(ledger.values())
    lost = ledger.get("quarantined", 0) + ledger.get("pending", 0)
    overall = known_of.get(ALL, Calibration(np.empty(0), 1))
    told_picks = []
    for pick, near in zip(picks, nearest, strict=True):
        item = science[pick.key]
        made = run.explanations().read(pick.rank) if run else None
        score = scores.get(ALL, {}).get(pick.key, float("nan"))
        told_picks.append(
            _pick(pick, item, seen, latest)
            | {
                "prior_score": _finite(score), "novelty_rank": overall.share(score), "alarms_a_day": overall.a_day(score),
                "nearest": [{"id": n.id, "key": n.key, "day": n.day, "distance": n.distance} for n in near],
                "new": seen.parted.observation_of[pick.key] not in previous,
                "seen_again": {"count": sum(again.get(pick.id, {}).values()), "days": sorted(again.get(pick.id, {}))},
                "trusted": made.trusted if made else None, "numbers": made.numbers if made else {},
            }
        )  # fmt: skip
    instruments = Counter(item.told.instrument or "unknown" for item in seen.items if item.readable)
    rows = rows_of(archive, settings, seen.parted.science) if science else np.empty((0, 0))
    arrived = sum(instruments.values()) - (sum(last["instruments"].values()) if last else 0)
    return {
        "day": day, "sol": calendar.sol_of(day), "mission": next((i.told.mission for i in seen.items if i.told.mission), ""),
        "revision": opened["revision"], "of": calendar.content(seen.items, settings.remembers),
        "run": run.id if run else "", "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan_digest": settings.plan.digest, "ledger": ledger, "inputs": inputs,
        "coverage": 1.0 if not inputs else 1.0 - lost / inputs,
        "received": arrived, "late": arrived if last else 0, "superseded": ledger.get("superseded-by", 0),
        "instruments": dict(sorted(instruments.items())),
        "radiometry": dict(sorted(Counter(i.entry.radiometry or "unknown" for i in seen.items if i.readable).items())),
        "horizon": {"days": list(seen.horizon.names), "images": seen.horizon.images(ALL), "kind": settings.horizon},
        "timings": dict(timings), "picks": told_picks,
        "strata": [_stratum(archive, name, of, seen, scores, known_of, science) for name, of in opened["runs"].items()],
        "tracked": tracked(archive, settings, seen, rows),
        "absorbed": absorbed(archive, settings, seen, rows),
        "known": sorted(item.entry.id for item in seen.parted.known),
        "beyond_budget": beyond_budget(settings, seen, picks, scores.get(ALL, {})),
        "artefacts": artefacts(archive, settings, seen),
        "quarantined": [{"id": i.entry.id, "key": i.entry.key, "why": i.entry.why} for i in seen.parted.unreadable],
        "diff": _diff(archive, seen, instruments, told_picks),
        "discoveries": seen_again(archive, settings, seen, rows),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _pick(pick: Pick, item: Item, seen: Look, latest: Mapping[str, Entry]) -> dict[str, Any]:
    entry, told = item.entry, item.told
    frame_uri, box = tiles.parted(entry.uri)
    frame = next((e for e in latest.values() if e.uri == frame_uri), entry) if box else entry
    mark = seen.said.get(entry.sha256)
    observation = seen.parted.observation_of[entry.key]
    return {
        "rank": pick.rank, "id": pick.id, "key": pick.key, "uri": pick.uri, "sha256": pick.sha256, "label": pick.label,
        "observation": observation, "members": list(seen.parted.members[observation]), "score": pick.score,
        "tile": list(box) if box else None, "frame": [frame.width, frame.height], "radiometry": entry.radiometry,
        "verdict": None if mark is None else {"verdict": mark.verdict, "by": mark.by, "at": mark.at},
        "record": json.loads(entry.record),
        **{name: getattr(told, name) for name in (
            "instrument", "filter", "sol", "taken", "received", "lmst", "site", "drive", "mast_az", "mast_el", "link")},
    }  # fmt: skip


def _replaced(archive: Place, day: str, revision: int) -> dict[str, Any] | None:
    """The result that this revision replaces, or None."""
    for name in (f"days/{day}/day-{revision - 1:03d}.json", f"days/{day}/day.json"):
        if archive.exists(name) and (told := archive.read_json(name))["revision"] == revision - 1:
            found: dict[str, Any] = told
            return found
    return None


def _ledger(latest: Mapping[str, Entry], day: str) -> dict[str, int]:
    """Every input of a day by status; the sum is the number of inputs."""
    counted = Counter(e.status for e in latest.values() if calendar.day_of(item_of(e).told) == day)
    return {status: counted[status] for status in catalog.STATUSES if counted[status]}


def _stratum(
    archive: Place, name: str, run: str, seen: Look, scores: Mapping[str, Mapping[str, float]],
    known: Mapping[str, Calibration], science: Mapping[str, Item],
) -> dict[str, Any]:  # fmt: skip
    of, calibration = scores.get(name, {}), known.get(name, Calibration(np.empty(0), 1))
    by_observation: dict[str, float] = {}
    for key, score in of.items():
        observation = seen.parted.observation_of.get(key, key)
        by_observation[observation] = max(score, by_observation.get(observation, -np.inf))
    spike, alarms, expected = calibration.spike(np.array([s for s in by_observation.values() if np.isfinite(s)]))
    return {
        "name": name, "images": len(of), "horizon_images": seen.horizon.images(name), "spike": spike, "alarms": alarms,
        "expected_alarms": expected, "run": run,
        "radiometry": sorted({science[key].entry.radiometry or "unknown" for key in of if key in science}),
        "picks": [
            {"rank": pick.rank, "id": pick.id, "key": pick.key, "uri": pick.uri, "sha256": pick.sha256,
             "score": pick.score, "novelty_rank": calibration.share(of.get(pick.key, float("nan")))}
            for pick in Run(archive, run).picks()
        ],
    }  # fmt: skip


def _diff(
    archive: Place, seen: Look, instruments: Mapping[str, int], picks: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    """What is otherwise than on the day before."""
    name = seen.horizon.names[-1] if seen.horizon.names else None
    path = f"days/{name}/day.json"
    before = archive.read_json(path) if name and archive.exists(path) else {"instruments": {}, "picks": []}
    both = sorted({*before["instruments"], *instruments})
    earlier = {pick["id"] for pick in before["picks"]}
    return {
        "before": name,
        "instruments": {one: [before["instruments"].get(one, 0), instruments.get(one, 0)] for one in both},
        "images": [sum(before["instruments"].values()), sum(instruments.values())],
        "picks_like_before": sum(bool(p["nearest"]) and p["nearest"][0]["id"] in earlier for p in picks),
    }
