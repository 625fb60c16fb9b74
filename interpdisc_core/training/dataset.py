"""The examples of a training: which images, and their codes and pictures on disk, computed once and streamed.

    training/<name>/recipe.json               the recipe, and the name of its examples
    examples/<name>/roll.parquet              the images of each part
    examples/<name>/<part>/codes, pictures    Zarr (n, d) float32 and (n, s, s, 3) uint8
    examples/<name>/records/<part>.json       written after a part's values: how many, which images failed and why,
                                              SHA-256 of the values of each chunk

Trainings that differ only in how they fit share their examples.

The images are assigned to parts in a random order, once. So a chunk is a random sample, and reading the chunks in
another random order each time mixes as well as drawing single examples, without reading single rows at random.
"""

import io
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import zarr
from PIL import Image
from pydantic import TypeAdapter

from interpdisc_core import digest
from interpdisc_core._types import Float32Array, PixelArray
from interpdisc_core.errors import DamageError, PlanError, Unreadable
from interpdisc_core.images.load import load_input_image
from interpdisc_core.images.resize import resize_lanczos
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations.batching import EMBED_MINIBATCH
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location, translate_write_errors
from interpdisc_core.storage.tables import read_parquet
from interpdisc_core.storage.zarr_store import get_zarr_store, translate_array_errors
from interpdisc_core.training.recipe import Recipe

log = logging.getLogger(__name__)

CHUNK_ROWS = 64
"""Examples of a chunk on disk."""
SHUFFLE_CHUNKS = 32
"""Chunks that are shuffled together."""
_DECODER_THREADS = 2


class ExampleArrays(NamedTuple):
    """Codes (n, d) float32 and pictures (n, s, s, 3) uint8 of the same n examples."""

    codes: Float32Array
    pictures: PixelArray


@dataclass(frozen=True, slots=True)
class PreparedPart:
    """Examples of a prepared part, and how many of its images could not be read (failed)."""

    part: str
    examples: int
    failed: int


def prepare_examples(
    url: str,
    name: str,
    part: str,
    watch: ProgressReporter,
    *,
    minibatch: int = EMBED_MINIBATCH,
    chunk_rows: int = CHUNK_ROWS,
) -> PreparedPart:
    """Decode and encode the images of a part and write codes and pictures, unless that is done.

    An image that cannot be read is recorded with the reason; no image's content raises.

    Args:
        url: The archive.
        name: The training's name in it.
        part: One of `assign_images.TrainingSplits.parts`.
        watch: Where progress is reported.
        minibatch: Images that are decoded and encoded at a time.
        chunk_rows: Examples of a chunk on disk.
    """
    training = TrainingRun(Location.parse(url), name)
    recipe = training.recipe
    try:
        record = training.read_record(part)
    except DamageError as error:
        log.warning("%s The part is prepared again.", error)
        record = None
    if record is not None:
        return PreparedPart(part, record["examples"], len(record["failed"]))
    embed = recipe.representation.load()
    meter = watch.open_meter("prepare", part)
    rows = training.manifest(part)
    has_mirrors = recipe.views == 2 and part.startswith("train-")
    codes: list[Float32Array] = []
    pictures: list[PixelArray] = []
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(_DECODER_THREADS) as pool:
        for start in range(0, len(rows), minibatch):
            batch = rows[start : start + minibatch]
            decoded = list(pool.map(lambda row: _prepare_image(recipe, row), batch))
            images = [image for image in decoded if not isinstance(image, Unreadable)]
            failed |= {
                row["id"]: str(error)
                for row, error in zip(batch, decoded, strict=True)
                if isinstance(error, Unreadable)
            }
            if has_mirrors:
                images += [np.ascontiguousarray(image[:, ::-1]) for image in images]
            if images:
                codes.append(embed(np.stack(images)))
                pictures.append(np.stack([resize_lanczos(image, recipe.generator.size) for image in images]))
            meter.add(len(batch))
    count = sum(map(len, codes))
    digests: dict[str, list[str]] = {}
    if count:
        order = np.random.default_rng(recipe.seed).permutation(count)  # separates an image from its mirror image
        examples = ExampleArrays(np.concatenate(codes)[order], np.concatenate(pictures)[order])
        digests = training.write(part, examples, chunk_rows)
    training.examples_location.write_checked_json(
        f"records/{part}.json",
        {"examples": count, "images": len(rows) - len(failed), "failed": failed, "sha256": digests},
    )
    meter.flush()
    return PreparedPart(part, count, len(failed))


