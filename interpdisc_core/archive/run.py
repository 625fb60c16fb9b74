"""The files of a run: plan, members, picks and explanations. A run never changes the files of another run."""

import io
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from interpdisc_core import digest, plan
from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.archive.constraints import SelectionConstraints
from interpdisc_core.archive.disk_names import EXPLANATION_ARRAYS, EXPLANATION_KEYS, use_current_names
from interpdisc_core.archive.pick_vectors import VECTORS_PER_PICK, load_vectors, read_vectors
from interpdisc_core.errors import StoreError
from interpdisc_core.plan import Plan, RenderingOptions
from interpdisc_core.settings import settings
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import encode_parquet, read_parquet

MemberRole = Literal["candidate", "background"]


@settings
class RunInputs:
    """The inputs of a run.

    Attributes:
        sources: What to pick from.
        background: What counts as already known.
        labels: A CSV file with the class of each image, `folder` for the name of the image's folder, or empty.
        tiles: Whether frames that are much larger than the network's input are also split into tiles.
    """

    sources: tuple[str, ...]
    background: tuple[str, ...] = ()
    labels: str = ""
    tiles: bool = False


@dataclass(frozen=True, slots=True)
class RunMember:
    """One image of a run. Its features are in row `row` of batch `batch`."""

    id: str
    key: str
    uri: str
    sha256: str
    batch: int
    row: int
    role: MemberRole
    label: str | None
    record: str


@dataclass(frozen=True, slots=True)
class NearImage:
    """A known image that is near a pick.

    Attributes:
        role: `background`, or an earlier pick, such as `pick 7`.
        distance: Euclidean distance of the features, ≥ 0.
    """

    id: str
    uri: str
    sha256: str
    role: str
    distance: float


@dataclass(frozen=True, slots=True)
class WeightedImage:
    """A known image that is part of what was expected of a pick.

    Attributes:
        role: As in `NearImage`; `candidate` for an image of the run if the expectation is a model of all of them.
        weight: w in x̂ = Σ w s, Σ w = 1; below 0 if the image is taken away.
    """

    id: str
    uri: str
    sha256: str
    role: str
    weight: float


@dataclass(frozen=True, slots=True)
class Composition:
    """What the expectation of a pick is made of; see `interpdisc_core.selectors.seen_weights`.

    Attributes:
        count: Number of images that it is made of.
        strongest: Those of largest |w|, the largest first.
        share: The part of `total` that the strongest have, from 0 to 1.
        total: Σ |w| over all images, at least 1.
        nearest: The images nearest to x̂, nearest first.
    """

    count: int
    strongest: tuple[WeightedImage, ...]
    share: float
    total: float
    nearest: tuple[NearImage, ...]


@dataclass(frozen=True, slots=True)
class Pick:
    """One pick.

    Attributes:
        rank: From 1.
        score: |x − x̂|² when it was picked; higher is more novel.
        near_ties: Number of images with nearly the same score.
        length: What its features were divided by.
        nearest: Known images that are near it, nearest first.
        composition: What its expectation is made of; None if it is not made of images, or if they are not at hand.
    """

    rank: int
    id: str
    key: str
    uri: str
    sha256: str
    score: float
    near_ties: int
    label: str | None
    record: str
    length: float
    nearest: tuple[NearImage, ...] = ()
    composition: Composition | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Pick":
        """A pick as `picks.json` has it. Raises TypeError or KeyError if a field is missing or unknown."""
        composition = value.get("composition")
        return cls(
            **value
            | {
                "nearest": tuple(NearImage(**near) for near in value["nearest"]),
                "composition": None if composition is None else parse_composition(composition),
            }
        )


