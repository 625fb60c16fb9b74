"""Laws of the daily run: the memory depends on the images alone, not on how they came in; repeating a run changes nothing."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from interpdisc_core.archive import feedback
from interpdisc_core.archive.constraints import with_absorbed
from interpdisc_core.archive.day_result import DayResult, read_day_result
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.operations.daily import commit, rebuild
from interpdisc_core.operations.daily.commit import load_day_features
from interpdisc_core.operations.daily.days import load_days, split_strata
from interpdisc_core.operations.daily.horizon import Calibration, score_novelty
from interpdisc_core.operations.daily.settings import dump_daily, parse_daily
from interpdisc_core.operations.daily.similar import find_within_radius
from interpdisc_core.operations.verify import verify_archive
from interpdisc_core.pipeline.extract import extract_block
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import PixelValues
from interpdisc_core.selectors import Demud, Prior
from interpdisc_core.storage.location import Location
from tests.helpers.daily_runs import (
    list_memory_records,
    make_file_name,
    make_images,
    make_scene_png,
    make_settings,
    run_daily,
)


def write_files(folder: Path, images: dict[str, bytes]) -> None:
    for file, data in images.items():
        (folder / file).write_bytes(data)


def read_day(archive: Path, sol: int) -> DayResult:
    result = read_day_result(Location.parse(archive), f"sol-{sol:05d}")
    assert result is not None
    return result


@pytest.fixture(scope="module")
def five_sols(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Five sols with one run each: the folder of images, and the archive."""
    base = tmp_path_factory.mktemp("five-sols")
    images = make_images(base / "images", range(1, 6))
    for sol in range(1, 6):
        write_files(base / "images", {file: data for file, data in images.items() if int(file[:4]) == sol})
        run_daily(base / "archive", make_settings(base / "images"))
    return base / "images", base / "archive"


def test_each_day_has_picks_a_page_and_memory_records(five_sols: tuple[Path, Path]) -> None:
    """The ledger adds up, the horizon is the days before, and each stratum has a record of each day."""
    _, archive = five_sols
    for sol in range(1, 6):
        day = read_day(archive, sol)
        assert day.revision == 1
        assert day.is_balanced
        assert day.inputs == 8
        assert day.horizon.days == tuple(f"sol-{before:05d}" for before in range(1, sol))
        assert day.instruments == {"MAST_LEFT": 4, "MAST_RIGHT": 4}
        assert len(day.picks) == 4
        assert (archive / "site" / "days" / f"sol-{sol:05d}" / "index.html").is_file()
    records = list_memory_records(archive)
    assert len(records) == 3
    assert all(list(days) == [f"sol-{sol:05d}" for sol in range(1, 6)] for days in records.values())
    assert verify_archive(str(archive)).is_sound


def test_the_image_of_a_new_kind_is_picked_first(five_sols: tuple[Path, Path]) -> None:
    """Sols 4 and 5 have one image each of a kind that did not occur before."""
    _, archive = five_sols
    for sol in (4, 5):
        assert read_day(archive, sol).picks[0].id == make_file_name(sol, 0, "MR")


def test_a_day_result_is_read_back_as_it_was_written(five_sols: tuple[Path, Path]) -> None:
    """Also through JSON text."""
    _, archive = five_sols
    for sol in range(1, 6):
        day = read_day(archive, sol)
        assert DayResult.from_json(json.loads(json.dumps(day.to_json()))) == day


