"""A day as its `day.json` tells it: what came in, what is new, what went into which lane.

Read leniently: a day of an older version lacks fields, and what is lacking is empty. Texts are hostile and stay as they
are; whoever shows them escapes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interpdisc_core.site.lenient import Box, Fields


@dataclass(frozen=True, slots=True)
class Near:
    """An image already seen, and the day that it is of. distance: Euclidean, of features."""

    id: str
    day: str
    distance: float
    key: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What a person said of an image, and when."""

    verdict: str
    by: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPick:
    """One pick of a day, an observation shown by one of its images.

    score, prior_score: |x − x̂|² after and before the day's earlier picks. novelty_rank: share of the horizon's images
    that scored at least as high by themselves; alarms_a_day: expected number a day of such images; both None where
    nothing is calibrated. tile: the part of the frame (width, height) that was picked. new: not among the picks of the
    revision before. seen_count: images of later days like it, on seen_days. record: the source's own, verbatim.
    mast_az, mast_el: degrees.
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
    novelty_rank: float | None
    alarms_a_day: float | None
    tile: Box | None
    frame: tuple[int, int] | None
    nearest: tuple[Near, ...]
    new: bool
    seen_count: int
    seen_days: tuple[str, ...]
    trusted: bool | None
    numbers: dict[str, float]
    verdict: Said | None
    record: dict[str, Any]

    @classmethod
    def of(cls, told: Fields) -> "DayPick":
        """From its JSON value."""
        seen, verdict, frame = told.within("seen_again"), told.within("verdict"), told.wholes("frame", 2)
        trusted, texts = told.of.get("trusted"), {name: told.text(name) for name in _TEXTS}
        return cls(
            rank=told.count("rank"), **texts, label=told.text("label") or None, members=told.texts("members"),
            sol=told.whole("sol"), site=told.whole("site"), drive=told.whole("drive"), mast_az=told.number("mast_az"),
            mast_el=told.number("mast_el"), score=told.number("score") or 0.0, prior_score=told.number("prior_score"),
            novelty_rank=told.number("novelty_rank"), alarms_a_day=told.number("alarms_a_day"), tile=told.box("tile"),
            frame=(frame[0], frame[1]) if frame else None,
            nearest=tuple(
                Near(near.text("id"), near.text("day"), near.number("distance") or 0.0, near.text("key"))
                for near in told.each("nearest")
            ),
            new=bool(told.of.get("new", True)), seen_count=seen.count("count"), seen_days=seen.texts("days"),
            trusted=trusted if isinstance(trusted, bool) else None, numbers=told.numbers("numbers"),
            verdict=Said(verdict.text("verdict"), verdict.text("by"), verdict.text("at")) if verdict.text("verdict") else None,
            record=told.table("record"),
        )  # fmt: skip


_TEXTS = (
    "id", "key", "uri", "sha256", "observation", "instrument", "filter", "taken", "received", "lmst", "link", "radiometry",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ranked:
    """A line of a stratum's list."""

    rank: int
    id: str
    key: str
    score: float
    novelty_rank: float | None
    uri: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Stratum:
    """What is compared with its like only. alarms: its images today beyond the threshold; expected_alarms: usually."""

    name: str
    radiometry: str
    images: int
    horizon_images: int
    spike: bool
    alarms: int
    expected_alarms: float | None
    picks: tuple[Ranked, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Laned:
    """An image in a lane of its own; which of the fields are there is a matter of the lane."""

    id: str
    key: str = ""
    uri: str = ""
    sha256: str = ""
    like: str = ""
    like_day: str = ""
    distance: float | None = None
    instrument: str = ""
    score: float | None = None
    reasons: tuple[str, ...] = ()
    by: str = ""
    why: str = ""
    day: str = ""
    seen_again: int = 0
    seen_in: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Fields) -> "Laned":
        """From its JSON value. `by` is who or what put it there, or the images that it was seen again in."""
        texts = {name: told.text(name) for name in _LANE_TEXTS}
        return cls(
            **texts, distance=told.number("distance"), score=told.number("score"), reasons=told.texts("reasons"),
            by="" if told.texts("by") else told.text("by"), seen_in=told.texts("by"), seen_again=told.count("seen_again"),
        )  # fmt: skip


