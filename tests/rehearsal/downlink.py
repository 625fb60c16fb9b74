"""What a rover sends, sol by sol: when each image is published, in which versions, and with which faults.

Everything follows from the names of the images and a seed, so that two rehearsals are equal and the end is known: at the
last step of the clock, every image is published in its best version.
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

_PRODUCT_NAME = re.compile(r"(\d{4})M[LRHD]\d{16}[A-Z][0-9A-F][0-9A-Z](_[A-Z]{4})?\.(jpe?g|png)", re.IGNORECASE)
_LANDING_TIME = datetime(2012, 8, 5, 13, 49, 59, tzinfo=UTC)
_SOL = timedelta(seconds=88775.244)
_MAX_DELAY_SOLS = 5
"""Sols after which the last late image is published."""


@dataclass(frozen=True, kw_only=True)
class FaultRates:
    """The share of images or pages with each fault, 0 to 1. A fault of one image happens once or twice, then no more.

    Attributes:
        late: Published 1 to 5 sols later; a third of these with the original date, if that is at most 5 sols ago.
        duplicates: A record twice.
        resent: First a smaller or more compressed version under the same id and address, 1 to 3 sols later the image.
        fields: Records with fields added, missing, renamed or of another type.
        truncated: Less data than announced.
        cut: A part of the data, announced as the whole.
        errors: Status 500 or 503.
        busy: Status 429 with Retry-After.
        html: A web page instead of the image.
        reset: The connection breaks within the body.
        slow: A pause within the body.
        pages: Any of these faults in a page of the API.
        empty: Sols that follow a sol without images.
        seed: Decides which images have which fault.
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
    def parse(cls, text: str, seed: int = 0) -> "FaultRates":
        """`none`, `all`, or rates such as `late=0.1,resent=0.05`. Raises PlanError for an unknown fault."""
        names = [item.name for item in fields(cls) if item.name != "seed"]
        if text in ("none", ""):
            return cls(seed=seed)
        if text == "all":
            return cls(seed=seed, **dict.fromkeys(names, 0.08))
        rates = {}
        for part in text.split(","):
            name, _, rate = part.partition("=")
            if name not in names or not re.fullmatch(r"0?\.\d+|[01](\.0*)?|", rate):
                raise PlanError(f"{part!r} is not a fault; give some of {', '.join(names)}, each as name=0.1.")
            rates[name] = float(rate or 0.08)
        return cls(seed=seed, **rates)

    def occurs(self, fault: str, subject: str) -> bool:
        """Whether a fault concerns an image or page."""
        rate: float = getattr(self, fault)
        return rate > 0 and self.draw(fault, subject) % 1_000_003 < rate * 1_000_003

    def draw(self, *subject: object) -> int:
        """A pseudorandom number of 64 bits, by the seed and `subject`."""
        return int.from_bytes(hashlib.sha256(repr((self.seed, *subject)).encode()).digest()[:8])


@dataclass(frozen=True, slots=True)
class ImageVersion:
    """One content of an image.

    Attributes:
        step: Step of the clock from which it is served.
        received_at: The date of its record.
        encoding: whole, thumbnail or compressed.
        thumbnail: Whether its record says that it is a thumbnail.
    """

    step: int
    received_at: datetime
    encoding: str
    thumbnail: bool


