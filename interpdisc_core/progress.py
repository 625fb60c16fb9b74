"""The progress of a run, through small files in the archive: workers write counts, the command line adds them up.

The files are for people only. Nothing is decided by them, and losing one does no harm.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from interpdisc_core.errors import StoreError
from interpdisc_core.storage.location import Location

_MARK_INTERVAL_S = {False: 0.5, True: 3.0}
"""Seconds between two counts of one task, in a folder (False) and in an object store (True)."""
_MESSAGES_FOLDER = "messages"


@dataclass(frozen=True, slots=True)
class ProgressReporter:
    """Where a run reports its progress: `progress/<token>/` in the archive. With an empty token nothing is written.

    Attributes:
        archive: URL of the archive.
        token: Names the run.
    """

    archive: str
    token: str = ""

    def begin_stage(self, stage: str, total: int, unit: str, label: str = "") -> None:
        """Mark that a stage starts and how many units it has to do; it is shown as `label`, or by its own name."""
        if self.token:
            number = len(self._location.list_names())
            self._location.write_json(
                f"{number:02d}-{stage}/begin.json",
                {"stage": label or stage, "total": total, "unit": unit},
                durable=False,
            )

    def open_meter(self, stage: str, task: str) -> "ProgressMeter":
        """A counter of the units that one task of a stage has done."""
        return ProgressMeter(self, stage, task)

    @property
    def _location(self) -> Location:
        return Location.parse(self.archive) / f"progress/{self.token}"

    def send_message(self, message: str) -> None:
        """Report one sentence."""
        if self.token:
            self._location.write_json(
                f"{_MESSAGES_FOLDER}/{len(self._location.list_names(_MESSAGES_FOLDER)):06d}.json",
                message,
                durable=False,
            )

    def read_messages(self, skip: int = 0) -> list[str]:
        """The sentences reported so far, in order, without the first `skip`."""
        return [
            str(self._location.read_json(f"{_MESSAGES_FOLDER}/{name}"))
            for name in self._location.list_names(_MESSAGES_FOLDER)[skip:]
        ]

    def read_stages(self) -> list[dict[str, object]]:
        """The stages so far, in order: objects with `stage`, `unit`, `total` and `done`."""
        stages = []
        for folder in self._location.list_names():
            if folder == _MESSAGES_FOLDER:
                continue
            state = {"stage": folder.partition("-")[2], "total": 0, "unit": "", "done": 0.0}
            for name in self._location.list_names(folder):
                try:
                    payload = json.loads(self._location.read(f"{folder}/{name}"))
                except (OSError, ValueError):
                    continue
                state.update(payload) if name == "begin.json" else state.update(done=state["done"] + payload)
            stages.append(state)
        return stages


class ProgressMeter:
    """Counts the units that one task has done, and writes the count every half second (object store: 3 s)."""

    def __init__(self, reporter: ProgressReporter, stage: str, task: str) -> None:
        self.reporter, self.stage, self.task = reporter, stage, task
        self.units_done, self._last_write_s = 0.0, 0.0

    def add(self, units: float) -> None:
        """Count `units` more."""
        self.update(self.units_done + units)

    def update(self, units: float) -> None:
        """Set the count to `units`."""
        self.units_done = units
        if (
            self.reporter.token
            and time.monotonic() - self._last_write_s > _MARK_INTERVAL_S[self.reporter._location.is_remote]
        ):
            self.flush()
            self._last_write_s = time.monotonic()

    def flush(self) -> None:
        """Write the count now."""
        if not self.reporter.token:
            return
        location = self.reporter._location
        # The last stage with that name: a daily run has each stage once per day.
        folder = next((name for name in reversed(location.list_names()) if name.partition("-")[2] == self.stage), None)
        if folder:
            with contextlib.suppress(StoreError):  # a full disk is reported by other writes
                location.write(f"{folder}/{self.task}.json", json.dumps(self.units_done).encode(), durable=False)


class Stopwatch:
    """Seconds since it was made, and between laps, by name.

    Args:
        clock: `time.monotonic` for wall time, `time.process_time` for processor time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.laps: dict[str, float] = {}
        self._clock = clock
        self._start = self._last = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return self._clock() - self._start

    def lap(self, name: str) -> None:
        """Record the seconds since the previous lap under `name`, rounded to milliseconds."""
        now = self._clock()
        self.laps[name], self._last = round(now - self._last, 3), now


def format_duration(seconds: float | None) -> str:
    """A duration for people; None is an unknown time.

    Example:
        >>> [format_duration(seconds) for seconds in (0.031, 12.4, 192, 7500, 5e5)]
        ['0.03 s', '12.4 s', '3 min 12 s', '2 h 05 min', '5.8 days']
    """
    if seconds is None:
        return "an unknown time"
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole_seconds = round(seconds)
    hours, minutes = whole_seconds // 3600, whole_seconds % 3600 // 60
    if hours >= 48:
        return f"{seconds / 86_400:.1f} days"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole_seconds % 60:02d} s"
