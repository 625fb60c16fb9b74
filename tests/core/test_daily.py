"""Laws of the daily run: what came in leaves the same memory however it came, and nothing that is right changes."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from interpdisc_core import feedback
from interpdisc_core.daily import commit, rebuilding
from interpdisc_core.daily.horizon import Calibration, novelty
from interpdisc_core.daily.likeness import alike
from interpdisc_core.daily.settings import Daily, parse, to_json
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.extraction import extract
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.representations import PixelValues
from interpdisc_core.selectors import Demud, FarthestFirst, Seen
from interpdisc_core.storage import Place
from interpdisc_core.terms import absorbing
from interpdisc_core.verification import verify
from tests.core.daily_runs import downlink, name, picture, records, run, settings


def put(folder: Path, images: dict[str, bytes]) -> None:
    for file, data in images.items():
        (folder / file).write_bytes(data)


def told(archive: Path, day: str) -> dict:
    return json.loads((archive / "days" / day / "day.json").read_bytes())


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Five sols, one run each: folder and archive."""
    base = tmp_path_factory.mktemp("straight")
    images = downlink(base / "images", range(1, 6))
    for sol in range(1, 6):
        put(base / "images", {file: data for file, data in images.items() if int(file[:4]) == sol})
        run(base / "archive", settings(base / "images"))
    return base / "images", base / "archive"


def test_each_day_has_its_list_its_pages_and_its_records(straight: tuple[Path, Path]) -> None:
    """Picks, a ledger that adds up, a horizon of the days before, a record for each stratum."""
    _, archive = straight
    for sol in range(1, 6):
        day = told(archive, f"sol-{sol:05d}")
        assert day["revision"] == 1
        assert sum(day["ledger"].values()) == day["inputs"] == 8
        assert day["horizon"]["days"] == [f"sol-{before:05d}" for before in range(1, sol)]
        assert day["instruments"] == {"MAST_LEFT": 4, "MAST_RIGHT": 4}
        assert len(day["picks"]) == 4
        assert (archive / "site" / "days" / f"sol-{sol:05d}" / "index.html").is_file()
    kept = records(archive)
    assert len(kept) == 3
    assert all(list(of) == [f"sol-{sol:05d}" for sol in range(1, 6)] for of in kept.values())
    assert verify(str(archive)).sound


def test_the_image_of_a_new_kind_is_picked_first(straight: tuple[Path, Path]) -> None:
    """Sols 4 and 5 have one image each of a kind that was not there before."""
    _, archive = straight
    for sol in (4, 5):
        assert told(archive, f"sol-{sol:05d}")["picks"][0]["id"] == name(sol, 0, "MR")


def test_a_run_with_nothing_new_changes_nothing(straight: tuple[Path, Path]) -> None:
    """Every file but the accounts and listings is as it was, to the byte."""
    images, archive = straight

    def content() -> dict[str, bytes]:
        kept = ("days", "memory", "runs", "site", "features", "catalog", "batches")
        return {str(p): p.read_bytes() for part in kept for p in (archive / part).rglob("*") if p.is_file()}

    before = content()
    assert run(archive, settings(images)) == []
    assert content() == before


@hypothesis_settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(24)), cuts=st.lists(st.integers(1, 23), min_size=1, max_size=3, unique=True))
def test_however_images_come_the_memory_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cuts: list[int]
) -> None:  # fmt: skip
    """Late, out of order, versions and thumbnails in any turn: the same records, to the bit."""
    base = tmp_path_factory.mktemp("orders")
    images = downlink(base / "images", range(1, 4), each=6)
    images |= {
        name(sol, 1, "ML", "I01"): picture(7000 + sol, 1, 12) for sol in range(1, 4)
    }  # thumbnails of what is there
    images |= {name(2, 9): picture(201, 1), name(3, 9): images[name(3, 0, "MR")], "broken_0002ML.png": b"no image"}
    files = sorted(images)
    base_archive = tmp_path_factory.mktemp("base")
    put(base / "images", images)
    run(base_archive / "archive", settings(base / "images"))
    some = base / "growing"
    some.mkdir()
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), len(files)], strict=True):
        put(some, {files[number]: images[files[number]] for number in order[first:last]})
        run(base / "archive", settings(some))
    assert records(base / "archive") == records(base_archive / "archive")
    assert verify(str(base / "archive")).sound


