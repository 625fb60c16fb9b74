"""The examples of a training: who is drawn, what is kept of each, and in which order they come."""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core import digest
from interpdisc_core.archive.run import RunInputs, RunMember
from interpdisc_core.errors import PlanError
from interpdisc_core.images.decode import decode
from interpdisc_core.images.resize import resize_lanczos
from interpdisc_core.inverters.generators import LightGenerator, PaperGenerator
from interpdisc_core.pipeline import assign_rows, ingest
from interpdisc_core.pipeline.partition import split_range
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import EfficientNetLite0, PixelValues
from interpdisc_core.representations.batching import EMBED_MINIBATCH
from interpdisc_core.sources import file_uri
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import read_parquet
from interpdisc_core.training.assign_images import PART_IMAGES, TrainingSplits, _order_by_content, split_images
from interpdisc_core.training.dataset import CHUNK_ROWS, ExampleArrays, PreparedPart, TrainingRun, prepare_examples
from interpdisc_core.training.recipe import Recipe
from tests.pipeline.test_ingest import make_image_bytes, write_file

SIDE = 8
RECIPE = Recipe(
    representation=PixelValues(side=SIDE),
    generator=LightGenerator(cells=SIDE, size=64),
    validation=0.2,
    epoch=32,
    batch=8,
    feature=0.0,
    precision="float32",
)

# ------------------------------------------------------------------------ what the other tests of the core use too


def members_of(folder: Path, count: int, first: int = 0, size: tuple[int, int] = (11, 9)) -> list[RunMember]:
    """`count` images of different contents in a folder; `sol` in their records rises from `first`."""
    members = []
    for number in range(first, first + count):
        path = folder / f"{number:03d}.png"
        data = make_image_bytes(number, size=size)
        write_file(path, data)
        uri, record = file_uri(str(path)), json.dumps({"sol": str(number)})
        sha256 = digest.digest_bytes(data)
        members.append(RunMember(path.name, uri, uri, sha256, 0, number, "candidate", None, record))
    return members


def make_missing_members(count: int, first: int = 0) -> list[RunMember]:
    """Members whose files do not exist."""
    return [
        RunMember(
            f"{n}.png",
            f"k{n}",
            f"file:///none/{n}.png",
            digest.digest_bytes(str(n).encode()),
            0,
            n,
            "candidate",
            "odd" if n % 2 else None,
            json.dumps({"sol": str(n)}),
        )
        for n in range(first, first + count)
    ]


def prepared_training(
    url: Path,
    members: Sequence[RunMember],
    recipe: Recipe = RECIPE,
    held_out: dict[str, str] | None = None,
    *,
    part_images: int = PART_IMAGES,
    minibatch: int = EMBED_MINIBATCH,
    chunk_rows: int = CHUNK_ROWS,
) -> TrainingRun:
    """A training whose examples are all prepared."""
    splits = split_images(str(url), members, recipe, held_out or {}, part_images=part_images)
    for part in splits.parts:
        watch = ProgressReporter(str(url))
        prepare_examples(str(url), splits.name, part, watch, minibatch=minibatch, chunk_rows=chunk_rows)
    return TrainingRun(Location.parse(url), splits.name)


# ----------------------------------------------------------------------------------------------------------- split


