"""The selection step: the picks of a run do not depend on where it was interrupted, and say what they rest on."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from interpdisc_core.archive import pick_vectors
from interpdisc_core.archive.feature_store import FeatureStore, gather_features
from interpdisc_core.archive.pick_vectors import PICKS_PER_CHECKPOINT
from interpdisc_core.archive.run import Run
from interpdisc_core.errors import StoreError
from interpdisc_core.pipeline.ingest import IngestResult
from interpdisc_core.pipeline.seen_images import STRONGEST_COUNT
from interpdisc_core.pipeline.select import SelectionResult, load_member_features, select_picks
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.selectors import Demud, FarthestFirst, NearestNeighbours, Shuffle, demud, random_order
from interpdisc_core.storage.location import Location
from tests.pipeline.test_ingest import (
    PLAN,
    check_archive,
    make_image_bytes,
    open_run,
    run_extract,
    run_ingest,
    write_file,
    write_photos,
)

IMAGE_COUNT = 27
SELECTORS = [
    Demud(rank=4),
    Demud(rank=50),
    Demud(rank=3, start="random", seed=3),
    Demud(method="incremental", rank=4),
    Demud(method="static", rank=4),
    Shuffle(seed=2),
]
over_selectors = pytest.mark.parametrize("selector", SELECTORS, ids=repr)


class Interrupted(BaseException):
    """As a kill: nothing may catch it."""


def make_plan(selector: Any = SELECTORS[0], **changes: Any) -> Plan:
    """A plan of 22 picks on pixels."""
    return replace(PLAN, **{"selector": selector, "picks": 22, **changes})


def ingest_and_extract(archive: Path, *given: Path, plan: Plan, background: tuple[Path, ...] = ()) -> IngestResult:
    """Everything up to the selection."""
    ingest_result = run_ingest(archive, *given, plan=plan, background=background, block=10)
    run_extract(archive, ingest_result, plan)
    return ingest_result


def run_select(archive: Path, ingest_result: IngestResult) -> SelectionResult:
    """The selection step."""
    return select_picks(str(archive), ingest_result.run, ProgressReporter(str(archive)))


def read_picks_file(archive: Path, ingest_result: IngestResult) -> bytes:
    """picks.json as it is."""
    return open_run(archive, ingest_result).location.read("picks.json")


def read_normalized(run: Run) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, npt.NDArray[np.float64]]]:
    """Features of the candidates and of the background by id, divided by their length where the plan says so."""
    tables: dict[str, dict[str, npt.NDArray[np.float64]]] = {"candidate": {}, "background": {}}
    for member in run.read_members():
        (row,) = gather_features(FeatureStore(run.archive, run.plan.features_digest), [(member.batch, member.row)])
        if run.plan.normalise == "l2":
            row = (row / np.linalg.norm(row)).astype(np.float32)
        tables[member.role][member.id] = row.astype(np.float64)
    return tables["candidate"], tables["background"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images to pick from and images that are known."""
    root = tmp_path_factory.mktemp("folders")
    return write_photos(root / "in", IMAGE_COUNT), write_photos(root / "known", 4, first=100)