def test_each_pick_says_of_which_images_it_was_expected(five_sols: tuple[Path, Path]) -> None:
    """Weights over the images of all earlier days and the day's earlier picks, as least squares over their features."""
    images, archive = five_sols
    location, daily_settings = Location.parse(archive), make_settings(images)
    days = load_days(location)
    for sol in range(1, 6):
        day = read_day(archive, sol)
        earlier = [(name, item) for name in list(days)[: sol - 1] for item in days[name]]
        item_by_key = {item.entry.key: item for items in days.values() for item in items}
        for rank, pick in enumerate(day.picks, start=1):
            assert pick.composition is not None
            learned = [item_by_key[before.key] for before in day.picks[: rank - 1]]
            items = [item for _, item in earlier] + learned
            if not items:  # the very first pick: a model of all images of its day
                items = list(days[f"sol-{sol:05d}"])
            values = load_day_features(location, daily_settings, items)
            x = load_day_features(location, daily_settings, [item_by_key[pick.key]])[0]
            mean = values.mean(axis=0)
            _, sizes, axes = np.linalg.svd(values - mean, full_matrices=False)
            axes = axes[:3][sizes[:3] > 1e-9 * sizes[0]]
            deviation = axes.T @ (axes @ (x - mean))
            weights = 1 / len(items) + np.linalg.pinv((values - mean).T, rcond=1e-9) @ deviation
            assert pick.composition.count == len(items)
            assert pick.composition.total == pytest.approx(np.abs(weights).sum())
            weight_of = {item.entry.sha256: weight for item, weight in zip(items, weights, strict=True)}
            weighted = [image for image in pick.composition.images if image.weight is not None]
            assert [
                abs(image.weight or 0) for image in sorted(weighted, key=lambda image: -abs(image.weight or 0))
            ] == (pytest.approx(np.sort(np.abs(weights))[::-1][: len(weighted)].tolist()))
            for image in weighted:
                assert image.weight == pytest.approx(weight_of[image.sha256])
            (nearest,) = [image for image in pick.composition.images if image.is_nearest]
            distances = ((values - mean - deviation) ** 2).sum(axis=1)
            assert nearest.sha256 == items[int(distances.argmin())].entry.sha256
    roles = {image.role for pick in read_day(archive, 5).picks for image in pick.composition.images}  # type: ignore[union-attr]
    assert roles <= {f"sol-{sol:05d}" for sol in range(1, 5)} | {"pick 1", "pick 2", "pick 3"}
    page = (archive / "site" / "days" / "sol-00005" / "index.html").read_text()
    assert "What was expected, in images seen before" in page
    assert "Of what was seen before, it is most like" in page


def test_a_run_with_nothing_new_changes_nothing(five_sols: tuple[Path, Path]) -> None:
    """Every file but run logs and listings stays the same, to the byte."""
    images, archive = five_sols

    def read_files() -> dict[str, bytes]:
        folders = ("days", "memory", "runs", "site", "features", "catalog", "batches")
        return {str(p): p.read_bytes() for name in folders for p in (archive / name).rglob("*") if p.is_file()}

    before = read_files()
    assert run_daily(archive, make_settings(images)) == []
    assert read_files() == before


@hypothesis_settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(24)), cuts=st.lists(st.integers(1, 23), min_size=1, max_size=3, unique=True))
def test_the_memory_does_not_depend_on_the_order_in_which_images_come(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cuts: list[int]
) -> None:
    """Late, out of order, versions and thumbnails before or after: the same records, to the bit."""
    base = tmp_path_factory.mktemp("orders")
    images = make_images(base / "images", range(1, 4), images_per_sol=6)
    images |= {
        make_file_name(sol, 1, "ML", "I01"): make_scene_png(7000 + sol, 1, 12) for sol in range(1, 4)
    }  # thumbnails of other images
    images |= {
        make_file_name(2, 9): make_scene_png(201, 1),
        make_file_name(3, 9): images[make_file_name(3, 0, "MR")],
        "broken_0002ML.png": b"no image",
    }
    files = sorted(images)
    base_archive = tmp_path_factory.mktemp("base")
    write_files(base / "images", images)
    run_daily(base_archive / "archive", make_settings(base / "images"))
    growing = base / "growing"
    growing.mkdir()
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), len(files)], strict=True):
        write_files(growing, {files[number]: images[files[number]] for number in order[first:last]})
        run_daily(base / "archive", make_settings(growing))
    assert list_memory_records(base / "archive") == list_memory_records(base_archive / "archive")
    assert verify_archive(str(base / "archive")).is_sound


class _Killed(Exception):
    """As if the process had been killed."""


