"""File names made from any text."""

import re
from urllib.parse import quote

from interpdisc_core import digest
from interpdisc_core.errors import PlanError

_MAX_QUOTED_CHARS = 120


def slugify(text: str, default: str, max_chars: int | None = 32) -> str:
    """Text as lower-case letters, digits and dashes, for a name that people read; different texts may share it.

    Args:
        text: Any text.
        default: What to return if nothing of the text is left.
        max_chars: Longest result; None for no limit.

    Example:
        >>> slugify("Mastcam-Z, sol 12 (raw)", default="run")
        'mastcam-z-sol-12-raw'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:max_chars] or default


def quote_name(name: str) -> str:
    """Any text in the characters A–Z a–z 0–9 _ - %, reversibly."""
    return quote(name, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")


def make_file_name(name: str) -> str:
    """A file name for any text: its reversible `quote_name`, or ~ and a digest if that is longer than 120 characters.

    Raises:
        PlanError: If `name` is empty.
    """
    if not name:
        raise PlanError("a batch and its stratum must each have a name that is not empty.")
    quoted = quote_name(name)
    return quoted if len(quoted) <= _MAX_QUOTED_CHARS else f"~{digest.digest_bytes(quoted.encode())}"
