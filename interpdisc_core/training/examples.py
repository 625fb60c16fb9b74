"""The examples of a training: which images, and their codes and pictures on disk, computed once and streamed.

    training/<name>/recipe.json               the recipe, and the name of its examples
    examples/<name>/roll.parquet              which image each example is of, part by part
    examples/<name>/<part>/codes, pictures    Zarr (n, d) float32 and (n, s, s, 3) uint8
    examples/<name>/records/<part>.json       written after a part's values: how many, which images failed and why

Trainings that differ only in how they fit share their examples.

The images are drawn into parts in a random order, once. A chunk is then a random sample, and reading chunks in another
random order each time mixes as well as drawing single examples would, without reading at random.
"""

import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import zarr
from PIL import Image
from pydantic import TypeAdapter

from interpdisc_core import catalog, digest
from interpdisc_core.embedding import BATCH
from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.extraction import pixels
from interpdisc_core.features import storing, zarr_options
from interpdisc_core.images import Pixels
from interpdisc_core.progress import Watch
from interpdisc_core.runs import Member
from interpdisc_core.storage import Place
from interpdisc_core.subset import matching
from interpdisc_core.training.recipe import Recipe

Codes = npt.NDArray[np.float32]

PART = 512
"""Images of one part: what one task prepares."""
HELD = 1000
"""Most images of a held-out set, and the number among which an inversion is searched."""
_CHUNK = 64
_BUFFER = 32
"""Chunks that are mixed with each other."""
_DECODERS = 2


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What `enrol` decided. name: of the training. parts: to prepare, of `unprepared` images. trained: images to train on."""

    name: str
    parts: tuple[str, ...]
    trained: int
    validated: int
    held_out: dict[str, int]
    unprepared: int


class Sample(NamedTuple):
    """codes (n, d) float32 and pictures (n, s, s, 3) uint8 of the same n examples."""

    codes: Codes
    pictures: Pixels


def enrol(url: str, members: Sequence[Member], recipe: Recipe, held_out: Mapping[str, str]) -> Enrolled:
    """Draw the images into parts. held_out: named expressions of images that no training ever sees.

    The training is named by the recipe and by the contents, so the same command goes on with it.
    Raises PlanError where an expression names nothing, or where too few images are left.
    """
    columns = _columns(members)
    kept_out = np.zeros(len(members), dtype=bool)
    sets: dict[str, npt.NDArray[np.intp]] = {}
    for name, expression in held_out.items():
        found = matching(expression, columns)
        if not found.any():
            raise PlanError(f"held-out set {name}: {expression!r} is true of none of the {len(members)} images.")
        kept_out |= found
        sets[f"held-out-{name}"] = _drawn(members, np.flatnonzero(found), recipe.seed)[:HELD]
    wanted = matching(recipe.where, columns) if recipe.where else np.ones(len(members), dtype=bool)
    usable = _drawn(members, np.flatnonzero(wanted & ~kept_out), recipe.seed)[: recipe.images]
    count = min(max(round(recipe.validation * len(usable)), 1), PART)
    if len(usable) < count + 2:
        raise PlanError(
            f"{len(usable)} images are left to train on; at least three are needed, and thousands to be good."
        )
    sets["validation"], trained = usable[:count], usable[count:]
    parts = {
        f"train-{number:06d}": trained[start : start + PART]
        for number, start in enumerate(range(0, len(trained), PART))
    }
    rows = [
        {"part": part, "id": m.id, "uri": m.uri, "sha256": m.sha256, "label": m.label}
        for part, which in (sets | parts).items()
        for m in (members[int(place)] for place in which)
    ]
    drawn = digest.of_json(
        [recipe.features, recipe.generator.size, recipe.views, recipe.seed, [[r["part"], r["sha256"]] for r in rows]]
    )
    name = f"{recipe.generator.kind}-{digest.of_json([recipe.digest, drawn])}"
    archive = Place.of(url)
    archive.write_json(f"training/{name}/recipe.json", {"recipe": asdict(recipe), "examples": drawn})
    place = archive / f"examples/{drawn}"
    schema = pa.schema([(column, pa.string()) for column in ("part", "id", "uri", "sha256", "label")])
    place.write("roll.parquet", catalog.parquet(pa.Table.from_pylist(rows, schema=schema)))
    left = [part for part in sets | parts if not place.exists(f"records/{part}.json")]
    held = {key.removeprefix("held-out-"): len(which) for key, which in sets.items() if key != "validation"}
    return Enrolled(name, tuple(left), len(trained), count, held, sum(len((sets | parts)[part]) for part in left))


def _columns(members: Sequence[Member]) -> dict[str, Sequence[object]]:
    """What an expression may ask of an image: its source's record, id and label."""
    records = [json.loads(member.record) for member in members]
    names = dict.fromkeys(key for record in records for key in record)
    columns: dict[str, Sequence[object]] = {name: [record.get(name) for record in records] for name in names}
    return columns | {
        "id": [m.id for m in members],
        "label": [m.label for m in members],
        "uri": [m.uri for m in members],
    }