def roll_of(url: Path, splits: TrainingSplits, part: str = "") -> list[str]:
    """Contents of the parts whose name begins so, in order."""
    training = TrainingRun(Location.parse(url), splits.name)
    whole = read_parquet(training.examples_location, "roll.parquet").to_pylist()
    return [row["sha256"] for row in whole if row["part"].startswith(part)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(st.integers(3, 60), st.integers(0, 2**31), st.floats(0.01, 0.9), st.integers(0, 30), st.integers(3, 80))
def test_every_image_is_in_one_split_and_no_held_out_image_is_trained_on(
    tmp_path_factory: Any, count: int, seed: int, validation: float, held: int, images: int
) -> None:
    """Trained on, validated, held out or left over."""
    url, members = tmp_path_factory.mktemp("archive"), make_missing_members(count + held)
    recipe = replace(RECIPE, seed=seed, validation=validation, images=images)
    sets = {"new": f"sol >= {count}", "some": f"sol >= {count} and sol < {count + 2}"} if held else {}
    usable = min(count, images)
    if usable < min(max(round(validation * usable), 1), PART_IMAGES) + 2:
        with pytest.raises(PlanError, match=f"{usable} images are left to train on"):
            split_images(str(url), members, recipe, sets)
        return
    splits = split_images(str(url), members, recipe, sets)
    trained, validated = (roll_of(url, splits, part) for part in ("train-", "validation"))
    assert (len(trained), len(validated)) == (splits.training_images, splits.validation_images)
    assert len(trained) + len(validated) == len(set(trained) | set(validated)) == usable
    assert set(trained) | set(validated) <= {m.sha256 for m in members[:count]}
    if held:
        assert set(roll_of(url, splits, "held-out-new")) == {m.sha256 for m in members[count:]}
        assert set(roll_of(url, splits, "held-out-some")) == {m.sha256 for m in members[count : count + 2]}
        assert splits.held_out == {"new": held, "some": min(held, 2)}


def test_all_parts_but_the_last_have_the_same_size_and_prepared_ones_are_not_listed(tmp_path: Path) -> None:
    members = members_of(tmp_path / "in", 30)
    splits = split_images(str(tmp_path / "a"), members, RECIPE, {}, part_images=7)
    sizes = Counter(
        row["part"]
        for part in splits.parts
        for row in TrainingRun(Location.parse(tmp_path / "a"), splits.name).manifest(part)
    )
    assert sizes == {"validation": 6, "train-000000": 7, "train-000001": 7, "train-000002": 7, "train-000003": 3}
    prepare_examples(str(tmp_path / "a"), splits.name, "train-000001", ProgressReporter(""))
    remaining = split_images(str(tmp_path / "a"), members, RECIPE, {}, part_images=7).parts
    assert set(splits.parts) - set(remaining) == {"train-000001"}


def test_a_large_held_out_set_is_scored_in_part_but_kept_out_of_training_entirely(tmp_path: Path) -> None:
    members = make_missing_members(40)
    splits = split_images(str(tmp_path), members, RECIPE, {"late": "sol >= 20"}, max_held_out=5)
    assert splits.held_out == {"late": 5}
    others = set(roll_of(tmp_path, splits, "train-")) | set(roll_of(tmp_path, splits, "validation"))
    assert others == {m.sha256 for m in members[:20]}


@given(st.permutations(range(12)), st.integers(0, 9))
def test_a_training_is_named_by_contents_and_recipe_not_by_order_or_place_of_images(
    tmp_path_factory: Any, order: list[int], seed: int
) -> None:
    """Another content, held-out set or recipe is another training."""
    url, members = str(tmp_path_factory.mktemp("archive")), make_missing_members(12)
    recipe = replace(RECIPE, seed=seed)
    one = split_images(url, members, recipe, {"odd": "label == 'odd'"})
    moved = [replace(members[place], uri=f"file:///other/{place}", id=f"{place}.jpg") for place in order]
    assert split_images(url, moved, recipe, {"odd": "label == 'odd'"}) == one
    others = [
        split_images(url, members, replace(recipe, seed=seed + 1), {"odd": "label == 'odd'"}),
        split_images(url, members, recipe, {"odd": "label == 'odd' and sol > 2"}),
        split_images(url, members, recipe, {"late": "label == 'odd'"}),
        split_images(url, members[1:], recipe, {"odd": "label == 'odd'"}),
    ]
    assert len({one.name, *(other.name for other in others)}) == 5


@given(st.integers(5, 30), st.integers(1, 30), st.integers(0, 2**31))
def test_further_images_do_not_change_the_order_of_the_others(count: int, more: int, seed: int) -> None:
    members = make_missing_members(count + more)
    before = [members[place].sha256 for place in _order_by_content(members, np.arange(count), seed)]
    after = [members[place].sha256 for place in _order_by_content(members, np.arange(count + more), seed)]
    assert [sha256 for sha256 in after if sha256 in set(before)] == before
    assert len(after) == count + more


def test_the_order_is_random_and_depends_on_the_seed() -> None:
    members = make_missing_members(200)
    one, other = (_order_by_content(members, np.arange(200), seed) for seed in (0, 1))
    assert abs(np.corrcoef(one, np.arange(200))[0, 1]) < 0.3
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.3


def test_where_selects_training_images_and_held_out_sets_may_lie_outside(tmp_path: Path) -> None:
    recipe = replace(RECIPE, where="sol < 10")
    splits = split_images(
        str(tmp_path), make_missing_members(30), recipe, {"late": "sol >= 20", "some": "sol in [3, 4]"}
    )
    assert splits.training_images + splits.validation_images == 8
    assert splits.held_out == {"late": 10, "some": 2}


@pytest.mark.parametrize(
    ("count", "recipe", "held_out", "message"),
    [
        (20, RECIPE, {"none": "sol > 100"}, r"held-out set none: 'sol > 100' matches none of the 20 images"),
        (20, RECIPE, {"bad": "sool > 1"}, "sool"),
        (20, replace(RECIPE, where="sool > 1"), {}, "sool"),
        (20, replace(RECIPE, where="sol > 100"), {}, "0 images are left to train on; at least 3 are needed"),
        (20, RECIPE, {"all": "sol >= 0"}, "0 images are left"),
        (20, RECIPE, {"most": "sol >= 2"}, "2 images are left"),
        (2, RECIPE, {}, "2 images are left"),
        (0, RECIPE, {}, "0 images are left"),
    ],
    ids=["none", "no field", "where no field", "where none", "all held out", "two left", "two", "nobody"],
)
def test_a_split_that_cannot_be_made_is_refused_before_anything_is_written(
    count: int, recipe: Recipe, held_out: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=message):
        split_images(str(tmp_path / "archive"), make_missing_members(count), recipe, held_out)
    assert files(tmp_path) == {}


def test_trainings_that_differ_only_in_their_fit_share_their_examples(tmp_path: Path) -> None:
    """They have another name, and nothing is left to prepare; settings that change an example make new examples."""
    members = members_of(tmp_path / "in", 12)
    first = prepared_training(tmp_path / "a", members)
    fits: list[dict[str, Any]] = [
        {"rate": 1e-3},
        {"batch": 4},
        {"feature": 0.5},
        {"adversarial": 0.1},
        {"epoch": 64},
        {"patience": 2},
        {"generator": LightGenerator(cells=4, size=64)},
        {"precision": "auto"},
        {"share": 0.5},
    ]
    names = {first.name}
    for changes in fits:
        other = split_images(str(tmp_path / "a"), members, replace(RECIPE, **changes), {})
        assert other.parts == ()
        assert TrainingRun(first.archive, other.name).examples_location == first.examples_location
        names.add(other.name)
    assert len(names) == 1 + len(fits)
    others: list[dict[str, Any]] = [
        {"representation": PixelValues(side=4)},
        {"generator": LightGenerator(cells=8, size=128)},
        {"views": 1},
        {"seed": 1},
        {"validation": 0.5},
        {"images": 6},
        {"where": "sol > 1"},
    ]
    for changes in others:
        other = split_images(str(tmp_path / "a"), members, replace(RECIPE, **changes), {})
        assert len(other.parts) == 2
        assert TrainingRun(first.archive, other.name).examples_location != first.examples_location


@pytest.mark.parametrize("recipe", [RECIPE, Recipe(), Recipe(generator=PaperGenerator(), where="sol > 3", views=1)])
def test_a_recipe_is_read_back_equal_with_the_same_digest(recipe: Recipe, tmp_path: Path) -> None:
    splits = split_images(str(tmp_path), make_missing_members(60), recipe, {})
    again = TrainingRun(Location.parse(tmp_path), splits.name).recipe
    assert again == recipe
    assert again.digest == recipe.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"validation": 0.0},
        {"validation": 1.0},
        {"validation": float("nan")},
        {"images": 0},
        {"epoch": 0},
        {"batch": -1},
        {"patience": 0},
        {"feature_from": 0},
        {"share": 1.1},
        {"share": -0.1},
        {"image": -1.0},
        {"feature": float("inf")},
        {"adversarial": float("nan")},
        {"rate": 0.0},
        {"rate": 1.0},
        {"seed": -1},
    ],
    ids=repr,
)
def test_a_recipe_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=rf"recipe: .*{next(iter(changes))}.* must be"):
        replace(RECIPE, **changes)


