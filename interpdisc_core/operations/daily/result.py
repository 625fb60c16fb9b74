"""A day's result: what was picked and how unusual it is, what came in, and what is listed apart from the picks."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from interpdisc_core._types import FloatArray
from interpdisc_core.archive import catalog
from interpdisc_core.archive.catalog import CatalogEntry
from interpdisc_core.archive.constraints import ANY_GROUP
from interpdisc_core.archive.day_result import (
    DayDiff,
    DayPick,
    DayResult,
    HorizonSummary,
    LaneImage,
    RankedImage,
    Recurrence,
    StratumResult,
    VerdictRecord,
    read_day_result,
    read_previous_revision,
)
from interpdisc_core.archive.run import Run
from interpdisc_core.images.uri_fragments import split_tile_uri
from interpdisc_core.operations.daily import days as calendar
from interpdisc_core.operations.daily.commit import load_day_features
from interpdisc_core.operations.daily.composition import compose_day_expectations
from interpdisc_core.operations.daily.days import ALL_IMAGES, build_day_image
from interpdisc_core.operations.daily.horizon import Calibration, load_calibrations, read_day_scores, score_novelty
from interpdisc_core.operations.daily.prepare import DaySnapshot, PreparedDay
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.operations.daily.similar import (
    MAX_LANE_IMAGES,
    build_lane_image,
    count_later_recurrences,
    find_like_boring,
    find_like_interesting,
    find_nearest_before,
    find_recurrences,
)
from interpdisc_core.provenance import utc_now
from interpdisc_core.storage.location import Location

_NO_CALIBRATION = Calibration(np.empty(0), 1)
_PICK_METADATA = (
    "instrument",
    "filter",
    "sol",
    "taken",
    "received",
    "lmst",
    "site",
    "drive",
    "mast_az",
    "mast_el",
    "link",
)
"""Fields that a pick takes over from the image's metadata."""


def build_day_result(
    archive: Location,
    settings: Daily,
    day: str,
    snapshot: DaySnapshot,
    prepared_day: PreparedDay,
    timings: Mapping[str, float],
) -> DayResult:
    """The result of a day whose runs are selected and explained.

    Apart from times, the same images, memory records and verdicts give the same result.

    Args:
        archive: The archive.
        settings: Settings of the daily run.
        day: Name of the day.
        snapshot: What the day is computed from.
        prepared_day: Its runs.
        timings: Seconds by stage.
    """
    triage, previous = snapshot.triage, read_previous_revision(archive, day, prepared_day.revision)
    run = Run(archive, prepared_day.runs[ALL_IMAGES]) if prepared_day.runs else None
    scores, calibrations = read_day_scores(archive, day), load_calibrations(archive, snapshot.horizon)
    picks = _build_picks(archive, settings, day, snapshot, run, previous, scores.get(ALL_IMAGES, {}), calibrations)
    readable_items = [item for item in snapshot.items if item.is_readable]
    instruments = Counter(item.metadata.instrument or "unknown" for item in readable_items)
    radiometry = Counter(item.entry.radiometry or "unknown" for item in readable_items)
    rows = load_day_features(archive, settings, triage.science) if triage.science else np.empty((0, 0))
    ledger = _count_statuses(snapshot.entries, day)
    input_count, unread_count = (
        sum(ledger.values()),
        sum(ledger.get(status, 0) for status in ("quarantined", "outstanding", "pending")),
    )
    received = len(readable_items) - (sum(previous.instruments.values()) if previous else 0)
    return DayResult(
        day=day,
        sol=calendar.parse_day_sol(day),
        mission=next((item.metadata.mission for item in snapshot.items if item.metadata.mission), ""),
        revision=prepared_day.revision,
        images_digest=calendar.digest_day_images(snapshot.items, settings.memory_digest),
        run=run.id if run else "",
        finished=utc_now(),
        plan_digest=settings.plan.digest,
        ledger=ledger,
        inputs=input_count,
        coverage=1.0 - unread_count / input_count if input_count else 1.0,
        received=received,
        late=received if previous else 0,
        superseded=ledger.get("superseded-by", 0),
        instruments=dict(sorted(instruments.items())),
        radiometry=dict(sorted(radiometry.items())),
        horizon=HorizonSummary(
            days=snapshot.horizon.day_names,
            images=snapshot.horizon.count_images(ALL_IMAGES),
            kind=settings.horizon,
        ),
        timings=dict(timings),
        picks=picks,
        strata=tuple(
            _build_stratum(Run(archive, run_id), name, snapshot, scores.get(name, {}), calibrations)
            for name, run_id in prepared_day.runs.items()
        ),
        tracked=tuple(find_like_interesting(archive, settings, snapshot, rows)),
        absorbed=tuple(find_like_boring(archive, settings, snapshot, rows)),
        known=tuple(sorted(item.entry.id for item in triage.known_images)),
        beyond_budget=tuple(find_beyond_budget(settings, snapshot, picks, scores.get(ALL_IMAGES, {}))),
        artefacts=tuple(rank_artefacts(archive, settings, snapshot)),
        quarantined=tuple(build_lane_image(item, reason=item.entry.reason) for item in triage.unreadable),
        diff=_build_diff(archive, snapshot, instruments, picks),
        discoveries=tuple(find_recurrences(archive, settings, snapshot, rows)),
    )


