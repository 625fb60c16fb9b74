"""What can be wrong in a command, found before a server or a worker is started."""

import os
import re
from collections.abc import Iterable
from typing import Any

from deploy.request_guard import is_loopback
from interpdisc_core.errors import PlanError
from interpdisc_core.storage.location import Location

_SCHEDULER = re.compile(r"([a-z]+://)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)")


def make_absolute(address: str) -> str:
    """An archive or a source, for processes that run in another folder."""
    from interpdisc_core.sources import make_source_absolute

    return make_source_absolute(address)


def resolve_sources(sources: Iterable[str]) -> tuple[str, ...]:
    """The sources of images, absolute. Raises what `preconditions.check_sources` does."""
    from interpdisc_core.pipeline import preconditions

    absolute = tuple(map(make_absolute, sources))
    preconditions.check_sources(absolute)
    return absolute


def check_source_and_weights(settings: Any) -> None:
    """Check the source and the plan of a daily run. Raises what `preconditions` does."""
    from interpdisc_core.pipeline import preconditions

    preconditions.check_sources([settings.source])
    preconditions.check_weights(settings.plan)


def list_sources(sources: Iterable[str] | None) -> tuple[str, ...]:
    """The sources of the command line, or that of INTERPDISC_DATA; absolute and checked."""
    texts = list(sources or []) or [text for text in [os.environ.get("INTERPDISC_DATA", "")] if text]
    if not texts:
        raise PlanError("no SOURCE: name a folder of images, or set INTERPDISC_DATA.")
    return resolve_sources(texts)


def resolve_labels(labels: str) -> str:
    """The labels' file, absolute; `folder` and nothing as they are. Raises PlanError if there is no such file."""
    from interpdisc_core.pipeline import preconditions

    preconditions.check_labels(labels)
    return labels if labels in ("", "folder") else make_absolute(labels)


def resolve_output_folder(out: str) -> str:
    """A folder for results, absolute; empty for none. Raises what `preconditions.check_output_folder` does."""
    from interpdisc_core.pipeline import preconditions

    preconditions.check_output_folder(out)
    return Location.parse(out).url if out else ""


def resolve_archive(archive: str, sources: Iterable[Any] = ()) -> str:
    """The archive of a run, absolute. Raises what `preconditions.check_archive` does, or if a run has locked it."""
    from interpdisc_core.archive.layout import refuse_if_not_writable
    from interpdisc_core.pipeline import preconditions

    preconditions.check_archive(archive, sources)
    url = Location.parse(archive).url
    refuse_if_not_writable(url)
    return url


def resolve_existing_archive(archive: str) -> str:
    """An archive that must exist, absolute. Raises StoreError if it does not."""
    from interpdisc_core.archive.layout import check_format

    location = Location.parse(archive)
    check_format(location)
    return location.url


def check_scheduler(address: str) -> str:
    """The address of a Dask scheduler; empty for none.

    Raises:
        PlanError: If it has no host and port, or is open to a network that is not said to be private.
    """
    if not address:
        return address
    if not _SCHEDULER.fullmatch(address):
        raise PlanError(f"--scheduler {address}: give an address with a port, such as tls://10.0.0.5:8786.")
    protocol, _, host = address.rpartition("://")
    if protocol != "tls" and not is_loopback(host) and os.environ.get("INTERPDISC_PRIVATE_NETWORK") != "1":
        raise PlanError(
            f"--scheduler {address}: whoever reaches a scheduler without TLS runs code with your keys. Give it certificates "
            "and name it by tls:// (docs/running.md, A Dask cluster), or set INTERPDISC_PRIVATE_NETWORK=1 if nobody else "
            "reaches its network."
        )
    return address


def parse_duration(value: str, option: str) -> float | None:
    """Seconds of a duration; None for an empty text.

    Args:
        value: The duration.
        option: What it was given to, for the message.

    Raises:
        PlanError: If it is no duration, or 0.

    Example:
        >>> parse_duration("1h30m", "--max-time")
        5400.0
    """
    if not value:
        return None
    text = value.strip().lower()
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    if _DURATION_PART.sub("", text).strip() or not seconds:
        raise PlanError(f"{option} is a time such as 2h, 90min or 1h30m, not {value!r}.")
    return seconds
