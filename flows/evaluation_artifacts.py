"""What an evaluation leaves in the Prefect UI for the people who watch it."""

from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from interpdisc_core.lab.publishing import Published


def show(published: Published) -> None:
    """Every method with its nAUC as a table, what could not be computed, and a link to the page."""
    result = published.result
    lines = sorted(result["lines"], key=lambda line: -(line["nauc"] or 0.0))
    if lines:
        create_table_artifact(
            [_told(line) for line in lines],
            key="methods",
            description=f"{len(lines)} methods of {result['title']}, best first; nAUC_t: higher is better, 100 is an oracle's",
        )
    facts = [
        f"{result['images']} images in {result['classes']} classes, {result['cells']} cells, {len(result['problems'])} of them without a result."
    ]  # fmt: skip
    facts += [f"* {name}: {why}" for name, why in result["problems"][:20]]
    facts += [f"* {title}: {other['headline']}" for title, other in result.get("others", {}).items()]
    create_markdown_artifact("\n".join(facts), key="evaluation", description=f"What became of {result['title']}")
    create_link_artifact(
        published.link, link_text=f"Page of {result['title']}", key="page", description=published.report
    )


def _told(line: dict[str, Any]) -> dict[str, Any]:
    found = [f"{line[key]:.3g}" for key in line if key.startswith("found_at_")]
    return {
        "trials": line["trials"], "features": f"{line['representation']}, {line['treatment']}", "method": line["method"],
        "t": line["t"], "nAUC": f"{line['nauc']:.2f}", "sd": f"{line['nauc_sd']:.2f}" if line["draws"] > 1 else "",
        "random": f"{line['nauc_random']:.2f}", "classes found": " / ".join(found), "CPU s": f"{line['cpu_seconds']:.2f}",
    }  # fmt: skip