def _drawn(members: Sequence[Member], which: npt.NDArray[np.intp], seed: int) -> npt.NDArray[np.intp]:
    """A random order that hangs on the contents alone: further images leave those that were there in their order."""
    keys = [digest.of_bytes(f"{seed} {members[int(place)].sha256}".encode()) for place in which]
    return which[np.argsort(np.array(keys), kind="stable")] if len(which) else which


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of one part. failed: images that could not be read."""

    part: str
    examples: int
    failed: int


def prepare(url: str, name: str, part: str, watch: Watch) -> Prepared:
    """Decode and encode the images of one part, and keep codes and pictures; a part that is there is left alone.

    An image that cannot be read is recorded with its reason; nothing about an image's content raises.
    """
    training = Training(Place.of(url), name)
    recipe = training.recipe
    if (record := training.record(part)) is not None:
        return Prepared(part, record["examples"], len(record["failed"]))
    embed = recipe.representation.load()
    meter = watch.meter("prepare", part)
    rows = training.roll(part)
    mirrored = recipe.views == 2 and part.startswith("train-")
    codes: list[Codes] = []
    pictures: list[Pixels] = []
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(_DECODERS) as pool:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            found = list(pool.map(lambda row: _seen(recipe, row), batch))
            images = [image for image in found if not isinstance(image, Unreadable)]
            failed |= {r["id"]: str(e) for r, e in zip(batch, found, strict=True) if isinstance(e, Unreadable)}
            if mirrored:
                images += [np.ascontiguousarray(image[:, ::-1]) for image in images]
            if images:
                codes.append(embed(np.stack(images)))
                pictures.append(np.stack([reduced(image, recipe.generator.size) for image in images]))
            meter.add(len(batch))
    count = sum(map(len, codes))
    if count:
        order = np.random.default_rng(recipe.seed).permutation(count)  # an image and its mirror image lie apart
        training.write(part, Sample(np.concatenate(codes)[order], np.concatenate(pictures)[order]))
    training.examples.write_json(
        f"records/{part}.json", {"examples": count, "images": len(rows) - len(failed), "failed": failed}
    )
    meter.close()
    return Prepared(part, count, len(failed))


def _seen(recipe: Recipe, row: dict[str, str]) -> Pixels | Unreadable:
    try:
        side = recipe.representation.side
        image: Pixels = recipe.representation.prepare(pixels(row["uri"], row["sha256"], at_least=side))
        return image
    except Unreadable as error:
        return error


def reduced(image: Pixels, size: int) -> Pixels:
    """An image (h, w, 3) as a picture (size, size, 3), by an antialiased filter."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)


