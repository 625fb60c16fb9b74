"""Ingest: identify, check and account for every input. Three steps, of which the middle one is spread over workers.

`enlist` lists the sources and logs what is new; `check` reads files, hashes them and looks at their headers;
`settle` resolves duplicates and new versions, gives each new content a row, and says what is left to extract.
"""

import json
import logging
import platform
import posixpath
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from interpdisc_core import catalog, digest, metadata, radiometry, sources, tiles
from interpdisc_core.catalog import Entry
from interpdisc_core.compaction import compact
from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.features import Batch, Block, FeatureStore, batches, write_batch
from interpdisc_core.frames import as_mosaic
from interpdisc_core.images import identify
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.runs import Inputs, Member, Role, Run
from interpdisc_core.sources import Listed, Source
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

FORMAT = 2
"""Version of the archive's layout; `interpdisc_core.migration` brings older ones to it."""
_READERS = 8


@dataclass(frozen=True, slots=True)
class Listing:
    """What `enlist` found. name: of its files in the archive. unchecked: how many inputs `check` has to look at."""

    name: str
    inputs: int
    unchecked: int
    turn: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What `settle` decided. blocks: to extract, those complete already left out. ledger: inputs of this run by status."""

    run: str
    candidates: int
    known: int
    blocks: tuple[Block, ...]
    images: int
    ledger: dict[str, int]
    turn: int


def ready_archive(url: str) -> Place:
    """The archive at `url`, made if there is none. Raises StoreError for one of another layout version."""
    archive = Place.of(url)
    if not archive.exists("archive.json"):
        archive.write_json("archive.json", {"format": FORMAT, "made by": f"interpdisc {_version('interpdisc')}"})
    check_format(archive)
    return archive


def check_format(archive: Place) -> None:
    """Raises StoreError unless `archive` is an archive of this layout version."""
    from interpdisc_core.errors import StoreError

    if not archive.exists("archive.json"):
        raise StoreError(f"{archive.url} is not an archive: it has no archive.json.")
    told = archive.read_json("archive.json")
    found = told.get("format") if isinstance(told, dict) else None
    # A migration that was interrupted says what it began with; programs of that version must not go on either.
    earlier = told.get("migrating from") if found == FORMAT else found
    if type(earlier) is int and 0 < earlier < FORMAT:
        raise StoreError(
            f"{archive.url} has layout version {earlier}, of an earlier program: `interpdisc migrate {archive.url}` brings "
            f"it to version {FORMAT}."
        )
    if found != FORMAT:
        raise StoreError(f"{archive.url} has layout version {found}; this program reads version {FORMAT}.")


def enlist(url: str, inputs: Inputs) -> Listing:
    """List the sources and log every input that is new. Raises PlanError for a source that names nothing."""
    archive = ready_archive(url)
    roles: dict[str, tuple[Role, Listed]] = {}
    for role, given in (("background", inputs.background), ("candidate", inputs.sources)):
        for item in sources.listing(given) if given else []:
            roles.setdefault(catalog.key_of(item), (role, item))  # type: ignore[arg-type]
    label_of = labels_of(inputs.labels, [item.id for role, item in roles.values() if role == "candidate"])
    return _enlist(archive, roles, label_of, catalog.load(archive))


def looked_at(entry: Entry) -> str:
    """The address by which an input's pixels are read: its own, and what its radiometry adds to that."""
    return as_mosaic(entry.uri, mosaic_of(entry))


def mosaic_of(entry: Entry) -> str:
    """The pattern of colours that an input's values are a mosaic of, such as RGGB; empty for nearly all."""
    if not entry.radiometry.endswith(" bayer"):
        return ""
    return radiometry.mosaic(entry.radiometry, json.loads(entry.header), json.loads(entry.record))


def enlist_new(url: str, source: Source, inbox: str) -> Listing:
    """As `enlist`, of one source, but only what is not settled yet: what came since, or could not be got at.

    inbox: where in the archive a feed keeps what it brought.
    """
    archive = ready_archive(url)
    known = catalog.load(archive)
    roles: dict[str, tuple[Role, Listed]] = {}
    for item in sources.listing([source], archive / inbox):
        key = catalog.key_of(item)
        there = known.get(key)
        if there is None or there.status == "pending" or (there.status == "quarantined" and there.access):
            roles.setdefault(key, ("candidate", item))
    return _enlist(archive, roles, {}, known)


