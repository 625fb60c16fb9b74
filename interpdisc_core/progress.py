"""How far a run is, told through the archive: workers leave marks, whoever watches adds them up.

Marks are hints for people. Nothing is decided by them, and losing one loses nothing.
"""

import contextlib
import json
import time
from dataclasses import dataclass

from interpdisc_core.errors import StoreError
from interpdisc_core.storage import Place

_EVERY = {False: 0.5, True: 3.0}
"""Seconds between two marks of one task, in a folder and in an object store."""
_SAID = "said"


@dataclass(frozen=True, slots=True)
class Watch:
    """Where the marks of one run go; an empty `token` means that nobody watches."""

    archive: str
    token: str = ""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Say that a stage starts and how many units it has to do."""
        if self.token:
            number = len(self._place.names())
            self._place.write_json(f"{number:02d}-{stage}/begin.json", {"stage": stage, "total": total, "unit": unit})

    def meter(self, stage: str, task: str) -> "Meter":
        """A counter for one task of a stage."""
        return Meter(self, stage, task)

    @property
    def _place(self) -> Place:
        return Place.of(self.archive) / f"progress/{self.token}"

    def say(self, sentence: str) -> None:
        """Tell whoever watches one sentence."""
        if self.token:
            self._place.write_json(f"{_SAID}/{len(self._place.names(_SAID)):06d}.json", sentence)

    def heard(self, after: int = 0) -> list[str]:
        """The sentences so far but for the first `after`, in order."""
        return [str(self._place.read_json(f"{_SAID}/{name}")) for name in self._place.names(_SAID)[after:]]

    def read(self) -> list[dict[str, object]]:
        """The stages so far, in order: stage, unit, total, done."""
        stages = []
        for folder in self._place.names():
            if folder == _SAID:
                continue
            state = {"stage": folder.partition("-")[2], "total": 0, "unit": "", "done": 0.0}
            for name in self._place.names(folder):
                try:
                    mark = json.loads(self._place.read(f"{folder}/{name}"))
                except (OSError, ValueError):
                    continue
                state.update(mark) if name == "begin.json" else state.update(done=state["done"] + mark)
            stages.append(state)
        return stages


class Meter:
    """Counts the units that one task has done and marks them now and then."""

    def __init__(self, watch: Watch, stage: str, task: str) -> None:
        self.watch, self.stage, self.task = watch, stage, task
        self.done, self._marked = 0.0, 0.0

    def add(self, units: float) -> None:
        """Count `units` more."""
        self.at(self.done + units)

    def at(self, units: float) -> None:
        """Say that `units` are done by now."""
        self.done = units
        if self.watch.token and time.monotonic() - self._marked > _EVERY[self.watch._place.remote]:
            self.close()
            self._marked = time.monotonic()

    def close(self) -> None:
        """Mark what is done now, at once."""
        if not self.watch.token:
            return
        place = self.watch._place
        # The last of that name: a daily run has its stages once a day.
        folder = next((name for name in reversed(place.names()) if name.partition("-")[2] == self.stage), None)
        if folder:
            with contextlib.suppress(StoreError):  # a full disk shows where it matters, not here
                place.write(f"{folder}/{self.task}.json", json.dumps(self.done).encode())


class Stopwatch:
    """Wall seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """The time since the last lap was spent on `name`."""
        now = time.monotonic()
        self.laps[name], self._last = round(now - self._last, 3), now
