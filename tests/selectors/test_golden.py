"""The picks of the published DEMUD and of its port in DORA, recorded from their own code.

A few cases are part of this project's tests. The whole set is in the folder `INTERPDISC_GOLDEN` (by default
`../shared/golden` next to the checkout); if it is missing, its tests are skipped.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpdisc_core.selectors import Demud
from tests.helpers.strategies import rows_of, run_selector

ROOT = Path(__file__).parents[2]
GOLDEN = Path(os.environ.get("INTERPDISC_GOLDEN") or ROOT.parent / "shared" / "golden")
OURS = ROOT / "tests" / "golden" / "demud.json"


def options_of(case: dict[str, Any]) -> Demud:
    """The settings of a recorded case, as this project names them."""
    method = "static" if case.get("static") else "full" if case.get("svdmethod", "full") == "full" else "incremental"
    first = str(case.get("init", "-1"))
    start: Any = {"-1": "svd", "svd": "svd", "mean": "mean", "-2": "mean", "r": case["sel"][0]}.get(first)
    return Demud(
        method=method,  # type: ignore[arg-type]
        rank=case["k"],
        start=int(first) if start is None else start,
        sign={"low": "low", "high": "high"}.get(case.get("scoremethod", ""), "both"),  # type: ignore[arg-type]
        interest=case.get("coi") or "",
        action=case.get("coiaction") or "keep",
        missing=case.get("missing") or "refuse",
    )


def assert_equals_recording(case: dict[str, Any], arrays: dict[str, Any]) -> None:
    """The case's leading picks equal; scores to 1e-9 of the largest; x̂ and r, where recorded, to 1e-9 of max |x|."""
    x = np.asarray(arrays["X"], dtype=np.float64)
    prior = np.asarray(arrays.get("initdata", []), dtype=np.float64).reshape(-1, x.shape[1])
    count = case["compare"]
    choices = run_selector(options_of(case), x, prior, picks=count, labels=case.get("labels_coi"))
    assert rows_of(choices) == [int(row) for row in arrays["sel"][:count]]
    if case.get("coi"):
        return  # after a pick of the class of interest the original's scores are stale
    scores = np.asarray(arrays["score"])
    np.testing.assert_allclose([c.score for c in choices], scores[:count], rtol=0, atol=1e-9 * scores.max())
    if "recon" in case["use"]:
        for ours, theirs in (("expected", "recon"), ("residual", "resid")):
            if theirs in arrays:
                vectors = np.array([getattr(choice, ours) for choice in choices])
                np.testing.assert_allclose(vectors, arrays[theirs][:count], rtol=0, atol=1e-9 * np.nanmax(np.abs(x)))


def shared_cases() -> list[Any]:
    """Every case of the shared set."""
    cases: list[Any] = []
    for folder in ("original-nullfree", "dora"):
        index = GOLDEN / folder / "index.json"
        recorded = json.loads(index.read_text())["cases"] if index.is_file() else []
        cases += [pytest.param(folder, case, id=f"{folder}/{case['name']}") for case in recorded]
    return cases or [pytest.param("", {}, marks=pytest.mark.skip(f"no golden set at {GOLDEN} (INTERPDISC_GOLDEN)"))]


@pytest.mark.parametrize(("folder", "case"), shared_cases())
def test_picks_scores_and_vectors_equal_the_recordings(folder: str, case: dict[str, Any]) -> None:
    with np.load(GOLDEN / folder / f"{case['name']}.npz", allow_pickle=False) as arrays:
        assert_equals_recording(
            case, {name: arrays[name] for name in ("X", "initdata", "sel", "score", "recon", "resid") if name in arrays}
        )


@pytest.mark.parametrize("case", json.loads(OURS.read_text()), ids=lambda case: case["name"])
def test_picks_and_scores_equal_the_recordings_of_a_few_small_cases(case: dict[str, Any]) -> None:
    """The recordings in this repository (data: UCI glass and ecoli, and a synthetic set)."""
    assert_equals_recording(case, case)


def test_all_63_cases_of_the_shared_set_are_compared() -> None:
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden set at {GOLDEN} (INTERPDISC_GOLDEN)")
    assert len(shared_cases()) == 63
