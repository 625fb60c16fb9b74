"""What a rover sends, sol by sol: which image is published when, in which versions, and what goes wrong on the way.

Everything follows from the images' names and a seed, so two rehearsals are the same and the end is known: once the
clock has run out, every image is there in its best version.
"""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from PIL import Image

from interpdisc_core.errors import PlanError

_NAME = re.compile(r"(\d{4})M[LRHD]\d{16}[A-Z][0-9A-F][0-9A-Z](_[A-Z]{4})?\.(jpe?g|png)", re.IGNORECASE)
_LANDED = datetime(2012, 8, 5, 13, 49, 59, tzinfo=UTC)
_SOL = timedelta(seconds=88775.244)
_LATEST = 5
"""Sols after which the last late image is there."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often what goes wrong, 0 to 1, by image or page; each fault of one of them happens once or twice, then no more.

    late: published 1 to 5 sols later; a third of these with the date that they should
    have had, if that is not more than 5 sols ago. duplicates: a record
    twice. resent: first a smaller or more compressed version under the same id and address, 1 to 3 sols later the
    image. fields: records with fields added, missing, renamed or of another type. truncated: less than announced.
    cut: a part, announced as the whole. errors: 500 or 503. busy: 429 with Retry-After. html: a web page. reset: the
    connection breaks within the body. slow: a pause within the body. pages: of the API, all that can happen to one.
    empty: sols before which there is one without images.
    """

    late: float = 0.0
    duplicates: float = 0.0
    resent: float = 0.0
    fields: float = 0.0
    truncated: float = 0.0
    cut: float = 0.0
    errors: float = 0.0
    busy: float = 0.0
    html: float = 0.0
    reset: float = 0.0
    slow: float = 0.0
    pages: float = 0.0
    empty: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, text: str, seed: int = 0) -> "Faults":
        """`none`, `all`, or rates such as `late=0.1,resent=0.05`. Raises PlanError for what is not a fault."""
        names = [item.name for item in fields(cls) if item.name != "seed"]
        if text in ("none", ""):
            return cls(seed=seed)
        if text == "all":
            return cls(seed=seed, **dict.fromkeys(names, 0.08))
        rates = {}
        for part in text.split(","):
            name, _, rate = part.partition("=")
            if name not in names or not re.fullmatch(r"0?\.\d+|[01](\.0*)?|", rate):
                raise PlanError(f"{part!r} is no fault; give some of {', '.join(names)}, each as name=0.1.")
            rates[name] = float(rate or 0.08)
        return cls(seed=seed, **rates)

    def hits(self, fault: str, what: str) -> bool:
        """Whether this goes wrong with that."""
        rate: float = getattr(self, fault)
        return rate > 0 and self.draw(fault, what) % 1_000_003 < rate * 1_000_003

    def draw(self, *what: object) -> int:
        """A number that depends on the seed and on `what` alone."""
        return int.from_bytes(hashlib.sha256(repr((self.seed, *what)).encode()).digest()[:8])


@dataclass(frozen=True, slots=True)
class Version:
    """One content of an image. at: the step of the clock from which it is served; received: when it says it came."""

    at: int
    received: datetime
    how: str
    thumbnail: bool


