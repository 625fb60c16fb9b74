"""What a flow leaves in the Prefect UI for the people who watch it."""

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.futures import PrefectFuture

from interpdisc_core.publication import Published


def gather(stage: str, futures: Sequence[PrefectFuture[Any]]) -> list[Any]:
    """The results of a stage's tasks, in order of submission; a progress artifact follows them.

    Raises what the first failed task raised.
    """
    if not futures:
        return []
    artifact: Any = create_progress_artifact(
        0.0, key=f"{stage}-progress", description=f"{stage}: 0 of {len(futures)} tasks"
    )
    results = []
    for number, future in enumerate(futures, start=1):
        results.append(finished(future))
        told = f"{stage}: {number} of {len(futures)} tasks"
        update_progress_artifact(artifact, 100.0 * number / len(futures), description=told)
    return results


def finished(future: PrefectFuture[Any]) -> Any:
    """The result of a task; raises what the task raised."""
    result = future.result()
    # Dask keeps a result until it is released, and computes it again when the worker that held it dies.
    release = getattr(getattr(future, "wrapped_future", None), "release", None)
    if release:
        release()
    return result


def show(published: Published) -> None:
    """The picks as a table, the ledger, and a link to the report."""
    result = published.result
    create_table_artifact(
        [_told(pick) for pick in result["picks"]],
        key="picks",
        description=f"{len(result['picks'])} picks of run {result['run']}, most novel first",
    )
    rows = [f"| {status} | {count} |" for status, count in result["counts"].items()]
    nauc = result["nauc"]
    found = f"\n\nnAUC (t = {nauc['t']}): **{nauc['exact']:.2f}**, random {nauc['random']:.2f}" if nauc else ""
    create_markdown_artifact(
        "\n".join(["| status | inputs |", "|---|---:|", *rows, f"| **all** | **{sum(result['counts'].values())}** |"])
        + found,
        key="ledger",
        description=f"Every input of run {result['run']}, accounted for",
    )
    create_link_artifact(
        published.link, link_text=f"Report of {result['run']}", key="report", description=published.report
    )


def _told(pick: dict[str, Any]) -> dict[str, Any]:
    trusted = {True: "yes", False: "no"}.get(pick["trusted"], "")
    return {
        "rank": pick["rank"], "image": pick["id"], "score": f"{pick['score']:.5g}", "label": pick["label"] or "",
        "trusted": trusted,
    }  # fmt: skip
