"""What the feeds' settings have in common: their checks, and the address of a page."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from interpdisc_core import digest
from interpdisc_core.errors import PlanError


def checked(url: str, called: str, page_size: int, overlap_days: float, patience: int, since_sol: int | None) -> None:
    """Raises PlanError, with a sentence, for settings that cannot be meant."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment
    except ValueError:
        right = False
    if not right:
        raise PlanError(f"{url!r} is no address of a feed; it begins with https:// (or http:// on this machine).")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", called):
        raise PlanError(f"{called!r} is no name for an inbox: letters, digits, - and _, at most 40.")
    if not 1 <= page_size <= 100:
        raise PlanError(f"page_size is {page_size}; the feeds give 1 to 100 records a page.")
    if not 0 <= overlap_days <= 10_000:
        raise PlanError(f"overlap_days is {overlap_days}; it is a number of days, 0 or more.")
    if patience < 1:
        raise PlanError(f"patience is {patience}; it is a number of polls, 1 or more.")
    if since_sol is not None and since_sol < 0:
        raise PlanError(f"since_sol is {since_sol}; sols are counted from 0.")


def asked(*settings: Any) -> str:
    """A digest of what is asked for."""
    return digest.of_json(list(settings))


def query(url: str, given: Mapping[str, Any]) -> str:
    """The address with these parameters."""
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(given)}"


def address(text: str, feed: str) -> str:
    """An image's address as the feed means it: relative to the feed's; by https where that is, older records name http."""
    try:
        whole = urljoin(feed, text) if text else ""
    except ValueError:
        return text  # the client says what is wrong with it
    return "https:" + whole.removeprefix("http:") if feed.startswith("https:") and whole.startswith("http:") else whole
