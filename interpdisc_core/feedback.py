"""What people said of images: immutable events in the archive, of which the latest by each image counts.

`feedback/<UTC time>-<8 hexadecimal digits>.json`, one event a file: two people at once write two files, and nothing is
ever changed, so all of it together is the audit trail.
"""

import re
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from interpdisc_core.catalog_lookup import Found, find
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.storage import Place

Verdict = Literal["known", "interesting", "boring", "artefact", "none"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""`none` takes an earlier verdict back."""

FOLDER = "feedback"
_TIME = "%Y%m%dT%H%M%S.%fZ"
_NAME = re.compile(r"(\d{8}T\d{6}\.\d{6}Z)-[0-9a-f]{8}\.json")
_BY, _NOTE = 80, 2_000
_TOGETHER = 16
"""Events that are read from an object store at a time."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One verdict. at: UTC, ISO 8601, microseconds. by: who gave it. token: tells events of one moment apart."""

    at: str
    token: str
    id: str
    key: str
    verdict: Verdict
    by: str
    note: str = ""


def mark(archive: Place, id: str, verdict: str, by: str, note: str = "") -> Mark:
    """Say something of an image, by its id or its key in the catalog; the last word on a key counts.

    An id means the image's current version. Raises PlanError for an id that the catalog does not have or that several
    images share, for a verdict that is none of VERDICTS, and where `by` is empty or anything is too long.
    """
    said = _verdict(verdict)
    person, more = _line(by, "--by", _BY), note.strip()
    if not person:
        raise PlanError("--by is empty: say whose verdict this is, so that others can ask.")
    if len(more) > _NOTE:
        raise PlanError(f"the note has {len(more):,} characters; at most {_NOTE:,} are kept.")
    of = _one(archive, id)
    # Never before an event that is already there, whatever this machine's clock says: the last to speak has the last word.
    names = _names(archive)
    last = datetime.strptime(names[-1].partition("-")[0], _TIME).replace(tzinfo=UTC) if names else None
    now = datetime.now(UTC)
    at = now if last is None else max(now, last + timedelta(microseconds=1))
    made = Mark(at.isoformat(timespec="microseconds"), secrets.token_hex(4), of.id, of.key, said, person, more)
    archive.write_json(f"{FOLDER}/{at.strftime(_TIME)}-{made.token}.json", asdict(made))
    return made


def trail(archive: Place, kept: dict[str, Mark] | None = None) -> list[Mark]:
    """Every verdict ever given, by time and then token. kept: marks by file, read before; they are not read again.

    Raises StoreError where an event is damaged.
    """
    read = {} if kept is None else kept
    missing = [name for name in _names(archive) if name not in read]
    if archive.remote and len(missing) > 1:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            found = list(pool.map(lambda name: _read(archive, name), missing))
    else:
        found = [_read(archive, name) for name in missing]
    read.update(zip(missing, found, strict=True))
    return sorted(read.values(), key=_order)


def verdicts(archive: Place) -> dict[str, Mark]:
    """The latest mark of every image that has one, by its key in the catalog; those taken back are left out."""
    return latest(trail(archive))


def latest(marks: Iterable[Mark]) -> dict[str, Mark]:
    """Of each key the last mark, where it is not `none`; the order in which marks are given does not matter."""
    last = {one.key: one for one in sorted(marks, key=_order)}
    return {key: one for key, one in last.items() if one.verdict != "none"}


def _order(one: Mark) -> tuple[str, str]:
    return one.at, one.token


def _names(archive: Place) -> list[str]:
    return sorted(name for name in archive.names(FOLDER) if _NAME.fullmatch(name))


def _read(archive: Place, name: str) -> Mark:
    told = archive.read_json(f"{FOLDER}/{name}")
    try:
        made = Mark(**told)
        if made.verdict not in VERDICTS or not all(isinstance(value, str) for value in told.values()):
            raise TypeError(made.verdict)
    except TypeError as error:
        raise StoreError(f"{archive.url}/{FOLDER}/{name} is damaged: it is no verdict ({error}).") from error
    return made


def _verdict(given: str) -> Verdict:
    for one in VERDICTS:
        if given == one:
            return one
    raise PlanError(f"a verdict is {', '.join(VERDICTS[:-1])}, or none to take one back; not {given[:40]!r}.")


def _line(text: str, what: str, most: int) -> str:
    """A name on one line."""
    line = " ".join(text.split())
    if len(line) > most:
        raise PlanError(f"{what} has {len(line):,} characters; at most {most} are kept.")
    if any(not c.isprintable() for c in line):
        raise PlanError(f"{what} has characters that cannot be shown: {line[:40]!r}.")
    return line


def _one(archive: Place, id: str) -> Found:
    """The image that an id or a key means."""
    entries = find(archive, ids=(id,), keys=(id,))
    if id in entries:
        return entries[id]
    current = [one for one in entries.values() if one.status != "superseded-by"] or list(entries.values())
    if not current:
        raise PlanError(
            f"{archive.url} has no image {id[:200]!r}; give an id or a key as its pages and tables show them."
        )
    if len(current) > 1:
        several = ", ".join(sorted(one.key for one in current)[:10])
        raise PlanError(
            f"{len(current)} images of {archive.url} are called {id[:200]!r}; give one of the keys: {several}."
        )
    return current[0]