@pytest.mark.parametrize("write_count", range(2, 60, 5))
def test_a_run_killed_after_any_write_is_completed_by_the_next(
    tmp_path: Path, five_sols: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, write_count: int
) -> None:
    """Killed on the second day, then repeated: the same records and the same picks as without the kill."""
    images = make_images(tmp_path / "images", range(1, 3))
    write_files(tmp_path / "images", {file: data for file, data in images.items() if file[:4] == "0001"})
    run_daily(tmp_path / "archive", make_settings(tmp_path / "images"))
    write_files(tmp_path / "images", images)
    writes_left, write = [write_count], Location.write

    def write_or_die(self: Location, file: str, data: bytes, **options: bool) -> None:
        writes_left[0] -= 1
        if writes_left[0] < 0:
            raise _Killed
        write(self, file, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Location, "write", write_or_die)
        with contextlib.suppress(_Killed):
            run_daily(tmp_path / "archive", make_settings(tmp_path / "images"))
    run_daily(tmp_path / "archive", make_settings(tmp_path / "images"))
    expected = {name: dict(list(days.items())[:2]) for name, days in list_memory_records(five_sols[1]).items()}
    assert list_memory_records(tmp_path / "archive") == expected
    picks, expected_picks = (read_day(archive, 2).picks for archive in (tmp_path / "archive", five_sols[1]))
    assert [(pick.id, pick.score) for pick in picks] == [(pick.id, pick.score) for pick in expected_picks]
    assert verify_archive(str(tmp_path / "archive")).is_sound