def _enlist(
    archive: Place, roles: dict[str, tuple[Role, Listed]], label_of: dict[str, str], known: dict[str, Entry]
) -> Listing:  # fmt: skip
    compact(archive)
    turn = catalog.next_turn(archive)
    events = [Entry.of(item) for key, (_, item) in roles.items() if key not in known]
    # What could not be got at last time is tried again, now that it is listed again.
    again = (known[key] for key in roles if key in known)
    events += [entry.now("pending") for entry in again if entry.status == "quarantined" and entry.access]
    if events:
        catalog.write_part(archive, turn, "list", events)
    latest = known | {entry.key: entry for entry in events}
    unchecked = [e for key in roles if (e := latest[key]).status == "pending" and (e.access or not e.sha256)]

    rows = [
        {"key": key, "id": item.id, "uri": item.uri, "role": role, "label": label_of.get(item.id, item.label),
         "record": latest[key].record}
        for key, (role, item) in roles.items()
    ]  # fmt: skip
    name = digest.of_json([rows])
    archive.write(f"listings/{name}/listing.parquet", catalog.parquet(pa.Table.from_pylist(rows, schema=_LISTING)))
    table = pa.Table.from_pylist([asdict(entry) for entry in unchecked], schema=catalog.SCHEMA)
    archive.write(f"listings/{name}/unchecked.parquet", catalog.parquet(table))
    log.info("%d inputs listed, %d of them new", len(roles), len(events))
    return Listing(name, len(roles), len(unchecked), turn + 1)


_LISTING = pa.schema([(column, pa.string()) for column in ("key", "id", "uri", "role", "label", "record")])


def labels_of(given: str, ids: Sequence[str]) -> dict[str, str]:
    """Classes by id, for the images that have one. given: see `Inputs.labels`.

    Raises PlanError for a table without the columns that are needed, or that names none of the images.
    """
    if not given:
        return {}
    if given == "folder":
        return {image: folder for image in ids if (folder := posixpath.basename(posixpath.dirname(image)))}
    table = [{sources.shown(k): sources.shown(v) for k, v in row.items()} for row in sources.read_table(given)]
    name = sources.column(table, sources.ID_COLUMNS + sources.PATH_COLUMNS)
    label = sources.column(table, sources.LABEL_COLUMNS)
    if name is None or label is None:
        raise PlanError(
            f"{given}: labels need a column of images ({', '.join(sources.PATH_COLUMNS[:3])}, …) and one of classes "
            f"({', '.join(sources.LABEL_COLUMNS)}); it has {', '.join(table[0])}."
        )
    by_name = {row[name]: row[label] for row in table if row[label]}
    found = {image: by_name.get(image) or by_name.get(posixpath.basename(image)) for image in ids}
    labelled = {key: value for key, value in found.items() if value}
    if not labelled:
        raise PlanError(
            f"{given}: none of its {len(by_name)} names is that of an image; the first is {next(iter(by_name), '')!r}."
        )
    log.info("%d of %d inputs have a label", len(labelled), len(ids))
    return labelled


def check(url: str, listing: str, rows: tuple[int, int], turn: int, watch: Watch) -> dict[str, int]:
    """Read, hash and identify inputs [start, stop) of those unchecked; log a fact or a quarantine for each.

    Returns how many have which status. Nothing about an input's content raises.
    """
    archive = Place.of(url)
    table = catalog.table_of(archive, f"listings/{listing}/unchecked.parquet").slice(rows[0], rows[1] - rows[0])
    meter = watch.meter("ingest", f"{rows[0]}")
    checked = []
    with ThreadPoolExecutor(_READERS) as pool:
        for entry in pool.map(_checked, (Entry(**row) for row in table.to_pylist())):
            checked.append(entry)
            meter.add(1)
    catalog.write_part(archive, turn, f"check-{rows[0]:09d}", checked)
    meter.close()
    return catalog.counts(checked)


def _checked(entry: Entry) -> Entry:
    try:
        data = sources.read(entry.uri)
        sha256 = digest.of_bytes(data)
        facts = identify(data)
    except Unreadable as error:
        return entry.now("quarantined", str(error), access=error.access)
    # `access` stays until it is settled: a run killed here is being tried again, and has lost nothing.
    known = entry.now("pending", sha256=sha256, **asdict(facts))
    return replace(known, radiometry=radiometry_of(known))


def radiometry_of(entry: Entry) -> str:
    """What the values of an input that was read are, and how they are brought to the network's domain, in short."""
    header = json.loads(entry.header)
    told = metadata.told(entry.id, json.loads(entry.record), header)
    return radiometry.of(entry.mode, entry.format, header, told, entry.id).name