def _prepare_image(recipe: Recipe, row: dict[str, str]) -> PixelArray | Unreadable:
    try:
        side = recipe.representation.side
        image: PixelArray = recipe.representation.prepare(load_input_image(row["uri"], row["sha256"], at_least=side))
        return image
    except Unreadable as error:
        return error


_RECIPE_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Recipe)


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A training in an archive: its own folder, and that of its examples."""

    archive: Location
    name: str

    @property
    def location(self) -> Location:
        """The folder of its recipe, state and results."""
        return self.archive / f"training/{self.name}"

    @property
    def recipe(self) -> Recipe:
        """What is trained."""
        return _RECIPE_ADAPTER.validate_python(self.location.read_checked_json("recipe.json")["recipe"])

    @property
    def examples_location(self) -> Location:
        """The folder of its examples."""
        return self.archive / f"examples/{_read_examples_name(self)}"

    def manifest(self, part: str) -> list[dict[str, str]]:
        """The images of a part: id, uri, sha256, label."""
        table = read_parquet(self.examples_location, "roll.parquet")
        rows: list[dict[str, str]] = table.filter(pc.equal(table["part"], part)).to_pylist()
        return rows

    def read_record(self, part: str) -> dict[str, Any] | None:
        """The record of a part; None if it is not complete.

        Raises:
            DamageError: If it is damaged.
        """
        try:
            with name_damage(f"{self.examples_location.url}/records/{part}.json"):
                record = dict(self.examples_location.read_checked_json(f"records/{part}.json"))
                int(record["examples"]), dict(record["failed"])
        except FileNotFoundError:
            return None
        return record

    def list_parts(self, prefix: str) -> list[str]:
        """The complete parts whose name begins with `prefix` and that have at least one example."""
        names = [
            name.removesuffix(".json")
            for name in self.examples_location.list_names("records")
            if name.startswith(prefix)
        ]
        return [name for name in names if (self.read_record(name) or {}).get("examples")]

    def write(self, part: str, sample: ExampleArrays, chunk_rows: int = CHUNK_ROWS) -> dict[str, list[str]]:
        """Write a part's examples; returns the SHA-256 of each chunk's values, by array."""
        with translate_write_errors(self.archive.url):
            arrays: dict[str, npt.NDArray[Any]] = sample._asdict()
            for name, values in arrays.items():
                array = zarr.create_array(
                    **get_zarr_store(self.examples_location, f"{part}/{name}"),
                    shape=values.shape,
                    dtype=values.dtype,
                    chunks=(chunk_rows, *values.shape[1:]),
                    overwrite=True,
                )
                array[:] = values
        return {
            name: [
                digest.digest_array(values[start : start + chunk_rows]) for start in range(0, len(values), chunk_rows)
            ]
            for name, values in arrays.items()
        }

    def read(self, part: str, limit: int | None = None) -> ExampleArrays:
        """The first `limit` examples of a part, by default all.

        Raises:
            DamageError: If they are not those that were written.
        """
        arrays = [self._open_array(part, name) for name in ExampleArrays._fields]
        count, chunk_rows = arrays[0].shape[0], arrays[0].chunks[0]
        record = self.read_record(part) or {}
        chunks = [
            self._read_chunk(part, arrays, start, record)
            for start in range(0, count if limit is None else min(limit, count), chunk_rows)
        ]
        return ExampleArrays(*(np.concatenate(values)[:limit] for values in zip(*chunks, strict=True)))

    def check_part(self, part: str) -> None:
        """Read all examples of a part.

        Raises:
            DamageError: If they are not those that were written, or as many as its record says.
        """
        count, expected = len(self.read(part).codes), (self.read_record(part) or {}).get("examples")
        if count != expected:
            raise DamageError(
                f"{self.examples_location.url}/{part} is damaged: it has {count} examples, and its record says {expected}."
            )

    def _read_chunk(self, part: str, arrays: Sequence[Any], start: int, record: Mapping[str, Any]) -> ExampleArrays:
        """The examples of the chunk from `start` on, compared with the digests in the part's record if it has them."""
        chunk_rows = arrays[0].chunks[0]
        with translate_array_errors(f"{self.examples_location.url}/{part}"):
            chunk = ExampleArrays(*(np.asarray(array[start : start + chunk_rows]) for array in arrays))
        for name, values in chunk._asdict().items():
            digests = record.get("sha256", {}).get(name, [])
            if digests and digests[start // chunk_rows : start // chunk_rows + 1] != [digest.digest_array(values)]:
                raise DamageError(
                    f"{self.examples_location.url}/{part}/{name} is damaged: its examples from {start} on are not those that "
                    f"were written; `interpdisc repair {self.archive.url}` makes the same command compute them again."
                )
        return chunk

    def _open_array(self, part: str, name: str) -> Any:
        with translate_array_errors(f"{self.examples_location.url}/{part}/{name}"):
            return zarr.open_array(**get_zarr_store(self.examples_location, f"{part}/{name}"), mode="r")

    def read_first(self, prefix: str, limit: int) -> ExampleArrays:
        """The first `limit` examples of the parts whose name begins with `prefix`.

        Raises:
            PlanError: If there is none.
        """
        samples, count = [], 0
        for part in self.list_parts(prefix):
            samples.append(self.read(part, limit - count))
            count += len(samples[-1].codes)
            if count >= limit:
                break
        if not samples:
            raise PlanError(
                f"training {self.name}: none of the images of {prefix!r} could be read; see the records for the reasons."
            )
        return ExampleArrays(*(np.concatenate(arrays) for arrays in zip(*samples, strict=True)))

    def iter_batches(
        self, batch: int, seed: Sequence[int], shuffle_chunks: int = SHUFFLE_CHUNKS
    ) -> Iterator[ExampleArrays]:
        """Batches of training examples without end, each pass in another order, which depends on `seed` alone.

        Args:
            batch: Examples of a batch; fewer only if there are fewer in all.
            seed: Of the order.
            shuffle_chunks: Chunks that are shuffled together.

        Raises:
            PlanError: If there is no example.
        """
        arrays = {
            part: [self._open_array(part, name) for name in ExampleArrays._fields] for part in self.list_parts("train-")
        }
        if not arrays:
            raise PlanError(f"training {self.name}: none of the images to train on could be read.")
        records = {part: self.read_record(part) or {} for part in arrays}
        chunk_rows = {part: codes.chunks[0] for part, (codes, _) in arrays.items()}
        chunks = [
            (part, start) for part, (codes, _) in arrays.items() for start in range(0, codes.shape[0], chunk_rows[part])
        ]
        generator = np.random.default_rng(seed)

        def iter_chunks() -> Iterator[tuple[str, int]]:
            while True:
                for index in generator.permutation(len(chunks)):
                    yield chunks[index]

        source = iter_chunks()
        while True:
            buffer_chunks = list(itertools.islice(source, shuffle_chunks))
            arrays_by_chunk = [
                self._read_chunk(part, arrays[part], start, records[part]) for part, start in buffer_chunks
            ]
            buffer = ExampleArrays(*(np.concatenate(values) for values in zip(*arrays_by_chunk, strict=True)))
            order = generator.permutation(len(buffer.codes))
            for start in range(0, len(order) - batch + 1, batch) if len(order) >= batch else (0,):
                rows = order[start : start + batch]
                yield ExampleArrays(buffer.codes[rows], buffer.pictures[rows])


@lru_cache(maxsize=16)
def _read_examples_name(training: TrainingRun) -> str:
    """The name of its examples. It can be cached: the training's name is a digest of it."""
    return str(training.location.read_checked_json("recipe.json")["examples"])


def encode_png(picture: PixelArray) -> bytes:
    """A picture as a PNG file."""
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, "PNG")
    return sink.getvalue()
