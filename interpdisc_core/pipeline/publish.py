"""The last step of a run: its report for people, its tables and result for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from interpdisc_core import sources
from interpdisc_core._types import PixelArray
from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import BlockId
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.archive.run import Composition, Explanation, NearImage, Pick, Run, RunMember, WeightedImage
from interpdisc_core.errors import DamageError, InterpdiscError, Unreadable
from interpdisc_core.explanations import CARD_PICKS
from interpdisc_core.explanations.render import describe_missing_novelty
from interpdisc_core.images import load
from interpdisc_core.images.load import load_input_image
from interpdisc_core.images.resize import shrink_to_fit
from interpdisc_core.inverters import Gradient, Refined
from interpdisc_core.metrics.definitions import TRUST_METRIC
from interpdisc_core.metrics.discovery import DiscoveryResult, discovery_to_json, evaluate_discovery
from interpdisc_core.plan import Plan, RenderingOptions
from interpdisc_core.progress import Stopwatch
from interpdisc_core.provenance import utc_now
from interpdisc_core.reporting.pick_view import ExpectedImage, ExpectedView, NearView, PickView
from interpdisc_core.reporting.run_report import RunReportView, render_run_report
from interpdisc_core.selectors import Demud
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location, encode_json
from interpdisc_core.storage.tables import read_parquet, rows_to_csv, rows_to_parquet

_CARD_SIDE, _EXPECTED_SIDE, _THUMBNAIL_SIDE = 640, 256, 160
"""Pixels on the long side of a card's image, of an image of what was expected, and of a thumbnail."""
_EXPECTED_COUNT = 5
"""Images on a card that show what was expected."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """Where a run's products are.

    Attributes:
        address: Path or s3:// address of result.json.
        report: Path or s3:// address of the report.
        link: The report as a URL.
        result: The content of result.json.
    """

    address: str
    report: str
    link: str
    result: dict[str, Any]


def publish_run(url: str, run_id: str, out: str, timings: dict[str, float]) -> PublishResult:
    """Write report.html, picks.csv, picks.parquet, plan.json, environment.json and result.json.

    Args:
        url: The archive's address.
        run_id: The run. The files are written into its folder.
        out: A second folder for the files, or empty.
        timings: Seconds by stage, of this process; stages that were finished before are missing or 0. In result.json,
            `publish` is added.
    """
    run = Run(Location.parse(url), run_id)
    picks, ledger = run.read_picks(), _read_ledger(run)
    clock = Stopwatch()
    plan, members = run.plan, _find_members_with_features(run)
    discovery_result, explanations = _compute_discovery(members, picks, plan.picks), _read_explanations(run, picks)
    result = _build_result(run, plan, members, picks, ledger, discovery_result, explanations, timings)
    locations = [run.location, *([Location.parse(out)] if out else [])]
    page = render_run_report(_build_view(run, plan, members, picks, ledger, discovery_result, explanations, result))
    rows = [_build_row(pick, explanations[pick.rank]) for pick in picks]
    weights = [{"weights": _list_weights(pick.composition)} for pick in picks]
    products = {
        "report.html": page.encode("utf-8", "backslashreplace"),
        "picks.csv": rows_to_csv(rows, _PICKS_SCHEMA.names),
        "picks.parquet": rows_to_parquet(
            [row | pick_weights for row, pick_weights in zip(rows, weights, strict=True)],
            _PICKS_SCHEMA.append(pa.field("weights", pa.list_(_WEIGHT_TYPE))),
        ),
        "plan.json": run.location.read_checked("plan.json"),
        "environment.json": run.location.read_checked("environment.json"),
    }
    clock.lap("publish")  # the page was made before and cannot say how long it took; result.json can
    result["timings"] = timings | clock.laps
    for location in locations:
        # The second folder is for people, without checksums.
        write = location.write_checked if location == run.location else location.write
        for name, data in products.items():
            write(name, data)
        result["report"] = f"{location.url}/report.html"
        write("result.json", encode_json(result))
    last = locations[-1]
    report = f"{last.url}/report.html"
    return PublishResult(f"{last.url}/result.json", report, report if last.is_remote else Path(report).as_uri(), result)


def _read_ledger(run: Run) -> list[catalog.CatalogEntry]:
    """The latest catalog entry of every input of the run."""
    try:
        with name_damage(f"{run.location.url}/ledger.json"):
            listing = run.location.read_checked_json("ledger.json")["listing"]
        keys = read_parquet(run.archive, f"listings/{listing}/listing.parquet")["key"].to_pylist()
    except FileNotFoundError:
        raise DamageError(
            f"{run.location.url} has lost its listing; repeat the `interpdisc discover` that made it."
        ) from None
    latest = {entry.key: entry for entry in catalog.find_entries(run.archive, "key", keys)}
    if lost_count := len(set(keys) - set(latest)):
        raise DamageError(
            f"{run.archive.url}: the catalog has lost {lost_count} inputs of run {run.id}; repeat the `interpdisc discover` "
            "that made it, which lists them again."
        )
    return [latest[key] for key in keys]


def _read_explanations(run: Run, picks: list[Pick]) -> dict[int, Explanation]:
    """The explanation of each pick by the run's current rendering, by rank; empty for picks without one."""
    store, last = run.open_explanations(), max(CARD_PICKS, run.rendering.picks)
    return {
        pick.rank: (store.read(pick.rank) if pick.rank <= last else None) or Explanation(None, {}, {}) for pick in picks
    }


