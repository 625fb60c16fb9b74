"""The result of one day of a daily run: `days/<day>/day.json`, and `day-<revision>.json` for each revision it replaced.

Written by `interpdisc daily`. Read by the day's page, tables, index and feed, and by later days for what was seen again
and what changed. Reading is lenient: a file of an older version lacks fields, and names some otherwise; a damaged field
is empty and breaks no page. Texts are hostile and kept as they are: whoever shows them escapes them.
"""

from dataclasses import dataclass, replace
from typing import Any

from interpdisc_core.archive.disk_names import DAY_KEYS, DIFFERENCE_KEYS, LANE_KEYS, PICK_KEYS
from interpdisc_core.archive.lenient_json import read_record, record_to_json
from interpdisc_core.errors import StoreError
from interpdisc_core.storage.location import Location

PixelBox = tuple[int, int, int, int]
"""x, y, width, height in pixels of a frame, from its top left corner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestImage:
    """An image of an earlier day.

    Attributes:
        distance: Euclidean distance of the features, ≥ 0.
    """

    id: str
    key: str
    day: str
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRecord:
    """The verdict of a person on an image, and when it was given (ISO 8601)."""

    verdict: str
    by: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """How many images of later days are like a pick, and of which days."""

    count: int
    days: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposingImage:
    """An image that is part of what was expected of a pick, or near to it.

    Attributes:
        role: The image's day, `pick 7` of this day, `known`, or `candidate` if it is a model of all images of the day.
        weight: w in x̂ = Σ w s, if it is one of the strongest.
        is_nearest: Whether it is the image nearest to x̂.
    """

    id: str
    key: str
    uri: str
    sha256: str
    role: str
    weight: float | None = None
    is_nearest: bool = False

    def weigh(self, weight: float | None, *, is_nearest: bool) -> "ComposingImage":
        """The same image with its part in an expectation."""
        return replace(self, weight=weight, is_nearest=is_nearest)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayComposition:
    """What the expectation of a pick is made of; see `interpdisc_core.archive.run.Composition`.

    Attributes:
        images: The image nearest to x̂, then those of largest |w|.
    """

    count: int
    total: float
    share: float
    images: tuple[ComposingImage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedImage:
    """One pick of a stratum's list; the fields are those of `DayPick`."""

    rank: int
    id: str
    key: str
    uri: str
    sha256: str
    score: float
    tail_probability: float | None

    @classmethod
    def from_json(cls, value: Any) -> "RankedImage":
        """From its JSON value; never raises."""
        return read_record(cls, value, PICK_KEYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPick:
    """One pick of a day: an observation, shown by one of its images.

    Attributes:
        rank: From 1.
        members: Ids of all images of the observation.
        label: Class of the image, if the source gives one.
        mast_az: Azimuth of the mast in degrees; `mast_el` is its elevation.
        link: Address of the image's page at the source.
        score: |x − x̂|² when it was picked, after the day's earlier picks were learned; higher is newer.
        prior_score: |x − x̂|² against the earlier days alone; None if there are none.
        tail_probability: Share (0 to 1) of the horizon's images that scored at least `prior_score`; small is unusual.
            None if the horizon has too few scores.
        alarms_a_day: How many images per day scored at least as high; None as above.
        tile: The part of the frame that was picked; None if the whole image was.
        frame: Width and height of the whole image in pixels.
        nearest: The most similar images of the horizon, nearest first.
        composition: What its expectation is made of; None if that is not known.
        new: Whether the revision before did not pick this observation.
        trusted: Whether the renderings are faithful enough; None if that is unknown.
        numbers: Faithfulness by the keys of `interpdisc_core.metrics.definitions.METRIC_DEFINITIONS`.
        record: The source's own record of the image, verbatim.
    """

    rank: int
    id: str
    key: str
    uri: str
    sha256: str
    label: str | None
    observation: str
    members: tuple[str, ...]
    instrument: str
    filter: str
    sol: int | None
    taken: str
    received: str
    lmst: str
    site: int | None
    drive: int | None
    mast_az: float | None
    mast_el: float | None
    link: str
    radiometry: str
    score: float
    prior_score: float | None
    tail_probability: float | None
    alarms_a_day: float | None
    tile: PixelBox | None
    frame: tuple[int, int] | None
    nearest: tuple[NearestImage, ...]
    composition: DayComposition | None
    new: bool
    recurrence: Recurrence
    trusted: bool | None
    numbers: dict[str, float]
    verdict: VerdictRecord | None
    record: dict[str, Any]

    @classmethod
    def from_json(cls, value: Any) -> "DayPick":
        """From its JSON value; never raises."""
        pick = read_record(cls, {"new": True, **value}, PICK_KEYS)
        return replace(
            pick,
            tile=pick.tile if pick.tile and min(pick.tile[2:]) > 0 else None,
            composition=pick.composition if pick.composition and pick.composition.total > 0 else None,
            verdict=pick.verdict if pick.verdict and pick.verdict.verdict else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumResult:
    """A group of the day's images that are compared only with their like.

    Attributes:
        radiometry: Kinds of radiometry that occur in it.
        images: Number of its images; `horizon_images`: of those they are compared with.
        spike: Whether there are clearly more alarms than expected.
        alarms: Images above the threshold of novelty today; `expected_alarms`: by the horizon's rate, None if unknown.
        run: The selection run that made the list.
    """

    name: str
    radiometry: tuple[str, ...]
    images: int
    horizon_images: int
    spike: bool
    alarms: int
    expected_alarms: float | None
    run: str
    picks: tuple[RankedImage, ...]

    @classmethod
    def from_json(cls, value: Any) -> "StratumResult":
        """From its JSON value; never raises. A radiometry that is one text is a list of it."""
        kinds = value.get("radiometry")
        return read_record(cls, {**value, "radiometry": [kinds]} if isinstance(kinds, str) and kinds else value)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneImage:
    """An image that is listed apart from the picks. Which of the optional fields are set depends on the list.

    Attributes:
        like: Id of the marked image that it resembles; `like_day`: that image's day.
        distance: Euclidean distance of the features to that image.
        score: |x − x̂|² against the earlier days.
        reasons: Why it is an artefact; `author`: `rule`, or the person who marked it.
        reason: Why it could not be read.
        day: The day on which it was picked.
        recurrence_count: How many images of today are like it; `recurrence_examples`: ids of some of them.
    """

    id: str
    key: str
    uri: str = ""
    sha256: str = ""
    like: str = ""
    like_day: str = ""
    distance: float | None = None
    instrument: str = ""
    score: float | None = None
    reasons: tuple[str, ...] = ()
    author: str = ""
    reason: str = ""
    day: str = ""
    recurrence_count: int = 0
    recurrence_examples: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> "LaneImage":
        """From its JSON value; never raises. An older `by` is the author, or if it is a list, the examples."""
        by = value.get("by")
        names = {"by": "recurrence_examples" if isinstance(by, list | tuple) else "author"}
        return read_record(cls, value, LANE_KEYS | names)


@dataclass(frozen=True, slots=True, kw_only=True)
class HorizonSummary:
    """What a day is compared with: the earlier days in order, their number of images, and how they were chosen."""

    days: tuple[str, ...]
    images: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DayDiff:
    """Changes since the last day of the horizon: numbers of images then and now, by instrument and in all.

    Attributes:
        previous_day: Empty if there is none.
        picks_like_before: Picks whose nearest earlier image is a pick of that day.
    """

    previous_day: str
    instruments: dict[str, tuple[int, int]]
    images: tuple[int, int] | None
    picks_like_before: int

    @classmethod
    def from_json(cls, value: Any) -> "DayDiff":
        """From its JSON value; never raises."""
        return read_record(cls, value, DIFFERENCE_KEYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayResult:
    """One revision of a day.

    Attributes:
        revision: From 1; counts up when the day's images change.
        images_digest: Names the images of the day and how the memory is made, see `Daily.memory_digest`.
        run: The selection run over all images; empty if there was nothing to select from.
        finished: UTC, ISO 8601.
        ledger: Inputs by status; they add up to `inputs`.
        coverage: Share (0 to 1) of the inputs that were read; None if unknown.
        received: Images that are new since the revision before; `late`: the same, 0 in the first revision.
        superseded: Inputs that better versions replaced.
        instruments: Images by instrument; `radiometry`: by kind of radiometry.
        timings: Seconds by stage.
        picks: In order of rank.
        tracked: Images like one that was called interesting; `absorbed`: like one that was called boring.
        known: Ids of images that were called known.
        beyond_budget: Images as new as the picks, left out since the budget of their instrument was used up.
        artefacts: Highest score first.
        quarantined: Inputs that could not be read.
        discoveries: Picks of earlier days that images of today are like.
    """

    day: str
    sol: int | None
    mission: str
    revision: int
    images_digest: str
    run: str
    finished: str
    plan_digest: str
    ledger: dict[str, int]
    inputs: int
    coverage: float | None
    received: int
    late: int
    superseded: int
    instruments: dict[str, int]
    radiometry: dict[str, int]
    horizon: HorizonSummary
    timings: dict[str, float]
    picks: tuple[DayPick, ...]
    strata: tuple[StratumResult, ...]
    tracked: tuple[LaneImage, ...]
    absorbed: tuple[LaneImage, ...]
    known: tuple[str, ...]
    beyond_budget: tuple[LaneImage, ...]
    artefacts: tuple[LaneImage, ...]
    quarantined: tuple[LaneImage, ...]
    diff: DayDiff
    discoveries: tuple[LaneImage, ...]

    @classmethod
    def from_json(cls, value: Any) -> "DayResult":
        """From the JSON value of a `day.json`, also of an older version; never raises."""
        day = read_record(cls, value, DAY_KEYS)
        return replace(day, revision=day.revision or 1, picks=tuple(sorted(day.picks, key=lambda pick: pick.rank)))

    def to_json(self) -> dict[str, Any]:
        """The JSON value that `from_json` reads back to an equal result."""
        payload: dict[str, Any] = record_to_json(self)
        return payload

    @property
    def image_count(self) -> int:
        """Number of images that were read."""
        return self.diff.images[1] if self.diff.images else sum(self.instruments.values())

    @property
    def previous_image_count(self) -> int | None:
        """The same of the day that `diff` compares with."""
        return self.diff.images[0] if self.diff.images else None

    @property
    def spikes(self) -> tuple[StratumResult, ...]:
        """The strata with clearly more novelty than usual."""
        return tuple(stratum for stratum in self.strata if stratum.spike)

    @property
    def is_balanced(self) -> bool:
        """Whether every input has exactly one status."""
        return sum(self.ledger.values()) == self.inputs


def read_day_result(archive: Location, day: str) -> DayResult | None:
    """The current result of a day; None if it has none.

    Raises:
        StoreError: If the file is not JSON, or is the result of another day.
    """
    name = f"days/{day}/day.json"
    try:
        payload = archive.read_checked_json(name)
    except FileNotFoundError:
        return None
    if not isinstance(payload, dict) or payload.get("day") != day:
        raise StoreError(f"{archive.url}/{name} is damaged: it is not the result of {day}.")
    return DayResult.from_json(payload)


def read_previous_revision(archive: Location, day: str, revision: int) -> DayResult | None:
    """The result that `revision` replaces; None if it is the first one."""
    try:
        return DayResult.from_json(archive.read_checked_json(_revision_name(day, revision - 1)))
    except FileNotFoundError:
        current = read_day_result(archive, day)
        return current if current is not None and current.revision == revision - 1 else None


def write_day_result(archive: Location, result: DayResult) -> None:
    """Write a day's result. A result of an earlier revision is kept as `day-<revision>.json`."""
    current = read_day_result(archive, result.day)
    if current is not None and current.revision < result.revision:
        archive.write_checked(
            _revision_name(result.day, current.revision), archive.read_checked(f"days/{result.day}/day.json")
        )
    archive.write_checked_json(f"days/{result.day}/day.json", result.to_json())


def _revision_name(day: str, revision: int) -> str:
    return f"days/{day}/day-{revision:03d}.json"
