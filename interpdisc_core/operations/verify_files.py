"""Verification of an archive's files by their checksums, and of what has digests of its own: vectors, images, examples."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from interpdisc_core.archive.pick_vectors import check_vectors, read_vectors
from interpdisc_core.digest import digest_bytes
from interpdisc_core.errors import AccessError, DamageError, StoreError, one_line
from interpdisc_core.sources.feeds.inbox import Inbox
from interpdisc_core.storage.checksums import CHECKSUM_SUFFIX
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.lock import LOCK_FILE
from interpdisc_core.storage.lock_protocol import LockOwner
from interpdisc_core.training.dataset import TrainingRun

SET_ASIDE_FOLDER = "set-aside"
"""Where `repair` keeps what was damaged."""
_READERS = 8

_WITHOUT_CHECKSUM = re.compile(
    r"(features/[^/]+/\d+|runs/[^/]+)/(values|vectors)/.*"  # digests in the block's record, and in the selection's state
    r"|inbox/[^/]+/images/.*"  # in the image's record
    r"|examples/[^/]+/[^/]+/(codes|pictures)/.*"  # in the part's record
    r"|memory/[^/]+/cache/.*"  # in the file itself
    r"|inbox/[^/]+/partial/.*|progress/.*|lock\.json"  # of a process that is at work
)
_NAMES_BY_FOLDER = (
    (re.compile(r"(catalog)/([^/]+)"), re.compile(r"\d{8,}-.+\.parquet")),
    (re.compile(r"(catalog-history|batches)/([^/]+)"), re.compile(r"\d{6,}\.parquet")),
    (
        re.compile(r"(features/[^/]+/\d+/records|backfills/[^/]+/(?:shards|faults))/([^/]+)"),
        re.compile(r"\d{6,}\.json"),
    ),
    (re.compile(r"(feedback)/([^/]+)"), re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}\.json")),
    (re.compile(r"(memory/[^/]+/records)/([^/]+)"), re.compile(r"[\w%~-]+\.\d+\.[0-9a-f]{64}\.bin")),
)
"""Which names files have in folders that are read by listing them."""


@dataclass(frozen=True, slots=True)
class FileFault:
    """What is wrong with a file.

    Attributes:
        path: In the archive.
        kind: `damaged` or lost; `stray`: no file of an archive; `checksum`: its checksum itself is damaged.
        sentence: For people.
    """

    path: str
    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class FileScan:
    """The files of an archive.

    Attributes:
        checked: Number of files that fit their checksum.
        unchecked: Number of files without one: an earlier version wrote them, or a run was killed right after it.
        faults: What is wrong.
    """

    checked: int
    unchecked: int
    faults: tuple[FileFault, ...]


def scan_files(archive: Location) -> FileScan:
    """Compare every file with its checksum, and look for files that do not belong to an archive."""
    paths = [
        path for path in archive.list_tree() if not path.startswith(f"{SET_ASIDE_FOLDER}/") and not _is_hidden(path)
    ]
    present = {path for path in paths if not path.endswith(CHECKSUM_SUFFIX)}
    with_checksum = sorted(path.removesuffix(CHECKSUM_SUFFIX) for path in paths if path.endswith(CHECKSUM_SUFFIX))
    with ThreadPoolExecutor(_READERS) as pool:
        outcomes = list(pool.map(lambda path: _check_file(archive, path), with_checksum))
    faults = [outcome for outcome in outcomes if outcome is not None]
    rest = present - set(with_checksum)
    if LOCK_FILE in present and LockOwner.from_bytes(archive.read(LOCK_FILE)) is None:
        faults.append(
            FileFault(LOCK_FILE, "damaged", f"{archive.url}/{LOCK_FILE} is damaged: nothing can lock the archive.")
        )
    strays = {path for path in present if _is_stray(path)}
    faults += [
        FileFault(path, "stray", f"{archive.url}/{path} is not a file of an archive: move it to another folder.")
        for path in sorted(strays)
    ]
    unchecked = [path for path in rest - strays if not _WITHOUT_CHECKSUM.fullmatch(path)]
    return FileScan(
        len(with_checksum) - sum(outcome is not None for outcome in outcomes), len(unchecked), tuple(faults)
    )


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/")) and not path.startswith("inbox/")


def _is_stray(path: str) -> bool:
    folder, _, rest = path.partition("/")
    if not rest:
        return folder not in ("archive.json", "lock.json")
    return any(
        (match := pattern.fullmatch(path)) is not None and not names.fullmatch(match[2])
        for pattern, names in _NAMES_BY_FOLDER
    )


def _check_file(archive: Location, path: str) -> FileFault | None:
    try:
        archive.read_checked(path)
    except FileNotFoundError:
        return None  # removed meanwhile
    except DamageError as error:
        is_checksum = "is not a checksum of" in str(error) and archive.exists(path)
        return FileFault(path, "checksum" if is_checksum else "damaged", str(error))
    return None


def find_array_faults(archive: Location) -> list[FileFault]:
    """What is wrong with the vectors of picks, the downloaded images, the records of the memory and examples of trainings.

    Each of them has a digest in a record that is written after it.
    """
    checks: list[tuple[str, Callable[[], Iterator[FileFault]]]] = [
        *((f"runs/{run}", lambda run=run: _check_run_vectors(archive, run)) for run in archive.list_folders("runs")),
        *((f"inbox/{feed}", lambda feed=feed: _check_images(archive, feed)) for feed in archive.list_folders("inbox")),
        *(
            (f"training/{name}", lambda name=name: _check_examples(archive, name))
            for name in archive.list_folders("training")
        ),
    ]
    faults: list[FileFault] = []
    for path, check in checks:
        try:
            faults += check()
        except AccessError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault and not the end of a verification
            sentence = (
                str(error) if isinstance(error, StoreError) else f"{archive.url}/{path} is damaged: {one_line(error)}."
            )
            faults.append(FileFault(path, "damaged", sentence))
    return faults


def _check_run_vectors(archive: Location, run: str) -> Iterator[FileFault]:
    location = archive / f"runs/{run}"
    try:
        if not check_vectors(location) and location.exists("picks.json"):
            # Of an earlier version, without digests: at least they can be read.
            for rank in range(1, len(location.read_checked_json("picks.json")["picks"]) + 1):
                read_vectors(location, rank)
    except DamageError as error:
        yield FileFault(f"runs/{run}/vectors", "damaged", str(error))


def _check_images(archive: Location, feed: str) -> Iterator[FileFault]:
    """The images that a feed brought, by the digests in their records. A missing one is a fault of its record."""
    inbox = Inbox(archive / "inbox", feed)
    for day in inbox.list_days():
        try:
            records = inbox.read_day(day)
        except StoreError:
            continue  # its file is among the files
        for record in records:
            try:
                data = inbox.location.read(record.image.name)
            except FileNotFoundError:
                sentence = f"inbox/{feed}: the image of {record.id!r} is missing ({record.image.name})"
                yield FileFault(f"inbox/{record.image.name}", "damaged", sentence)
                continue
            if digest_bytes(data) != record.image.sha256:
                yield FileFault(
                    f"inbox/{record.image.name}",
                    "damaged",
                    f"inbox/{feed}: the image of {record.id!r} is damaged ({record.image.name}): its hash does not match",
                )


def _check_examples(archive: Location, name: str) -> Iterator[FileFault]:
    training = TrainingRun(archive, name)
    for part in training.list_parts(""):
        try:
            training.check_part(part)
        except DamageError as error:
            yield FileFault(
                f"{training.examples_location.url.removeprefix(f'{archive.url}/')}/{part}", "damaged", str(error)
            )