@dataclass(frozen=True, slots=True)
class Training:
    """One training's folder in an archive, and that of its examples."""

    archive: Place
    name: str

    @property
    def place(self) -> Place:
        """Where it keeps its files."""
        return self.archive / f"training/{self.name}"

    @property
    def recipe(self) -> Recipe:
        """What is trained."""
        return _RECIPE.validate_python(self.place.read_json("recipe.json")["recipe"])

    @property
    def examples(self) -> Place:
        """Where its examples are."""
        return self.archive / f"examples/{_examples_of(self)}"

    def roll(self, part: str) -> list[dict[str, str]]:
        """The images of a part: id, uri, sha256, label."""
        table = catalog.table_of(self.examples, "roll.parquet")
        rows: list[dict[str, str]] = table.filter(pc.equal(table["part"], part)).to_pylist()
        return rows

    def record(self, part: str) -> dict[str, Any] | None:
        """What was written of a part, None where it is not complete."""
        try:
            return dict(self.examples.read_json(f"records/{part}.json"))
        except FileNotFoundError:
            return None

    def parts(self, of: str) -> list[str]:
        """The complete parts whose name begins so, that hold at least one example."""
        names = [name.removesuffix(".json") for name in self.examples.names("records") if name.startswith(of)]
        return [name for name in names if (self.record(name) or {}).get("examples")]

    def write(self, part: str, sample: Sample) -> None:
        """Put a part's examples."""
        with storing(self.archive.url):
            arrays: dict[str, npt.NDArray[Any]] = sample._asdict()
            for name, values in arrays.items():
                array = zarr.create_array(
                    store=f"{self.examples.url}/{part}/{name}", shape=values.shape, dtype=values.dtype,
                    chunks=(_CHUNK, *values.shape[1:]), overwrite=True, storage_options=zarr_options(self.archive),
                )  # fmt: skip
                array[:] = values

    def read(self, part: str, rows: slice = slice(None)) -> Sample:
        """Examples of a part."""
        return Sample(*(np.asarray(self._open(part, name)[rows]) for name in Sample._fields))

    def _open(self, part: str, name: str) -> Any:
        return zarr.open_array(
            store=f"{self.examples.url}/{part}/{name}", mode="r", storage_options=zarr_options(self.archive)
        )

    def all(self, of: str, most: int) -> Sample:
        """The first `most` examples of the parts whose name begins with `of`. Raises PlanError where there is none."""
        found, count = [], 0
        for part in self.parts(of):
            found.append(self.read(part, slice(most - count)))
            count += len(found[-1].codes)
            if count >= most:
                break
        if not found:
            raise PlanError(f"training {self.name}: not one image of {of} could be read.")
        return Sample(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))

    def stream(self, batch: int, seed: Sequence[int]) -> Iterator[Sample]:
        """Batches of training examples without end, each time through in another order, by `seed` alone."""
        arrays = {part: [self._open(part, name) for name in Sample._fields] for part in self.parts("train-")}
        if not arrays:
            raise PlanError(f"training {self.name}: not one image to train on could be read.")
        chunks = [(part, start) for part in arrays for start in range(0, arrays[part][0].shape[0], _CHUNK)]
        random = np.random.default_rng(seed)

        def endless() -> Iterator[tuple[str, int]]:
            while True:
                for place in random.permutation(len(chunks)):
                    yield chunks[place]

        source = endless()
        while True:
            some = list(itertools.islice(source, _BUFFER))
            read = [[array[start : start + _CHUNK] for array in arrays[part]] for part, start in some]
            mixed = Sample(*(np.concatenate(values) for values in zip(*read, strict=True)))
            order = random.permutation(len(mixed.codes))
            for start in range(0, len(order) - batch + 1, batch) if len(order) >= batch else (0,):
                which = order[start : start + batch]
                yield Sample(mixed.codes[which], mixed.pictures[which])


@lru_cache(maxsize=16)
def _examples_of(training: Training) -> str:
    """The name of its examples, which its own name stands for: it cannot change."""
    return str(training.place.read_json("recipe.json")["examples"])


def png(picture: Pixels) -> bytes:
    """A picture as a PNG file."""
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, "PNG")
    return sink.getvalue()
