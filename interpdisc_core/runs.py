"""Where a run keeps what: its plan, members, picks and explanations. A run never changes another run's files."""

import io
import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zarr

from interpdisc_core import catalog, digest, plan
from interpdisc_core.errors import StoreError
from interpdisc_core.features import storing, zarr_options
from interpdisc_core.images import Pixels
from interpdisc_core.plan import Plan, Rendering
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.storage import Place
from interpdisc_core.terms import Terms

Role = Literal["candidate", "background"]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run looks at. sources: to pick from; background: counts as already known.

    labels: a CSV file of classes by image, `folder` for the name of the folder an image lies in, or empty.
    tiles: frames that are much larger than the network's input are looked at tile by tile besides.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    sources: tuple[str, ...]
    background: tuple[str, ...] = ()
    labels: str = ""
    tiles: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One image that takes part in a run. batch, row: where its features are."""

    id: str
    key: str
    uri: str
    sha256: str
    batch: int
    row: int
    role: Role
    label: str | None
    record: str


@dataclass(frozen=True, slots=True)
class Near:
    """An image already seen that is near a pick. role: `background`, or `pick 7`. distance: Euclidean, of features."""

    id: str
    uri: str
    sha256: str
    role: str
    distance: float


@dataclass(frozen=True, slots=True)
class Pick:
    """One pick: `rank` from 1; score |x − x̂|², higher is newer. length: what its features were divided by."""

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
    nearest: tuple[Near, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was made for a pick.

    where (gy, gx): how its novelty lies over the cells of a grid. manner: `split`, signed and summing to the score;
    `energy` of the residual in each cell, summing to it too; `occlusion`: how much of this novelty is gone when the
    cell is painted over, as a share. renderings (size, size, 3): among control, expected, new and difference.
    numbers: by the keys of `interpdisc_core.measures.MEASURES`. deletion (3, m): share of the cells that is painted
    over, share of this novelty left when the map's strongest cells go first, and when random ones do.
    trusted: whether the renderings' faithfulness reaches `threshold`; None where that cannot be told.
    """

    where: Floats | None
    renderings: dict[str, Pixels]
    numbers: dict[str, float]
    problem: str = ""
    manner: Literal["split", "energy", "occlusion"] = "split"
    deletion: Floats | None = None
    trusted: bool | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run's folder in an archive."""

    archive: Place
    id: str

    @property
    def place(self) -> Place:
        """The folder."""
        return self.archive / f"runs/{self.id}"

    @property
    def plan(self) -> Plan:
        """Its plan. Raises StoreError where there is no such run."""
        try:
            return plan.parse(self.place.read_json("plan.json"), f"{self.place.url}/plan.json")
        except FileNotFoundError:
            raise StoreError(f"{self.archive.url} has no run {self.id}; `interpdisc show` lists its runs.") from None

    @property
    def inputs(self) -> Inputs:
        """What it was asked to look at."""
        given = self.place.read_json("inputs.json")
        return Inputs(
            sources=tuple(given["sources"]),
            background=tuple(given["background"]),
            labels=given["labels"],
            tiles=given.get("tiles", False),
        )

    @property
    def terms(self) -> Terms:
        """What its selection starts from besides its images."""
        return Terms.read(self.place)

    def begin(
        self, settings: Plan, inputs: Inputs, members: list[Member], environment: dict[str, Any],
        terms: Terms | None = None,
    ) -> None:  # fmt: skip
        """Write what defines the run. Doing it again writes the same."""
        if terms is not None:
            terms.write(self.place)
        self.place.write_json("inputs.json", asdict(inputs))
        self.place.write_json("environment.json", environment)
        table = pa.Table.from_pylist([asdict(member) for member in members], schema=_MEMBERS)
        self.place.write("members.parquet", catalog.parquet(table))
        self.place.write_json("plan.json", plan.to_json(settings))

    def members(self) -> list[Member]:
        """Its images: candidates and background, each in order of id."""
        return [Member(**row) for row in catalog.table_of(self.place, "members.parquet").to_pylist()]

    def picks(self) -> list[Pick]:
        """Its picks in order. Raises FileNotFoundError where selection is not complete."""
        return [
            Pick(**{**value, "nearest": tuple(Near(**near) for near in value["nearest"])})
            for value in self.place.read_json("picks.json")["picks"]
        ]

    def vectors(self, rank: int) -> tuple[Floats, Floats, Floats]:
        """x, x̂ and μ (d,) of a pick; x̂ and μ are NaN where the selector expects nothing."""
        x, expected, mean = np.asarray(self._vectors()[rank - 1], dtype=np.float64)
        return x, expected, mean

    def create_vectors(self, picks: int, dimension: int) -> None:
        """Make room for the vectors of `picks` picks."""
        with storing(self.place.url):
            zarr.create_array(
                store=f"{self.place.url}/vectors", shape=(picks, 3, dimension), chunks=(STEP, 3, dimension),
                dtype="float64", fill_value=float("nan"), overwrite=True, storage_options=zarr_options(self.place),
            )  # fmt: skip

    def write_vectors(self, first: int, vectors: npt.NDArray[np.float64]) -> None:
        """Put vectors (m, 3, d) of the picks from index `first` (from 0), a multiple of STEP."""
        with storing(self.place.url):
            self._vectors()[first : first + len(vectors)] = vectors

    def _vectors(self) -> "zarr.Array[Any]":
        return zarr.open_array(store=f"{self.place.url}/vectors", mode="r+", storage_options=zarr_options(self.place))

    @property
    def rendering(self) -> Rendering:
        """How its explanations are rendered: as its plan says, unless `interpdisc explain` asked for another way."""
        try:
            return plan.rendering_of(self.place.read_json("rendering.json"), f"{self.place.url}/rendering.json")
        except FileNotFoundError:
            return self.plan.rendering

    def render_by(self, rendering: Rendering) -> None:
        """Have its explanations rendered in another way; what was rendered before is kept beside that."""
        self.place.write_json("rendering.json", asdict(rendering))

    def explanations(self) -> "Explanations":
        """What was made for its picks, by its present rendering."""
        return Explanations(self, self.rendering.name(self.plan.representation))