def settle(url: str, listing: str, plan: Plan, inputs: Inputs, block: int, workers: int) -> Settled:
    """Resolve duplicates and versions, give new contents their rows, and begin the run.

    One content has one row, whatever the number of files that hold it. The run's id is named by its plan and by the
    contents and ids of its images, so the same command over the same images is the same run.
    """
    archive = Place.of(url)
    side = plan.representation.side if inputs.tiles else 0
    listed, latest, turn = _admit(archive, listing, block, workers, side)
    members = _members(listed, latest)
    candidates = [member for member in members if member.role == "candidate"]
    if not candidates:
        why = next(
            (
                entry.why
                for row in listed
                if (entry := latest[row["key"]]).status in ("quarantined", "skipped") and row["role"] == "candidate"
            ),
            "",
        )
        raise PlanError(
            f"none of the {len(listed)} inputs is an image to pick from"
            + (f" (the first: {why})." if why else ": all of them are in the background too.")
        )
    named = digest.of_json([plan.digest, [[row["id"], row["role"], latest[row["key"]].sha256] for row in listed]])
    run = Run(archive, f"{min(map(_slug, inputs.sources))}-{named[:8]}")
    run.begin(plan, inputs, members, environment())
    store = FeatureStore(archive, plan.features)
    store.describe(plan.representation)
    blocks, images = unextracted(store, members)
    ledger = catalog.counts(latest[row["key"]] for row in listed)
    run.place.write_json("ledger.json", {"listing": listing, "inputs": len(listed)})
    return Settled(run.id, len(candidates), len(members) - len(candidates), blocks, images, ledger, turn + 1)


def admitted(url: str, listing: str, block: int, workers: int) -> list[Member]:
    """As `settle`, but without a run: the images of a listing, each content once, with their rows in the archive."""
    listed, latest, _ = _admit(Place.of(url), listing, block, workers)
    return _members(listed, latest)


def admit(url: str, listing: str, block: int, workers: int, side: int) -> None:
    """Resolve a listing and give its new contents their rows, without a run.

    side: of the network's input in pixels; frames that are much larger are admitted tile by tile besides. 0: none are.
    """
    _admit(Place.of(url), listing, block, workers, side)


def catalogued(url: str) -> list[Member]:
    """The images of a whole archive, each content once, by what its catalog says; nothing is listed anew.

    Raises StoreError where there is no archive at `url`.
    """
    archive = Place.of(url)
    check_format(archive)
    latest = catalog.load(archive)
    rows = [{"key": e.key, "id": e.id, "uri": e.uri, "role": "candidate", "label": None, "record": e.record}
            for e in latest.values() if e.status == "ready"]  # fmt: skip
    return _members(rows, latest)


