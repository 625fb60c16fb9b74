"""A poll: fetches what the feed has and the inbox does not, page by page, newest records first.

It stops at a page whose records are all known and older than the newest record of the last complete poll by
`overlap_days`; so records that an interrupted poll missed, or that were sent late, are found. Records that move
between pages during the poll are found by another pass, or within the overlap by the next poll. An image that cannot
be fetched is deferred, and the poll continues.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from interpdisc_core.provenance import utc_now
from interpdisc_core.sources.feeds.http_client import FetchError, HttpClient
from interpdisc_core.sources.feeds.inbox import Inbox, PollCursor, record_name
from interpdisc_core.sources.feeds.poll_session import PollSession
from interpdisc_core.sources.feeds.protocol import FeedAdapter, PollReporter, PollResult, ignore_progress
from interpdisc_core.storage.location import Location

_MAX_PASSES = 3
_MAX_PAGES = 100_000
_MAX_REPEATED_PAGES = 10
"""Equal pages in a row after which a poll stops: a feed that ignores the page number would be read for ever."""


def poll_feed(feed: FeedAdapter, inbox: Location, report: PollReporter = ignore_progress) -> PollResult:
    """Fetch new images into the inbox. An interrupted poll is resumed by the next.

    Args:
        feed: The feed.
        inbox: The archive's inbox.
        report: Called with the result so far after each page.

    Returns:
        What was done. If the server is down or its answers cannot be used, `failure` says so.

    Raises:
        StoreError: If the inbox cannot be written.
    """
    feed_inbox, started_at = Inbox(inbox, feed.inbox_name), utc_now("microseconds")
    previous_cursor = feed_inbox.read_cursor()
    since = previous_cursor.received if previous_cursor and previous_cursor.settings == feed.query_digest() else ""
    client = HttpClient(feed.url, feed.http_policy)
    session = PollSession.open(feed, client, feed_inbox)
    failure = ""
    try:
        for _ in range(_MAX_PASSES):
            if not _read_pages(session, since, report):
                break
        session.retry_outstanding()
    except FetchError as error:
        failure = str(error)
    finally:
        client.close()
        session.pool.shutdown(wait=True, cancel_futures=True)
    has_new = session.new + session.resent > 0
    # A record from the future must not hide the records until then.
    newest = max(since, min(session.newest_received.isoformat(), started_at) if session.newest_received else "")
    last_new_at = started_at if has_new or previous_cursor is None else previous_cursor.last_new_at
    cursor = PollCursor(
        feed.query_digest(), newest, previous_cursor.first_poll_at if previous_cursor else started_at, last_new_at
    )
    if not failure and cursor != previous_cursor:
        feed_inbox.write_cursor(cursor)
    for day in sorted(session.changed_days):
        feed_inbox.seal(day)
    silence = (datetime.fromisoformat(utc_now("microseconds")) - datetime.fromisoformat(last_new_at)).total_seconds()
    return replace(
        session.build_result(),
        outstanding=len(feed_inbox.list_outstanding_names()),
        cursor=since if failure else newest,
        silent_for_seconds=0.0 if has_new else max(silence, 0.0),
        complete=not failure,
        failure=failure,
    )


def _read_pages(session: PollSession, since: str, report: PollReporter) -> bool:
    """Read pages until nothing is new; returns whether records moved meanwhile, so that one may have been missed."""
    overlap = timedelta(days=session.feed.overlap_days)
    totals: set[int | None] = set()
    previous_names: tuple[str, ...] = ()
    repeats = 0
    oldest: datetime | None = None
    in_order = True
    for number in range(_MAX_PAGES):
        page = session.fetch_page(number)
        totals.add(page.total)
        arrivals = [session.feed.parse_arrival(record) for record in page.records]
        names = tuple(record_name(arrival) for arrival in arrivals)
        previous_names, repeats = names, repeats + 1 if names == previous_names else 0
        if names and repeats >= _MAX_REPEATED_PAGES:
            raise FetchError(f"page {number} is the same as the {repeats} before: the feed ignores page numbers")
        all_known = session.process_arrivals(arrivals)
        report(session.build_result())
        if not arrivals or page.has_more is False:
            break
        times = [arrival.received for arrival in arrivals if arrival.received]
        if times:
            in_order = in_order and (oldest is None or max(times) <= oldest + overlap)
            oldest = min(times)
        is_old = not times or (since and max(times) < datetime.fromisoformat(since) - overlap)
        if since and in_order and all_known and is_old:
            break
    else:
        raise FetchError(f"more than {_MAX_PAGES} pages")
    return len(totals) > 1
