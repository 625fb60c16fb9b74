"""What an experiment makes for its readers, besides its cells; and what several of them need for it."""

import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from interpdisc_core.errors import Unreadable
from interpdisc_core.extraction import pixels
from interpdisc_core.images import Pixels, within
from interpdisc_core.runs import Member


@dataclass(frozen=True, slots=True)
class Made:
    """files: by name. page: which of them a person opens. headline: what it says, in a sentence. markdown: its tables."""

    files: dict[str, bytes]
    page: str
    headline: str
    summary: dict[str, Any]
    markdown: str


def thumbnail(member: Member, side: int = 160) -> Pixels | None:
    """A member's picture (h, w, 3) uint8, at most `side` pixels on its long side; None where it cannot be read any more."""
    try:
        return within(pixels(member.uri, member.sha256, at_least=side), side)
    except Unreadable:
        return None


def called(outcome: Mapping[str, Any], **several: Sized) -> str:
    """A method by its name, and by those of the parts named of which the experiment has several."""
    return ", ".join([outcome["method"], *(outcome[part] for part, of in several.items() if len(of) > 1)])


def slug(title: str) -> str:
    """A title as letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "experiment"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown, the first column to the left."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"