def test_recipes_that_differ_in_a_setting_have_different_digests() -> None:
    changed: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"where": "x > 1"},
        {"views": 1},
        {"rate": 1e-3},
        {"generator": LightGenerator(cells=4, size=64)},
        {"representation": PixelValues(side=9)},
        {"representation": EfficientNetLite0()},
    ]
    assert len({replace(RECIPE, **changes).digest for changes in changed}) == len(changed)


# --------------------------------------------------------------------------------------------------------- prepare


def example_of(folder: Path, name: str, mirrored: bool = False) -> tuple[bytes, bytes]:
    """An image's code and picture, as they are computed by hand."""
    spec = RECIPE.representation
    image = spec.prepare(decode((folder / name).read_bytes(), at_least=SIDE))
    image = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
    return spec.load()(image[None])[0].tobytes(), resize_lanczos(image, 64).tobytes()


def rows_of(sample: ExampleArrays) -> list[tuple[bytes, bytes]]:
    return [(code.tobytes(), shown.tobytes()) for code, shown in zip(*sample, strict=True)]


@pytest.mark.parametrize("views", [1, 2])
def test_an_example_is_code_and_picture_of_one_image_mirrored_only_for_training(views: Any, tmp_path: Path) -> None:
    members = members_of(tmp_path / "in", 12)
    training = prepared_training(tmp_path / "a", members, replace(RECIPE, views=views), {"late": "sol >= 10"})
    for part in ("train-000000", "validation", "held-out-late"):
        names = [row["id"] for row in training.manifest(part)]
        twice = (False, True) if views == 2 and part.startswith("train") else (False,)
        expected = [example_of(tmp_path / "in", name, mirrored) for name in names for mirrored in twice]
        sample = training.read(part)
        assert Counter(rows_of(sample)) == Counter(expected)
        assert sample.codes.dtype == np.float32
        assert sample.pictures.shape == (len(expected), 64, 64, 3)
        record = training.read_record(part) or {}
        assert record.pop("sha256")["codes"] == [digest.digest_array(sample.codes)]
        assert record == {"examples": len(expected), "images": len(names), "failed": {}}


