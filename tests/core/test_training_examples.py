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

from interpdisc_core import digest, ingest
from interpdisc_core.errors import PlanError
from interpdisc_core.images import decode
from interpdisc_core.inverters.generators import LightGenerator, PaperGenerator
from interpdisc_core.progress import Watch
from interpdisc_core.representations import EfficientNetLite0, PixelValues
from interpdisc_core.runs import Inputs, Member
from interpdisc_core.sources import file_uri
from interpdisc_core.storage import Place
from interpdisc_core.training import examples
from interpdisc_core.training.examples import Enrolled, Prepared, Sample, Training, enrol, prepare, reduced
from interpdisc_core.training.recipe import Recipe
from tests.core.test_ingest import picture, put

SIDE = 8
RECIPE = Recipe(
    representation=PixelValues(side=SIDE), generator=LightGenerator(cells=SIDE, size=64), validation=0.2, epoch=32,
    batch=8, feature=0.0, precision="float32",
)  # fmt: skip

# ------------------------------------------------------------------------ what the other tests of the core use too


def members_of(folder: Path, count: int, first: int = 0, size: tuple[int, int] = (11, 9)) -> list[Member]:
    """`count` images of different contents in a folder; `sol` in their records rises from `first`."""
    made = []
    for number in range(first, first + count):
        path = folder / f"{number:03d}.png"
        data = picture(number, size=size)
        put(path, data)
        uri, record = file_uri(str(path)), json.dumps({"sol": str(number)})
        sha256 = digest.of_bytes(data)
        made.append(Member(path.name, uri, uri, sha256, 0, number, "candidate", None, record))
    return made


def imaginary(count: int, first: int = 0) -> list[Member]:
    """Members of which no file is there."""
    return [
        Member(
            f"{n}.png", f"k{n}", f"file:///none/{n}.png", digest.of_bytes(str(n).encode()), 0, n, "candidate",
            "odd" if n % 2 else None, json.dumps({"sol": str(n)}),
        )
        for n in range(first, first + count)
    ]  # fmt: skip


def prepared_training(
    url: Path, members: Sequence[Member], recipe: Recipe = RECIPE, held_out: dict[str, str] | None = None
) -> Training:
    """A training whose examples are all there."""
    enrolled = enrol(str(url), members, recipe, held_out or {})
    for part in enrolled.parts:
        prepare(str(url), enrolled.name, part, Watch(str(url)))
    return Training(Place.of(url), enrolled.name)


# ----------------------------------------------------------------------------------------------------------- enrol