def _admit(
    archive: Place, listing: str, block: int, workers: int, side: int = 0
) -> tuple[list[dict[str, Any]], dict[str, Entry], int]:
    """Resolve a listing and give its new contents their rows: what was listed, the latest of each input, the turn."""
    listed = catalog.table_of(archive, f"listings/{listing}/listing.parquet").to_pylist()
    known, turn = catalog.load(archive), catalog.next_turn(archive)
    if side:
        listed, known = _with_tiles(listed, known, side)
    events = _resolve(known, [row["key"] for row in listed])
    fresh = [entry for entry in events.values() if entry.status == "ready" and entry.row < 0]
    number = max(batches(archive), default=-1) + 1
    if fresh:
        # Enough blocks for every worker, none larger than asked for.
        size = max(1, min(block, -(-len(fresh) // max(workers, 1))))
        write_batch(archive, number, [replace(entry, uri=looked_at(entry)) for entry in fresh], size)
        events |= {entry.key: replace(entry, batch=number, row=row) for row, entry in enumerate(fresh)}
    if events:
        catalog.write_part(archive, turn, "settle", events.values())
    return listed, known | events, turn


def _with_tiles(
    listed: list[dict[str, Any]], known: dict[str, Entry], side: int
) -> tuple[list[dict[str, Any]], dict[str, Entry]]:  # fmt: skip
    """A listing and a catalog with the tiles of frames that are much larger than a network's input of `side` pixels.

    A tile is an input of its own, whose address and content are a part of its frame's. The frame stays one too.
    """
    more, cut = list(listed), dict(known)
    for row in listed:
        frame = known[row["key"]]
        if not frame.sha256 or frame.status == "quarantined":
            continue
        size = frame.width, frame.height
        if tiles.boxes(*size, side):
            size = tiles.upright(*size, frame.format, json.loads(frame.header))
        for box in tiles.boxes(*size, side):
            uri, part = tiles.address(frame.uri, box), ",".join(map(str, box))
            key = digest.of_bytes(f"{frame.key}\0{part}".encode())[:16]
            tile = replace(
                frame, key=key, id=f"{frame.id}#xywh={part}", uri=uri, status="pending", why="", batch=-1, row=-1,
                sha256=tiles.content(frame.sha256, box), width=box[2], height=box[3],
            )  # fmt: skip
            cut.setdefault(key, tile)
            more.append({**row, "key": key, "id": tile.id, "uri": uri})
    return more, cut


def _resolve(known: dict[str, Entry], listed: Iterable[str]) -> dict[str, Entry]:
    """The events that make ready entries and contents correspond one to one."""
    events: dict[str, Entry] = {}
    rows = {e.sha256: (e.batch, e.row) for e in known.values() if e.row >= 0}
    versions = {known[key].uri: key for key in listed if known[key].sha256}
    undecodable = {e.sha256: e.why for e in known.values() if e.status == "quarantined" and e.sha256 and not e.access}
    alive: dict[str, list[Entry]] = {}
    for entry in known.values():
        if not entry.sha256 or entry.status in ("quarantined", "skipped"):
            continue
        if entry.status == "superseded-by" and versions.get(entry.uri) != entry.key:
            continue  # unless the old version was put back, time stamp and all
        if entry.sha256 in undecodable:
            events[entry.key] = entry.now("quarantined", undecodable[entry.sha256], access=False, batch=-1, row=-1)
            continue
        newer = known[versions.get(entry.uri, entry.key)]
        if newer.key != entry.key and newer.sha256 != entry.sha256:
            events[entry.key] = entry.now("superseded-by", newer.key, access=False)
        else:
            alive.setdefault(entry.sha256, []).append(entry)
    for sha256, same in alive.items():
        first = next((entry for entry in same if entry.status == "ready"), same[0])
        if first.status != "ready":
            batch, row = rows.get(sha256, (-1, -1))
            events[first.key] = first.now("ready", access=False, batch=batch, row=row)
        for entry in same:
            if entry is not first and (entry.status, entry.why) != ("duplicate-of", first.key):
                events[entry.key] = entry.now("duplicate-of", first.key, access=False)
    return events


def _members(listed: list[dict[str, Any]], latest: dict[str, Entry]) -> list[Member]:
    """The run's images, one for each content: candidates, then background, each in order of id.

    A content that is in the background is not a candidate. Order and ids are those of the listing, so they do not
    depend on what the archive held before.
    """
    taken: dict[str, Member] = {}
    for row in sorted(listed, key=lambda row: (row["role"] != "background", row["id"], row["key"])):
        entry = latest[row["key"]]
        original = latest[entry.why] if entry.status == "duplicate-of" else entry
        if original.status == "ready" and original.sha256 not in taken:
            taken[original.sha256] = Member(
                row["id"], row["key"], looked_at(entry), original.sha256, original.batch, original.row, row["role"],
                row["label"], row["record"],
            )  # fmt: skip
    unique, seen = [], set()
    for member in taken.values():
        # Two sources may use one id for different images; people must be able to tell them apart.
        name = member.id if member.id not in seen else f"{member.id}@{digest.of_bytes(member.uri.encode())[:8]}"
        seen.add(name)
        unique.append(replace(member, id=name))
    return sorted(unique, key=lambda member: (member.role != "candidate", member.id))


def unextracted(store: FeatureStore, members: list[Member]) -> tuple[tuple[Block, ...], int]:
    """The blocks that hold members and are not complete, and how many images these are."""
    return unextracted_at(store, [(member.batch, member.row) for member in members])


def unextracted_at(store: FeatureStore, places: Sequence[tuple[int, int]]) -> tuple[tuple[Block, ...], int]:
    """The blocks that hold places (batch, row) and are not complete, and how many images these are."""
    known = {number: Batch.read(store.archive, number) for number in sorted({batch for batch, _ in places})}
    wanted = sorted({Block(batch, row // known[batch].block) for batch, row in places})
    done = {number: store.done(number) for number in known}
    left = tuple(block for block in wanted if block.number not in done[block.batch])
    sizes = (known[block.batch].rows(block.number) for block in left)
    return left, sum(stop - start for start, stop in sizes)


def _slug(source: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", posixpath.splitext(sources.title(source))[0].lower()).strip("-")[:32] or "run"


def environment() -> dict[str, Any]:
    """What the run runs with: versions and the kind of machine; no paths, no names."""
    packages = (
        "interpdisc",
        "numpy",
        "scipy",
        "torch",
        "torchvision",
        "onnxruntime",
        "zarr",
        "pillow",
        "prefect",
        "distributed",
    )
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def ranges(total: int, block: int, workers: int) -> list[tuple[int, int]]:
    """[start, stop) parts of `total` items: at most `block` each, and enough of them for every worker."""
    size = max(1, min(block, -(-total // max(workers, 1))))
    return [(start, min(start + size, total)) for start in range(0, total, size)]
