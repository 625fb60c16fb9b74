"""What people said, by content: whichever of its files they named, and however often it was sent."""

from collections.abc import Mapping

from interpdisc_core import feedback
from interpdisc_core.catalog import Entry
from interpdisc_core.feedback import Mark
from interpdisc_core.storage import Place

Word = Mapping[str, Mark]
"""The latest mark by sha256 of an image."""


def word(archive: Place, latest: Mapping[str, Entry]) -> dict[str, Mark]:
    """What counts now. latest: the catalog."""
    marks = sorted(feedback.verdicts(archive).values(), key=lambda mark: (mark.at, mark.token))
    return {latest[mark.key].sha256: mark for mark in marks if mark.key in latest and latest[mark.key].sha256}


def spoken_of(archive: Place, latest: Mapping[str, Entry]) -> set[str]:
    """The contents that anything was ever said of, also what was taken back."""
    return {latest[mark.key].sha256 for mark in feedback.trail(archive) if mark.key in latest}