def _build_picks(
    archive: Location,
    settings: Daily,
    day: str,
    snapshot: DaySnapshot,
    run: Run | None,
    previous: DayResult | None,
    scores: Mapping[str, float],
    calibrations: Mapping[str, Calibration],
) -> tuple[DayPick, ...]:
    """The picks of the run over all images."""
    run_picks = run.read_picks() if run else []
    if run is None or not run_picks:
        return ()
    values: FloatArray = np.array([run.read_vectors(pick.rank)[0] for pick in run_picks])
    earlier_items = {
        name: [item for item in snapshot.items_by_day.get(name, []) if item.is_readable]
        for name in snapshot.horizon.day_names
    }
    nearest = find_nearest_before(archive, settings, earlier_items, values)
    compositions = compose_day_expectations(archive, settings, snapshot, run, run_picks)
    recurrences = count_later_recurrences(archive, day, snapshot.items_by_day)
    calibration = calibrations.get(ALL_IMAGES, _NO_CALIBRATION)
    item_by_key = {item.entry.key: item for item in snapshot.triage.science}
    entry_by_uri = {entry.uri: entry for entry in reversed(list(snapshot.entries.values()))}  # the first of a URI
    previous_observations = {pick.observation for pick in previous.picks} if previous else set()
    explanations, picks = run.open_explanations(), []
    for pick, neighbors, composition in zip(run_picks, nearest, compositions, strict=True):
        entry, metadata = item_by_key[pick.key].entry, item_by_key[pick.key].metadata
        frame_uri, box = split_tile_uri(entry.uri)
        frame = entry_by_uri.get(frame_uri, entry) if box else entry
        verdict = snapshot.verdicts.get(entry.sha256)
        observation = snapshot.triage.observation_by_key[entry.key]
        score = scores.get(pick.key, float("nan"))
        later = recurrences.get(pick.id, {})
        explanation = explanations.read(pick.rank)
        picks.append(
            DayPick(
                rank=pick.rank,
                id=pick.id,
                key=pick.key,
                uri=pick.uri,
                sha256=pick.sha256,
                label=pick.label,
                observation=observation,
                members=snapshot.triage.members_by_observation[observation],
                **{name: getattr(metadata, name) for name in _PICK_METADATA},
                radiometry=entry.radiometry,
                score=pick.score,
                prior_score=_finite_or_none(score),
                tail_probability=calibration.tail_probability(score),
                alarms_a_day=calibration.expected_per_day(score),
                tile=box,
                frame=(frame.width, frame.height),
                nearest=neighbors,
                composition=composition,
                new=observation not in previous_observations,
                recurrence=Recurrence(count=sum(later.values()), days=tuple(sorted(later))),
                trusted=explanation.trusted if explanation else None,
                numbers=explanation.numbers if explanation else {},
                verdict=VerdictRecord(verdict=verdict.verdict, by=verdict.by, at=verdict.at) if verdict else None,
                record=json.loads(entry.record),
            )
        )
    return tuple(picks)


def _finite_or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _count_statuses(entries: Mapping[str, CatalogEntry], day: str) -> dict[str, int]:
    """Every input of a day by status; they add up to the number of inputs."""
    counts = Counter(
        entry.status for entry in entries.values() if calendar.derive_day(build_day_image(entry).metadata) == day
    )
    return {status: counts[status] for status in catalog.ENTRY_STATUSES if counts[status]}