def test_mirrored_examples_have_mirrored_codes_and_pictures(tmp_path: Path) -> None:
    """Of pixels the mirrored code is the code's mirror image."""
    sample = prepared_training(tmp_path / "a", members_of(tmp_path / "in", 12)).read("train-000000")
    codes = sample.codes.reshape(-1, SIDE, SIDE, 3)
    same = (codes[:, None, :, ::-1] == codes[None]).all((2, 3, 4))
    np.testing.assert_array_equal(same.sum(0), 1)
    partner = same.argmax(1)
    assert (partner != np.arange(len(codes))).all()
    gaps = np.abs(sample.pictures[:, :, ::-1].astype(int) - sample.pictures[partner])
    assert gaps.max() <= 1  # the filter's rounding
    assert (np.abs(partner - np.arange(len(codes))) > 1).any()  # they do not lie side by side


def test_preparing_again_changes_nothing(tmp_path: Path) -> None:
    """A prepared part is kept; one that was killed half-way is written again, to the same bytes."""
    members = members_of(tmp_path / "in", 12)
    training = prepared_training(tmp_path / "a", members)
    before = files(tmp_path / "a")
    actual = prepare_examples(str(tmp_path / "a"), training.name, "train-000000", ProgressReporter(""))
    assert actual == PreparedPart("train-000000", 20, 0)
    assert files(tmp_path / "a") == before
    Path(training.examples_location.url, "records/train-000000.json").unlink()
    assert "train-000000" in split_images(str(tmp_path / "a"), members, RECIPE, {}).parts
    Path(training.examples_location.url, "train-000000/codes/c/0/0").write_bytes(b"half")
    assert prepare_examples(str(tmp_path / "a"), training.name, "train-000000", ProgressReporter("")) == actual
    assert files(tmp_path / "a") == before
    shutil.rmtree(tmp_path / "a")
    prepared_training(tmp_path / "a", members)
    assert files(tmp_path / "a") == before