@pytest.fixture(scope="module")
def base(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that has the features of both."""
    archive = tmp_path_factory.mktemp("base") / "archive"
    ingest_and_extract(archive, *folders, plan=PLAN)
    return archive


@pytest.fixture
def archive(base: Path, tmp_path: Path) -> Path:
    """A copy of it for each test."""
    return Path(shutil.copytree(base, tmp_path / "archive"))


# ------------------------------------------------------------------------------------------------- end to end


@over_selectors
@pytest.mark.parametrize("has_background", [False, True], ids=["alone", "background"])
def test_the_picks_of_a_run_are_those_of_its_selector(
    archive: Path, folders: tuple[Path, Path], selector: Any, has_background: bool
) -> None:
    """The picks are those that the selector makes of the run's features, with ids, scores and vectors that agree."""
    ingest_result = ingest_and_extract(
        archive, folders[0], plan=make_plan(selector), background=folders[1:] if has_background else ()
    )
    result = run_select(archive, ingest_result)
    run = open_run(archive, ingest_result)
    picks = run.read_picks()
    assert result == SelectionResult(ingest_result.run, 22, sum(pick.near_ties for pick in picks), False, 0)
    candidates, background = read_normalized(run)
    features = np.array(list(candidates.values()), dtype=np.float32)
    selection = selector.open(features, np.array(list(background.values())).reshape(-1, features.shape[1]))
    for rank, pick in enumerate(picks, start=1):
        choice = selection.peek()
        assert (pick.rank, pick.id, pick.score) == (rank, list(candidates)[choice.row], choice.score)
        x, expected, mean = run.read_vectors(rank)
        np.testing.assert_array_equal(x, candidates[pick.id])
        if choice.expected is None:
            assert np.isnan(expected).all()
            assert np.isnan(mean).all()
        else:
            np.testing.assert_array_equal(expected, choice.expected)
            np.testing.assert_array_equal(mean, choice.mean)
            assert ((x - expected) ** 2).sum() == pytest.approx(pick.score, rel=1e-9)
        selection.learn(choice.row)


@pytest.mark.parametrize("selector", [*SELECTORS, FarthestFirst(), NearestNeighbours(k=4)], ids=repr)
@pytest.mark.parametrize("has_background", [False, True], ids=["alone", "background"])
def test_a_run_says_of_which_images_each_expectation_is_made(
    archive: Path, folders: tuple[Path, Path], selector: Any, has_background: bool
) -> None:
    """The weights of each pick are those of least squares over the images seen, which are named; then the nearest to x̂."""
    ingest_result = ingest_and_extract(
        archive, folders[0], plan=make_plan(selector), background=folders[1:] if has_background else ()
    )
    run_select(archive, ingest_result)
    run = open_run(archive, ingest_result)
    candidates, background = read_normalized(run)
    picks = run.read_picks()
    for rank, pick in enumerate(picks, start=1):
        x, expected, mean = run.read_vectors(rank)
        is_given_start = isinstance(selector, Demud) and selector.start == "random" and rank == 1 and not has_background
        if (
            isinstance(selector, Shuffle)
            or is_given_start
            or (isinstance(selector, FarthestFirst) and rank == 1 and not has_background)
        ):
            assert pick.composition is None
            continue
        composition = pick.composition
        assert composition is not None
        roles = dict.fromkeys(background, "background") | {seen.id: f"pick {seen.rank}" for seen in picks[: rank - 1]}
        is_static = isinstance(selector, NearestNeighbours) or (
            isinstance(selector, Demud) and selector.method == "static"
        )
        if is_static and has_background:
            roles = dict.fromkeys(background, "background")
        elif not has_background and (rank == 1 or is_static):
            roles = dict.fromkeys(candidates, "candidate")
        if isinstance(selector, NearestNeighbours):
            roles.pop(pick.id, None)
        items = np.array([(candidates | background)[image] for image in roles])
        assert composition.count == len(items)
        neighbors = {FarthestFirst: 1, NearestNeighbours: 4}.get(type(selector))
        if neighbors is not None:
            weights = np.zeros(len(items))
            weights[((items - x) ** 2).sum(axis=1).argsort()[:neighbors]] = 1 / neighbors
        else:
            np.testing.assert_allclose(items.mean(axis=0), mean, atol=1e-12)
            weights = 1 / len(items) + np.linalg.pinv((items - mean).T, rcond=1e-9) @ (expected - mean)
        weight_of = dict(zip(roles, weights, strict=True))
        assert composition.total == pytest.approx(np.abs(weights).sum())
        sizes = [abs(image.weight) for image in composition.strongest]
        assert composition.share == pytest.approx(sum(sizes) / composition.total)
        np.testing.assert_allclose(sizes, np.sort(np.abs(weights))[::-1][: neighbors or STRONGEST_COUNT], atol=1e-9)
        for image in composition.strongest:
            assert image.weight == pytest.approx(weight_of[image.id])
            assert image.role == roles[image.id]
        distances = np.sqrt(((items - expected) ** 2).sum(axis=1))
        np.testing.assert_allclose([near.distance for near in composition.nearest], np.sort(distances)[:3], atol=1e-9)


def test_a_finished_selection_is_not_repeated(archive: Path, folders: tuple[Path, Path]) -> None:
    """The same answer, and no file of the run is touched."""
    ingest_result = ingest_and_extract(archive, folders[0], plan=make_plan())
    first = run_select(archive, ingest_result)
    before = {path: path.stat().st_mtime_ns for path in archive.glob("runs/**/*")}
    assert run_select(archive, ingest_result) == replace(first, resumed_at=22)
    assert {path: path.stat().st_mtime_ns for path in archive.glob("runs/**/*")} == before


def test_every_image_is_picked_if_there_are_fewer_than_picks(tmp_path: Path) -> None:
    """Every image is picked once; that is no exhaustion."""
    archive = tmp_path / "archive"
    ingest_result = ingest_and_extract(archive, write_photos(tmp_path / "in", 5), plan=make_plan())
    result = run_select(archive, ingest_result)
    assert (result.picks, result.exhausted) == (5, False)
    assert len({pick.id for pick in open_run(archive, ingest_result).read_picks()}) == 5


def test_missing_features_and_runs_are_reported(archive: Path, folders: tuple[Path, Path]) -> None:
    """A block that is not extracted yet, and a run that does not exist: sentences."""
    ingest_result = ingest_and_extract(archive, folders[0], plan=make_plan())
    next(archive.glob("features/*/000000/records/*")).unlink()
    with pytest.raises(StoreError, match="not extracted yet"):
        run_select(archive, ingest_result)
    with pytest.raises(StoreError, match="no run nowhere"):
        select_picks(str(archive), "nowhere", ProgressReporter(str(archive)))


def test_a_lost_chunk_is_reported_as_damage(archive: Path, folders: tuple[Path, Path]) -> None:
    """Images whose vectors were lost are not left out in silence."""
    ingest_result = ingest_and_extract(archive, folders[0], plan=make_plan())
    next(archive.glob("features/*/000000/values/c/1/0")).unlink()
    with pytest.raises(StoreError, match="batch 0"):
        run_select(archive, ingest_result)


# ---------------------------------------------------------------------------------------------- interruptions


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Raise when a selection is asked for pick number `after` (from 0)."""
    for kind in (demud.DemudSelection, random_order._RandomSelection):
        peek, learn = kind.peek, kind.learn

        def counted_learn(self: Any, row: int, learn: Any = learn) -> None:
            learn(self, row)
            _learned_counts[id(self)] = _learned_counts.get(id(self), 0) + 1

        def counted_peek(self: Any, peek: Any = peek) -> Any:
            if _learned_counts.get(id(self), 0) >= after:
                raise Interrupted
            return peek(self)

        monkeypatch.setattr(kind, "learn", counted_learn)
        monkeypatch.setattr(kind, "peek", counted_peek)
    _learned_counts.clear()


_learned_counts: dict[int, int] = {}


@over_selectors
def test_resuming_makes_the_same_picks(
    archive: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, selector: Any
) -> None:
    """Killed after 0, 1, 9, 10, 11, 20 and 21 picks in one run: it goes on after a checkpoint, and ends the same."""
    ingest_result = ingest_and_extract(archive, folders[0], plan=make_plan(selector), background=folders[1:])
    run_select(archive, ingest_result)
    expected = read_picks_file(archive, ingest_result)
    run = open_run(archive, ingest_result)
    vectors = np.array([run.read_vectors(rank) for rank in range(1, 23)])
    for name in ("picks.json", "selection.json", "vectors"):
        run.location.remove(name)
    for after in (
        0,
        1,
        PICKS_PER_CHECKPOINT - 1,
        PICKS_PER_CHECKPOINT,
        PICKS_PER_CHECKPOINT + 1,
        2 * PICKS_PER_CHECKPOINT,
        2 * PICKS_PER_CHECKPOINT + 1,
    ):
        with monkeypatch.context() as patch:
            interrupt(patch, after)
            with pytest.raises(Interrupted):
                run_select(archive, ingest_result)
        assert not run.location.exists("picks.json")
        assert run.location.exists("selection.json") == (after >= PICKS_PER_CHECKPOINT)
        check_archive(archive)
    assert run_select(archive, ingest_result).resumed_at == 2 * PICKS_PER_CHECKPOINT
    assert read_picks_file(archive, ingest_result) == expected
    np.testing.assert_array_equal(np.array([run.read_vectors(rank) for rank in range(1, 23)]), vectors)


@pytest.mark.parametrize("after", [4, 15, 22])
def test_an_interruption_loses_fewer_picks_than_a_checkpoint(
    archive: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """After any number of picks; what is lost is fewer picks than a step."""
    ingest_result = ingest_and_extract(archive, folders[0], plan=make_plan())
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        if after < 22:
            with pytest.raises(Interrupted):
                run_select(archive, ingest_result)
        else:
            run_select(archive, ingest_result)
    resumed = run_select(archive, ingest_result)
    assert after - PICKS_PER_CHECKPOINT < resumed.resumed_at <= after
    fresh = Path(shutil.copytree(archive, archive.parent / "fresh"))
    shutil.rmtree(fresh / "runs")
    again = ingest_and_extract(fresh, folders[0], plan=make_plan())
    run_select(fresh, again)
    assert read_picks_file(archive, ingest_result) == read_picks_file(fresh, again)


def test_a_checkpoint_of_version_0_1_is_resumed(
    archive: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state did not say whether the selection was exhausted."""
    ingest_result = ingest_and_extract(archive, folders[0], plan=make_plan())
    with monkeypatch.context() as patch:
        interrupt(patch, PICKS_PER_CHECKPOINT)
        with pytest.raises(Interrupted):
            run_select(archive, ingest_result)
    location = open_run(archive, ingest_result).location
    state = location.read_json("selection.json")
    location.write_checked_json(
        "selection.json", {name: state[name] for name in ("over", "rows", "scores", "near_ties")}
    )
    assert run_select(archive, ingest_result).resumed_at == PICKS_PER_CHECKPOINT


@pytest.mark.parametrize("step", ["write_vectors", "selection.json", "picks.json"])
def test_a_kill_while_writing_changes_no_pick(
    archive: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Between the vectors and the state that speaks of them, and before the picks: the same picks and vectors."""
    ingest_result = ingest_and_extract(archive, folders[0], plan=make_plan())
    write_vectors, write_json, times = pick_vectors.write_vectors, Location.write_checked_json, iter(range(10))

    def vectors(location: Location, first: int, values: Any) -> None:
        write_vectors(location, first, values)
        if step == "write_vectors" and next(times) == 1:
            raise Interrupted

    def state(self: Location, name: str, value: Any, **options: bool) -> None:
        if name == step and (name == "picks.json" or next(times) == 1):
            raise Interrupted
        write_json(self, name, value, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pick_vectors, "write_vectors", vectors)
        patch.setattr(Location, "write_checked_json", state)
        with pytest.raises(Interrupted):
            run_select(archive, ingest_result)
    assert run_select(archive, ingest_result).resumed_at == (22 if step == "picks.json" else PICKS_PER_CHECKPOINT)
    run = open_run(archive, ingest_result)
    candidates, _ = read_normalized(run)
    for pick in run.read_picks():
        np.testing.assert_array_equal(run.read_vectors(pick.rank)[0], candidates[pick.id])


# -------------------------------------------------------------------------------------------- normalisation


@pytest.mark.parametrize("normalise", ["none", "l2"])
def test_picks_know_the_length_that_their_features_were_divided_by(
    archive: Path, folders: tuple[Path, Path], normalise: Any
) -> None:
    """l2: every row has length 1, and a pick tells what it was divided by; none: rows as they are, lengths of 1."""
    ingest_result = ingest_and_extract(archive, folders[0], plan=make_plan(normalise=normalise), background=folders[1:])
    run_select(archive, ingest_result)
    run = open_run(archive, ingest_result)
    for table in load_member_features(run):
        places = [(member.batch, member.row) for member in table.members]
        raw = gather_features(FeatureStore(run.archive, run.plan.features_digest), places)
        values = table.rows.get(np.arange(len(places)))
        assert values.dtype == np.float32
        expected = np.linalg.norm(raw, axis=1) if normalise == "l2" else np.ones(len(raw))
        np.testing.assert_allclose(values * expected[:, None], raw, rtol=1e-6)
    raw = gather_features(
        FeatureStore(run.archive, run.plan.features_digest), [(p.batch, p.row) for p in read_picked_members(run)]
    )
    expected = np.linalg.norm(raw, axis=1) if normalise == "l2" else np.ones(len(raw))
    np.testing.assert_allclose([pick.length for pick in run.read_picks()], expected, rtol=1e-6)


def read_picked_members(run: Run) -> list[Any]:
    """The members that were picked, in order."""
    by_key = {member.key: member for member in run.read_members()}
    return [by_key[pick.key] for pick in run.read_picks()]


def test_a_row_of_zeros_is_picked_like_any_other(tmp_path: Path) -> None:
    """A black image has no direction: it stays zero, divided by 1, and is picked like any other."""
    from PIL import Image

    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 3)
    Image.new("RGB", (9, 9)).save(folder / "black.png")
    ingest_result = ingest_and_extract(archive, folder, plan=make_plan(normalise="l2"))
    assert run_select(archive, ingest_result).picks == 4
    (pick,) = (pick for pick in open_run(archive, ingest_result).read_picks() if pick.id == "black.png")
    assert pick.length == 1.0
    assert np.isfinite(pick.score)


# ---------------------------------------------------------------------------------------------- nearest seen


@pytest.mark.parametrize("has_background", [False, True], ids=["alone", "background"])
@pytest.mark.parametrize("normalise", ["none", "l2"])
def test_nearest_images_are_those_seen_before_the_pick(
    archive: Path, folders: tuple[Path, Path], has_background: bool, normalise: Any
) -> None:
    """By brute force: the three nearest of the background and the earlier picks, none that comes later."""
    plan = make_plan(normalise=normalise)
    ingest_result = ingest_and_extract(archive, folders[0], plan=plan, background=folders[1:] if has_background else ())
    run_select(archive, ingest_result)
    run = open_run(archive, ingest_result)
    candidates, background = read_normalized(run)
    seen_features = {("background", name): row for name, row in background.items()}
    for pick in run.read_picks():
        x = candidates[pick.id]
        distance = {key: float(np.linalg.norm(row - x)) for key, row in seen_features.items()}
        expected = sorted(distance, key=distance.__getitem__)[:3]
        assert [(near.role, near.id) for near in pick.nearest] == expected
        assert [near.distance for near in pick.nearest] == pytest.approx([distance[key] for key in expected])
        seen_features[f"pick {pick.rank}", pick.id] = x
    assert len(run.read_picks()[0].nearest) == (3 if has_background else 0)


# ------------------------------------------------------------------------------- what is not there, and comes back


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_unreadable_candidates_are_left_out(tmp_path: Path, damage: str) -> None:
    """An image without a vector is not picked; neither does it count as known."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 4)
    background = write_photos(tmp_path / "known" / "old", 2, first=50).parent
    if damage == "cut":
        for path in (folder / "01.png", background / "old" / "00.png"):
            write_file(path, path.read_bytes()[:-70])
    plan = make_plan()
    ingest_result = run_ingest(archive, folder, plan=plan, background=(background,), block=2)
    if damage == "gone":
        for path in (folder / "01.png", background / "old" / "00.png"):
            path.unlink()
    run_extract(archive, ingest_result, plan)
    assert run_select(archive, ingest_result).picks == 3
    picks = open_run(archive, ingest_result).read_picks()
    assert {pick.id for pick in picks} == {"00.png", "02.png", "03.png"}
    assert {near.id for near in picks[0].nearest} == {"old/01.png"}
    assert picks[0].nearest[0].role == "background"


def test_a_run_without_readable_candidates_is_refused(tmp_path: Path) -> None:
    """A sentence; the background alone is nothing to pick from."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 2)
    ingest_result = run_ingest(archive, folder, background=(write_photos(tmp_path / "known", 2, first=50),))
    for path in list(folder.iterdir()):
        path.unlink()
    run_extract(archive, ingest_result)
    with pytest.raises(StoreError, match=f"no image of run {ingest_result.run} could be read"):
        run_select(archive, ingest_result)


def test_an_image_that_becomes_readable_starts_the_selection_again(tmp_path: Path) -> None:
    """It could not be got at, and the picks were made without it; back again, the same run makes them anew."""
    archive, folder, plan = tmp_path / "archive", write_photos(tmp_path / "in", 13), make_plan()
    data, mtime_ns = (folder / "05.png").read_bytes(), (folder / "05.png").stat().st_mtime_ns
    ingest_result = run_ingest(archive, folder, plan=plan)
    (folder / "05.png").unlink()
    run_extract(archive, ingest_result, plan)
    assert run_select(archive, ingest_result).picks == 12
    write_file(folder / "05.png", data, mtime_ns)
    again = ingest_and_extract(archive, folder, plan=plan)
    assert again.run == ingest_result.run
    result = run_select(archive, again)
    assert (result.picks, result.resumed_at) == (13, 0)
    fresh = ingest_and_extract(tmp_path / "fresh", folder, plan=plan)
    run_select(tmp_path / "fresh", fresh)
    assert open_run(archive, again).read_picks() == open_run(tmp_path / "fresh", fresh).read_picks()


def test_new_labels_change_labels_only(tmp_path: Path) -> None:
    """The same run with labels: its picks have them, and are otherwise the same."""
    archive = tmp_path / "archive"
    folder = write_photos(tmp_path / "in" / "rock", 5).parent
    ingest_result = ingest_and_extract(archive, folder, plan=make_plan())
    run_select(archive, ingest_result)
    before = open_run(archive, ingest_result).read_picks()
    again = run_ingest(archive, folder, plan=make_plan(), labels="folder")
    assert again.run == ingest_result.run
    run_select(archive, again)
    now = open_run(archive, again).read_picks()
    assert [pick.label for pick in now] == ["rock"] * 5
    assert [replace(pick, label=None) for pick in now] == before


def test_picks_of_a_moved_folder_have_its_new_addresses(tmp_path: Path) -> None:
    """The same images under another address: the run's picks lead to where they are now."""
    archive = tmp_path / "archive"
    ingest_result = ingest_and_extract(archive, write_photos(tmp_path / "a" / "in", 5), plan=make_plan())
    run_select(archive, ingest_result)
    (tmp_path / "a").rename(tmp_path / "b")
    again = ingest_and_extract(archive, tmp_path / "b" / "in", plan=make_plan())
    assert again.run == ingest_result.run
    run_select(archive, again)
    picks = open_run(archive, again).read_picks()
    assert all("/b/in/" in uri for pick in picks for uri in (pick.uri, *(near.uri for near in pick.nearest)))


# ------------------------------------------------------------------------------------------------- nothing new


@pytest.mark.parametrize("selector", [s for s in SELECTORS if isinstance(s, Demud)], ids=repr)
def test_candidates_that_are_all_known_give_no_picks(tmp_path: Path, selector: Any) -> None:
    """Every candidate is a known picture in another format: no picks, and that is no error."""
    archive, background = tmp_path / "archive", write_photos(tmp_path / "known", 3)
    for number in range(3):
        write_file(tmp_path / "in" / f"{number}.bmp", make_image_bytes(number, "BMP"))
    ingest_result = ingest_and_extract(
        archive, tmp_path / "in", plan=make_plan(replace(selector, rank=9)), background=(background,)
    )
    assert run_select(archive, ingest_result) == SelectionResult(ingest_result.run, 0, 0, True, 0)
    assert open_run(archive, ingest_result).read_picks() == []
    assert run_select(archive, ingest_result).exhausted
    check_archive(archive)


def test_a_selection_ends_when_nothing_is_new(tmp_path: Path) -> None:
    """Three pictures in two formats each: three picks, told to be all; an interruption changes nothing in that."""
    archive = tmp_path / "archive"
    for number in range(3):
        write_file(tmp_path / "in" / f"{number}.bmp", make_image_bytes(number, "BMP"))
        write_file(tmp_path / "in" / f"{number}.png", make_image_bytes(number))
    ingest_result = ingest_and_extract(archive, tmp_path / "in", plan=make_plan())
    result = run_select(archive, ingest_result)
    assert (result.picks, result.exhausted) == (3, True)
    expected = read_picks_file(archive, ingest_result)
    open_run(archive, ingest_result).location.remove("picks.json")
    assert run_select(archive, ingest_result).exhausted
    assert read_picks_file(archive, ingest_result) == expected


def test_ids_of_any_bytes_are_in_the_picks(tmp_path: Path) -> None:
    """Names with newlines, quotes and other bytes are in picks.json, which is JSON in UTF-8."""
    archive = tmp_path / "archive"
    for number, name in enumerate((b"new\nline.png", b"quo'te\".png", b"\xff.png", "火星.png".encode())):
        write_file(tmp_path / "in" / os.fsdecode(name), make_image_bytes(number))
    ingest_result = ingest_and_extract(archive, tmp_path / "in", plan=make_plan())
    run_select(archive, ingest_result)
    payload = json.loads(read_picks_file(archive, ingest_result).decode("utf-8"))
    assert {pick["id"] for pick in payload["picks"]} == {"new\nline.png", "quo'te\".png", "\\xff.png", "火星.png"}