def roll_of(url: Path, enrolled: Enrolled, part: str = "") -> list[str]:
    """Contents of the parts whose name begins so, in order."""
    training = Training(Place.of(url), enrolled.name)
    whole = examples.catalog.table_of(training.examples, "roll.parquet").to_pylist()
    return [row["sha256"] for row in whole if row["part"].startswith(part)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(st.integers(3, 60), st.integers(0, 2**31), st.floats(0.01, 0.9), st.integers(0, 30), st.integers(3, 80))
def test_everybody_has_one_place(
    tmp_path_factory: Any, count: int, seed: int, validation: float, held: int, images: int
) -> None:  # fmt: skip
    """Trained on, validated, held out or left over; nobody twice, and nobody held out is ever trained on."""
    url, members = tmp_path_factory.mktemp("archive"), imaginary(count + held)
    recipe = replace(RECIPE, seed=seed, validation=validation, images=images)
    sets = {"new": f"sol >= {count}", "some": f"sol >= {count} and sol < {count + 2}"} if held else {}
    usable = min(count, images)
    if usable < min(max(round(validation * usable), 1), examples.PART) + 2:
        with pytest.raises(PlanError, match=f"{usable} images are left to train on"):
            enrol(str(url), members, recipe, sets)
        return
    enrolled = enrol(str(url), members, recipe, sets)
    trained, validated = (roll_of(url, enrolled, part) for part in ("train-", "validation"))
    assert (len(trained), len(validated)) == (enrolled.trained, enrolled.validated)
    assert len(trained) + len(validated) == len(set(trained) | set(validated)) == usable
    assert set(trained) | set(validated) <= {m.sha256 for m in members[:count]}
    if held:
        assert set(roll_of(url, enrolled, "held-out-new")) == {m.sha256 for m in members[count:]}
        assert set(roll_of(url, enrolled, "held-out-some")) == {m.sha256 for m in members[count : count + 2]}
        assert enrolled.held_out == {"new": held, "some": min(held, 2)}


def test_parts_have_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the last; those that are prepared already are not named again."""
    monkeypatch.setattr(examples, "PART", 7)
    members = members_of(tmp_path / "in", 30)
    enrolled = enrol(str(tmp_path / "a"), members, RECIPE, {})
    sizes = Counter(
        row["part"] for part in enrolled.parts for row in Training(Place.of(tmp_path / "a"), enrolled.name).roll(part)
    )
    assert sizes == {"validation": 6, "train-000000": 7, "train-000001": 7, "train-000002": 7, "train-000003": 3}
    prepare(str(tmp_path / "a"), enrolled.name, "train-000001", Watch(""))
    left = enrol(str(tmp_path / "a"), members, RECIPE, {}).parts
    assert set(enrolled.parts) - set(left) == {"train-000001"}


def test_held_out_sets_are_not_larger_than_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But all of them are kept out."""
    monkeypatch.setattr(examples, "HELD", 5)
    members = imaginary(40)
    enrolled = enrol(str(tmp_path), members, RECIPE, {"late": "sol >= 20"})
    assert enrolled.held_out == {"late": 5}
    others = set(roll_of(tmp_path, enrolled, "train-")) | set(roll_of(tmp_path, enrolled, "validation"))
    assert others == {m.sha256 for m in members[:20]}


@given(st.permutations(range(12)), st.integers(0, 9))
def test_contents_and_recipe_name_a_training(tmp_path_factory: Any, order: list[int], seed: int) -> None:
    """Not the order in which the images came, nor where they lie; another content or recipe is another training."""
    url, members = str(tmp_path_factory.mktemp("archive")), imaginary(12)
    recipe = replace(RECIPE, seed=seed)
    one = enrol(url, members, recipe, {"odd": "label == 'odd'"})
    moved = [replace(members[place], uri=f"file:///other/{place}", id=f"{place}.jpg") for place in order]
    assert enrol(url, moved, recipe, {"odd": "label == 'odd'"}) == one
    others = [
        enrol(url, members, replace(recipe, seed=seed + 1), {"odd": "label == 'odd'"}),
        enrol(url, members, recipe, {"odd": "label == 'odd' and sol > 2"}),
        enrol(url, members, recipe, {"late": "label == 'odd'"}),
        enrol(url, members[1:], recipe, {"odd": "label == 'odd'"}),
    ]
    assert len({one.name, *(other.name for other in others)}) == 5


@given(st.integers(5, 30), st.integers(1, 30), st.integers(0, 2**31))
def test_further_images_leave_the_order(count: int, more: int, seed: int) -> None:
    """Of those that were there: it hangs on the contents alone."""
    members = imaginary(count + more)
    before = [members[place].sha256 for place in examples._drawn(members, np.arange(count), seed)]
    after = [members[place].sha256 for place in examples._drawn(members, np.arange(count + more), seed)]
    assert [sha256 for sha256 in after if sha256 in set(before)] == before
    assert len(after) == count + more


def test_the_order_is_drawn() -> None:
    """It is not that of the names, and another seed draws another."""
    members = imaginary(200)
    one, other = (examples._drawn(members, np.arange(200), seed) for seed in (0, 1))
    assert abs(np.corrcoef(one, np.arange(200))[0, 1]) < 0.3
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.3


def test_only_the_images_that_are_wanted(tmp_path: Path) -> None:
    """`where`; a held-out set may lie outside of it."""
    recipe = replace(RECIPE, where="sol < 10")
    enrolled = enrol(str(tmp_path), imaginary(30), recipe, {"late": "sol >= 20", "some": "sol in [3, 4]"})
    assert enrolled.trained + enrolled.validated == 8
    assert enrolled.held_out == {"late": 10, "some": 2}


@pytest.mark.parametrize(
    ("count", "recipe", "held_out", "said"),
    [
        (20, RECIPE, {"none": "sol > 100"}, r"held-out set none: 'sol > 100' is true of none of the 20 images"),
        (20, RECIPE, {"bad": "sool > 1"}, "sool"),
        (20, replace(RECIPE, where="sool > 1"), {}, "sool"),
        (20, replace(RECIPE, where="sol > 100"), {}, "0 images are left to train on; at least three are needed"),
        (20, RECIPE, {"all": "sol >= 0"}, "0 images are left"),
        (20, RECIPE, {"most": "sol >= 2"}, "2 images are left"),
        (2, RECIPE, {}, "2 images are left"),
        (0, RECIPE, {}, "0 images are left"),
    ],
    ids=["none", "no field", "where no field", "where none", "all held out", "two left", "two", "nobody"],
)
def test_what_cannot_be_trained_on(
    count: int, recipe: Recipe, held_out: dict[str, str], said: str, tmp_path: Path
) -> None:  # fmt: skip
    """Refused with a sentence, before anything is written."""
    with pytest.raises(PlanError, match=said):
        enrol(str(tmp_path / "archive"), imaginary(count), recipe, held_out)
    assert files(tmp_path) == {}


def test_trainings_that_differ_in_their_fit_share_their_examples(tmp_path: Path) -> None:
    """They have another name, and nothing is left to prepare; what changes an example makes others."""
    members = members_of(tmp_path / "in", 12)
    first = prepared_training(tmp_path / "a", members)
    fits: list[dict[str, Any]] = [
        {"rate": 1e-3}, {"batch": 4}, {"feature": 0.5}, {"adversarial": 0.1}, {"epoch": 64}, {"patience": 2},
        {"generator": LightGenerator(cells=4, size=64)}, {"precision": "auto"}, {"share": 0.5},
    ]  # fmt: skip
    names = {first.name}
    for changes in fits:
        other = enrol(str(tmp_path / "a"), members, replace(RECIPE, **changes), {})
        assert other.parts == ()
        assert Training(first.archive, other.name).examples == first.examples
        names.add(other.name)
    assert len(names) == 1 + len(fits)
    others: list[dict[str, Any]] = [
        {"representation": PixelValues(side=4)}, {"generator": LightGenerator(cells=8, size=128)}, {"views": 1},
        {"seed": 1}, {"validation": 0.5}, {"images": 6}, {"where": "sol > 1"},
    ]  # fmt: skip
    for changes in others:
        other = enrol(str(tmp_path / "a"), members, replace(RECIPE, **changes), {})
        assert len(other.parts) == 2
        assert Training(first.archive, other.name).examples != first.examples


@pytest.mark.parametrize("recipe", [RECIPE, Recipe(), Recipe(generator=PaperGenerator(), where="sol > 3", views=1)])
def test_a_recipe_comes_back(recipe: Recipe, tmp_path: Path) -> None:
    """Equal, with the same digest."""
    enrolled = enrol(str(tmp_path), imaginary(60), recipe, {})
    again = Training(Place.of(tmp_path), enrolled.name).recipe
    assert again == recipe
    assert again.digest == recipe.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"validation": 0.0}, {"validation": 1.0}, {"validation": float("nan")}, {"images": 0}, {"epoch": 0}, {"batch": -1},
        {"patience": 0}, {"feature_from": 0}, {"share": 1.1}, {"share": -0.1}, {"image": -1.0}, {"feature": float("inf")},
        {"adversarial": float("nan")}, {"rate": 0.0}, {"rate": 1.0}, {"seed": -1},
    ],
    ids=repr,
)  # fmt: skip
def test_a_recipe_that_means_nothing(changes: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=rf"recipe: .*{next(iter(changes))}.* must be"):
        replace(RECIPE, **changes)


