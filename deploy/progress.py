"""Live progress bars, from the marks that workers leave in the archive."""

import contextlib
import threading
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from interpdisc_core.progress import Watch
from interpdisc_core.storage import Place


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "", style="progress.data.speed")


class Bars:
    """Shows the stages of one run while the `with` block lasts: done, rate, time left; and what the run says."""

    def __init__(self, watch: Watch, console: Console) -> None:
        self.watch, self.over, self.repeated = watch, threading.Event(), 0
        self.progress = Progress(
            TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), _Rate(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True), console=console,
        )  # fmt: skip
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self.progress.start()
        self.thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join(10)
        self.progress.stop()
        Place.of(self.watch.archive).remove(f"progress/{self.watch.token}")

    def _follow(self) -> None:
        pause = 3.0 if Place.of(self.watch.archive).remote else 0.5
        shown: dict[str, TaskID] = {}
        while True:
            last = self.over.is_set()
            try:
                stages = self.watch.read()
            except Exception:  # noqa: BLE001 - marks are hints: whatever ails them shows in the run itself
                stages = []
            for number, stage in enumerate(stages):
                name, total = str(stage["stage"]), float(str(stage["total"]))
                if name not in shown:
                    shown[name] = self.progress.add_task(name, total=total, unit=str(stage["unit"]))
                # A stage that was followed by another is over, whatever its last mark said.
                done = total if number + 1 < len(stages) else min(float(str(stage["done"])), total)
                self.progress.update(shown[name], completed=int(done))
            self._repeat()
            if last:
                return
            self.over.wait(pause)

    def _repeat(self) -> None:
        """Print what was said since, above the bars."""
        with contextlib.suppress(Exception):  # as above
            for sentence in self.watch.heard(self.repeated):
                self.progress.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
                self.repeated += 1
