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

from interpdisc_core.errors import StoreError
from interpdisc_core.features import FeatureStore, gather
from interpdisc_core.ingest import Settled
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.runs import STEP, Run
from interpdisc_core.selection import Selected, features_of, select
from interpdisc_core.selectors import Demud, Shuffle, demud, shuffle
from interpdisc_core.storage import Place
from tests.core.test_ingest import PLAN, extracted, ingested, photos, picture, put, run_of, sound

MANY = 27
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


def planned(selector: Any = SELECTORS[0], **changes: Any) -> Plan:
    """A plan of 22 picks on pixels."""
    return replace(PLAN, **{"selector": selector, "picks": 22, **changes})


def prepared(archive: Path, *given: Path, plan: Plan, background: tuple[Path, ...] = ()) -> Settled:
    """Everything up to the selection."""
    settled = ingested(archive, *given, plan=plan, background=background, block=10)
    extracted(archive, settled, plan)
    return settled


def selected(archive: Path, settled: Settled) -> Selected:
    """The selection step."""
    return select(str(archive), settled.run, Watch(str(archive)))


def picks_of(archive: Path, settled: Settled) -> bytes:
    """picks.json as it is."""
    return run_of(archive, settled).place.read("picks.json")


def normalised(run: Run) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, npt.NDArray[np.float64]]]:
    """Features of the candidates and of the background by id, divided by their length where the plan says so."""
    tables: dict[str, dict[str, npt.NDArray[np.float64]]] = {"candidate": {}, "background": {}}
    for member in run.members():
        (row,) = gather(FeatureStore(run.archive, run.plan.features), [(member.batch, member.row)])
        if run.plan.normalise == "l2":
            row = (row / np.linalg.norm(row)).astype(np.float32)
        tables[member.role][member.id] = row.astype(np.float64)
    return tables["candidate"], tables["background"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images to pick from and images that are known."""
    root = tmp_path_factory.mktemp("folders")
    return photos(root / "in", MANY), photos(root / "known", 4, first=100)


@pytest.fixture(scope="module")
def base(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that has the features of both."""
    archive = tmp_path_factory.mktemp("base") / "archive"
    prepared(archive, *folders, plan=PLAN)
    return archive


@pytest.fixture
def archive(base: Path, tmp_path: Path) -> Path:
    """A copy of it for each test."""
    return Path(shutil.copytree(base, tmp_path / "archive"))


# ------------------------------------------------------------------------------------------------- end to end


@over_selectors
@pytest.mark.parametrize("known", [False, True], ids=["alone", "background"])
def test_every_selector_makes_its_picks(archive: Path, folders: tuple[Path, Path], selector: Any, known: bool) -> None:
    """The picks are those that the selector makes of the run's features, with ids, scores and vectors that agree."""
    settled = prepared(archive, folders[0], plan=planned(selector), background=folders[1:] if known else ())
    made = selected(archive, settled)
    run = run_of(archive, settled)
    picks = run.picks()
    assert made == Selected(settled.run, 22, sum(pick.near_ties for pick in picks), False, 0)
    candidates, background = normalised(run)
    features = np.array(list(candidates.values()), dtype=np.float32)
    selection = selector.open(features, np.array(list(background.values())).reshape(-1, features.shape[1]))
    for rank, pick in enumerate(picks, start=1):
        choice = selection.peek()
        assert (pick.rank, pick.id, pick.score) == (rank, list(candidates)[choice.row], choice.score)
        x, expected, mean = run.vectors(rank)
        np.testing.assert_array_equal(x, candidates[pick.id])
        if choice.expected is None:
            assert np.isnan(expected).all()
            assert np.isnan(mean).all()
        else:
            np.testing.assert_array_equal(expected, choice.expected)
            np.testing.assert_array_equal(mean, choice.mean)
            assert ((x - expected) ** 2).sum() == pytest.approx(pick.score, rel=1e-9)
        selection.learn(choice.row)


def test_a_second_time_nothing_is_done(archive: Path, folders: tuple[Path, Path]) -> None:
    """The same answer, and no file of the run is touched."""
    settled = prepared(archive, folders[0], plan=planned())
    first = selected(archive, settled)
    before = {path: path.stat().st_mtime_ns for path in archive.glob("runs/**/*")}
    assert selected(archive, settled) == replace(first, resumed_at=22)
    assert {path: path.stat().st_mtime_ns for path in archive.glob("runs/**/*")} == before


def test_fewer_images_than_picks(tmp_path: Path) -> None:
    """Every image is picked once; that is no exhaustion."""
    archive = tmp_path / "archive"
    settled = prepared(archive, photos(tmp_path / "in", 5), plan=planned())
    made = selected(archive, settled)
    assert (made.picks, made.exhausted) == (5, False)
    assert len({pick.id for pick in run_of(archive, settled).picks()}) == 5


def test_features_that_are_not_there(archive: Path, folders: tuple[Path, Path]) -> None:
    """A block that is not extracted yet, and a run that does not exist: sentences."""
    settled = prepared(archive, folders[0], plan=planned())
    next(archive.glob("features/*/000000/records/*")).unlink()
    with pytest.raises(StoreError, match="not extracted yet"):
        selected(archive, settled)
    with pytest.raises(StoreError, match="no run nowhere"):
        select(str(archive), "nowhere", Watch(str(archive)))


def test_a_lost_chunk_is_not_an_unreadable_image(archive: Path, folders: tuple[Path, Path]) -> None:
    """Images whose vectors were lost are not left out in silence."""
    settled = prepared(archive, folders[0], plan=planned())
    next(archive.glob("features/*/000000/values/c/1/0")).unlink()
    with pytest.raises(StoreError, match="batch 0"):
        selected(archive, settled)


# ---------------------------------------------------------------------------------------------- interruptions


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Raise when a selection is asked for pick number `after` (from 0)."""
    for kind in (demud.Selection, shuffle._Shuffled):
        peek, learn = kind.peek, kind.learn

        def counted_learn(self: Any, row: int, learn: Any = learn) -> None:
            learn(self, row)
            _learned[id(self)] = _learned.get(id(self), 0) + 1

        def counted_peek(self: Any, peek: Any = peek) -> Any:
            if _learned.get(id(self), 0) >= after:
                raise Interrupted
            return peek(self)

        monkeypatch.setattr(kind, "learn", counted_learn)
        monkeypatch.setattr(kind, "peek", counted_peek)
    _learned.clear()


_learned: dict[int, int] = {}


@over_selectors
def test_interrupted_anywhere_the_picks_are_the_same(
    archive: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, selector: Any
) -> None:
    """Killed after 0, 1, 9, 10, 11, 20 and 21 picks in one run: it goes on after a checkpoint, and ends the same."""
    settled = prepared(archive, folders[0], plan=planned(selector), background=folders[1:])
    selected(archive, settled)
    straight = picks_of(archive, settled)
    run = run_of(archive, settled)
    vectors = np.array([run.vectors(rank) for rank in range(1, 23)])
    for name in ("picks.json", "selection.json", "vectors"):
        run.place.remove(name)
    for after in (0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP, 2 * STEP + 1):
        with monkeypatch.context() as patch:
            interrupt(patch, after)
            with pytest.raises(Interrupted):
                selected(archive, settled)
        assert not run.place.exists("picks.json")
        assert run.place.exists("selection.json") == (after >= STEP)
        sound(archive)
    assert selected(archive, settled).resumed_at == 2 * STEP
    assert picks_of(archive, settled) == straight
    np.testing.assert_array_equal(np.array([run.vectors(rank) for rank in range(1, 23)]), vectors)


@pytest.mark.parametrize("after", [4, 15, 22])
def test_one_interruption(
    archive: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """After any number of picks; what is lost is fewer picks than a step."""
    settled = prepared(archive, folders[0], plan=planned())
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        if after < 22:
            with pytest.raises(Interrupted):
                selected(archive, settled)
        else:
            selected(archive, settled)
    resumed = selected(archive, settled)
    assert after - STEP < resumed.resumed_at <= after
    fresh = Path(shutil.copytree(archive, archive.parent / "fresh"))
    shutil.rmtree(fresh / "runs")
    again = prepared(fresh, folders[0], plan=planned())
    selected(fresh, again)
    assert picks_of(archive, settled) == picks_of(fresh, again)


@pytest.mark.parametrize("where", ["write_vectors", "selection.json", "picks.json"])
def test_killed_while_writing(
    archive: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Between the vectors and the state that speaks of them, and before the picks: the same picks and vectors."""
    settled = prepared(archive, folders[0], plan=planned())
    write_vectors, write_json, times = Run.write_vectors, Place.write_json, iter(range(10))

    def vectors(self: Run, first: int, values: Any) -> None:
        write_vectors(self, first, values)
        if where == "write_vectors" and next(times) == 1:
            raise Interrupted

    def state(self: Place, name: str, value: Any) -> None:
        if name == where and (name == "picks.json" or next(times) == 1):
            raise Interrupted
        write_json(self, name, value)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_vectors", vectors)
        patch.setattr(Place, "write_json", state)
        with pytest.raises(Interrupted):
            selected(archive, settled)
    assert selected(archive, settled).resumed_at == (22 if where == "picks.json" else STEP)
    run = run_of(archive, settled)
    candidates, _ = normalised(run)
    for pick in run.picks():
        np.testing.assert_array_equal(run.vectors(pick.rank)[0], candidates[pick.id])


# -------------------------------------------------------------------------------------------- normalisation


@pytest.mark.parametrize("normalise", ["none", "l2"])
def test_lengths(archive: Path, folders: tuple[Path, Path], normalise: Any) -> None:
    """l2: every row has length 1, and a pick tells what it was divided by; none: rows as they are, lengths of 1."""
    settled = prepared(archive, folders[0], plan=planned(normalise=normalise), background=folders[1:])
    selected(archive, settled)
    run = run_of(archive, settled)
    for table in features_of(run):
        places = [(member.batch, member.row) for member in table.members]
        raw = gather(FeatureStore(run.archive, run.plan.features), places)
        values = table.rows.get(np.arange(len(places)))
        assert values.dtype == np.float32
        wanted = np.linalg.norm(raw, axis=1) if normalise == "l2" else np.ones(len(raw))
        np.testing.assert_allclose(values * wanted[:, None], raw, rtol=1e-6)
    raw = gather(FeatureStore(run.archive, run.plan.features), [(p.batch, p.row) for p in _members(run)])
    wanted = np.linalg.norm(raw, axis=1) if normalise == "l2" else np.ones(len(raw))
    np.testing.assert_allclose([pick.length for pick in run.picks()], wanted, rtol=1e-6)


def _members(run: Run) -> list[Any]:
    """The members that were picked, in order."""
    by_key = {member.key: member for member in run.members()}
    return [by_key[pick.key] for pick in run.picks()]


def test_a_row_of_length_zero(tmp_path: Path) -> None:
    """A black image has no direction: it stays zero, divided by 1, and is picked like any other."""
    from PIL import Image

    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 3)
    Image.new("RGB", (9, 9)).save(folder / "black.png")
    settled = prepared(archive, folder, plan=planned(normalise="l2"))
    assert selected(archive, settled).picks == 4
    (pick,) = (pick for pick in run_of(archive, settled).picks() if pick.id == "black.png")
    assert pick.length == 1.0
    assert np.isfinite(pick.score)