def test_every_setting_of_a_recipe_counts() -> None:
    """No two of these share a digest."""
    changed: list[dict[str, Any]] = [
        {}, {"seed": 1}, {"where": "x > 1"}, {"views": 1}, {"rate": 1e-3}, {"generator": LightGenerator(cells=4, size=64)},
        {"representation": PixelValues(side=9)}, {"representation": EfficientNetLite0()},
    ]  # fmt: skip
    assert len({replace(RECIPE, **changes).digest for changes in changed}) == len(changed)


# --------------------------------------------------------------------------------------------------------- prepare


def example_of(folder: Path, name: str, mirrored: bool = False) -> tuple[bytes, bytes]:
    """An image's code and picture, as they are computed by hand."""
    spec = RECIPE.representation
    image = spec.prepare(decode((folder / name).read_bytes(), at_least=SIDE))
    image = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
    return spec.load()(image[None])[0].tobytes(), reduced(image, 64).tobytes()


def rows_of(sample: Sample) -> list[tuple[bytes, bytes]]:
    return [(code.tobytes(), shown.tobytes()) for code, shown in zip(*sample, strict=True)]


@pytest.mark.parametrize("views", [1, 2])
def test_examples_are_those_of_their_images(views: Any, tmp_path: Path) -> None:
    """Code and picture of the same image, and of its mirror image for training only."""
    members = members_of(tmp_path / "in", 12)
    training = prepared_training(tmp_path / "a", members, replace(RECIPE, views=views), {"late": "sol >= 10"})
    for part in ("train-000000", "validation", "held-out-late"):
        names = [row["id"] for row in training.roll(part)]
        twice = (False, True) if views == 2 and part.startswith("train") else (False,)
        wanted = [example_of(tmp_path / "in", name, mirrored) for name in names for mirrored in twice]
        sample = training.read(part)
        assert Counter(rows_of(sample)) == Counter(wanted)
        assert sample.codes.dtype == np.float32
        assert sample.pictures.shape == (len(wanted), 64, 64, 3)
        assert training.record(part) == {"examples": len(wanted), "images": len(names), "failed": {}}


