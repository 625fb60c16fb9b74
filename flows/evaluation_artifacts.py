"""What an evaluation shows in the Prefect UI."""

from typing import Any

from flows.artifacts import create_file_artifact, create_rows_artifact, create_text_artifact
from interpdisc_core.evaluation.publish import PublishedStudy
from interpdisc_core.reporting.escaping import format_markdown, join_markdown


def create_evaluation_artifacts(publication: PublishedStudy) -> None:
    """A table of all methods with their nAUC, the cells without a result, and a link to the page."""
    result = publication.result
    lines = sorted(result["lines"], key=lambda line: -(line["nauc"] or 0.0))
    if lines:
        create_rows_artifact(
            [_method_row(line) for line in lines],
            key="methods",
            description=f"{len(lines)} methods of {result['title']}, best first; nAUC_t: higher is better, 100 is an oracle's",
        )
    sentences = [
        format_markdown(
            "{} images in {} classes, {} cells, {} of them without a result.",
            result["images"],
            result["classes"],
            result["cells"],
            len(result["problems"]),
        )
    ]
    remarks = [*result["problems"][:20], *((title, o["headline"]) for title, o in result.get("others", {}).items())]
    sentences += [format_markdown("* {}: {}", title, remark) for title, remark in remarks]
    create_text_artifact(join_markdown("\n", sentences), key="evaluation", description=f"Results of {result['title']}")
    create_file_artifact("page", publication.report, f"Page of {result['title']}")


def _method_row(line: dict[str, Any]) -> dict[str, Any]:
    classes_found = [f"{line[key]:.3g}" for key in line if key.startswith("found_at_")]
    return {
        "trials": line["trials"],
        "features": f"{line['representation']}, {line['treatment']}",
        "method": line["method"],
        "t": line["t"],
        "nAUC": f"{line['nauc']:.2f}",
        "sd": f"{line['nauc_sd']:.2f}" if line["draws"] > 1 else "",
        "random": f"{line['nauc_random']:.2f}",
        "classes found": " / ".join(classes_found),
        "CPU s": f"{line['cpu_seconds']:.2f}",
    }