class _Cut(Exception):
    """As if the process had been killed."""


@pytest.mark.parametrize("after", range(2, 60, 5))
def test_killed_at_any_write_the_same_run_goes_on(
    tmp_path: Path, straight: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Cut off after so many writes, on a day that has one before it: then the same records and the same list."""
    images = downlink(tmp_path / "images", range(1, 3))
    put(tmp_path / "images", {file: data for file, data in images.items() if file[:4] == "0001"})
    run(tmp_path / "archive", settings(tmp_path / "images"))
    put(tmp_path / "images", images)
    left, write = [after], Place.write

    def cut(self: Place, file: str, data: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise _Cut
        write(self, file, data)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", cut)
        with contextlib.suppress(_Cut):
            run(tmp_path / "archive", settings(tmp_path / "images"))
    run(tmp_path / "archive", settings(tmp_path / "images"))
    expected = {stratum: dict(list(of.items())[:2]) for stratum, of in records(straight[1]).items()}
    assert records(tmp_path / "archive") == expected
    picks = [[pick["id"], pick["score"]] for pick in told(straight[1], "sol-00002")["picks"]]
    assert [[pick["id"], pick["score"]] for pick in told(tmp_path / "archive", "sol-00002")["picks"]] == picks
    assert verify(str(tmp_path / "archive")).sound


def copied(straight: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the five sols that may be changed; the images' times are kept, so they are the same inputs."""
    import shutil

    shutil.copytree(straight[1], tmp_path / "archive")
    return straight[0], tmp_path / "archive"


def test_a_day_that_is_taken_back_was_never_there(straight: tuple[Path, Path], tmp_path: Path) -> None:
    """Undo leaves the other records; the next run leaves the day alone; redo gives the same bits again."""
    images, archive = copied(straight, tmp_path)
    before = records(archive)
    commit.undo(str(archive), "sol-00003", "ann", "wrong exposure")
    assert all("sol-00003" not in of for of in records(archive).values())
    assert {s: {d: r for d, r in of.items() if d != "sol-00003"} for s, of in before.items()} == records(archive)
    assert run(archive, settings(images)) == []
    with pytest.raises(PlanError, match="sol-00003"):
        commit.undo(str(archive), "sol-00003", "ann", "")
    commit.redo(str(archive), "sol-00003")
    assert [one.day for one in run(archive, settings(images))] == ["sol-00003"]
    assert records(archive) == before
    assert verify(str(archive)).sound


def relisted(archive: Path, images: Path, sol: int, tmp_path: Path, **given: object) -> dict:
    """A day's list made anew, as another image of it came in."""
    more = tmp_path / "more"
    more.mkdir(exist_ok=True)
    put(more, {name(sol, 11): picture(990 + sol, 1)} | {p.name: p.read_bytes() for p in images.iterdir()})
    run(archive, settings(more, **given))
    return told(archive, f"sol-{sol:05d}")


def test_late_images_make_another_revision_and_keep_the_first(straight: tuple[Path, Path], tmp_path: Path) -> None:
    """The list is made anew beside the same days before it; what it replaces is kept."""
    images, archive = copied(straight, tmp_path)
    first = told(archive, "sol-00003")
    day = relisted(archive, images, 3, tmp_path)
    assert (day["revision"], day["late"], day["received"]) == (2, 1, 1)
    assert sum(day["instruments"].values()) == sum(first["instruments"].values()) + 1
    assert sum(day["ledger"].values()) == day["inputs"]
    assert day["horizon"] == first["horizon"]
    assert json.loads((archive / "days/sol-00003/day-001.json").read_bytes()) == first
    again = {pick["observation"] for pick in first["picks"]}
    assert all(pick["new"] == (pick["observation"] not in again) for pick in day["picks"])


def test_what_people_say_changes_the_next_list(straight: tuple[Path, Path], tmp_path: Path) -> None:
    """Known is never picked again, boring is absorbed, an artefact leaves the science lane and the memory."""
    images, archive = copied(straight, tmp_path)
    first, second, third, _ = told(archive, "sol-00005")["picks"]
    place, before = Place.of(str(archive)), records(archive)
    feedback.mark(place, first["id"], "known", "ann")
    feedback.mark(place, second["id"], "boring", "bob")
    feedback.mark(place, third["id"], "artefact", "ann", "lens cap")
    day = relisted(archive, images, 5, tmp_path)
    assert first["id"] in day["known"]
    assert {first["id"], second["id"], third["id"]}.isdisjoint(pick["id"] for pick in day["picks"])
    assert [(one["id"], one["by"]) for one in day["artefacts"]] == [(third["id"], "ann")]
    assert before != records(archive)


def test_interesting_is_tracked_and_not_remembered(straight: tuple[Path, Path], tmp_path: Path) -> None:
    """Its day's record is made anew without it; what comes like it is shown in a lane of its own."""
    _, archive = copied(straight, tmp_path)
    pick = told(archive, "sol-00004")["picks"][0]
    place = Place.of(str(archive))
    before = commit.committed(place, "sol-00004")
    feedback.mark(place, pick["id"], "interesting", "ann")
    more = tmp_path / "more"
    more.mkdir()
    put(more, {name(6, 0, "MR"): picture(401, 4), name(6, 1): picture(3, 1)})
    run(archive, settings(more))
    after = commit.committed(place, "sol-00004")
    assert before is not None
    assert after is not None
    assert after.records["all"].count == before.records["all"].count - 1
    assert [(one["id"], one["like"]) for one in told(archive, "sol-00006")["tracked"]] == [
        (name(6, 0, "MR"), pick["id"])
    ]


def test_a_budget_holds_and_names_what_it_left_out(straight: tuple[Path, Path], tmp_path: Path) -> None:
    """No more of an instrument than asked for; what is newer than the last pick is named."""
    images, archive = copied(straight, tmp_path)
    day = relisted(archive, images, 5, tmp_path, budget={"MAST_RIGHT": 1, "*": 2})
    counted = [pick["instrument"] for pick in day["picks"]]
    assert counted.count("MAST_RIGHT") <= 1
    assert counted.count("MAST_LEFT") <= 2
    floor = min(pick["prior_score"] for pick in day["picks"])
    assert all(one["score"] >= floor for one in day["beyond_budget"])


def test_another_backbone_is_refused_until_the_memory_is_rebuilt(straight: tuple[Path, Path], tmp_path: Path) -> None:
    """One sentence; rebuild brings features and memory along; then days go on."""
    images, archive = copied(straight, tmp_path)
    plan = Plan(representation=PixelValues(side=6), selector=Demud(rank=3), picks=4, explain=0)
    other = settings(images, plan=plan)
    with pytest.raises(StoreError, match="rebuild"):
        run(archive, other)
    begun = rebuilding.begin(str(archive), other)
    for block in begun.blocks:
        extract(str(archive), plan, block, begun.turn, Watch(str(archive)))
    for day in begun.days:
        rebuilding.rebuild_day(str(archive), other, day)
    rebuilding.end(str(archive), other)
    fresh = tmp_path / "fresh"
    for sol in range(1, 6):
        part = tmp_path / f"part-{sol}"
        part.mkdir()
        put(part, {p.name: p.read_bytes() for p in images.iterdir() if int(p.name[:4]) <= sol})
        run(fresh, settings(part, plan=plan))
    assert records(archive) == records(fresh)
    assert run(archive, other) == []


def test_many_days_at_once_are_remembered_and_the_last_are_listed(tmp_path: Path) -> None:
    """A first run on an old feed: lists of the last days only, and the memory of all of them."""
    images = downlink(tmp_path / "images", range(1, 6))
    put(tmp_path / "images", images)
    closed = run(tmp_path / "archive", settings(tmp_path / "images", most_days=2))
    assert [one.day for one in closed] == ["sol-00004", "sol-00005"]
    assert all(len(of) == 5 for of in records(tmp_path / "archive").values())


def test_a_panorama_is_looked_at_by_tiles_and_picked_once(tmp_path: Path) -> None:
    """Something new at its end, which the network would never see, is found, and shown in the frame."""
    folder = tmp_path / "images"
    folder.mkdir()
    put(folder, downlink(folder, range(1, 3)))
    run(tmp_path / "archive", settings(folder))
    wide = np.full((64, 640, 3), 120, dtype=np.uint8)
    wide[:, :, 1] = np.linspace(80, 130, 640).astype(np.uint8)
    wide[:, 576:640] = (250, 10, 10)
    wide[:32, 592:624] = (10, 10, 250)
    sink = io.BytesIO()
    Image.fromarray(wide).save(sink, "PNG")
    put(folder, {name(3, 0): sink.getvalue(), name(3, 1): picture(1, 1)})
    run(tmp_path / "archive", settings(folder))
    day = told(tmp_path / "archive", "sol-00003")
    best = day["picks"][0]
    left, _, width, _ = best["tile"]
    assert left < 606 < left + width
    assert best["frame"] == [640, 64]
    assert len({pick["observation"] for pick in day["picks"]}) == len(day["picks"]) == 2


def test_a_day_of_unreadable_images_is_a_page_and_no_failure(tmp_path: Path) -> None:
    """Nothing to pick from; what came in is accounted for."""
    folder = tmp_path / "images"
    folder.mkdir()
    put(folder, {name(1, 1): b"no image"})
    closed = run(tmp_path / "archive", settings(folder))
    assert [one.ledger for one in closed] == [{"quarantined": 1}]
    assert run(tmp_path / "archive", settings(folder)) == []


@hypothesis_settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), boring=st.integers(1, 4))
def test_what_is_absorbed_is_explained(seed: int, boring: int) -> None:
    """A model of enough rank leaves nothing of the boring items; the mean is as it was."""
    chance = np.random.default_rng(seed)
    items, dull = chance.normal(size=(40, 12)) * np.arange(1, 13), chance.normal(size=(boring, 12)) * 30
    seen = Seen.of(items)
    less = absorbing(seen, dull)
    assert less is not None
    np.testing.assert_array_equal(less.mean, seen.mean)
    np.testing.assert_allclose(less.axes @ less.axes.T, np.eye(len(less.axes)), atol=1e-9)
    before = ((dull - seen.mean) ** 2).sum(axis=1)
    # The strongest direction may stand beside them, so one more than their number is needed.
    assert (novelty(less, boring + 4, dull) <= 0.2 * before).all()
    assert absorbing(seen, np.empty((0, 12))) is seen


