"""The last step of a run: its report, tables and result, for people and for programs."""

import csv
import io
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from interpdisc_core import catalog, frames, sources
from interpdisc_core.cards import NearView, PickView
from interpdisc_core.errors import InterpdiscError, Unreadable
from interpdisc_core.evaluation import Discovery, discovery
from interpdisc_core.explanation import CARDS
from interpdisc_core.extraction import pixels
from interpdisc_core.features import Block, FeatureStore
from interpdisc_core.images import Pixels, within
from interpdisc_core.inverters import Gradient, Refined
from interpdisc_core.measures import TRUST
from interpdisc_core.plan import Plan, Rendering
from interpdisc_core.report import RunView, render
from interpdisc_core.runs import Explanation, Member, Near, Pick, Run
from interpdisc_core.storage import Place

_LARGE, _SMALL = 640, 160
"""Pixels on the long side of an image in a card, and of one beside it."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a run's products are. address: of result.json; report: of the page; link: the page as a URL."""

    address: str
    report: str
    link: str
    result: dict[str, Any]


def publish(url: str, run_id: str, out: str, timings: dict[str, float]) -> Published:
    """Write report.html, picks.csv, picks.parquet, plan.json, environment.json and result.json.

    They go into the run's folder, and beside that into the local folder `out` where one is given.
    timings: seconds by stage, of this process; stages that were done before took none.
    """
    run = Run(Place.of(url), run_id)
    picks, ledger = run.picks(), _ledger(run)
    plan, present = run.plan, _present(run)
    found, made = _discovery(present, picks, plan.picks), _made(run, picks)
    result = _result(run, plan, present, picks, ledger, found, made, timings)
    places = [run.place, *([Place.of(out)] if out else [])]
    page = render(_view(run, plan, picks, ledger, found, made, result))
    rows = [_row(pick, made[pick.rank]) for pick in picks]
    products = {
        "report.html": page.encode("utf-8", "backslashreplace"),
        "picks.csv": _csv(rows),
        "picks.parquet": catalog.parquet(pa.Table.from_pylist(rows, schema=_PICKS)),
        "plan.json": run.place.read("plan.json"),
        "environment.json": run.place.read("environment.json"),
    }
    for place in places:
        for name, data in products.items():
            place.write(name, data)
        result["report"] = f"{place.url}/report.html"
        place.write_json("result.json", result)
    last = places[-1]
    report = f"{last.url}/report.html"
    return Published(f"{last.url}/result.json", report, report if last.remote else Path(report).as_uri(), result)


def _ledger(run: Run) -> list[catalog.Entry]:
    """The latest event of every input that the run listed."""
    listing = run.place.read_json("ledger.json")["listing"]
    keys = catalog.table_of(run.archive, f"listings/{listing}/listing.parquet")["key"].to_pylist()
    latest = {entry.key: entry for entry in catalog.find(run.archive, "key", keys)}
    return [latest[key] for key in keys]


def _made(run: Run, picks: list[Pick]) -> dict[int, Explanation]:
    """What was made for each pick by the run's present rendering, by rank; empty for those that were not explained."""
    kept, nothing, last = run.explanations(), Explanation(None, {}, {}), max(CARDS, run.rendering.picks)
    return {pick.rank: (kept.read(pick.rank) if pick.rank <= last else None) or nothing for pick in picks}


def _discovery(present: list[Member], picks: list[Pick], asked: int) -> Discovery | None:
    """How soon the classes were found, where the candidates have labels. t: the picks that were asked for."""
    candidates = [member for member in present if member.role == "candidate"]
    labels = [member.label for member in candidates]
    if not any(labels):
        return None
    row_of = {member.key: row for row, member in enumerate(candidates)}
    return discovery(labels, [row_of[pick.key] for pick in picks], asked)


def _result(
    run: Run,
    plan: Plan,
    members: list[Member],
    picks: list[Pick],
    ledger: list[catalog.Entry],
    found: Discovery | None,
    made: dict[int, Explanation],
    timings: dict[str, float],
) -> dict[str, Any]:
    return {
        "run": run.id,
        "archive": run.archive.url,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": run.place.read_json("plan.json"),
        "plan_digest": plan.digest,
        "rendering": asdict(run.rendering),
        "inputs": run.place.read_json("inputs.json"),
        "counts": catalog.counts(ledger),
        "candidates": sum(m.role == "candidate" for m in members),
        "known": sum(m.role == "background" for m in members),
        "picks": [
            {key: value for key, value in asdict(pick).items() if key not in ("record", "length")}
            | {"record": json.loads(pick.record)}
            | {"numbers": made[pick.rank].numbers, "trusted": made[pick.rank].trusted}
            for pick in picks
        ],
        "near_ties": sum(pick.near_ties for pick in picks),
        "exhausted": bool(run.place.read_json("picks.json")["exhausted"]),
        **(found.summary() if found else {"nauc": None, "classes": None}),
        "selection": run.place.read_json("selection-cost.json") if run.place.exists("selection-cost.json") else None,
        "timings": timings,
        "environment": run.place.read_json("environment.json"),
    }


def _present(run: Run) -> list[Member]:
    """The run's images that have features; the others turned out unreadable when those were to be computed."""
    store, members = FeatureStore(run.archive, run.plan.features), run.members()
    lost = {
        (batch, int(row))
        for batch in {member.batch for member in members}
        for number in store.done(batch)
        for row in store.record(Block(batch, number)).failed
    }
    return [member for member in members if (member.batch, member.row) not in lost]


