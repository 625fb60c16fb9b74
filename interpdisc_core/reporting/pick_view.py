"""What a page shows of a pick: the pick, its pictures, and the images that were seen before it."""

from dataclasses import dataclass

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.reporting.charts import FractionBox


@dataclass(frozen=True, kw_only=True)
class NearView:
    """An image seen before a pick.

    Attributes:
        id: The image's id.
        distance: Euclidean distance of the features, ≥ 0.
        role: `background`, `pick 7`, or the day of the image.
        picture: (h, w, 3) uint8 thumbnail, or None if it cannot be read.
        label: Its class, or empty.
    """

    id: str
    distance: float
    role: str
    picture: PixelArray | None
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class ExpectedImage:
    """An image that was seen and stands for what was expected of a pick.

    Attributes:
        id: The image's id.
        role: As in `NearView`; `candidate` for an image of the run, if the expectation is a model of all of them.
        picture: (h, w, 3) uint8 thumbnail, or None if it cannot be read.
        weight: w in x̂ = Σ w s, if it is one of the strongest.
        is_nearest: Whether it is the image nearest to x̂.
        label: Its class, or empty.
    """

    id: str
    role: str
    picture: PixelArray | None
    weight: float | None
    is_nearest: bool
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class ExpectedView:
    """What the expectation of a pick is made of; see `interpdisc_core.selectors.seen_weights`.

    Attributes:
        count: Number of images that it is made of.
        total: Σ |w| over all of them.
        images: The one nearest to x̂, then those of largest weight.
        is_of_all: Whether it is a model of all images of the run, since nothing was seen before.
    """

    count: int
    total: float
    images: tuple[ExpectedImage, ...]
    is_of_all: bool

    @property
    def shown_share(self) -> float:
        """The part of Σ |w| that the images shown have, from 0 to 1."""
        return min(sum(abs(image.weight) for image in self.images if image.weight is not None) / self.total, 1.0)


@dataclass(frozen=True, kw_only=True)
class PickView:
    """One pick with its pictures. Fields not listed are those of `interpdisc_core.archive.run.Explanation`.

    Attributes:
        rank: From 1.
        id: The image's id.
        uri: The image's address.
        score: |x − x̂|², or what the selector defines; higher is newer.
        near_ties: Other images within the tie tolerance.
        label: The image's class, or None.
        record: The source's metadata, verbatim.
        picture: (h, w, 3) uint8 the whole image, reduced; None if it cannot be read.
        problem: Why the image cannot be read; else empty.
        window: The part of the picture that the network reads.
        nearest: The nearest images seen before.
        expected: What its expectation is made of; None if it is not made of images, or if that is not known.
        novelty_note: Why there is nothing new to show, as a clause; else empty.
        explanation_problem: Why the image could not be read when it was explained; else empty.
    """

    rank: int
    id: str
    uri: str
    score: float
    near_ties: int
    label: str | None
    record: dict[str, str]
    picture: PixelArray | None
    problem: str
    window: FractionBox
    attribution_map: FloatArray | None
    renderings: dict[str, PixelArray]
    measures: dict[str, float]
    nearest: tuple[NearView, ...]
    attribution_kind: str = "split"
    deletion: FloatArray | None = None
    is_trusted: bool | None = None
    threshold: float | None = None
    novelty_note: str = ""
    explanation_problem: str = ""
    expected: ExpectedView | None = None
