"""What the inbox holds, as inputs; no network."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from interpdisc_core.feeds.arrivals import field_of, said
from interpdisc_core.feeds.inbox import Inbox, Kept
from interpdisc_core.feeds.seam import Speaks
from interpdisc_core.storage import Place

if TYPE_CHECKING:  # sources know the feeds; the other way round only when one is listed
    from interpdisc_core.sources.listed import Listed


def listed(feed: Speaks, inbox: Place | None, patience: int) -> Iterator["Listed"]:
    """One input for each content of each image, and one for each image that could not be had in `patience` polls.

    The content of an id that was taken in first bears the id, later ones `id@` and 8 digits of their sha256. Of the
    records of one content the one that came last counts; its fields are as the feed sent them.
    """
    if inbox is None:  # nothing was ever brought
        return
    from interpdisc_core.sources.listed import Listed

    box = Inbox(inbox, feed.called)
    contents: dict[str, dict[str, Kept]] = {}
    first: dict[tuple[str, str], str] = {}
    for kept in box.everything():
        held, content = contents.setdefault(kept.id, {}), (kept.id, kept.image.sha256)
        first[content] = min(first.get(content, kept.image.at), kept.image.at)
        if kept.image.sha256 not in held or _order(kept) >= _order(held[kept.image.sha256]):
            held[kept.image.sha256] = kept
    for name in sorted(contents):
        in_order = sorted(contents[name], key=lambda sha256: (first[name, sha256], sha256))
        for number, sha256 in enumerate(in_order):
            kept = contents[name][sha256]
            yield Listed(
                id=f"{name}@{sha256[:8]}" if number else name, uri=uri_of(inbox, kept.image.name), size=kept.image.size,
                stamp=sha256, record=kept.record,
            )  # fmt: skip
    for item in box.outstanding():
        arrival = feed.arrival(item.record)
        if item.tries >= patience and arrival.name not in contents:
            why = f"its image could not be fetched in {item.tries} polls: {item.why}"
            address = uri_of(inbox, f"{box.feed}/outstanding/{item.file}")
            yield Listed(id=arrival.name, uri=address, skipped=why, record=item.record)


def _order(kept: Kept) -> tuple[str, str, str]:
    amended = said(kept.record, "updated_at") if field_of(kept.record, "updated_at") else ""
    return kept.received, amended, kept.file


def uri_of(inbox: Place, name: str) -> str:
    """The address of something in the inbox."""
    from interpdisc_core.sources import file_uri

    return f"{inbox.url}/{name}" if inbox.remote else file_uri(f"{inbox.url}/{name}")
