"""Verdicts of people about images: immutable events in the archive. The latest event of an image counts.

`feedback/<UTC time>-<8 hexadecimal digits>.json` is one event. Two people at once write two files, and no file is ever
changed, so all files together are the audit trail.
"""

import re
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from interpdisc_core.archive.catalog import CatalogEntry, EntrySummary, find_entries_by_id
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.storage.location import Location

Verdict = Literal["known", "interesting", "boring", "artefact", "none"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""`none` withdraws an earlier verdict."""

FEEDBACK_FOLDER = "feedback"
_TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"
_FILE_NAME = re.compile(r"(\d{8}T\d{6}\.\d{6}Z)-[0-9a-f]{8}\.json")
_MAX_AUTHOR_CHARS, _MAX_NOTE_CHARS = 80, 2_000
_PARALLEL_READS = 16
"""Events read from an object store at a time."""


@dataclass(frozen=True, slots=True)
class VerdictEvent:
    """One verdict.

    Attributes:
        at: When it was given: UTC, ISO 8601, microseconds.
        token: Distinguishes events of the same time, 8 hexadecimal digits.
        id: The image's id.
        key: The image's key in the catalog.
        by: Who gave it.
    """

    at: str
    token: str
    id: str
    key: str
    verdict: Verdict
    by: str
    note: str = ""


def record_verdict(archive: Location, id: str, verdict: str, by: str, note: str = "") -> VerdictEvent:
    """Write a verdict about an image. The last verdict about a key counts.

    Args:
        archive: The archive.
        id: The image's id or its key in the catalog. An id means the current version of the image.
        verdict: One of `VERDICTS`.
        by: Who gives it, at most 80 characters.
        note: At most 2,000 characters.

    Raises:
        PlanError: If the catalog has no such image or several, or if another argument is not valid.
    """
    checked_verdict = _parse_verdict(verdict)
    author, note_text = _check_line(by, "--by", _MAX_AUTHOR_CHARS), note.strip()
    if not author:
        raise PlanError("--by is empty: say whose verdict this is, so that others can ask.")
    if len(note_text) > _MAX_NOTE_CHARS:
        raise PlanError(f"the note has {len(note_text):,} characters; at most {_MAX_NOTE_CHARS:,} are kept.")
    image = _find_image(archive, id)
    # Never before an existing event, whatever this machine's clock says: the verdict given last counts.
    file_names = _list_event_files(archive)
    last = datetime.strptime(file_names[-1].partition("-")[0], _TIME_FORMAT).replace(tzinfo=UTC) if file_names else None
    now = datetime.now(UTC)
    timestamp = now if last is None else max(now, last + timedelta(microseconds=1))
    event = VerdictEvent(
        timestamp.isoformat(timespec="microseconds"),
        secrets.token_hex(4),
        image.id,
        image.key,
        checked_verdict,
        author,
        note_text,
    )
    archive.write_checked_json(
        f"{FEEDBACK_FOLDER}/{timestamp.strftime(_TIME_FORMAT)}-{event.token}.json", asdict(event)
    )
    return event


def read_verdict_history(archive: Location, cache: dict[str, VerdictEvent] | None = None) -> list[VerdictEvent]:
    """Every verdict ever given, ordered by time and then token.

    Args:
        archive: The archive.
        cache: Events by file name. They are not read again, and new ones are added.

    Raises:
        StoreError: If an event is damaged.
    """
    events_by_file = {} if cache is None else cache
    missing = [name for name in _list_event_files(archive) if name not in events_by_file]
    if archive.is_remote and len(missing) > 1:
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            events = list(pool.map(lambda name: _read_event(archive, name), missing))
    else:
        events = [_read_event(archive, name) for name in missing]
    events_by_file.update(zip(missing, events, strict=True))
    return sorted(events_by_file.values(), key=_sort_key)


def read_current_verdicts(archive: Location) -> dict[str, VerdictEvent]:
    """The latest verdict about each image, by its key in the catalog, without withdrawn ones."""
    return select_current_verdicts(read_verdict_history(archive))


def select_current_verdicts(events: Iterable[VerdictEvent]) -> dict[str, VerdictEvent]:
    """The last verdict about each key, without withdrawn ones. The order of `events` does not matter."""
    last_events = {event.key: event for event in sorted(events, key=_sort_key)}
    return {key: event for key, event in last_events.items() if event.verdict != "none"}


def _sort_key(event: VerdictEvent) -> tuple[str, str]:
    return event.at, event.token


def _list_event_files(archive: Location) -> list[str]:
    return sorted(name for name in archive.list_checked_names(FEEDBACK_FOLDER) if _FILE_NAME.fullmatch(name))


def _read_event(archive: Location, name: str) -> VerdictEvent:
    payload = archive.read_checked_json(f"{FEEDBACK_FOLDER}/{name}")
    try:
        event = VerdictEvent(**payload)
        if event.verdict not in VERDICTS or not all(isinstance(value, str) for value in payload.values()):
            raise TypeError(event.verdict)
    except TypeError as error:
        raise StoreError(
            f"{archive.url}/{FEEDBACK_FOLDER}/{name} is damaged: it is not a verdict ({error})."
        ) from error
    return event


def _parse_verdict(text: str) -> Verdict:
    for verdict in VERDICTS:
        if text == verdict:
            return verdict
    raise PlanError(f"a verdict is {', '.join(VERDICTS[:-1])}, or none to take one back; not {text[:40]!r}.")


def _check_line(text: str, option: str, max_chars: int) -> str:
    """The text on one line, if it is short and printable."""
    line = " ".join(text.split())
    if len(line) > max_chars:
        raise PlanError(f"{option} has {len(line):,} characters; at most {max_chars} are kept.")
    if any(not c.isprintable() for c in line):
        raise PlanError(f"{option} has characters that cannot be shown: {line[:40]!r}.")
    return line


def _find_image(archive: Location, id: str) -> EntrySummary:
    """The image with this id or key."""
    entries = find_entries_by_id(archive, ids=(id,), keys=(id,))
    if id in entries:
        return entries[id]
    candidates = [entry for entry in entries.values() if entry.status != "superseded-by"] or list(entries.values())
    if not candidates:
        raise PlanError(
            f"{archive.url} has no image {id[:200]!r}; give an id or a key as its pages and tables show them."
        )
    if len(candidates) > 1:
        keys = ", ".join(sorted(entry.key for entry in candidates)[:10])
        raise PlanError(
            f"{len(candidates)} images of {archive.url} are called {id[:200]!r}; give one of the keys: {keys}."
        )
    return candidates[0]


VerdictsByHash = Mapping[str, VerdictEvent]
"""The latest verdict by sha256 of the image."""


def load_latest_verdicts(archive: Location, entries: Mapping[str, CatalogEntry]) -> dict[str, VerdictEvent]:
    """The latest verdict about each content. entries: the catalog, by key."""
    events = sorted(read_current_verdicts(archive).values(), key=_sort_key)
    return {entries[event.key].sha256: event for event in events if event.key in entries and entries[event.key].sha256}


def find_hashes_with_verdicts(archive: Location, entries: Mapping[str, CatalogEntry]) -> set[str]:
    """The hashes of all contents that ever had a verdict, also a withdrawn one. entries: the catalog, by key."""
    return {entries[event.key].sha256 for event in read_verdict_history(archive) if event.key in entries}