def test_examples_do_not_depend_on_the_size_of_minibatches(tmp_path: Path) -> None:
    members = members_of(tmp_path / "in", 12)
    large = prepared_training(tmp_path / "a", members)
    small = prepared_training(tmp_path / "b", members, minibatch=3)
    assert Counter(rows_of(large.read_first("train-", 99))) == Counter(rows_of(small.read_first("train-", 99)))


def test_images_that_cannot_be_read_are_recorded_with_the_reason_and_stop_nothing(tmp_path: Path) -> None:
    """No image, changed since, or gone."""
    members = members_of(tmp_path / "in", 12)
    (tmp_path / "in/001.png").write_bytes(make_image_bytes(999))
    (tmp_path / "in/002.png").unlink()
    write_file(tmp_path / "in/003.png", data := make_image_bytes(3)[:-70])
    members[3] = replace(members[3], sha256=digest.digest_bytes(data))
    recipe = replace(RECIPE, validation=0.01)
    splits = split_images(str(tmp_path / "a"), members, recipe, {})
    training = prepared_training(tmp_path / "a", members, recipe)
    records = {part: training.read_record(part) or {} for part in splits.parts}
    failed = {name: why for record in records.values() for name, why in record["failed"].items()}
    assert set(failed) == {"001.png", "002.png", "003.png"}
    assert "changed since it was listed" in failed["001.png"]
    assert all(failed.values())
    assert sum(record["images"] for record in records.values()) == 9
    expected = {
        example_of(tmp_path / "in", f"{n:03d}.png", mirrored) for n in (0, *range(4, 12)) for mirrored in (False, True)
    }
    actual = {row for part in training.list_parts("") for row in rows_of(training.read(part))}
    assert actual <= expected
    again = prepare_examples(str(tmp_path / "a"), splits.name, "train-000000", ProgressReporter(""))
    assert again.failed == len(records["train-000000"]["failed"])


def test_without_a_readable_image_preparing_succeeds_and_training_raises(tmp_path: Path) -> None:
    training = prepared_training(tmp_path, make_missing_members(8))
    assert training.list_parts("") == []
    with pytest.raises(PlanError, match="none of the images of 'train-' could be read"):
        training.read_first("train-", 10)
    with pytest.raises(PlanError, match="none of the images to train on could be read"):
        next(training.iter_batches(4, (0, 1)))


def test_of_a_listing_duplicates_count_once_and_unreadable_files_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    members_of(folder, 8)
    shutil.copy(folder / "000.png", folder / "copy.png")
    write_file(folder / "bad.png", b"no image")
    listed = ingest.list_inputs(str(tmp_path / "a"), RunInputs(sources=(str(folder),)))
    for rows in split_range(listed.unchecked, 100, 1):
        ingest.check_inputs(str(tmp_path / "a"), listed.name, rows, listed.sequence, ProgressReporter(""))
    members = assign_rows.members_of_listing(str(tmp_path / "a"), listed.name, 100, 1)
    training = prepared_training(tmp_path / "a", members)
    assert len(training.read_first("train-", 99).codes) == 12
    assert len(training.read_first("validation", 99).codes) == 2


