"""Draws docs/pictures/architecture.svg from the import contract, the files of the packages and the path of an image.

python docs/draw_architecture.py
"""

import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAGES = (
    ("source", "sources/", "folder, CSV list, S3, shards, feed", "—"),
    (
        "ingest",
        "pipeline/ingest.py, assign_rows.py",
        "list, hash, check; one row for each content",
        "catalog/, batches/",
    ),
    ("extract", "pipeline/extract.py", "images/ decode, representations/ embed; blocks over Dask", "features/"),
    ("select", "pipeline/select.py", "selectors/: picks in order, x̂ and x − x̂ of each; one node", "runs/…/picks.json"),
    ("explain", "pipeline/explain.py", "explanations/, inverters/: map, pictures; over Dask", "runs/…/explanations/"),
    ("publish", "pipeline/publish.py", "reporting/: report.html, picks.csv, result.json", "runs/…/report.html"),
)
PURPOSE = {
    "api": "the stages as functions of arrays",
    "operations": "daily runs, backfill, verify, migrate",
    "evaluation": "studies on labelled images",
    "training": "training an inverter",
    "pipeline": "one module for each Prefect task",
    "reporting": "report, days' pages, charts",
    "explanations": "pictures of a pick, faithfulness",
    "archive": "everything that is on disk",
    "provenance": "versions of what computed",
    "plan": "what a run computes",
    "metrics": "discovery, diversity, similarity",
    "inverters": "features to pictures",
    "representations": "pixels to features",
    "selectors": "features to picks",
    "images": "bytes to pixels",
    "sources": "where inputs come from",
    "metadata": "what is known of an image",
    "progress": "meters and stopwatch",
    "storage": "addresses, locks, tables",
    "settings": "how settings are declared",
    "digest": "names for values",
    "blas_threads": "products on one thread",
    "errors": "messages for people",
    "_types": "array types",
}
BLUE, GREY, INK, LINE = "#dbe7f5", "#f1f1ee", "#222", "#8a8a85"


def text(
    x: float, y: float, value: str, size: int = 13, weight: int = 400, anchor: str = "start", fill: str = INK
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{fill}">'
        f"{escape(value)}</text>"
    )


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" fill="{fill}" stroke="{LINE}"/>'


def draw() -> str:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == ["interpdisc_core"])
    names = [name.strip() for layer in layers for name in layer.split("|")]
    packages = [name for name in names if (ROOT / "interpdisc_core" / name).is_dir()]
    modules = [name for name in names if name not in packages]
    parts = [text(20, 34, "The path of an image, and the packages of the code", 18, 700)]
    for number, (stage, module, what, disk) in enumerate(STAGES):
        y = 58 + 72 * number
        parts += [box(20, y, 520, 54, BLUE), text(34, y + 23, stage, 15, 700), text(110, y + 23, module, 13)]
        parts += [text(110, y + 42, what, 12, fill="#555"), text(560, y + 33, disk, 12, fill="#555")]
        if number:
            parts.append(
                f'<path d="M280 {y - 18} V{y - 3}" stroke="{INK}" stroke-width="1.5" marker-end="url(#arrow)"/>'
            )
    parts.append(text(560, 50, "kept in the archive", 12, 700))
    parts += [text(760, 50, "packages: each imports only what is below", 12, 700)]
    for number, name in enumerate(("deploy", "flows", "tasks")):
        what = {"deploy": "command line, servers, workers", "flows": "order and fan-out", "tasks": "Prefect tasks"}[
            name
        ]
        parts += [
            box(760, 58 + 26 * number, 380, 22, "#f6e7d2"),
            text(770, 74 + 26 * number, name, 13, 700),
            text(900, 74 + 26 * number, what, 12),
        ]
    top = 58 + 26 * 3 + 8
    parts.append(text(760, top + 14, "interpdisc_core", 12, 700))
    for number, name in enumerate(packages):
        y = top + 22 + 26 * number
        files = len(list((ROOT / "interpdisc_core" / name).rglob("*.py")))
        parts += [box(760, y, 380, 22, BLUE), text(770, y + 16, f"{name}/", 13, 700)]
        parts += [text(900, y + 16, PURPOSE[name], 12), text(1130, y + 16, str(files), 11, anchor="end", fill="#555")]
    bottom = top + 22 + 26 * len(packages)
    parts.append(box(760, bottom + 4, 380, 24, GREY))
    parts.append(text(770, bottom + 20, "modules: " + ", ".join(modules), 10))
    height = max(bottom + 50, 58 + 72 * len(STAGES) + 20)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1160 {height}" font-family="Helvetica, Arial, sans-serif">'
        f'<rect width="1160" height="{height}" fill="#fff"/>'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 Z" fill="{INK}"/></marker></defs>' + "".join(parts) + "</svg>\n"
    )


if __name__ == "__main__":
    (ROOT / "docs" / "pictures" / "architecture.svg").write_text(draw())