def copy_archive(five_sols: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The images, and a copy of the archive that may be changed."""
    shutil.copytree(five_sols[1], tmp_path / "archive")
    return five_sols[0], tmp_path / "archive"


def test_undo_removes_a_day_and_redo_restores_the_same_bits(five_sols: tuple[Path, Path], tmp_path: Path) -> None:
    """Undo leaves the other records, and the next run skips the day."""
    images, archive = copy_archive(five_sols, tmp_path)
    before = list_memory_records(archive)
    commit.undo_day(str(archive), "sol-00003", "ann", "wrong exposure")
    assert list_memory_records(archive) == {
        stratum: {day: digest for day, digest in days.items() if day != "sol-00003"} for stratum, days in before.items()
    }
    assert run_daily(archive, make_settings(images)) == []
    with pytest.raises(PlanError, match="sol-00003"):
        commit.undo_day(str(archive), "sol-00003", "ann", "")
    commit.redo_day(str(archive), "sol-00003")
    assert [finished.day for finished in run_daily(archive, make_settings(images))] == ["sol-00003"]
    assert list_memory_records(archive) == before
    assert verify_archive(str(archive)).is_sound


def add_late_image(archive: Path, images: Path, sol: int, tmp_path: Path, **overrides: object) -> DayResult:
    """The result of a day after one more image of it came in."""
    more = tmp_path / "more"
    more.mkdir(exist_ok=True)
    files = {path.name: path.read_bytes() for path in images.iterdir()}
    write_files(more, files | {make_file_name(sol, 11): make_scene_png(990 + sol, 1)})
    run_daily(archive, make_settings(more, **overrides))
    return read_day(archive, sol)


def test_late_images_make_a_new_revision_and_the_first_is_kept(five_sols: tuple[Path, Path], tmp_path: Path) -> None:
    """The new list is compared with the same earlier days."""
    images, archive = copy_archive(five_sols, tmp_path)
    first, raw = read_day(archive, 3), (archive / "days/sol-00003/day.json").read_bytes()
    day = add_late_image(archive, images, 3, tmp_path)
    assert (day.revision, day.late, day.received) == (2, 1, 1)
    assert sum(day.instruments.values()) == sum(first.instruments.values()) + 1
    assert day.is_balanced
    assert day.horizon == first.horizon
    assert (archive / "days/sol-00003/day-001.json").read_bytes() == raw
    earlier = {pick.observation for pick in first.picks}
    assert all(pick.new == (pick.observation not in earlier) for pick in day.picks)


def test_verdicts_change_the_next_list(five_sols: tuple[Path, Path], tmp_path: Path) -> None:
    """Known images are not picked again, boring ones are absorbed, artefacts leave the picks and the memory."""
    images, archive = copy_archive(five_sols, tmp_path)
    first, second, third, _ = read_day(archive, 5).picks
    location, before = Location.parse(str(archive)), list_memory_records(archive)
    feedback.record_verdict(location, first.id, "known", "ann")
    feedback.record_verdict(location, second.id, "boring", "bob")
    feedback.record_verdict(location, third.id, "artefact", "ann", "lens cap")
    day = add_late_image(archive, images, 5, tmp_path)
    assert first.id in day.known
    assert {first.id, second.id, third.id}.isdisjoint(pick.id for pick in day.picks)
    assert [(image.id, image.author, image.reasons) for image in day.artefacts] == [(third.id, "ann", ("lens cap",))]
    assert before != list_memory_records(archive)


def test_an_interesting_image_is_not_remembered_and_its_like_is_listed(
    five_sols: tuple[Path, Path], tmp_path: Path
) -> None:
    """The record of its day is rebuilt without it; images like it are in a list of their own."""
    _, archive = copy_archive(five_sols, tmp_path)
    pick = read_day(archive, 4).picks[0]
    location = Location.parse(str(archive))
    before = commit.load_commit(location, "sol-00004")
    feedback.record_verdict(location, pick.id, "interesting", "ann")
    more = tmp_path / "more"
    more.mkdir()
    write_files(more, {make_file_name(6, 0, "MR"): make_scene_png(401, 4), make_file_name(6, 1): make_scene_png(3, 1)})
    run_daily(archive, make_settings(more))
    after = commit.load_commit(location, "sol-00004")
    assert before is not None
    assert after is not None
    assert after.records["all"].count == before.records["all"].count - 1
    assert [(image.id, image.like) for image in read_day(archive, 6).tracked] == [(make_file_name(6, 0, "MR"), pick.id)]


def test_a_budget_limits_picks_and_names_the_images_over_it(five_sols: tuple[Path, Path], tmp_path: Path) -> None:
    """No more picks of an instrument than allowed; images at least as new as a pick are listed."""
    images, archive = copy_archive(five_sols, tmp_path)
    day = add_late_image(archive, images, 5, tmp_path, budget={"MAST_RIGHT": 1, "*": 2})
    instruments = [pick.instrument for pick in day.picks]
    assert instruments.count("MAST_RIGHT") <= 1
    assert instruments.count("MAST_LEFT") <= 2
    lowest = min(pick.prior_score or 0.0 for pick in day.picks)
    assert all((image.score or 0.0) >= lowest for image in day.beyond_budget)


def test_another_representation_is_refused_until_the_memory_is_rebuilt(
    five_sols: tuple[Path, Path], tmp_path: Path
) -> None:
    """After a rebuild the records are those of runs with the new representation from the start."""
    images, archive = copy_archive(five_sols, tmp_path)
    plan = Plan(representation=PixelValues(side=6), selector=Demud(rank=3), picks=4, explain=0)
    other = make_settings(images, plan=plan)
    with pytest.raises(StoreError, match="rebuild"):
        run_daily(archive, other)
    rebuild_plan = rebuild.plan_rebuild(str(archive), other)
    for block in rebuild_plan.blocks:
        extract_block(str(archive), plan, block, rebuild_plan.sequence, ProgressReporter(str(archive)))
    for day in rebuild_plan.days:
        rebuild.rebuild_day(str(archive), other, day)
    rebuild.finish_rebuild(str(archive), other)
    fresh = tmp_path / "fresh"
    for sol in range(1, 6):
        part = tmp_path / f"part-{sol}"
        part.mkdir()
        write_files(part, {p.name: p.read_bytes() for p in images.iterdir() if int(p.name[:4]) <= sol})
        run_daily(fresh, make_settings(part, plan=plan))
    assert list_memory_records(archive) == list_memory_records(fresh)
    assert run_daily(archive, other) == []


def test_of_many_new_days_all_are_remembered_and_the_last_get_lists(tmp_path: Path) -> None:
    """A first run on an old feed."""
    images = make_images(tmp_path / "images", range(1, 6))
    write_files(tmp_path / "images", images)
    finished = run_daily(tmp_path / "archive", make_settings(tmp_path / "images", most_days=2))
    assert [day.day for day in finished] == ["sol-00004", "sol-00005"]
    assert all(len(days) == 5 for days in list_memory_records(tmp_path / "archive").values())


def test_a_panorama_is_read_by_tiles_and_picked_once(tmp_path: Path) -> None:
    """Something new at its end, outside the network's input, is found and shown in the frame."""
    folder = tmp_path / "images"
    folder.mkdir()
    write_files(folder, make_images(folder, range(1, 3)))
    run_daily(tmp_path / "archive", make_settings(folder))
    wide = np.full((64, 640, 3), 120, dtype=np.uint8)
    wide[:, :, 1] = np.linspace(80, 130, 640).astype(np.uint8)
    wide[:, 576:640] = (250, 10, 10)
    wide[:32, 592:624] = (10, 10, 250)
    sink = io.BytesIO()
    Image.fromarray(wide).save(sink, "PNG")
    write_files(folder, {make_file_name(3, 0): sink.getvalue(), make_file_name(3, 1): make_scene_png(1, 1)})
    run_daily(tmp_path / "archive", make_settings(folder))
    day = read_day(tmp_path / "archive", 3)
    best = day.picks[0]
    assert best.tile is not None
    left, _, width, _ = best.tile
    assert left < 606 < left + width
    assert best.frame == (640, 64)
    assert len({pick.observation for pick in day.picks}) == len(day.picks) == 2


def test_a_day_of_unreadable_images_is_published(tmp_path: Path) -> None:
    """There is nothing to pick, and the ledger has the input."""
    folder = tmp_path / "images"
    folder.mkdir()
    write_files(folder, {make_file_name(1, 1): b"no image"})
    finished = run_daily(tmp_path / "archive", make_settings(folder))
    assert [day.ledger for day in finished] == [{"quarantined": 1}]
    assert [image.reason != "" for image in read_day(tmp_path / "archive", 1).quarantined] == [True]
    assert run_daily(tmp_path / "archive", make_settings(folder)) == []


def test_a_row_of_zeros_is_remembered_under_l2(tmp_path: Path) -> None:
    """A black image has no direction: its row stays zero, as in a selection, and the day is committed."""
    files = make_images(tmp_path / "images", range(1, 3), images_per_sol=4)
    sink = io.BytesIO()
    Image.new("RGB", (24, 24)).save(sink, "PNG")
    write_files(tmp_path / "images", files | {make_file_name(1, 9): sink.getvalue()})
    plan = Plan(representation=PixelValues(side=8), selector=Demud(rank=3), picks=4, explain=0, normalise="l2")
    daily = make_settings(tmp_path / "images", plan=plan, artefacts={})
    run_daily(tmp_path / "archive", daily)
    location = Location.parse(tmp_path / "archive")
    black = next(item for item in load_days(location)["sol-00001"] if item.name == make_file_name(1, 9))
    assert not commit.load_day_features(location, daily, [black]).any()
    assert verify_archive(str(tmp_path / "archive")).is_sound


@hypothesis_settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4))
def test_absorbed_images_are_explained_by_the_model(seed: int, count: int) -> None:
    """A model of enough rank leaves nothing of the boring items; the mean stays."""
    rng = np.random.default_rng(seed)
    items, boring = rng.normal(size=(40, 12)) * np.arange(1, 13), rng.normal(size=(count, 12)) * 30
    prior = Prior.from_items(items)
    absorbed = with_absorbed(prior, boring)
    assert absorbed is not None
    np.testing.assert_array_equal(absorbed.mean, prior.mean)
    np.testing.assert_allclose(absorbed.axes @ absorbed.axes.T, np.eye(len(absorbed.axes)), atol=1e-9)
    energy = ((boring - prior.mean) ** 2).sum(axis=1)
    # The strongest direction of the prior may come first, so one axis more than their number is needed.
    assert (score_novelty(absorbed, count + 4, boring) <= 0.2 * energy).all()
    assert with_absorbed(prior, np.empty((0, 12))) is prior