@dataclass(frozen=True, slots=True)
class Shot:
    """One image. name: its file's, without suffix. versions: in order of time; the last is the file as it is."""

    name: str
    path: Path
    sol: int
    versions: tuple[Version, ...]

    def content(self, version: Version) -> bytes:
        """The bytes of a version."""
        data = self.path.read_bytes()
        if version.how == "whole":
            return data
        image = Image.open(io.BytesIO(data)).convert("RGB")
        if version.how == "thumbnail":
            image = image.resize((max(image.width // 4, 1), max(image.height // 4, 1)))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=85 if version.how == "thumbnail" else 15)
        return out.getvalue()


@dataclass
class Downlink:
    """The images, and the clock: `clock` steps were made; step n brings the n-th sol that has images."""

    shots: tuple[Shot, ...]
    steps: tuple[int, ...]
    faults: Faults
    clock: int = 0
    _happened: Counter[str] = field(default_factory=Counter)
    _sha256: dict[tuple[str, str], str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, images: Path, faults: Faults, *, sols: int = 0, most: int = 0) -> "Downlink":
        """The images of a folder, by their names; the first `sols` sols and `most` images of each (0: all).

        Raises PlanError for a folder without such images.
        """
        by_sol: dict[int, list[Path]] = {}
        for path in sorted(images.iterdir()) if images.is_dir() else []:
            if match := _NAME.fullmatch(path.name):
                by_sol.setdefault(int(match[1]), []).append(path)
        if not by_sol:
            raise PlanError(
                f"{images}: no folder with images named as MSL products (0003ML0000000110100031E01_DRCL.JPG)."
            )
        steps: list[int] = []
        for sol in sorted(by_sol)[: sols or None]:
            if faults.hits("empty", str(sol)):
                steps.append(-1)
            steps.append(sol)
        last = max(steps)
        after = [last + extra for extra in range(1, 3 + 2 * _LATEST)]
        calendar = [max(sol, steps[number - 1] if number else 0) for number, sol in enumerate(steps)] + after
        shots = []
        for step, sol in enumerate(steps, 1):
            for number, path in enumerate(by_sol.get(sol, [])[: most or None]):
                shots.append(_shot(path, sol, step, number, calendar, faults))
        return cls(tuple(shots), tuple(steps), faults)

    @property
    def end(self) -> int:
        """The step after which nothing changes any more."""
        return max(len(self.steps), max(shot.versions[-1].at for shot in self.shots))

    def advance(self, steps: int = 1) -> None:
        """Let time go on."""
        with self._lock:
            self.clock = min(self.clock + steps, self.end)

    def published(self) -> list[tuple[Shot, Version]]:
        """What is published by now, the last received first."""
        with self._lock:
            clock = self.clock
        now = [(shot, version) for shot in self.shots if (version := self.version(shot, clock))]
        return sorted(now, key=lambda item: (item[1].received, item[0].name), reverse=True)

    def version(self, shot: Shot, clock: int) -> Version | None:
        """The version of an image that is served at that time."""
        return next((version for version in reversed(shot.versions) if version.at <= clock), None)

    def sha256(self, shot: Shot, version: Version) -> str:
        """The digest of a version."""
        key = (shot.name, version.how)
        if key not in self._sha256:
            self._sha256[key] = hashlib.sha256(shot.content(version)).hexdigest()
        return self._sha256[key]

    def goes_wrong(self, fault: str, what: str) -> bool:
        """Whether this request meets that fault; once or twice it does, then no more."""
        if not self.faults.hits(fault, what):
            return False
        with self._lock:
            self._happened[f"{fault} {what}"] += 1
            return self._happened[f"{fault} {what}"] <= 1 + self.faults.draw("times", fault, what) % 2

    def happened(self) -> dict[str, int]:
        """How many requests met which fault."""
        with self._lock:
            counted: Counter[str] = Counter()
            for name, times in self._happened.items():
                fault, _, what = name.partition(" ")
                counted[fault] += min(times, 1 + self.faults.draw("times", fault, what) % 2)
        return dict(sorted(counted.items()))


def _shot(path: Path, sol: int, step: int, number: int, calendar: Sequence[int], faults: Faults) -> Shot:
    name, thumbnail = path.stem, path.stem[23] in "GHIOPQTU"
    late = 1 + faults.draw("how late", name) % _LATEST if faults.hits("late", name) else 0
    backdated = faults.draw("backdated", name) % 3 == 0

    def at(step: int, earliest: int, how: str) -> Version:
        # The sol that it says it came: that of the step, or an earlier one, but not by more than a feed's lag.
        day = max(calendar[earliest - 1], calendar[step - 1] - _LATEST)
        received = _LANDED + (day + 1) * _SOL + timedelta(seconds=7 * number + (step > earliest_of_all))
        return Version(step, received.replace(microsecond=0), how, thumbnail or how == "thumbnail")

    earliest_of_all = step + late
    first = at(step + late, step if backdated else step + late, "whole")
    if not faults.hits("resent", name):
        return Shot(name, path, sol, (first,))
    poorer = replace(first, how="thumbnail" if faults.draw("poorer", name) % 2 else "compressed")
    again = first.at + 1 + faults.draw("again", name) % 3
    poorer = replace(poorer, thumbnail=thumbnail or poorer.how == "thumbnail")
    return Shot(name, path, sol, (poorer, at(again, again, "whole")))
