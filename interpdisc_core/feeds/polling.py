"""A poll: what a feed has that the inbox has not is fetched, page by page, newest first.

It goes down to a page that is all known and older than the newest record of the last whole poll by the overlap; so
what an interrupted poll left out, or what was sent late, is found. Records that move between pages while they are
read are found by another pass, or within the overlap by the next poll. An image that cannot be had is put off; the
poll goes on.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from interpdisc_core.feeds.client import Client, Trouble
from interpdisc_core.feeds.desk import Desk, now
from interpdisc_core.feeds.inbox import Cursor, Inbox, record_name
from interpdisc_core.feeds.seam import Polled, Report, Speaks, quiet
from interpdisc_core.storage import Place

_PASSES = 3
_PAGES = 100_000
_SAME = 10
"""So many pages in a row that are the same: a feed that ignores the number of the page would be read for ever."""


def poll(feed: Speaks, inbox: Place, report: Report = quiet) -> Polled:
    """Take in what is new. inbox: the archive's place for what feeds bring. `report` hears how far it is, a page at a time.

    A server that is down or answers nonsense does not raise: the result says so. Raises StoreError where the inbox
    cannot be written, and lets KeyboardInterrupt through; the next poll goes on.
    """
    box, began = Inbox(inbox, feed.called), now()
    before = box.cursor()
    since = before.received if before and before.settings == feed.asked() else ""
    client = Client(feed.url, feed.manners)
    desk = Desk.open(feed, client, box)
    trouble = ""
    try:
        for _ in range(_PASSES):
            if not _pages(desk, since, report):
                break
        desk.outstanding_again()
    except Trouble as error:
        trouble = str(error)
    finally:
        client.close()
        desk.pool.shutdown(wait=True, cancel_futures=True)
    brought = desk.new + desk.resent > 0
    # A record from the future must not hide what comes until then.
    newest = max(since, min(desk.newest.isoformat(), began) if desk.newest else "")
    last = began if brought or before is None else before.brought
    after = Cursor(feed.asked(), newest, before.began if before else began, last)
    if not trouble and after != before:
        box.move(after)
    for day in sorted(desk.touched):
        box.seal(day)
    silence = (datetime.fromisoformat(now()) - datetime.fromisoformat(last)).total_seconds()
    return replace(
        desk.polled(), outstanding=len(box.outstanding_names()), cursor=since if trouble else newest,
        silent_for_seconds=0.0 if brought else max(silence, 0.0), complete=not trouble, trouble=trouble,
    )  # fmt: skip


def _pages(desk: Desk, since: str, report: Report) -> bool:
    """Read pages until nothing is new. Returns whether records moved meanwhile, so that one may have been missed."""
    overlap = timedelta(days=desk.feed.overlap_days)
    totals: set[int | None] = set()
    last: tuple[str, ...] = ()
    same = 0
    lowest: datetime | None = None
    in_order = True
    for number in range(_PAGES):
        page = desk.page(number)
        totals.add(page.total)
        arrivals = [desk.feed.arrival(record) for record in page.records]
        names = tuple(record_name(arrival) for arrival in arrivals)
        last, same = names, same + 1 if names == last else 0
        if names and same >= _SAME:
            raise Trouble(f"page {number} is the same as the {same} before: the feed does not turn pages any more")
        all_known = desk.take(arrivals)
        report(desk.polled())
        if not arrivals or page.more is False:
            break
        times = [arrival.received for arrival in arrivals if arrival.received]
        if times:
            in_order = in_order and (lowest is None or max(times) <= lowest + overlap)
            lowest = min(times)
        old = not times or (since and max(times) < datetime.fromisoformat(since) - overlap)
        if since and in_order and all_known and old:
            break
    else:
        raise Trouble(f"more than {_PAGES} pages")
    return len(totals) > 1