def _compute_discovery(members: list[RunMember], picks: list[Pick], pick_target: int) -> DiscoveryResult | None:
    """How soon the picks found the classes; None if no candidate has a label."""
    candidates = [member for member in members if member.role == "candidate"]
    labels = [member.label for member in candidates]
    if not any(labels):
        return None
    row_by_key = {member.key: row for row, member in enumerate(candidates)}
    return evaluate_discovery(labels, [row_by_key[pick.key] for pick in picks], pick_target)


def _build_result(
    run: Run,
    plan: Plan,
    members: list[RunMember],
    picks: list[Pick],
    ledger: list[catalog.CatalogEntry],
    discovery_result: DiscoveryResult | None,
    explanations: dict[int, Explanation],
    timings: dict[str, float],
) -> dict[str, Any]:
    return {
        "run": run.id,
        "archive": run.archive.url,
        "finished": utc_now(),
        "plan": run.location.read_checked_json("plan.json"),
        "plan_digest": plan.digest,
        "rendering": asdict(run.rendering),
        "inputs": run.location.read_checked_json("inputs.json"),
        "counts": catalog.count_entries_by_status(ledger),
        "candidates": sum(m.role == "candidate" for m in members),
        "known": sum(m.role == "background" for m in members),
        "picks": [
            {key: value for key, value in asdict(pick).items() if key not in ("record", "length")}
            | {"record": json.loads(pick.record)}
            | {"numbers": explanations[pick.rank].numbers, "trusted": explanations[pick.rank].trusted}
            for pick in picks
        ],
        "near_ties": sum(pick.near_ties for pick in picks),
        "exhausted": bool(run.location.read_checked_json("picks.json")["exhausted"]),
        **discovery_to_json(discovery_result),
        "notes": _collect_notes(run, members),
        "selection": run.location.read_checked_json("selection-cost.json")
        if run.location.exists("selection-cost.json")
        else None,
        "timings": timings,
        "environment": run.location.read_checked_json("environment.json"),
    }


def _collect_notes(run: Run, members: list[RunMember]) -> list[str]:
    """Sentences about inputs and settings that do not fit, for the terminal and the report."""
    notes: list[str] = run.location.read_checked_json("ledger.json").get("notes", [])
    plan, candidate_count = run.plan, sum(member.role == "candidate" for member in members)
    if plan.picks > candidate_count:
        notes.append(f"{plan.picks:,} picks were requested, but there are only {candidate_count:,} images.")
    selector = plan.selector
    is_alone = candidate_count == len(members)
    if isinstance(selector, Demud) and selector.start == "svd" and is_alone and selector.rank >= candidate_count:
        notes.append(
            f"rank {selector.rank} is not below the number of images, so the first model fits every image exactly and "
            "the first pick is arbitrary; use a smaller -k."
        )
    return notes


def _find_members_with_features(run: Run) -> list[RunMember]:
    """The run's images that have features; the others could not be read when their features were computed."""
    store, members = FeatureStore(run.archive, run.plan.features_digest), run.read_members()
    failed_rows = {
        (batch, int(row))
        for batch in {member.batch for member in members}
        for number in store.list_complete_blocks(batch)
        for row in store.read_record(BlockId(batch, number)).failed
    }
    return [member for member in members if (member.batch, member.row) not in failed_rows]