# ---------------------------------------------------------------------------------------------- nearest seen


@pytest.mark.parametrize("known", [False, True], ids=["alone", "background"])
@pytest.mark.parametrize("normalise", ["none", "l2"])
def test_the_nearest_seen(archive: Path, folders: tuple[Path, Path], known: bool, normalise: Any) -> None:
    """By brute force: the three nearest of the background and the earlier picks, none that comes later."""
    plan = planned(normalise=normalise)
    settled = prepared(archive, folders[0], plan=plan, background=folders[1:] if known else ())
    selected(archive, settled)
    run = run_of(archive, settled)
    candidates, background = normalised(run)
    seen = {("background", name): row for name, row in background.items()}
    for pick in run.picks():
        x = candidates[pick.id]
        distance = {key: float(np.linalg.norm(row - x)) for key, row in seen.items()}
        wanted = sorted(distance, key=distance.__getitem__)[:3]
        assert [(near.role, near.id) for near in pick.nearest] == wanted
        assert [near.distance for near in pick.nearest] == pytest.approx([distance[key] for key in wanted])
        seen[f"pick {pick.rank}", pick.id] = x
    assert len(run.picks()[0].nearest) == (3 if known else 0)


# ------------------------------------------------------------------------------- what is not there, and comes back


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_unreadable_candidates_are_left_out(tmp_path: Path, damage: str) -> None:
    """An image without a vector is not picked; neither does it count as known."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 4)
    known = photos(tmp_path / "known" / "old", 2, first=50).parent
    if damage == "cut":
        for path in (folder / "01.png", known / "old" / "00.png"):
            put(path, path.read_bytes()[:-70])
    plan = planned()
    settled = ingested(archive, folder, plan=plan, background=(known,), block=2)
    if damage == "gone":
        for path in (folder / "01.png", known / "old" / "00.png"):
            path.unlink()
    extracted(archive, settled, plan)
    assert selected(archive, settled).picks == 3
    picks = run_of(archive, settled).picks()
    assert {pick.id for pick in picks} == {"00.png", "02.png", "03.png"}
    assert {near.id for near in picks[0].nearest} == {"old/01.png"}
    assert picks[0].nearest[0].role == "background"


def test_not_one_candidate_could_be_read(tmp_path: Path) -> None:
    """A sentence; the background alone is nothing to pick from."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 2)
    settled = ingested(archive, folder, background=(photos(tmp_path / "known", 2, first=50),))
    for path in list(folder.iterdir()):
        path.unlink()
    extracted(archive, settled)
    with pytest.raises(StoreError, match=f"not one of the images of run {settled.run}"):
        selected(archive, settled)