def test_mirrored_views_mirror_codes_and_pictures(tmp_path: Path) -> None:
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
    """A part that is there is left alone; one that was killed half-way is written again: the same bytes."""
    members = members_of(tmp_path / "in", 12)
    training = prepared_training(tmp_path / "a", members)
    before = files(tmp_path / "a")
    found = prepare(str(tmp_path / "a"), training.name, "train-000000", Watch(""))
    assert found == Prepared("train-000000", 20, 0)
    assert files(tmp_path / "a") == before
    Path(training.examples.url, "records/train-000000.json").unlink()
    assert "train-000000" in enrol(str(tmp_path / "a"), members, RECIPE, {}).parts
    Path(training.examples.url, "train-000000/codes/c/0/0").write_bytes(b"half")
    assert prepare(str(tmp_path / "a"), training.name, "train-000000", Watch("")) == found
    assert files(tmp_path / "a") == before
    shutil.rmtree(tmp_path / "a")
    prepared_training(tmp_path / "a", members)
    assert files(tmp_path / "a") == before


def test_the_size_of_batches_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same examples, whatever goes through the network at a time."""
    members = members_of(tmp_path / "in", 12)
    one = prepared_training(tmp_path / "a", members)
    monkeypatch.setattr(examples, "BATCH", 3)
    other = prepared_training(tmp_path / "b", members)
    assert Counter(rows_of(one.all("train-", 99))) == Counter(rows_of(other.all("train-", 99)))


def test_a_broken_image_is_recorded_and_stops_nothing(tmp_path: Path) -> None:
    """Not an image, changed since, or gone: each with its reason; the others are there."""
    members = members_of(tmp_path / "in", 12)
    (tmp_path / "in/001.png").write_bytes(picture(999))
    (tmp_path / "in/002.png").unlink()
    put(tmp_path / "in/003.png", data := picture(3)[:-70])
    members[3] = replace(members[3], sha256=digest.of_bytes(data))
    recipe = replace(RECIPE, validation=0.01)
    enrolled = enrol(str(tmp_path / "a"), members, recipe, {})
    training = prepared_training(tmp_path / "a", members, recipe)
    records = {part: training.record(part) or {} for part in enrolled.parts}
    failed = {name: why for record in records.values() for name, why in record["failed"].items()}
    assert set(failed) == {"001.png", "002.png", "003.png"}
    assert "changed since it was listed" in failed["001.png"]
    assert all(failed.values())
    assert sum(record["images"] for record in records.values()) == 9
    wanted = {
        example_of(tmp_path / "in", f"{n:03d}.png", mirrored) for n in (0, *range(4, 12)) for mirrored in (False, True)
    }
    found = {row for part in training.parts("") for row in rows_of(training.read(part))}
    assert found <= wanted
    again = prepare(str(tmp_path / "a"), enrolled.name, "train-000000", Watch(""))
    assert again.failed == len(records["train-000000"]["failed"])


def test_not_one_image_could_be_read(tmp_path: Path) -> None:
    """Preparing raises nothing; whoever wants to train is told."""
    training = prepared_training(tmp_path, imaginary(8))
    assert training.parts("") == []
    with pytest.raises(PlanError, match="not one image of train- could be read"):
        training.all("train-", 10)
    with pytest.raises(PlanError, match="not one image to train on could be read"):
        next(training.stream(4, (0, 1)))


def test_examples_of_a_listing(tmp_path: Path) -> None:
    """Through ingest: duplicates count once, and what a file cannot be is not enrolled."""
    folder = tmp_path / "in"
    members_of(folder, 8)
    shutil.copy(folder / "000.png", folder / "copy.png")
    put(folder / "bad.png", b"no image")
    listed = ingest.enlist(str(tmp_path / "a"), Inputs(sources=(str(folder),)))
    for rows in ingest.ranges(listed.unchecked, 100, 1):
        ingest.check(str(tmp_path / "a"), listed.name, rows, listed.turn, Watch(""))
    members = ingest.admitted(str(tmp_path / "a"), listed.name, 100, 1)
    training = prepared_training(tmp_path / "a", members)
    assert len(training.all("train-", 99).codes) == 12
    assert len(training.all("validation", 99).codes) == 2


def test_the_first_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many, from as many parts as it takes, in order."""
    monkeypatch.setattr(examples, "PART", 4)
    training = prepared_training(tmp_path / "a", members_of(tmp_path / "in", 12))
    whole = training.all("train-", 10**6)
    assert len(whole.codes) == 20
    np.testing.assert_array_equal(
        whole.codes, np.concatenate([training.read(part).codes for part in training.parts("train-")])
    )
    for most in (1, 8, 9, 20):
        some = training.all("train-", most)
        np.testing.assert_array_equal(some.codes, whole.codes[:most])
        np.testing.assert_array_equal(some.pictures, whole.pictures[:most])


