"""The contents of a feed's inbox as inputs; no network."""

from collections.abc import Iterator

from interpdisc_core.sources.entry import SourceEntry
from interpdisc_core.sources.feeds.inbox import Inbox, InboxRecord
from interpdisc_core.sources.feeds.protocol import FeedAdapter
from interpdisc_core.sources.feeds.record import get_field, text_field
from interpdisc_core.sources.uris import file_uri
from interpdisc_core.storage.location import Location


def list_inbox(feed: FeedAdapter, inbox: Location | None, patience: int) -> Iterator[SourceEntry]:
    """One entry for each content of each image, and one for each image that could not be fetched.

    The content of an id that was fetched first has the id, later contents have `id@` and 8 digits of their sha256. Of
    the records of one content the latest counts; its fields are as the feed sent them.

    Args:
        feed: Whose inbox is listed.
        inbox: The archive's inbox; None: there is none, so nothing is listed.
        patience: Polls after which an image that could not be fetched is listed, with a `skip_reason`.
    """
    if inbox is None:
        return
    feed_inbox = Inbox(inbox, feed.inbox_name)
    contents: dict[str, dict[str, InboxRecord]] = {}
    first_fetched: dict[tuple[str, str], str] = {}
    for record in feed_inbox.iter_records():
        by_sha256, content = contents.setdefault(record.id, {}), (record.id, record.image.sha256)
        first_fetched[content] = min(first_fetched.get(content, record.image.at), record.image.at)
        if record.image.sha256 not in by_sha256 or _recency_key(record) >= _recency_key(by_sha256[record.image.sha256]):
            by_sha256[record.image.sha256] = record
    for name in sorted(contents):
        in_order = sorted(contents[name], key=lambda sha256: (first_fetched[name, sha256], sha256))
        for number, sha256 in enumerate(in_order):
            record = contents[name][sha256]
            yield SourceEntry(
                id=f"{name}@{sha256[:8]}" if number else name,
                uri=inbox_uri(inbox, record.image.name),
                size=record.image.size,
                stamp=sha256,
                record=record.record,
            )
    for item in feed_inbox.read_outstanding():
        arrival = feed.parse_arrival(item.record)
        if item.tries >= patience and arrival.name not in contents:
            reason = f"its image could not be fetched in {item.tries} polls: {item.reason}"
            uri = inbox_uri(inbox, f"{feed_inbox.feed}/outstanding/{item.file}")
            yield SourceEntry(id=arrival.name, uri=uri, skip_reason=reason, record=item.record)


def _recency_key(record: InboxRecord) -> tuple[str, str, str]:
    updated_at = text_field(record.record, "updated_at") if get_field(record.record, "updated_at") else ""
    return record.received, updated_at, record.file


def inbox_uri(inbox: Location, name: str) -> str:
    """The URI of the file `name` in the archive's inbox."""
    return f"{inbox.url}/{name}" if inbox.is_remote else file_uri(f"{inbox.url}/{name}")