def _build_stratum(
    run: Run,
    name: str,
    snapshot: DaySnapshot,
    scores: Mapping[str, float],
    calibrations: Mapping[str, Calibration],
) -> StratumResult:
    """The list of a stratum. scores: of its images, by key."""
    calibration = calibrations.get(name, _NO_CALIBRATION)
    score_by_observation: dict[str, float] = {}
    for key, score in scores.items():
        observation = snapshot.triage.observation_by_key.get(key, key)
        score_by_observation[observation] = max(score, score_by_observation.get(observation, -np.inf))
    finite_scores = np.array([score for score in score_by_observation.values() if np.isfinite(score)])
    spike, alarms, expected_alarms = calibration.detect_spike(finite_scores)
    kinds = {item.entry.radiometry or "unknown" for item in snapshot.triage.science if item.entry.key in scores}
    return StratumResult(
        name=name,
        radiometry=tuple(sorted(kinds)),
        images=len(scores),
        horizon_images=snapshot.horizon.count_images(name),
        spike=spike,
        alarms=alarms,
        expected_alarms=expected_alarms,
        run=run.id,
        picks=tuple(
            RankedImage(
                rank=pick.rank,
                id=pick.id,
                key=pick.key,
                uri=pick.uri,
                sha256=pick.sha256,
                score=pick.score,
                tail_probability=calibration.tail_probability(scores.get(pick.key, float("nan"))),
            )
            for pick in run.read_picks()
        ),
    )


def _build_diff(
    archive: Location, snapshot: DaySnapshot, instruments: Mapping[str, int], picks: Sequence[DayPick]
) -> DayDiff:
    """Changes since the last day of the horizon; an earlier day without a result counts as empty."""
    previous_day = snapshot.horizon.day_names[-1] if snapshot.horizon.day_names else ""
    previous = read_day_result(archive, previous_day) if previous_day else None
    previous_instruments = previous.instruments if previous else {}
    previous_ids = {pick.id for pick in previous.picks} if previous else set()
    return DayDiff(
        previous_day=previous_day,
        instruments={
            name: (previous_instruments.get(name, 0), instruments.get(name, 0))
            for name in sorted({*previous_instruments, *instruments})
        },
        images=(sum(previous_instruments.values()), sum(instruments.values())),
        picks_like_before=sum(bool(pick.nearest) and pick.nearest[0].id in previous_ids for pick in picks),
    )


def find_beyond_budget(
    settings: Daily, snapshot: DaySnapshot, picks: Sequence[DayPick], scores: Mapping[str, float]
) -> list[LaneImage]:
    """Images at least as new as one of the picks, left out since their instrument's budget was used up; newest first.

    Args:
        settings: Settings of the daily run.
        snapshot: What the day is computed from.
        picks: Of the run over all images.
        scores: Novelty against the earlier days, by key.
    """
    if not settings.budget or not picks:
        return []
    triage, picked_keys = snapshot.triage, {pick.key for pick in picks}
    picked_observations = {triage.observation_by_key[key] for key in picked_keys}
    pick_counts = Counter(item.metadata.instrument for item in triage.science if item.entry.key in picked_keys)
    min_score = min(scores.get(key, np.inf) for key in picked_keys)
    images: list[tuple[float, LaneImage]] = []
    for item in triage.science:
        instrument, score = item.metadata.instrument, scores.get(item.entry.key, float("nan"))
        limit = settings.budget.get(instrument, settings.budget.get(ANY_GROUP))
        is_picked = triage.observation_by_key[item.entry.key] in picked_observations
        if limit is not None and pick_counts[instrument] >= limit and not is_picked and score >= min_score:
            images.append((score, build_lane_image(item, instrument=instrument, score=score)))
    images.sort(key=lambda pair: (-pair[0], pair[1].id))
    return [image for _, image in images[:MAX_LANE_IMAGES]]


def rank_artefacts(archive: Location, settings: Daily, snapshot: DaySnapshot) -> list[LaneImage]:
    """The artefacts of a day by their novelty against the earlier days; the newest first."""
    artefacts = snapshot.triage.artefacts
    if not artefacts:
        return []
    rows = load_day_features(archive, settings, [artefact.item for artefact in artefacts])
    prior = snapshot.horizon.load_prior(archive, settings, ALL_IMAGES)
    scores = score_novelty(prior, settings.selector.rank, rows)
    images = [
        build_lane_image(artefact.item, reasons=artefact.reasons, author=artefact.author, score=_finite_or_none(score))
        for artefact, score in zip(artefacts, scores, strict=True)
    ]
    return sorted(images, key=lambda image: (-(image.score or 0.0), image.id))