_LANE_TEXTS = ("id", "key", "uri", "sha256", "like", "like_day", "instrument", "why", "day")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day's revision. ledger: inputs by status, together `inputs`. coverage: share of the inputs that were looked at.

    received: new since the last revision; late: of earlier days; superseded: replaced by better versions. instruments,
    radiometry: images by name. horizon_days, horizon_images: what the day is compared with. before: the day that the
    differences refer to. timings: seconds by stage.
    """

    day: str
    sol: int | None
    mission: str
    revision: int
    run: str
    finished: str
    plan_digest: str
    ledger: dict[str, int]
    inputs: int
    received: int
    late: int
    superseded: int
    coverage: float | None
    instruments: dict[str, int]
    radiometry: dict[str, int]
    horizon_days: tuple[str, ...]
    horizon_images: int
    horizon_kind: str
    timings: dict[str, float]
    picks: tuple[DayPick, ...]
    strata: tuple[Stratum, ...]
    tracked: tuple[Laned, ...]
    absorbed: tuple[Laned, ...]
    known: tuple[str, ...]
    beyond_budget: tuple[Laned, ...]
    artefacts: tuple[Laned, ...]
    quarantined: tuple[Laned, ...]
    before: str
    changes: tuple[tuple[str, int, int], ...]
    images_before: int | None
    images_now: int
    picks_like_before: int
    discoveries: tuple[Laned, ...]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Day":
        """From the value of a `day.json`."""
        told = Fields(value)
        horizon, diff = told.within("horizon"), told.within("diff")
        instruments, images, changed = told.counts("instruments"), diff.wholes("images", 2), diff.within("instruments")
        pairs = ((name, changed.wholes(name, 2)) for name in sorted(changed.of))
        plain: dict[str, Any] = {
            **{name: told.text(name) for name in ("day", "mission", "run", "finished", "plan_digest")},
            **{name: told.count(name) for name in ("inputs", "received", "late", "superseded")},
            **{name: tuple(Laned.of(one) for one in told.each(name)) for name in _LANES},
        }
        return cls(
            **plain, sol=told.whole("sol"), revision=told.whole("revision") or 1, ledger=told.counts("ledger"),
            coverage=told.number("coverage"), instruments=instruments, radiometry=told.counts("radiometry"),
            horizon_days=horizon.texts("days"), horizon_images=horizon.count("images"), horizon_kind=horizon.text("kind"),
            timings=told.numbers("timings"), known=told.texts("known"), before=diff.text("before"),
            picks=tuple(sorted((DayPick.of(one) for one in told.each("picks")), key=lambda pick: pick.rank)),
            strata=tuple(_stratum(one) for one in told.each("strata")),
            changes=tuple((name, pair[0], pair[1]) for name, pair in pairs if pair),
            images_before=images[0] if images else None, images_now=images[1] if images else sum(instruments.values()),
            picks_like_before=diff.count("picks_like_before"),
        )  # fmt: skip

    @property
    def spikes(self) -> tuple[Stratum, ...]:
        """The strata with more that is new than usual."""
        return tuple(one for one in self.strata if one.spike)

    @property
    def adds_up(self) -> bool:
        """Whether every input has one status."""
        return sum(self.ledger.values()) == self.inputs


_LANES = ("tracked", "absorbed", "beyond_budget", "artefacts", "quarantined", "discoveries")


def _stratum(told: Fields) -> Stratum:
    picks = tuple(
        Ranked(one.count("rank"), one.text("id"), one.text("key"), one.number("score") or 0.0, one.number("novelty_rank"),
               one.text("uri"), one.text("sha256"))
        for one in told.each("picks")
    )  # fmt: skip
    return Stratum(
        told.text("name"), told.listed("radiometry"), told.count("images"),
        told.count("horizon_images"), bool(told.of.get("spike")), told.count("alarms"), told.number("expected_alarms"), picks,
    )  # fmt: skip