@dataclass(frozen=True, slots=True)
class Explanations:
    """The explanations of one run by one inverter, whose settings and weights give the folder its name."""

    run: Run
    name: str

    def read(self, rank: int) -> Explanation | None:
        """What was made for a pick, or None where nothing was yet."""
        try:
            data = self.run.place.read(self._file(rank))
        except FileNotFoundError:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            told = json.loads(bytes(arrays["told"]).decode())
            pictures = {name.removeprefix("picture-"): arrays[name] for name in arrays if name.startswith("picture-")}
            return Explanation(
                arrays.get("where"), pictures, told["numbers"], told["problem"], told["manner"], arrays.get("deletion"),
                told["trusted"], told["threshold"],
            )  # fmt: skip

    def write(self, rank: int, made: Explanation) -> None:
        """Keep what was made for a pick."""
        arrays: dict[str, npt.NDArray[Any]] = {f"picture-{name}": value for name, value in made.renderings.items()}
        arrays |= {name: value for name in ("where", "deletion") if (value := getattr(made, name)) is not None}
        told = {name: getattr(made, name) for name in ("numbers", "problem", "manner", "trusted", "threshold")}
        sink = io.BytesIO()
        np.savez_compressed(sink, told=np.frombuffer(json.dumps(told).encode(), dtype=np.uint8), **arrays)  # type: ignore[arg-type]
        self.run.place.write(self._file(rank), sink.getvalue())

    def _file(self, rank: int) -> str:
        # Named by the vectors that it explains, so that it cannot be taken for that of another pick.
        return f"explanations/{self.name}/{rank:04d}-{digest.of_array(np.array(self.run.vectors(rank)))[:12]}.npz"


STEP = 10
"""Picks between two checkpoints of a selection."""

_MEMBERS = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "key", "uri", "sha256")), ("batch", pa.int32()), ("row", pa.int64()),
        *((name, pa.string()) for name in ("role", "label", "record")),
    ]
)  # fmt: skip


def runs(archive: Place) -> list[str]:
    """The ids of an archive's runs."""
    return archive.names("runs")
