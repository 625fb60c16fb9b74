"""Polling the source of a daily run: what the summary says of a feed, of a feed that does not answer, and of a folder."""

from pathlib import Path

from PIL import Image

from interpdisc_core.operations.daily.ingest import PollSummary, poll_source
from interpdisc_core.operations.daily.settings import parse_daily
from tests.rehearsal.downlink import Downlink, FaultRates
from tests.rehearsal.feed_server import FeedServer


def test_the_summary_of_a_feed_counts_its_new_images_and_says_why_it_stopped(tmp_path: Path) -> None:
    images, archive = tmp_path / "images", str(tmp_path / "archive")
    images.mkdir()
    for number in range(3):
        name = f"0007ML000000{number:03d}{number:07d}E01_DRCL.JPG"
        Image.new("RGB", (8, 8), (40 * number, 90, 120)).save(images / name, "JPEG")
    downlink = Downlink.from_folder(images, FaultRates.parse("none"))
    downlink.advance(downlink.last_step)
    with FeedServer(downlink).serve_in_thread() as feed:
        http_policy = {"pause_s": 0.0, "backoff_s": 0.01, "max_wait_s": 0.1, "timeout_s": 5.0, "tries": 1}
        source = {"kind": "msl-feed", "url": feed.feed_url("msl"), "name": "msl", "http_policy": http_policy}
        settings = parse_daily({"source": source})
        first = poll_source(archive, settings)
        assert (first.new, first.resent, first.outstanding, first.trouble, first.is_feed) == (3, 0, 0, "", True)
        assert poll_source(archive, settings).new == 0
    assert poll_source(archive, settings).trouble


def test_a_folder_is_not_polled(tmp_path: Path) -> None:
    settings = parse_daily({"source": {"kind": "folder", "path": str(tmp_path)}})
    assert poll_source(str(tmp_path / "archive"), settings) == PollSummary(is_feed=False)