def _build_row(pick: Pick, explanation: Explanation) -> dict[str, Any]:
    near = pick.nearest[0] if pick.nearest else None
    return {
        "id": pick.id,
        "rank": pick.rank,
        "score": pick.score,
        "near_ties": pick.near_ties,
        "label": pick.label,
        "uri": pick.uri,
        "sha256": pick.sha256,
        "nearest_id": near and near.id,
        "nearest_distance": near and near.distance,
        **_build_composition_columns(pick.composition),
        "trusted": explanation.trusted,
        "cosine": explanation.numbers.get(TRUST_METRIC),
        "record": pick.record,
    }


def _build_composition_columns(composition: Composition | None) -> dict[str, Any]:
    if composition is None:
        return {}
    strongest = composition.strongest[0] if composition.strongest else None
    return {
        "expected_nearest_id": composition.nearest[0].id if composition.nearest else None,
        "expected_count": composition.count,
        "strongest_id": strongest and strongest.id,
        "strongest_weight": strongest and strongest.weight,
        "weights_total": composition.total,
        "weights_share": composition.share,
    }


def _list_weights(composition: Composition | None) -> list[dict[str, Any]] | None:
    if composition is None:
        return None
    return [{"id": image.id, "role": image.role, "weight": image.weight} for image in composition.strongest]


_WEIGHT_TYPE = pa.struct([("id", pa.string()), ("role", pa.string()), ("weight", pa.float64())])
_PICKS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("rank", pa.int64()),
        ("score", pa.float64()),
        ("near_ties", pa.int64()),
        *((name, pa.string()) for name in ("label", "uri", "sha256", "nearest_id")),
        ("nearest_distance", pa.float64()),
        ("expected_nearest_id", pa.string()),
        ("expected_count", pa.int64()),
        ("strongest_id", pa.string()),
        ("strongest_weight", pa.float64()),
        ("weights_total", pa.float64()),
        ("weights_share", pa.float64()),
        ("trusted", pa.bool_()),
        ("cosine", pa.float64()),
        ("record", pa.string()),
    ]
)


def _build_view(
    run: Run,
    plan: Plan,
    members: list[RunMember],
    picks: list[Pick],
    ledger: list[catalog.CatalogEntry],
    discovery_result: DiscoveryResult | None,
    explanations: dict[int, Explanation],
    result: dict[str, Any],
) -> RunReportView:
    inputs, rendering = run.inputs, run.rendering
    seen_images = _SeenImageViews({member.id: member.label or "" for member in members})
    rendered_by, card = _describe_renderer(rendering, plan)
    return RunReportView(
        title=", ".join(sources.format_source_title(source) for source in inputs.sources),
        run=run.id,
        finished=result["finished"],
        sources=inputs.sources,
        background=inputs.background,
        plan=result["plan"] | {"inverter": asdict(rendering.inverter), "explain": rendering.picks},
        environment=result["environment"],
        status_counts=result["counts"],
        candidate_count=result["candidates"],
        known_count=result["known"],
        requested_picks=plan.picks,
        notes=tuple(result["notes"]),
        exhausted=result["exhausted"],
        quarantined=tuple(
            (entry.id, entry.reason) for entry in ledger if entry.status in ("quarantined", "outstanding")
        ),
        timings=result["timings"],
        picks=tuple(
            _build_pick_view(
                run,
                plan,
                pick,
                explanations[pick.rank],
                seen_images,
                is_first=pick.rank == 1 and not result["known"],
            )
            for pick in picks
        ),
        discovery=discovery_result,
        renderer_description=rendered_by,
        model_card=card,
    )


def _describe_renderer(rendering: RenderingOptions, plan: Plan) -> tuple[str, dict[str, Any] | None]:
    """What made the renderings, in a sentence, and the model card of its network if it has one."""
    if not rendering.picks:
        return "", None
    inverter = rendering.inverter
    if isinstance(inverter, Gradient):
        description = f"An optimizer made the renderings ({inverter.steps} steps from noise, inverter gradient); it was not trained on images."
        return description, None
    try:
        metadata = inverter.load_metadata(plan.representation)
    except InterpdiscError as error:
        return f"Nothing was rendered: {error}", None
    images, data_name, epochs = metadata.data.get("images"), metadata.data.get("what"), metadata.training.get("epochs")
    images_text = f" on {images:,} images" if isinstance(images, int) else ""
    refinement_text = (
        f", brought nearer to the features by {inverter.refine.steps} steps of an optimizer"
        if isinstance(inverter, Refined)
        else ""
    )
    description = (
        f"An up-convolutional network made the renderings{refinement_text} (inverter {inverter.kind}); it was trained"
        + (f" until {metadata.date}" if metadata.date else "")
        + images_text
        + (f" ({data_name})" if data_name else "")
        + (f" in {epochs} epochs" if epochs else "")
        + ": what it paints is what such images look like."
    )
    return description, asdict(metadata)