@given(scores=st.lists(st.floats(0, 1e6), min_size=1, max_size=300), score=st.floats(0, 1e6))
def test_a_tail_probability_is_a_share_of_scores(scores: list[float], score: float) -> None:
    """The share of the horizon's scores that are at least as high; None below 100 scores."""
    calibration = Calibration(np.sort(np.array(scores)), 3)
    if len(scores) < 100:
        assert calibration.tail_probability(score) is None
    else:
        assert calibration.tail_probability(score) == sum(s >= score for s in scores) / len(scores)
        assert calibration.expected_per_day(score) == pytest.approx(sum(s >= score for s in scores) / 3)


def test_a_spike_is_three_times_the_expected_alarms() -> None:
    """One in a hundred images is expected to be an alarm; a spike has at least five alarms."""
    calibration = Calibration(np.arange(1000.0), 10)
    usual, many = np.arange(0, 1000, 5.0), np.r_[np.arange(0, 1000, 5.0), np.full(8, 995.0)]
    assert not calibration.detect_spike(usual)[0]
    assert calibration.detect_spike(many)[0]


@given(seed=st.integers(0, 2**32 - 1))
def test_images_within_the_radius_are_found_nearest_first(seed: int) -> None:
    """Compared with the distances themselves."""
    rng = np.random.default_rng(seed)
    values, candidates, radii = rng.normal(size=(3, 4)), rng.normal(size=(9, 4)), rng.uniform(0, 4, 3)
    for x, radius, indices in zip(values, radii, find_within_radius(values, candidates, radii), strict=True):
        distances = np.linalg.norm(candidates - x, axis=1)
        assert set(indices.tolist()) == set(np.flatnonzero(distances < radius).tolist())
        assert list(distances[indices]) == sorted(distances[indices])