def test_an_image_that_comes_back_is_selected(tmp_path: Path) -> None:
    """It could not be got at, and the picks were made without it; back again, the same run makes them anew."""
    archive, folder, plan = tmp_path / "archive", photos(tmp_path / "in", 13), planned()
    data, when = (folder / "05.png").read_bytes(), (folder / "05.png").stat().st_mtime_ns
    settled = ingested(archive, folder, plan=plan)
    (folder / "05.png").unlink()
    extracted(archive, settled, plan)
    assert selected(archive, settled).picks == 12
    put(folder / "05.png", data, when)
    again = prepared(archive, folder, plan=plan)
    assert again.run == settled.run
    made = selected(archive, again)
    assert (made.picks, made.resumed_at) == (13, 0)
    fresh = prepared(tmp_path / "fresh", folder, plan=plan)
    selected(tmp_path / "fresh", fresh)
    assert run_of(archive, again).picks() == run_of(tmp_path / "fresh", fresh).picks()


def test_labels_that_come_later(tmp_path: Path) -> None:
    """The same run with labels: its picks have them, and are otherwise the same."""
    archive = tmp_path / "archive"
    folder = photos(tmp_path / "in" / "rock", 5).parent
    settled = prepared(archive, folder, plan=planned())
    selected(archive, settled)
    before = run_of(archive, settled).picks()
    again = ingested(archive, folder, plan=planned(), labels="folder")
    assert again.run == settled.run
    selected(archive, again)
    now = run_of(archive, again).picks()
    assert [pick.label for pick in now] == ["rock"] * 5
    assert [replace(pick, label=None) for pick in now] == before


