"""Tables of a study: rows for CSV and Parquet files, and Markdown for people."""

from collections.abc import Iterable, Sequence
from typing import Any

from interpdisc_core.evaluation.aggregate import CELL_KEYS, MethodSummary, Outcome, rank_summaries, select_names
from interpdisc_core.reporting.escaping import MarkdownText, format_markdown, format_markdown_table

_Row = dict[str, Any]


def build_cell_rows(outcomes: Iterable[Outcome]) -> list[_Row]:
    """One row a cell: its names, and every number and text of its outcome."""
    rows = []
    for outcome in outcomes:
        row = select_names(outcome, CELL_KEYS)
        for key, value in outcome.items():
            if isinstance(value, dict) and key in ("spread", "outliers"):
                row |= {name: number for name, number in value.items() if isinstance(number, int | float)}
            elif key not in row and isinstance(value, int | float | str | bool) and key != "setting":
                row[key] = value
        rows.append(row)
    return rows


def build_first_pick_rows(outcomes: Iterable[Outcome]) -> list[_Row]:
    """One row a class of a discovery cell: its first pick, from 1; None if t picks did not find it."""
    return [
        select_names(outcome, CELL_KEYS) | {"class": label, "first": first}
        for outcome in outcomes
        if not outcome["problem"] and "firsts" in outcome
        for label, first in [*sorted(outcome["firsts"].items()), *((label, None) for label in outcome["missed"])]
    ]


def build_summary_rows(summaries: Iterable[MethodSummary]) -> list[_Row]:
    """One row a method, over the draws of its trials."""
    return [
        {
            "experiment": summary.experiment,
            "trials": summary.trials,
            "representation": summary.representation,
            "treatment": summary.treatment,
            "method": summary.method,
            "draws": summary.draws,
            "t": summary.t,
            "images": summary.images,
            "classes": summary.classes,
            "nauc": summary.nauc.mean,
            "nauc_sd": summary.nauc.sd,
            "nauc_low": summary.nauc.low,
            "nauc_high": summary.nauc.high,
            "nauc_whi2018": summary.whi2018.mean if summary.whi2018 else None,
            "nauc_whi2018_sd": summary.whi2018.sd if summary.whi2018 else None,
            "nauc_random": summary.random_nauc,
            "classes_low": summary.class_interval[0],
            "classes_high": summary.class_interval[1],
            **{f"found_at_{picks}": class_count for picks, class_count in summary.classes_found.items()},
            **summary.diversity,
            **summary.outlier_scores,
            "cpu_seconds": summary.cpu_seconds,
            "near_ties": summary.near_ties,
            "stopped_early": summary.exhausted_draws,
            "problem": summary.problem,
        }
        for summary in summaries
    ]


def format_markdown_report(summaries: Sequence[MethodSummary]) -> str:
    """For each experiment the layout of Wagstaff & Lee 2018, Table 2, and for each of its trials all numbers."""
    parts = []
    for experiment in dict.fromkeys(summary.experiment for summary in summaries):
        experiment_summaries = [summary for summary in summaries if summary.experiment == experiment]
        parts += [format_markdown("## {}", experiment), "", *format_paper_table(experiment_summaries)]
        for trials in dict.fromkeys(summary.trials for summary in experiment_summaries):
            parts += [
                format_markdown("### {}: {}", experiment, trials),
                "",
                _format_full_table([summary for summary in experiment_summaries if summary.trials == trials]),
            ]
    return "\n".join(parts)


def format_paper_table(summaries: Sequence[MethodSummary]) -> list[str]:
    """nAUC_t in the `whi2018` form, mean ± standard deviation: representations as rows, trials and methods as columns."""
    row_keys = list(dict.fromkeys((summary.representation, summary.treatment) for summary in summaries))
    column_keys = list(dict.fromkeys((summary.trials, summary.method) for summary in summaries))
    summary_by_key = {
        (summary.representation, summary.treatment, summary.trials, summary.method): summary for summary in summaries
    }
    t = sorted({summary.t for summary in summaries if summary.t})
    rows = [
        [", ".join(key), *(_format_score(summary_by_key.get((*key, *column))) for column in column_keys)]
        for key in row_keys
    ]
    random = {summary.trials: summary.random_nauc for summary in summaries}
    # The expectation is that of the trials: only in the first of their columns.
    is_first = [index == 0 or column_keys[index - 1][0] != trials for index, (trials, _) in enumerate(column_keys)]
    random_row = [
        MarkdownText(f"*{random[trials]:.2f}*") if first else ""
        for (trials, _), first in zip(column_keys, is_first, strict=True)
    ]
    head = ["features", *(f"{method}, {trials}" for trials, method in column_keys)]
    return [
        f"nAUC_t in the whi2018 form, t = {', '.join(map(str, t))}:",
        "",
        format_markdown_table(head, [*rows, [MarkdownText("*random, exact expectation (exact form)*"), *random_row]]),
    ]


def _format_score(summary: MethodSummary | None) -> str:
    if summary is None:
        return ""
    if not summary.draws:
        return "failed"
    interval = summary.whi2018 or summary.nauc
    text = f"{interval.mean:.2f}" + (f" ± {interval.sd:.2f}" if summary.draws > 1 else "")
    return text + (" (stopped early)" if summary.exhausted_draws else "")


def _format_full_table(summaries: Sequence[MethodSummary]) -> str:
    pick_counts = list(dict.fromkeys(picks for summary in summaries for picks in summary.classes_found))
    outlier_columns = list(dict.fromkeys(name for summary in summaries for name in summary.outlier_scores))
    head = [
        "features",
        "treatment",
        "method",
        "draws",
        "nAUC exact",
        "whi2018",
        "95 % over classes",
        f"classes at {' / '.join(map(str, pick_counts))}",
        "redundancy",
        "coverage",
        *outlier_columns,
        "CPU s",
    ]
    rows = [_full_table_row(summary, pick_counts, outlier_columns) for summary in rank_summaries(summaries)]
    return format_markdown_table(head, rows, text_columns=3)


def _full_table_row(
    summary: MethodSummary, pick_counts: Sequence[int], outlier_columns: Sequence[str]
) -> Sequence[object]:
    names = [summary.representation, summary.treatment, summary.method]
    if not summary.draws:
        return [*names, 0, summary.problem]
    sd_text = f" ± {summary.nauc.sd:.2f}" if summary.draws > 1 else ""
    return [
        *names,
        summary.draws,
        f"{summary.nauc.mean:.2f}{sd_text}",
        _format_score(summary),
        f"{summary.class_interval[0]:.1f} – {summary.class_interval[1]:.1f}",
        " / ".join(f"{summary.classes_found[picks]:.3g}" for picks in pick_counts),
        *(f"{summary.diversity.get(name, float('nan')):.3f}" for name in ("redundancy", "relative_radius")),
        *(f"{summary.outlier_scores.get(name, float('nan')):.3f}" for name in outlier_columns),
        f"{summary.cpu_seconds:.2f}",
    ]