def test_settings_are_read_back_from_json(tmp_path: Path) -> None:
    """Also under the names that version 0.1.0 had for some fields."""
    daily = make_settings(tmp_path, budget={"*": 3}, strata=("instrument", "sol > 3"))
    payload = json.loads(json.dumps(dump_daily(daily)))
    assert parse_daily(payload) == daily
    old_names = {"split_by_radiometry": "apart", "stratum_picks": "listed", "horizon_sols": "sols"}
    assert parse_daily({old_names.get(name, name): value for name, value in payload.items()}) == daily


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizn": "sols"}, "no field 'horizn'; did you mean 'horizon'"),
        ({"horizon_sols": 0}, "horizon_sols"),
        ({"budget": {"MAST_LEFT": -1}}, "budget of 'MAST_LEFT' must be at least 0, not -1"),
        ({"artefacts": {"bad": "sol =="}}, "artefacts: .*'sol =='"),
        ({"artefacts": {"": "sol == 1"}}, "artefacts: .*needs a name"),
        ({"strata": ["instrument", "sol >"]}, "strata: .*'sol >'"),
        ({"plan": {"selector": {"kind": "farthest-first"}}}, "must be DEMUD .*not farthest-first"),
    ],
)
def test_settings_that_are_not_valid_are_refused_when_they_are_read(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """Before a source is polled, in one sentence that names the field."""
    with pytest.raises(PlanError, match=message):
        parse_daily(dump_daily(make_settings(tmp_path)) | change, "settings.json")


def test_a_stratum_may_name_a_field_that_no_image_has(five_sols: tuple[Path, Path], tmp_path: Path) -> None:
    """A comparison with a missing field is false, as in the rules of artefacts."""
    _, archive = five_sols
    items = load_days(Location.parse(archive))["sol-00001"]
    daily = make_settings(tmp_path, strata=("no_such_field", "no_such_field > 3", "sol == 1"))
    assert list(split_strata(daily, items)) == ["all", "sol == 1 [display8 colour]"]