@dataclass(frozen=True, slots=True)
class Shot:
    """One image.

    Attributes:
        name: File name without suffix.
        versions: In order of time; the last one is the unchanged file.
    """

    name: str
    path: Path
    sol: int
    versions: tuple[ImageVersion, ...]

    def read_content(self, version: ImageVersion) -> bytes:
        """The bytes of a version."""
        data = self.path.read_bytes()
        if version.encoding == "whole":
            return data
        image = Image.open(io.BytesIO(data)).convert("RGB")
        if version.encoding == "thumbnail":
            image = image.resize((max(image.width // 4, 1), max(image.height // 4, 1)))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=85 if version.encoding == "thumbnail" else 15)
        return out.getvalue()


@dataclass
class Downlink:
    """The images, and a clock: step n publishes the n-th sol of `steps`; −1 is a sol without images."""

    shots: tuple[Shot, ...]
    steps: tuple[int, ...]
    faults: FaultRates
    clock: int = 0
    _fault_counts: Counter[str] = field(default_factory=Counter)
    _digests: dict[tuple[str, str], str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def from_folder(cls, images: Path, faults: FaultRates, *, sols: int = 0, max_images: int = 0) -> "Downlink":
        """The images of a folder, by their names: of the first `sols` sols at most `max_images` each (0: all).

        Raises:
            PlanError: If the folder has no images named as MSL products.
        """
        by_sol: dict[int, list[Path]] = {}
        for path in sorted(images.iterdir()) if images.is_dir() else []:
            if match := _PRODUCT_NAME.fullmatch(path.name):
                by_sol.setdefault(int(match[1]), []).append(path)
        if not by_sol:
            raise PlanError(
                f"{images}: no folder with images named as MSL products (0003ML0000000110100031E01_DRCL.JPG)."
            )
        steps: list[int] = []
        for sol in sorted(by_sol)[: sols or None]:
            if faults.occurs("empty", str(sol)):
                steps.append(-1)
            steps.append(sol)
        last = max(steps)
        later_sols = [last + extra for extra in range(1, 3 + 2 * _MAX_DELAY_SOLS)]
        calendar = [max(sol, steps[number - 1] if number else 0) for number, sol in enumerate(steps)] + later_sols
        shots = []
        for step, sol in enumerate(steps, 1):
            for number, path in enumerate(by_sol.get(sol, [])[: max_images or None]):
                shots.append(_build_shot(path, sol, step, number, calendar, faults))
        return cls(tuple(shots), tuple(steps), faults)

    @property
    def last_step(self) -> int:
        """The step after which nothing changes."""
        return max(len(self.steps), max(shot.versions[-1].step for shot in self.shots))

    def advance(self, steps: int = 1) -> None:
        """Advance the clock."""
        with self._lock:
            self.clock = min(self.clock + steps, self.last_step)

    def list_published(self) -> list[tuple[Shot, ImageVersion]]:
        """The published images, last received first."""
        with self._lock:
            clock = self.clock
        versions = [(shot, version) for shot in self.shots if (version := self.find_version(shot, clock))]
        return sorted(versions, key=lambda item: (item[1].received_at, item[0].name), reverse=True)

    def find_version(self, shot: Shot, clock: int) -> ImageVersion | None:
        """The version of an image that is served at that time."""
        return next((version for version in reversed(shot.versions) if version.step <= clock), None)

    def compute_sha256(self, shot: Shot, version: ImageVersion) -> str:
        """The digest of a version."""
        key = (shot.name, version.encoding)
        if key not in self._digests:
            self._digests[key] = hashlib.sha256(shot.read_content(version)).hexdigest()
        return self._digests[key]

    def meets_fault(self, fault: str, subject: str) -> bool:
        """Whether a request meets a fault; counted, since it happens once or twice only."""
        if not self.faults.occurs(fault, subject):
            return False
        with self._lock:
            self._fault_counts[f"{fault} {subject}"] += 1
            return self._fault_counts[f"{fault} {subject}"] <= 1 + self.faults.draw("times", fault, subject) % 2

    def count_faults(self) -> dict[str, int]:
        """Number of requests that met each fault."""
        with self._lock:
            counts: Counter[str] = Counter()
            for name, times in self._fault_counts.items():
                fault, _, subject = name.partition(" ")
                counts[fault] += min(times, 1 + self.faults.draw("times", fault, subject) % 2)
        return dict(sorted(counts.items()))


def _build_shot(path: Path, sol: int, step: int, number: int, calendar: Sequence[int], faults: FaultRates) -> Shot:
    name, thumbnail = path.stem, path.stem[23] in "GHIOPQTU"
    delay_sols = 1 + faults.draw("how late", name) % _MAX_DELAY_SOLS if faults.occurs("late", name) else 0
    is_backdated = faults.draw("backdated", name) % 3 == 0

    def make_version(step: int, earliest: int, encoding: str) -> ImageVersion:
        # The sol of its date: that of the step, or an earlier one, but at most the lag of a feed earlier.
        day = max(calendar[earliest - 1], calendar[step - 1] - _MAX_DELAY_SOLS)
        received_at = _LANDING_TIME + (day + 1) * _SOL + timedelta(seconds=7 * number + (step > earliest_of_all))
        return ImageVersion(step, received_at.replace(microsecond=0), encoding, thumbnail or encoding == "thumbnail")

    earliest_of_all = step + delay_sols
    first_version = make_version(step + delay_sols, step if is_backdated else step + delay_sols, "whole")
    if not faults.occurs("resent", name):
        return Shot(name, path, sol, (first_version,))
    poor_version = replace(first_version, encoding="thumbnail" if faults.draw("poorer", name) % 2 else "compressed")
    resent_step = first_version.step + 1 + faults.draw("again", name) % 3
    poor_version = replace(poor_version, thumbnail=thumbnail or poor_version.encoding == "thumbnail")
    return Shot(name, path, sol, (poor_version, make_version(resent_step, resent_step, "whole")))
