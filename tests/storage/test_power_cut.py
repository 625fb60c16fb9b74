"""Power cuts: on a disk that loses what was not synced, an archive is sound at every moment and the same command goes on."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from zarr.storage import LocalStore

from interpdisc_core import digest
from interpdisc_core.archive.feature_store import BlockRecord, FeatureStore
from interpdisc_core.archive.layout import lock_archive
from interpdisc_core.archive.run import Run, RunInputs
from interpdisc_core.operations.verify import verify_archive
from interpdisc_core.pipeline import ingest
from interpdisc_core.pipeline.extract import extract_block
from interpdisc_core.pipeline.publish import publish_run
from interpdisc_core.pipeline.select import select_picks
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import PixelValues
from interpdisc_core.selectors import Demud
from interpdisc_core.storage import durable_files, zarr_store
from interpdisc_core.storage.location import Location
from tests.helpers.power_cut import DiskModel, list_cuts, record_syncs
from tests.pipeline.test_ingest import write_photos

PLAN = Plan(representation=PixelValues(side=4), selector=Demud(rank=3), picks=12, explain=0)
PickList = list[tuple[str, float]]


def run_discovery(archive: Path, images: Path) -> PickList:
    """The steps of the flow `discover`; the picks."""
    url, inputs = str(archive), RunInputs(sources=(str(images),))
    watch = ProgressReporter(url, "token")
    with lock_archive(url):
        listing = ingest.list_inputs(url, inputs)
        ingest.check_inputs(url, listing.name, (0, listing.unchecked), listing.sequence, watch)
        result = ingest.resolve_inputs(url, listing.name, PLAN, inputs, 8, 1)
        watch.begin_stage("extract", result.images, "images")
        for block in result.blocks:
            extract_block(url, PLAN, block, result.sequence, watch)
        select_picks(url, result.run, watch)
        publish_run(url, result.run, "", {})
    return [(pick.id, pick.score) for pick in Run(Location.parse(url), result.run).read_picks()]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "in", 14)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """No folder is known to be synced: not by what other tests did, and not by what happened before a cut."""
    durable_files._known_folders.clear()
    yield
    durable_files._known_folders.clear()


def record_discovery(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DiskModel, PickList]:
    archive = tmp_path / "archive"
    archive.mkdir()
    with record_syncs(archive, monkeypatch) as model:
        picks = run_discovery(archive, images)
    return model, picks


def check_cuts(model: DiskModel, tmp_path: Path, images: Path, picks: PickList, resume_every: int) -> None:
    """After every cut the archive is sound; the same command makes the same picks; what was finished is there."""
    checked: dict[str, None] = {}
    for number, archive in enumerate(list_cuts(model, tmp_path / "cut")):
        state = digest_tree(archive)
        if state in checked:
            continue
        checked[state] = None
        if (archive / "archive.json").exists():
            faults = list_faults(archive)
            assert not faults, (number, faults)
        if len(checked) % resume_every == 0:
            durable_files._known_folders.clear()
            assert run_discovery(archive, images) == picks
    for number, cut in enumerate(model.cuts[-2:]):
        target = tmp_path / f"end-{number}"
        cut(target)
        assert (target / "runs").is_dir(), "a finished run is lost"
        (run,) = (target / "runs").iterdir()
        assert (run / "result.json").read_bytes() == next((model.root / "runs").glob("*/result.json")).read_bytes()
        assert [(pick.id, pick.score) for pick in Run(Location.parse(target), run.name).read_picks()] == picks
    assert len(checked) > 30, "the model has seen few moments"


def list_faults(archive: Path) -> list[str]:
    try:
        return [str(fault) for fault in verify_archive(str(archive)).faults]
    except Exception as error:  # noqa: BLE001 - an archive that cannot even be read
        return [repr(error)]


def digest_tree(folder: Path) -> str:
    sink = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        sink.update(str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b"/") + b"\0")
    return sink.hexdigest()


@pytest.mark.usefixtures("forgotten")
def test_a_power_cut_at_any_moment_leaves_an_archive_that_goes_on(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, picks = record_discovery(tmp_path, images, monkeypatch)
    check_cuts(model, tmp_path, images, picks, resume_every=9)


def write_without_sync(write: Callable[..., None]) -> Callable[..., None]:
    return lambda *args, **options: write(*args, **options | {"durable": False})


def sync_after_renaming(path: Path, data: Any, *, root: Path, durable: bool = True, exclusive: bool = False) -> None:
    """The reverse order: the name first, the content later."""
    partial = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(data)
    partial.replace(path)
    durable_files.sync_folder(path.parent)
    durable_files._sync_names_above(path.parent, root)
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def record_before_values(
    write: Callable[..., Any], store: FeatureStore, batch: Any, number: int, values: Any, *others: Any
) -> None:
    """A store that says that a block is complete, and then writes it."""
    record = BlockRecord(batch.row_range(number), digest.digest_array(values), {}, "")
    store.mark_complete(batch.number, number, record)
    write(store, batch, number, values, *others)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("fault", ["no sync", "content after name", "record before values", "Zarr's own store"])
def test_the_model_finds_a_program_that_is_wrong(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """No syncs, content and name synced in the reverse order, the record before the values, chunks that are not synced."""
    with monkeypatch.context() as patch:
        if fault == "no sync":
            patch.setattr(durable_files, "write_file", write_without_sync(durable_files.write_file))
        elif fault == "content after name":
            patch.setattr(durable_files, "write_file", sync_after_renaming)
        elif fault == "Zarr's own store":
            patch.setattr(zarr_store, "DurableLocalStore", LocalStore)
        else:
            write = FeatureStore.write
            patch.setattr(FeatureStore, "write", lambda *args: record_before_values(write, *args))
        model, picks = record_discovery(tmp_path, images, monkeypatch)
    with pytest.raises((AssertionError, ValueError)):  # a ValueError where the same command cannot go on
        check_cuts(model, tmp_path, images, picks, resume_every=9)
