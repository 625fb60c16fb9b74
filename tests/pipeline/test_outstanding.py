"""What cannot be got at is outstanding: a few such inputs stop nothing, many stop the run, and all are tried again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interpdisc_core.archive.batches import BlockId
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.errors import AccessError
from interpdisc_core.pipeline import ingest
from interpdisc_core.pipeline.extract import extract_block
from interpdisc_core.pipeline.outstanding import accept_outstanding
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.sources import fetch
from interpdisc_core.storage.location import Location
from tests.pipeline.test_ingest import PLAN, read_entries, run_extract, run_ingest, write_photos


def check_listing(archive: Path, folder: Path, max_share: float) -> dict[str, int]:
    """The ledger after the steps of a flow up to the rows, in one task."""
    inputs = RunInputs(sources=(str(folder),))
    listing = ingest.list_inputs(str(archive), inputs)
    rows, watch = (0, listing.unchecked), ProgressReporter(str(archive))
    result = ingest.check_inputs(str(archive), listing.name, rows, listing.sequence, watch, max_share)
    accept_outstanding(str(archive), result.unread, result.inputs, max_share)
    ledger = ingest.resolve_inputs(str(archive), listing.name, PLAN, inputs, 100, 1).ledger
    return {status: count for status, count in ledger.items() if count}


@pytest.fixture
def close_files(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[str]], None]:
    """Makes the files of these names give no permission to read them, to root too."""
    closed: set[str] = set()
    original = fetch._stat_regular_file

    def stat_or_refuse(uri: str) -> Any:
        if uri.rpartition("/")[2] in closed:
            raise PermissionError(13, os.strerror(13), uri)
        return original(uri)

    monkeypatch.setattr(fetch, "_stat_regular_file", stat_or_refuse)

    def close(names: set[str]) -> None:
        closed.clear()
        closed.update(names)

    return close


def test_a_share_of_unreadable_inputs_stops_the_run_and_all_are_tried_again(
    tmp_path: Path, close_files: Callable[[set[str]], None]
) -> None:
    """Above the share the run fails, at every try; below it the inputs are outstanding; once readable they are ready."""
    folder, archive = write_photos(tmp_path / "in", 20), tmp_path / "archive"
    close_files({f"{number:02d}.png" for number in range(3)})
    for _ in range(2):
        with pytest.raises(AccessError, match=r"of 20 inputs could not be got at .*no permission to read it"):
            check_listing(archive, folder, 0.1)
        assert all(entry.status in ("pending", "ready") for entry in read_entries(archive))
    assert check_listing(archive, folder, 0.15) == {"ready": 17, "outstanding": 3}
    # They were accepted: they do not count again, so one more does not stop the run either.
    (folder / "new.png").write_bytes((folder / "19.png").read_bytes() + b"\0")
    close_files({"00.png", "01.png", "02.png", "new.png"})
    assert check_listing(archive, folder, 0.1) == {"ready": 17, "outstanding": 4}
    close_files(set())
    assert check_listing(archive, folder, 0.1)["ready"] == 21


def test_one_input_never_stops_a_run(tmp_path: Path, close_files: Callable[[set[str]], None]) -> None:
    folder, archive = write_photos(tmp_path / "in", 2), tmp_path / "archive"
    close_files({"00.png"})
    assert check_listing(archive, folder, 0.0) == {"ready": 1, "outstanding": 1}


def test_a_store_that_cannot_be_got_at_stops_the_reading_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the check and in the extraction: what was read is kept, nothing is quarantined, the same command goes on."""
    folder, archive = write_photos(tmp_path / "in", 60), tmp_path / "archive"
    read_uris: list[str] = []
    original = fetch.fetch_bytes

    def fetch_until_expired(uri: str) -> bytes:
        read_uris.append(uri)
        if len(read_uris) > 20:
            raise AccessError("s3://rover: the keys have expired.")
        return original(uri)

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "fetch_bytes", fetch_until_expired)
        with pytest.raises(AccessError, match="have expired"):
            check_listing(archive, folder, 0.1)
    assert len(read_uris) < 60, "reading goes on after it cannot"
    assert sum(bool(entry.sha256) for entry in read_entries(archive)) >= 12, "what was read is lost"
    ingest_result = run_ingest(archive, folder)
    assert ingest_result.ledger["ready"] == 60
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "fetch_bytes", fetch_until_expired)
        with pytest.raises(AccessError, match="have expired"):
            run_extract(archive, ingest_result)
    store = FeatureStore(Location.parse(archive), PLAN.features_digest)
    assert store.list_complete_blocks(0) == set()
    assert all(entry.status == "ready" for entry in read_entries(archive))
    assert [result.failed_count for result in run_extract(archive, ingest_result)] == [0]
    assert store.read_record(BlockId(0, 0)).failed == {}


def test_images_that_cannot_be_got_at_for_extraction_stop_the_run(
    tmp_path: Path, close_files: Callable[[set[str]], None]
) -> None:
    """Checked while they were readable: the run fails, at every try, until they are again."""
    folder, archive = write_photos(tmp_path / "in", 20), tmp_path / "archive"
    ingest_result = run_ingest(archive, folder)
    close_files({f"{number:02d}.png" for number in range(3)})
    results = [
        extract_block(str(archive), PLAN, block, ingest_result.sequence, ProgressReporter(str(archive)))
        for block in ingest_result.blocks
    ]
    with pytest.raises(AccessError, match="3 of 20 inputs could not be got at"):
        accept_outstanding(str(archive), sum(result.unread_count for result in results), ingest_result.images, 0.1)
    with pytest.raises(AccessError, match="of 3 inputs could not be got at"):
        check_listing(archive, folder, 0.1)
    close_files(set())
    assert check_listing(archive, folder, 0.1) == {"ready": 20}