def _row(pick: Pick, made: Explanation) -> dict[str, Any]:
    near = pick.nearest[0] if pick.nearest else None
    return {
        "id": pick.id, "rank": pick.rank, "score": pick.score, "near_ties": pick.near_ties, "label": pick.label,
        "uri": pick.uri, "sha256": pick.sha256, "nearest_id": near and near.id, "nearest_distance": near and near.distance,
        "trusted": made.trusted, "cosine": made.numbers.get(TRUST), "record": pick.record,
    }  # fmt: skip


_PICKS = pa.schema(
    [
        ("id", pa.string()), ("rank", pa.int64()), ("score", pa.float64()), ("near_ties", pa.int64()),
        *((name, pa.string()) for name in ("label", "uri", "sha256", "nearest_id")), ("nearest_distance", pa.float64()),
        ("trusted", pa.bool_()), ("cosine", pa.float64()), ("record", pa.string()),
    ]
)  # fmt: skip


def _csv(rows: list[dict[str, Any]]) -> bytes:
    """UTF-8 with every text quoted, so that names with commas, quotes and newlines come back as they were."""
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, fieldnames=[field.name for field in _PICKS], quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    said = {True: "yes", False: "no", None: ""}
    writer.writerows(row | {"trusted": said[row["trusted"]]} for row in rows)
    return sink.getvalue().encode("utf-8", "backslashreplace")


def _view(
    run: Run,
    plan: Plan,
    picks: list[Pick],
    ledger: list[catalog.Entry],
    found: Discovery | None,
    made: dict[int, Explanation],
    result: dict[str, Any],
) -> RunView:
    inputs, rendering = run.inputs, run.rendering
    rendered_by, card = _painter(rendering, plan)
    return RunView(
        title=", ".join(sources.title(source) for source in inputs.sources),
        run=run.id,
        finished=result["finished"],
        sources=inputs.sources,
        background=inputs.background,
        plan=result["plan"] | {"inverter": asdict(rendering.inverter), "explain": rendering.picks},
        environment=result["environment"],
        counts=result["counts"],
        candidates=result["candidates"],
        known=result["known"],
        asked=plan.picks,
        exhausted=result["exhausted"],
        quarantined=tuple((entry.id, entry.why) for entry in ledger if entry.status == "quarantined"),
        timings=result["timings"],
        picks=tuple(_pick_view(plan, pick, made[pick.rank]) for pick in picks),
        discovery=found,
        rendered_by=rendered_by,
        card=card,
    )


def _painter(rendering: Rendering, plan: Plan) -> tuple[str, dict[str, Any] | None]:
    """What made the renderings, in a sentence; and the card of its network, where it has one."""
    inverter = rendering.inverter
    if isinstance(inverter, Gradient):
        told = f"An optimiser made the renderings ({inverter.steps} steps from noise, inverter gradient); it was not trained on images."
        return told, None
    try:
        card = inverter.card(plan.representation)
    except InterpdiscError as error:
        return f"Nothing was rendered: {error}", None
    images, what, epochs = card.data.get("images"), card.data.get("what"), card.training.get("epochs")
    of = f" on {images:,} images" if isinstance(images, int) else ""
    refined = (
        f", brought nearer to the features by {inverter.refine.steps} steps of an optimiser"
        if isinstance(inverter, Refined)
        else ""
    )
    told = (
        f"An up-convolutional network made the renderings{refined} (inverter {inverter.kind}); it was trained"
        + (f" until {card.date}" if card.date else "")
        + of
        + (f" ({what})" if what else "")
        + (f" in {epochs} epochs" if epochs else "")
        + ": what it paints is what such images look like."
    )
    return told, asdict(card)


def _pick_view(plan: Plan, pick: Pick, made: Explanation) -> PickView:
    card = pick.rank <= CARDS
    try:
        picture, window = _seen(plan, pick, _LARGE if card else _SMALL)
        problem = ""
        picture = within(picture, _LARGE if card else _SMALL)
    except Unreadable as error:
        picture, problem, window = None, str(error), (0.0, 0.0, 1.0, 1.0)
    return PickView(
        rank=pick.rank, id=pick.id, uri=pick.uri, score=pick.score, near_ties=pick.near_ties, label=pick.label,
        record={str(key): str(value) for key, value in json.loads(pick.record).items()},
        picture=picture, problem=problem, window=window, where=made.where, renderings=made.renderings,
        numbers=made.numbers, nearest=tuple(_near_view(near) for near in pick.nearest) if card else (),
        manner=made.manner, deletion=made.deletion, trusted=made.trusted, threshold=made.threshold,
    )  # fmt: skip


def _seen(plan: Plan, pick: Pick, side: int) -> tuple[Pixels, tuple[float, float, float, float]]:
    """A pick's picture, and the part of it that the network looked at as fractions; of a tile, its whole frame."""
    if (found := frames.around(pick.uri, pick.sha256)) is not None:
        picture, (x, y, width, height) = found
    else:
        picture, x, y = pixels(pick.uri, pick.sha256, at_least=side), 0, 0
        height, width = picture.shape[:2]
    high, wide = picture.shape[:2]
    left, top, right, bottom = plan.representation.window(width, height)
    return picture, ((x + left) / wide, (y + top) / high, (x + right) / wide, (y + bottom) / high)


def _near_view(near: Near) -> NearView:
    try:
        picture = within(pixels(near.uri, near.sha256, at_least=_SMALL), _SMALL)
    except Unreadable:
        picture = None
    return NearView(id=near.id, distance=near.distance, role=near.role, picture=picture)