# ---------------------------------------------------------------------------------------------------------- stream


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: Any) -> Training:
    """24 examples in three parts, in six chunks of four."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "PART", 8)
        patch.setattr(examples, "_CHUNK", 4)
        folder = tmp_path_factory.mktemp("stream")
        return prepared_training(folder / "a", members_of(folder / "in", 30), replace(RECIPE, views=1))


@pytest.fixture(autouse=True)
def _chunks(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if "streamed" in request.fixturenames:
        monkeypatch.setattr(examples, "_CHUNK", 4)
        monkeypatch.setattr(examples, "_BUFFER", 6)


def taken(training: Training, batches: int, batch: int, *seed: int) -> list[Sample]:
    return list(itertools.islice(training.stream(batch, seed), batches))


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 8, 24])
def test_each_time_through_everybody_comes_once(batch: int, streamed: Training) -> None:
    """Where batches divide what is mixed; and each time in another order."""
    everybody = Counter(rows_of(streamed.all("train-", 99)))
    assert set(everybody.values()) == {1}
    passes, orders = taken(streamed, 3 * 24 // batch, batch, 5), []
    for number in range(3):
        some = [row for sample in passes[number * 24 // batch : (number + 1) * 24 // batch] for row in rows_of(sample)]
        assert Counter(some) == everybody
        orders.append(some)
    assert orders[0] != orders[1] != orders[2]
    assert all(len(sample.codes) == batch for sample in passes)


@pytest.mark.parametrize("buffer", [1, 2, 3, 32])
def test_what_is_mixed_at_a_time(buffer: int, streamed: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few chunks or many, over a while everybody comes equally often, and code and picture stay together."""
    monkeypatch.setattr(examples, "_BUFFER", buffer)
    pairs = set(rows_of(streamed.all("train-", 99)))
    found = Counter(row for sample in taken(streamed, 16 * 24 // 4, 4, 5) for row in rows_of(sample))
    assert set(found) == pairs
    assert max(found.values()) - min(found.values()) <= 1


def test_a_stream_hangs_on_its_seed_alone(streamed: Training) -> None:
    """The same again to the bit, with another seed or another epoch another; chance elsewhere is no matter."""
    np.random.seed(1)  # noqa: NPY002
    one = [rows_of(sample) for sample in taken(streamed, 8, 8, 3, 1)]
    np.random.seed(2)  # noqa: NPY002
    assert [rows_of(sample) for sample in taken(streamed, 8, 8, 3, 1)] == one
    for seed in ((3, 2), (4, 1)):
        assert [rows_of(sample) for sample in taken(streamed, 8, 8, *seed)] != one


@pytest.mark.parametrize("batch", [5, 7, 23])
def test_a_batch_is_never_short(batch: int, streamed: Training) -> None:
    """What is left over when it does not divide is left out, another part of the whole each time."""
    passes = taken(streamed, 200 // batch + 40, batch, 5)
    assert {len(sample.codes) for sample in passes} == {batch}
    assert {row for sample in passes for row in rows_of(sample)} == set(rows_of(streamed.all("train-", 99)))


def test_a_batch_larger_than_all(streamed: Training) -> None:
    """Is all there is, and no end of it."""
    for sample in taken(streamed, 3, 100, 5):
        assert Counter(rows_of(sample)) == Counter(rows_of(streamed.all("train-", 99)))
