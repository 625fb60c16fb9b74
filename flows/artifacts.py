"""What a flow leaves in the Prefect UI for the people who watch it.

The UI shows texts, cells of tables and descriptions as Markdown. All artifacts are made here, with everything escaped
that is not the program's own Markdown.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from prefect import get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.futures import PrefectFuture

from interpdisc_core.pipeline.publish import PublishResult
from interpdisc_core.reporting.escaping import (
    MarkdownText,
    escape_markdown,
    format_code,
    format_code_block,
    format_markdown,
    format_markdown_table,
    join_markdown,
)

_Result = TypeVar("_Result")


def create_text_artifact(text: MarkdownText, *, key: str, description: str) -> None:
    """Create an artifact of Markdown.

    Args:
        text: What it shows.
        key: Of the artifact.
        description: What it is, as plain text.
    """
    if not isinstance(text, MarkdownText):
        raise TypeError("a text from outside must be escaped")
    create_markdown_artifact(str(text), key=key, description=str(escape_markdown(description)))


def create_rows_artifact(rows: Sequence[Mapping[str, object]], *, key: str, description: str) -> None:
    """Create an artifact that shows a table.

    Args:
        rows: Values by column; texts are escaped.
        key: Of the artifact.
        description: What it is, as plain text.
    """
    escaped_rows = [
        {
            str(escape_markdown(name)): str(escape_markdown(value)) if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    create_table_artifact(escaped_rows, key=key, description=str(escape_markdown(description)))


class ProgressArtifact:
    """A bar in the UI.

    Args:
        percent: How much is done, 0 to 100.
        key: Of the artifact.
        description: What is done, as plain text.
    """

    def __init__(self, percent: float, *, key: str, description: str) -> None:
        self.id: Any = create_progress_artifact(percent, key=key, description=str(escape_markdown(description)))

    def update(self, percent: float, description: str) -> None:
        """Show another percentage and description."""
        update_progress_artifact(self.id, percent, description=str(escape_markdown(description)))


_WORKER_DEATHS = ("KilledWorker", "MemoryError")
"""Errors of a task that ended its worker, time and again, by class: Dask's own, which a flow does not import."""


def is_worker_death(error: Exception) -> bool:
    """Whether a task failed because its workers died, so that one of its images may be the cause."""
    return type(error).__name__ in _WORKER_DEATHS


def gather_results(
    stage: str,
    futures: Sequence[PrefectFuture[_Result]],
    submit_alone: Callable[[int], PrefectFuture[_Result]] | None = None,
) -> list[_Result]:
    """The results of a stage's tasks, in order of submission; a progress artifact shows how many are done.

    Args:
        stage: Its name.
        futures: The tasks.
        submit_alone: Submits the task of an index again, if its workers died. Called at the end, one task after the other,
            when nothing else runs that could take the memory.

    Raises:
        Exception: What the first failed task raised.
    """
    if not futures:
        return []
    artifact = ProgressArtifact(0.0, key=f"{stage}-progress", description=f"{stage}: 0 of {len(futures)} tasks")
    results: dict[int, _Result] = {}
    dead_tasks = []
    for count, future in enumerate(futures, start=1):
        try:
            results[count - 1] = wait_for_result(future)
        except Exception as error:
            if not submit_alone or not is_worker_death(error):
                raise
            dead_tasks.append(count - 1)
        artifact.update(100.0 * count / len(futures), f"{stage}: {count} of {len(futures)} tasks")
    if submit_alone:
        for index in dead_tasks:
            get_run_logger().warning("%s: the workers of a task died; it is done again when nothing else runs", stage)
            results[index] = wait_for_result(submit_alone(index))
    return [results[index] for index in range(len(futures))]


def wait_for_result(future: PrefectFuture[_Result]) -> _Result:
    """The result of a task.

    Raises:
        Exception: What the task raised.
    """
    result = future.result()
    # Dask keeps a result until it is released, and computes it again if the worker that has it dies.
    release = getattr(getattr(future, "wrapped_future", None), "release", None)
    if release:
        release()
    return result


def create_run_artifacts(publication: PublishResult) -> None:
    """Create a run's artifacts in Prefect's UI: its picks, its inputs by status, and where its report is."""
    result = publication.result
    create_file_artifact("report", publication.report, f"Report of {result['run']}")
    create_rows_artifact(
        [_pick_row(pick) for pick in result["picks"]],
        key="picks",
        description=f"{len(result['picks'])} picks of run {result['run']}, in the order of selection; each score is the "
        "novelty of a pick compared with the earlier ones, so scores need not fall",
    )
    nauc = result["nauc"]
    nauc_text = (
        format_markdown(
            "\n\nnAUC (t = {}): **{}**, random {}", nauc["t"], f"{nauc['exact']:.2f}", f"{nauc['random']:.2f}"
        )
        if nauc
        else MarkdownText()
    )
    create_text_artifact(
        join_markdown("", [format_counts("inputs", result["counts"]), nauc_text]),
        key="ledger",
        description=f"Inputs of run {result['run']} by status: every one is accounted for",
    )


def format_counts(title: str, counts: Mapping[str, int]) -> MarkdownText:
    """A table of counts by status, and their sum; `title` is what is counted."""
    rows = [(status, f"{count:,}") for status, count in counts.items()]
    total = (MarkdownText("**all**"), MarkdownText(f"**{sum(counts.values()):,}**"))
    return format_markdown_table(("status", title), [*rows, total])


def create_file_artifact(key: str, address: str, title: str) -> None:
    """Create an artifact that says where a file is and how to open it; browsers refuse links to files.

    Args:
        key: Of the artifact.
        address: Path or s3:// address of the file.
        title: What the file is.
    """
    text = format_markdown("{}: {}", title, format_code(address))
    if not address.isprintable():
        pass  # nobody should paste it into a terminal
    elif address.startswith("s3://"):
        command = format_code_block(f"aws s3 cp {shlex.quote(address)} .", "sh")
        text = format_markdown("{}\n\nGet it:\n\n{}", text, command)
    elif address.endswith(".html"):
        command = format_code_block(f"python3 -m webbrowser {shlex.quote(address)}", "sh")
        text = format_markdown("{}\n\nOpen it where the archive is:\n\n{}", text, command)
    create_text_artifact(text, key=key, description=title)


def _pick_row(pick: dict[str, Any]) -> dict[str, Any]:
    trust = {True: "yes", False: "no"}.get(pick["trusted"], "")
    return {
        "rank": pick["rank"],
        "image": pick["id"],
        "score": f"{pick['score']:.5g}",
        "label": pick["label"] or "",
        "trusted": trust,
    }