def test_the_first_examples_come_from_as_many_parts_as_needed_in_order(tmp_path: Path) -> None:
    training = prepared_training(tmp_path / "a", members_of(tmp_path / "in", 12), part_images=4)
    whole = training.read_first("train-", 10**6)
    assert len(whole.codes) == 20
    np.testing.assert_array_equal(
        whole.codes, np.concatenate([training.read(part).codes for part in training.list_parts("train-")])
    )
    for limit in (1, 8, 9, 20):
        first = training.read_first("train-", limit)
        np.testing.assert_array_equal(first.codes, whole.codes[:limit])
        np.testing.assert_array_equal(first.pictures, whole.pictures[:limit])


# ---------------------------------------------------------------------------------------------------------- stream


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: Any) -> TrainingRun:
    """24 examples in three parts, in six chunks of four."""
    folder = tmp_path_factory.mktemp("stream")
    return prepared_training(
        folder / "a", members_of(folder / "in", 30), replace(RECIPE, views=1), part_images=8, chunk_rows=4
    )


def take_batches(
    training: TrainingRun, batches: int, batch: int, *seed: int, shuffle_chunks: int = 6
) -> list[ExampleArrays]:
    return list(itertools.islice(training.iter_batches(batch, seed, shuffle_chunks), batches))


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 8, 24])
def test_each_pass_has_every_example_once_in_another_order(batch: int, streamed: TrainingRun) -> None:
    """If batches divide what is shuffled together."""
    all_examples = Counter(rows_of(streamed.read_first("train-", 99)))
    assert set(all_examples.values()) == {1}
    passes, orders = take_batches(streamed, 3 * 24 // batch, batch, 5), []
    for number in range(3):
        rows = [row for sample in passes[number * 24 // batch : (number + 1) * 24 // batch] for row in rows_of(sample)]
        assert Counter(rows) == all_examples
        orders.append(rows)
    assert orders[0] != orders[1] != orders[2]
    assert all(len(sample.codes) == batch for sample in passes)


@pytest.mark.parametrize("buffer", [1, 2, 3, 32])
def test_however_many_chunks_are_shuffled_together_all_examples_come_equally_often(
    buffer: int, streamed: TrainingRun
) -> None:
    """And code and picture stay together."""
    pairs = set(rows_of(streamed.read_first("train-", 99)))
    actual = Counter(
        row for sample in take_batches(streamed, 16 * 24 // 4, 4, 5, shuffle_chunks=buffer) for row in rows_of(sample)
    )
    assert set(actual) == pairs
    assert max(actual.values()) - min(actual.values()) <= 1


def test_batches_depend_on_their_seed_alone(streamed: TrainingRun) -> None:
    """Equal to the bit for the same seed, different for another seed or epoch; NumPy's global state does not matter."""
    np.random.seed(1)  # noqa: NPY002
    one = [rows_of(sample) for sample in take_batches(streamed, 8, 8, 3, 1)]
    np.random.seed(2)  # noqa: NPY002
    assert [rows_of(sample) for sample in take_batches(streamed, 8, 8, 3, 1)] == one
    for seed in ((3, 2), (4, 1)):
        assert [rows_of(sample) for sample in take_batches(streamed, 8, 8, *seed)] != one


@pytest.mark.parametrize("batch", [5, 7, 23])
def test_batches_are_never_short(batch: int, streamed: TrainingRun) -> None:
    """A remainder is left out, another one in each pass."""
    passes = take_batches(streamed, 200 // batch + 40, batch, 5)
    assert {len(sample.codes) for sample in passes} == {batch}
    assert {row for sample in passes for row in rows_of(sample)} == set(rows_of(streamed.read_first("train-", 99)))


def test_a_batch_larger_than_all_examples_has_all_of_them(streamed: TrainingRun) -> None:
    for sample in take_batches(streamed, 3, 100, 5):
        assert Counter(rows_of(sample)) == Counter(rows_of(streamed.read_first("train-", 99)))
