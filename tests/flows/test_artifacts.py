"""What flows show in the Prefect UI: hostile names are shown verbatim in every artifact."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import artifacts, daily_artifacts
from flows.backfill_artifacts import create_backfill_artifacts
from flows.evaluation_artifacts import create_evaluation_artifacts
from flows.training_artifacts import create_checkpoint_artifacts
from interpdisc_core.evaluation.publish import PublishedStudy
from interpdisc_core.operations.backfill.budget import WorkBudget
from interpdisc_core.operations.backfill.plan import BackfillPlan
from interpdisc_core.operations.backfill.prove import CompletenessProof
from interpdisc_core.operations.daily.finish import FinishedDay, PickSummary
from interpdisc_core.operations.daily.ingest import IngestSummary, PollSummary
from interpdisc_core.pipeline.publish import PublishResult
from interpdisc_core.training.export import CheckpointExport
from tests.reporting.test_escaping import render

HOSTILE = "x | [a](http://h) ![b](http://h) <img src=http://h onerror=1> `c` **d**"


def create_daily(name: str) -> None:
    pick = PickSummary(1, name, "k", name, 1.0, None, True)
    day = FinishedDay(
        "sol-1", 1, f"/a/{name}/index.html", (pick,), {"k": "days/sol-1/k.jpg"}, {"ready": 1}, {name: 1}, (name,), 1.0
    )
    ingest = IngestSummary(("sol-1",), ("sol-1",), (), 1, 0, 1)
    poll = PollSummary(new=1, trouble=f"the server says {name}")
    daily_artifacts.create_daily_artifacts(
        f"/a/{name}", poll, ingest, [day], {"poll": 1.0}, name, "http://pages.example"
    )


def create_discovery(name: str) -> None:
    pick = {"rank": 1, "id": name, "score": 1.0, "label": name, "trusted": True}
    nauc = {"t": 1, "exact": 1.0, "random": 0.5}
    result = {"run": name, "picks": [pick], "counts": {"ready": 1}, "nauc": nauc}
    for report in (f"/a/{name}.html", f"s3://a/{name}"):
        artifacts.create_run_artifacts(PublishResult("/a/result.json", report, "", result))


def create_evaluation(name: str) -> None:
    line = {"trials": name, "representation": name, "treatment": "raw", "method": name, "t": 1, "nauc": 1.0}
    line |= {"nauc_sd": 0.0, "draws": 1, "nauc_random": 0.5, "cpu_seconds": 1.0}
    result = {"title": name, "images": 1, "classes": 1, "cells": 1, "lines": [line], "problems": [[name, name]]}
    result["others"] = {name: {"headline": name}}
    create_evaluation_artifacts(PublishedStudy("/a/result.json", f"/a/{name}.html", "", result))


def create_backfill(name: str) -> None:
    proof = CompletenessProof(1, 0, 1, 1, {"ready": 1}, 1, 1, {name: name}, (name,))
    plan = BackfillPlan(name=name, sequence=1, shard_count=1, bytes=1, pending_shards=())
    create_backfill_artifacts(plan, WorkBudget(1, None, None), proof, {f"{name}2": name}, name)


def create_checkpoint(name: str) -> None:
    result = {"scores": {name: {name: 1.0}}, "threshold": 0.5, "images": 1, "examples": 1, "epochs": [], "best": 1}
    create_checkpoint_artifacts(CheckpointExport("/a", f"/a/{name}.safetensors", "", result | {"training": name}))


@pytest.mark.parametrize(
    "create", [create_daily, create_discovery, create_evaluation, create_backfill, create_checkpoint]
)
def test_hostile_names_add_nothing_to_an_artifact(
    create: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every text, description and cell has the same elements as with a harmless name."""
    texts: list[str] = []

    def record(content: Any, *, key: str, description: str) -> None:
        cells = (
            [str(cell) for row in content for pair in row.items() for cell in pair] if isinstance(content, list) else []
        )
        texts.extend([description, *(cells or [content])])

    monkeypatch.setattr(artifacts, "create_markdown_artifact", record)
    monkeypatch.setattr(artifacts, "create_table_artifact", record)
    monkeypatch.setattr(daily_artifacts, "emit_event", lambda *_, **__: None)
    create("name")
    harmless = [[kind for kind, _ in render(text)] for text in texts]
    texts.clear()
    create(HOSTILE)
    assert [[kind for kind, _ in render(text)] for text in texts] == harmless
    texts.clear()
    create("x\n\n# e\n\n| f |\n|---|\n| g |\x1b[31m")
    assert not [text for text in texts if "\x1b" in text or "\n# e" in text]


def test_only_one_module_makes_artifacts() -> None:
    """So that none is made of text that is not escaped."""
    root = Path(__file__).parents[2]
    files = [path for folder in ("flows", "tasks", "deploy") for path in (root / folder).rglob("*.py")]
    assert [path.name for path in files if "prefect.artifacts" in path.read_text("utf-8")] == ["artifacts.py"]