def parse_composition(value: dict[str, Any]) -> Composition:
    """A composition as JSON has it. Raises TypeError or KeyError if a field is missing or unknown."""
    return Composition(
        **value
        | {
            "strongest": tuple(WeightedImage(**image) for image in value["strongest"]),
            "nearest": tuple(NearImage(**near) for near in value["nearest"]),
        }
    )


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a pick.

    Attributes:
        attribution_map: Novelty by cells of a grid (gy, gx). None if there is none.
        renderings: Pictures (size, size, 3) uint8 by name: control, expected, new and difference, as far as they exist.
        numbers: By the keys of `interpdisc_core.metrics.definitions.METRIC_DEFINITIONS`.
        problem: Why something is missing, or empty.
        attribution_kind: The values of the map. `split`: signed, they sum to the score. `energy`: of the residual in
            each cell, they sum to the score. `occlusion`: the share of the novelty that is lost if the cell is covered.
        deletion: Rows (3, m): share of the cells that is covered; share of the novelty that is left if the map's
            strongest cells are covered first; the same for random cells.
        trusted: Whether the faithfulness of the renderings reaches `threshold`; None if that is unknown.
    """

    attribution_map: FloatArray | None
    renderings: dict[str, PixelArray]
    numbers: dict[str, float]
    problem: str = ""
    attribution_kind: Literal["split", "energy", "occlusion"] = "split"
    deletion: FloatArray | None = None
    trusted: bool | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run's folder in an archive."""

    archive: Location
    id: str

    @property
    def location(self) -> Location:
        """The folder."""
        return self.archive / f"runs/{self.id}"

    @property
    def plan(self) -> Plan:
        """Its plan.

        Raises:
            StoreError: If there is no such run.
        """
        try:
            return plan.parse_plan(self.location.read_checked_json("plan.json"), f"{self.location.url}/plan.json")
        except FileNotFoundError:
            raise StoreError(f"{self.archive.url} has no run {self.id}; `interpdisc show` lists its runs.") from None

    @property
    def inputs(self) -> RunInputs:
        """Its inputs."""
        with name_damage(f"{self.location.url}/inputs.json"):
            payload = self.location.read_checked_json("inputs.json")
            return RunInputs(
                sources=tuple(payload["sources"]),
                background=tuple(payload["background"]),
                labels=payload["labels"],
                tiles=payload.get("tiles", False),
            )

    @property
    def constraints(self) -> SelectionConstraints:
        """The constraints of its selection."""
        return SelectionConstraints.read(self.location)

    def begin(
        self,
        run_plan: Plan,
        inputs: RunInputs,
        members: list[RunMember],
        environment: dict[str, Any],
        constraints: SelectionConstraints | None = None,
    ) -> None:
        """Write what defines the run. Calling it again writes the same files."""
        if constraints is not None:
            constraints.write(self.location)
        self.location.write_checked_json("inputs.json", asdict(inputs))
        self.location.write_checked_json("environment.json", environment)
        table = pa.Table.from_pylist([asdict(member) for member in members], schema=_MEMBERS_SCHEMA)
        self.location.write_checked("members.parquet", encode_parquet(table))
        self.location.write_checked_json("plan.json", plan.plan_to_json(run_plan))

    def read_members(self) -> list[RunMember]:
        """Its images: candidates and background, each ordered by id."""
        with name_damage(f"{self.location.url}/members.parquet"):
            return [RunMember(**row) for row in read_parquet(self.location, "members.parquet").to_pylist()]

    def read_picks(self) -> list[Pick]:
        """Its picks, by rank.

        Raises:
            FileNotFoundError: If the selection is not complete.
        """
        with name_damage(f"{self.location.url}/picks.json"):
            return [Pick.from_json(value) for value in self.location.read_checked_json("picks.json")["picks"]]

    def read_vectors(self, rank: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x, x̂ and μ (d,) of a pick; x̂ and μ are NaN if the selector has no expectation.

        Raises:
            DamageError: If they are not those that the selection wrote.
        """
        x, expected, mean = read_vectors(self.location, rank)[:3]
        return x, expected, mean

    def load_vectors(self, picks: int) -> FloatArray:
        """x, x̂, μ and the direction of weights of the first picks (picks, 4, d); NaN for what a pick does not have.

        Raises:
            DamageError: If they are not those that the selection wrote.
        """
        vectors = load_vectors(self.location, picks)
        missing = VECTORS_PER_PICK - vectors.shape[1]  # an earlier version wrote no direction
        return np.pad(vectors, [(0, 0), (0, missing), (0, 0)], constant_values=np.nan)

    @property
    def rendering(self) -> RenderingOptions:
        """How its picks are rendered: as its plan says, unless `interpdisc explain` set other options."""
        try:
            return plan.parse_rendering(
                self.location.read_checked_json("rendering.json"), f"{self.location.url}/rendering.json"
            )
        except FileNotFoundError:
            return self.plan.rendering

    def set_rendering(self, rendering: RenderingOptions) -> None:
        """Set how its picks are rendered. Earlier explanations are kept, in their own folder."""
        self.location.write_checked_json("rendering.json", asdict(rendering))

    def open_explanations(self) -> "ExplanationStore":
        """The explanations of its picks by its current rendering options."""
        return ExplanationStore(self, self.rendering.compute_digest(self.plan.representation))


@dataclass(frozen=True, slots=True)
class ExplanationStore:
    """The explanations of one run by one inverter. name: digest of the inverter's settings and weights."""

    run: Run
    name: str

    def read(self, rank: int) -> Explanation | None:
        """The explanation of a pick, or None if there is none yet.

        Raises:
            DamageError: If its file, or the pick's vectors, which name the file, are damaged.
        """
        name = self._file_name(rank)
        try:
            data = self.run.location.read_checked(name)
        except FileNotFoundError:
            return None
        with name_damage(f"{self.run.location.url}/{name}"):
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = use_current_names(file, EXPLANATION_ARRAYS)
            payload = use_current_names(json.loads(bytes(arrays["metadata"]).decode()), EXPLANATION_KEYS)
            return Explanation(
                attribution_map=arrays.get("attribution_map"),
                renderings={
                    name.removeprefix(_PICTURE_PREFIX): picture
                    for name, picture in arrays.items()
                    if name.startswith(_PICTURE_PREFIX)
                },
                deletion=arrays.get("deletion"),
                **{name: payload[name] for name in _EXPLANATION_METADATA},
            )

    def write(self, rank: int, explanation: Explanation) -> None:
        """Write the explanation of a pick."""
        payload = {name: getattr(explanation, name) for name in _EXPLANATION_METADATA}
        arrays: dict[str, npt.NDArray[Any] | None] = {
            "metadata": np.frombuffer(json.dumps(payload).encode(), dtype=np.uint8),
            "attribution_map": explanation.attribution_map,
            "deletion": explanation.deletion,
            **{f"{_PICTURE_PREFIX}{name}": picture for name, picture in explanation.renderings.items()},
        }
        sink = io.BytesIO()
        np.savez_compressed(sink, **{name: array for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]
        self.run.location.write_checked(self._file_name(rank), sink.getvalue())

    def _file_name(self, rank: int) -> str:
        # The name has a digest of the vectors, so that it is never used for other vectors.
        return (
            f"explanations/{self.name}/{rank:04d}-{digest.digest_array(np.array(self.run.read_vectors(rank)))[:12]}.npz"
        )


_PICTURE_PREFIX = "picture-"
_EXPLANATION_METADATA = ("attribution_kind", "numbers", "problem", "trusted", "threshold")

_MEMBERS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "key", "uri", "sha256")),
        ("batch", pa.int32()),
        ("row", pa.int64()),
        *((name, pa.string()) for name in ("role", "label", "record")),
    ]
)


def list_runs(archive: Location) -> list[str]:
    """The ids of an archive's runs, sorted."""
    return archive.list_folders("runs")
