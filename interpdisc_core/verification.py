"""Proof that an archive is whole: nothing unaccounted for, no block missing, every hash holds."""

from dataclasses import dataclass, field

from interpdisc_core import catalog
from interpdisc_core.catalog import Entry
from interpdisc_core.errors import StoreError
from interpdisc_core.features import Batch, Block, FeatureStore, batches
from interpdisc_core.ingest import check_format
from interpdisc_core.storage import Place


@dataclass(frozen=True, slots=True)
class Extracted:
    """One representation's features. ready = extracted + still to do, in images; blocks: complete ones."""

    name: str
    kind: str
    ready: int
    extracted: int
    to_do: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found. counts: inputs by status; inputs: their sum, which is every input ever seen."""

    inputs: int
    counts: dict[str, int]
    features: tuple[Extracted, ...]
    faults: tuple[str, ...] = field(default=())

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong. Work that is not done yet is not a fault."""
        return not self.faults


def verify(url: str) -> Verified:
    """Check a whole archive, reading every block. Raises StoreError where there is no archive at `url`."""
    archive = Place.of(url)
    check_format(archive)
    faults: list[str] = []
    try:
        latest = catalog.load(archive)
    except StoreError as error:
        return Verified(0, {}, (), (str(error),))
    known: dict[int, Batch] = {}
    for number in batches(archive):
        try:
            known[number] = Batch.read(archive, number)
        except StoreError as error:
            faults.append(str(error))
    faults += _catalog_faults(latest, known)
    stores = [FeatureStore(archive, name) for name in archive.names("features")]
    features = tuple(_extracted(store, latest, known, faults) for store in stores)
    for number, batch in known.items():
        # Features are only ever computed of inputs that were settled: if one is not, a part of the log is gone.
        if any(store.done(number) for store in stores):
            faults += _unsettled(f"batch {number}", batch.table["key"].to_pylist(), latest)
    faults += _run_faults(archive, latest)
    return Verified(len(latest), catalog.counts(latest.values()), features, tuple(faults))


def _catalog_faults(latest: dict[str, Entry], known: dict[int, Batch]) -> list[str]:
    """Every ready content has exactly one row, and that row is its own; every reference leads to a ready input."""
    faults = []
    seen: dict[str, str] = {}
    shas = {number: batch.table["sha256"].to_pylist() for number, batch in known.items()}
    for entry in latest.values():
        if entry.status not in catalog.STATUSES:
            faults.append(f"{entry.id!r}: its status {entry.status!r} is not one that there is")
        if entry.status == "ready":
            if entry.sha256 in seen:
                faults.append(f"{entry.id!r} and {seen[entry.sha256]!r} are the same content and both ready")
            seen[entry.sha256] = entry.id
            rows = shas.get(entry.batch, [])
            if not 0 <= entry.row < len(rows) or rows[entry.row] != entry.sha256:
                faults.append(f"{entry.id!r}: row {entry.row} of batch {entry.batch} is not its own")
        if entry.status in ("duplicate-of", "superseded-by") and entry.why not in latest:
            faults.append(f"{entry.id!r}: is {entry.status} an input that is not in the catalog")
        if entry.status in ("quarantined", "skipped") and not entry.why:
            faults.append(f"{entry.id!r}: is {entry.status} without a reason")
    return faults


def _extracted(store: FeatureStore, latest: dict[str, Entry], known: dict[int, Batch], faults: list[str]) -> Extracted:
    ready = [entry for entry in latest.values() if entry.status == "ready"]
    complete: dict[Block, set[int]] = {}
    for number, batch in known.items():
        for done in sorted(store.done(number)):
            if done >= batch.blocks:
                faults.append(
                    f"features/{store.name}: a record of block {done}, of which batch {number} has {batch.blocks}"
                )
                continue
            if fault := store.fault(batch, done):
                faults.append(fault)
                continue
            complete[Block(number, done)] = {int(row) for row in store.record(Block(number, done)).failed}
    extracted = to_do = 0
    for entry in ready:
        if entry.batch not in known:
            continue
        block = Block(entry.batch, entry.row // known[entry.batch].block)
        if block not in complete:
            to_do += 1
        elif entry.row in complete[block]:
            faults.append(f"{entry.id!r}: is ready, but features/{store.name} has no vector of it")
        else:
            extracted += 1
    try:
        kind = str(store.archive.read_json(f"features/{store.name}/spec.json").get("kind", "?"))
    except (FileNotFoundError, StoreError):
        kind = "?"
        faults.append(f"features/{store.name}: its spec.json is missing or damaged")
    return Extracted(store.name, kind, len(ready), extracted, to_do, len(complete))


def _run_faults(archive: Place, latest: dict[str, Entry]) -> list[str]:
    """Every input that a finished run listed is in the catalog."""
    faults = []
    for run in archive.names("runs"):
        place = archive / f"runs/{run}"
        if not place.exists("result.json"):
            continue
        listing = place.read_json("ledger.json")["listing"]
        try:
            keys = catalog.table_of(archive, f"listings/{listing}/listing.parquet")["key"].to_pylist()
        except FileNotFoundError:
            faults.append(f"run {run}: its listing is missing")
            continue
        faults += _unsettled(f"run {run}", keys, latest)
    return faults


def _unsettled(what: str, keys: list[str], latest: dict[str, Entry]) -> list[str]:
    """A fault where inputs that were once settled are unknown or pending, unless they are being tried again."""
    lost = sum(key not in latest or (latest[key].status == "pending" and not latest[key].access) for key in keys)
    return [f"{what}: the catalog has lost what became of {lost} of its {len(keys)} inputs"] if lost else []