@given(scores=st.lists(st.floats(0, 1e6), min_size=1, max_size=300), score=st.floats(0, 1e6))
def test_a_share_is_what_counting_says(scores: list[float], score: float) -> None:
    """How many of the horizon's images scored at least so much, by counting."""
    calibration = Calibration(np.sort(np.array(scores)), 3)
    if len(scores) < 100:
        assert calibration.share(score) is None
    else:
        assert calibration.share(score) == sum(s >= score for s in scores) / len(scores)
        assert calibration.a_day(score) == pytest.approx(sum(s >= score for s in scores) / 3)


def test_a_spike_is_more_than_is_usual() -> None:
    """A hundredth is expected; three times as many, and five at least, are a spike."""
    calibration = Calibration(np.arange(1000.0), 10)
    quiet, loud = np.arange(0, 1000, 5.0), np.r_[np.arange(0, 1000, 5.0), np.full(8, 995.0)]
    assert not calibration.spike(quiet)[0]
    assert calibration.spike(loud)[0]


@given(seed=st.integers(0, 2**32 - 1))
def test_alike_is_nearer_than_the_reach(seed: int) -> None:
    """By the distances themselves."""
    chance = np.random.default_rng(seed)
    values, among, reaches = chance.normal(size=(3, 4)), chance.normal(size=(9, 4)), chance.uniform(0, 4, 3)
    for x, reach, found in zip(values, reaches, alike(values, among, reaches), strict=True):
        distances = np.linalg.norm(among - x, axis=1)
        assert set(found.tolist()) == set(np.flatnonzero(distances < reach).tolist())
        assert list(distances[found]) == sorted(distances[found])


def test_settings_go_through_json(tmp_path: Path) -> None:
    """What is written is what is read; a typo is a sentence that names the field; the selector is DEMUD."""
    asked = settings(tmp_path, budget={"*": 3}, strata=("instrument", "sol > 3"))
    assert parse(json.loads(json.dumps(to_json(asked)))) == asked
    with pytest.raises(PlanError, match="horizn"):
        parse(to_json(asked) | {"horizn": "sols"})
    with pytest.raises(PlanError, match="DEMUD"):
        Daily(source=asked.source, plan=Plan(selector=FarthestFirst()))