def test_a_folder_that_was_moved(tmp_path: Path) -> None:
    """The same images under another address: the run's picks lead to where they are now."""
    archive = tmp_path / "archive"
    settled = prepared(archive, photos(tmp_path / "a" / "in", 5), plan=planned())
    selected(archive, settled)
    (tmp_path / "a").rename(tmp_path / "b")
    again = prepared(archive, tmp_path / "b" / "in", plan=planned())
    assert again.run == settled.run
    selected(archive, again)
    picks = run_of(archive, again).picks()
    assert all("/b/in/" in uri for pick in picks for uri in (pick.uri, *(near.uri for near in pick.nearest)))


# ------------------------------------------------------------------------------------------------- nothing new


@pytest.mark.parametrize("selector", [s for s in SELECTORS if isinstance(s, Demud)], ids=repr)
def test_nothing_new_at_all(tmp_path: Path, selector: Any) -> None:
    """Every candidate is a known picture in another format: no picks, and that is no error."""
    archive, known = tmp_path / "archive", photos(tmp_path / "known", 3)
    for number in range(3):
        put(tmp_path / "in" / f"{number}.bmp", picture(number, "BMP"))
    settled = prepared(archive, tmp_path / "in", plan=planned(replace(selector, rank=9)), background=(known,))
    assert selected(archive, settled) == Selected(settled.run, 0, 0, True, 0)
    assert run_of(archive, settled).picks() == []
    assert selected(archive, settled).exhausted
    sound(archive)


def test_picks_end_where_nothing_is_new(tmp_path: Path) -> None:
    """Three pictures in two formats each: three picks, told to be all; an interruption changes nothing in that."""
    archive = tmp_path / "archive"
    for number in range(3):
        put(tmp_path / "in" / f"{number}.bmp", picture(number, "BMP"))
        put(tmp_path / "in" / f"{number}.png", picture(number))
    settled = prepared(archive, tmp_path / "in", plan=planned())
    made = selected(archive, settled)
    assert (made.picks, made.exhausted) == (3, True)
    straight = picks_of(archive, settled)
    run_of(archive, settled).place.remove("picks.json")
    assert selected(archive, settled).exhausted
    assert picks_of(archive, settled) == straight


def test_ids_of_any_name(tmp_path: Path) -> None:
    """Names with newlines, quotes and other bytes are in picks.json, which is JSON in UTF-8."""
    archive = tmp_path / "archive"
    for number, name in enumerate((b"new\nline.png", b"quo'te\".png", b"\xff.png", "火星.png".encode())):
        put(tmp_path / "in" / os.fsdecode(name), picture(number))
    settled = prepared(archive, tmp_path / "in", plan=planned())
    selected(archive, settled)
    told = json.loads(picks_of(archive, settled).decode("utf-8"))
    assert {pick["id"] for pick in told["picks"]} == {"new\nline.png", "quo'te\".png", "\\xff.png", "火星.png"}
