"""What is checked before a run starts."""

from pathlib import Path

import pytest

from interpdisc_core.pipeline.preconditions import check_archive, check_sources
from interpdisc_core.sources import NAMED_FEEDS, MslFeed


@pytest.mark.parametrize("feed", [*NAMED_FEEDS.values(), MslFeed(url="http://127.0.0.1:9/api/")], ids=str)
def test_a_feed_has_nothing_to_check_before_its_poll(feed: MslFeed, tmp_path: Path) -> None:
    """Its server is asked by the poll, which says what it answers; its URL is no store."""
    check_sources([feed])
    check_archive(str(tmp_path / "archive"), [feed])
