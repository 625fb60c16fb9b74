"""Live progress bars, from the counts that workers write to the archive."""

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
    TimeElapsedColumn,
)
from rich.text import Text

from interpdisc_core.progress import ProgressReporter
from interpdisc_core.reporting.escaping import escape_controls
from interpdisc_core.storage.location import Location

_PAUSE_S, _REMOTE_PAUSE_S = 0.5, 3.0


class _RateColumn(ProgressColumn):
    """Units a second, or a minute if that is slow; what the stage waits for until its first unit."""

    def render(self, task: Task) -> Text:
        unit, speed = task.fields["unit"], task.finished_speed or task.speed
        if not task.finished and not task.completed:
            return Text("starting", style="dim")
        if not speed:
            return Text("")
        text = f"{speed:,.0f} {unit}/s" if speed >= 1 else f"{60 * speed:,.0f} {unit}/min"
        return Text(text, style="progress.data.speed")


class _RemainingColumn(ProgressColumn):
    """The estimated time to the end of a stage, once there is one."""

    def render(self, task: Task) -> Text:
        if task.finished or not task.time_remaining:
            return Text("")
        minutes, seconds = divmod(int(task.time_remaining), 60)
        return Text(f"about {minutes}:{seconds:02d} left", style="progress.remaining")


class ProgressBars:
    """Shows the stages of a run while the `with` block lasts: units done, rate, time; and the run's messages.

    Args:
        reporter: Of the run.
        console: Where to show them.
    """

    def __init__(self, reporter: ProgressReporter, console: Console) -> None:
        self.reporter, self.stop_event, self.messages_shown = reporter, threading.Event(), 0
        self.succeeded = False
        self.task_ids: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description:<8}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _RateColumn(),
            _RemainingColumn(),
            console=console,
        )
        self.thread = threading.Thread(target=self._refresh_until_stopped, daemon=True)

    def __enter__(self) -> None:
        self.progress.start()
        self.thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.succeeded = kind is None
        self.stop_event.set()
        self.thread.join(10)
        self.progress.stop()
        with contextlib.suppress(Exception):  # if the store is gone, the run's own error says so
            Location.parse(self.reporter.archive).remove(f"progress/{self.reporter.token}")

    def _refresh_until_stopped(self) -> None:
        pause = _REMOTE_PAUSE_S if Location.parse(self.reporter.archive).is_remote else _PAUSE_S
        while True:
            is_last = self.stop_event.is_set()
            with contextlib.suppress(Exception):  # counts are hints: a store that fails shows in the run itself
                self.update_bars(self.reporter.read_stages())
                self._print_messages()
            if is_last:
                return
            self.stop_event.wait(pause)

    def update_bars(self, stages: list[dict[str, object]]) -> None:
        """Show stages as `ProgressReporter.read_stages` gives them.

        A stage that is followed by another is complete, whatever its last count is; so is the last one of a run that
        succeeded. Of stages that begin with the same word, such as `explain sol-00812`, only the last is shown.
        """
        for number, stage in enumerate(stages):
            name, total = str(stage["stage"]), float(str(stage["total"]))
            if name not in self.task_ids:
                for earlier in [other for other in self.task_ids if other.split()[0] == name.split()[0]]:
                    self.progress.update(self.task_ids[earlier], visible=False)
                self.task_ids[name] = self.progress.add_task(
                    escape_controls(name), total=total, unit=str(stage["unit"])
                )
            is_complete = number + 1 < len(stages) or self.succeeded
            completed = total if is_complete else min(float(str(stage["done"])), total)
            self.progress.update(self.task_ids[name], completed=int(completed))

    def _print_messages(self) -> None:
        """Print the run's new messages above the bars."""
        for message in self.reporter.read_messages(self.messages_shown):
            self.progress.console.print(escape_controls(message), markup=False, highlight=False, soft_wrap=True)
            self.messages_shown += 1