def _build_pick_view(
    run: Run, plan: Plan, pick: Pick, explanation: Explanation, seen_images: "_SeenImageViews", *, is_first: bool
) -> PickView:
    is_card = pick.rank <= CARD_PICKS
    x, expected, _ = run.read_vectors(pick.rank)
    try:
        picture, window = _load_pick_picture(plan, pick, _CARD_SIDE if is_card else _THUMBNAIL_SIDE)
        problem = ""
        picture = shrink_to_fit(picture, _CARD_SIDE if is_card else _THUMBNAIL_SIDE)
    except Unreadable as error:
        picture, problem, window = None, str(error), (0.0, 0.0, 1.0, 1.0)
    return PickView(
        rank=pick.rank,
        id=pick.id,
        uri=pick.uri,
        score=pick.score,
        near_ties=pick.near_ties,
        label=pick.label,
        record={str(key): str(value) for key, value in json.loads(pick.record).items()},
        picture=picture,
        problem=problem,
        window=window,
        attribution_map=explanation.attribution_map,
        renderings=explanation.renderings,
        measures=explanation.numbers,
        nearest=tuple(map(seen_images.build_near_view, pick.nearest)) if is_card else (),
        expected=seen_images.build_expected_view(pick, pick.composition) if is_card and pick.composition else None,
        attribution_kind=explanation.attribution_kind,
        deletion=explanation.deletion,
        is_trusted=explanation.trusted,
        threshold=explanation.threshold,
        novelty_note=describe_missing_novelty(x, expected, is_first=is_first),
        explanation_problem=explanation.problem,
    )


def _load_pick_picture(plan: Plan, pick: Pick, side: int) -> tuple[PixelArray, tuple[float, float, float, float]]:
    """A pick's picture, of a tile its whole frame; and the part that the network reads, as fractions of the picture."""
    if (frame := load.frame_of_tile(pick.uri, pick.sha256)) is not None:
        picture, (x, y, width, height) = frame
    else:
        picture, x, y = load_input_image(pick.uri, pick.sha256, at_least=side), 0, 0
        height, width = picture.shape[:2]
    frame_height, frame_width = picture.shape[:2]
    left, top, right, bottom = plan.representation.compute_window(width, height)
    return picture, (
        (x + left) / frame_width,
        (y + top) / frame_height,
        (x + right) / frame_width,
        (y + bottom) / frame_height,
    )


class _SeenImageViews:
    """Views of images seen before the picks. Several picks show the same image, which is read once."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        """labels: the class of each image by id, or empty."""
        self._labels = labels
        self._load = lru_cache(maxsize=64)(_load_small)

    def build_near_view(self, near: NearImage) -> NearView:
        """One of the nearest images."""
        return NearView(
            id=near.id,
            distance=near.distance,
            role=near.role,
            picture=self._load(near.uri, near.sha256, _THUMBNAIL_SIDE),
            label=self._labels.get(near.id, ""),
        )

    def build_expected_view(self, pick: Pick, composition: Composition) -> ExpectedView:
        """The image nearest to x̂, then those of largest weight, `_EXPECTED_COUNT` in all; never the pick itself."""
        weights = {image.id: image.weight for image in composition.strongest if image.id != pick.id}
        nearest = [near for near in composition.nearest if near.id != pick.id][:1]
        nearest_ids = {near.id for near in nearest}
        others = [image for image in composition.strongest if image.id in weights.keys() - nearest_ids]
        images: list[NearImage | WeightedImage] = [*nearest]
        images += others[: _EXPECTED_COUNT - len(nearest)]
        return ExpectedView(
            count=composition.count,
            total=composition.total,
            is_of_all=any(image.role == "candidate" for image in images),
            images=tuple(
                ExpectedImage(
                    id=image.id,
                    role=image.role,
                    picture=self._load(image.uri, image.sha256, _EXPECTED_SIDE),
                    weight=weights.get(image.id),
                    is_nearest=image.id in nearest_ids,
                    label=self._labels.get(image.id, ""),
                )
                for image in images
            ),
        )


def _load_small(uri: str, sha256: str, side: int) -> PixelArray | None:
    """An image (h, w, 3) uint8 of at most `side` pixels; None if it cannot be read."""
    try:
        return shrink_to_fit(load_input_image(uri, sha256, at_least=side), side)
    except Unreadable:
        return None
