"""What the core may import: no orchestrator, and nothing heavy before it is used."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import interpdisc_core

ROOT = Path(__file__).parents[2]
MODULES = sorted(m.name for m in pkgutil.walk_packages(interpdisc_core.__path__, "interpdisc_core."))


def loaded(*modules: str) -> set[str]:
    """Top-level names in `sys.modules` of a fresh interpreter that has imported `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_core_knows_no_orchestrator() -> None:
    """Importing every module of the core loads none of prefect, dask, distributed, flows, tasks."""
    assert len(MODULES) > 20
    assert loaded(*MODULES).isdisjoint(
        {"prefect", "prefect_dask", "dask", "distributed", "flows", "tasks", "typer", "rich"}
    )


def test_a_plan_is_read_without_a_network() -> None:
    """Importing the plan loads no torch, no ONNX Runtime, no matplotlib: a command line answers at once."""
    assert loaded("interpdisc_core.plan").isdisjoint(
        {"torch", "torchvision", "onnx", "onnxruntime", "matplotlib", "zarr"}
    )


def test_what_needs_no_network_loads_none() -> None:
    """Reading, decoding, selecting and evaluating load no torch."""
    light = ("sources", "images", "selectors", "evaluation")
    assert loaded(*(f"interpdisc_core.{name}" for name in light)).isdisjoint({"torch", "torchvision", "onnxruntime"})


def test_every_public_module_imports_without_torch() -> None:
    """Where torch is not installed, everything but the networks' own private modules can still be imported."""
    public = [name for name in MODULES if not any(part.startswith("_") for part in name.split("."))]
    code = f"import sys; sys.modules['torch'] = sys.modules['torchvision'] = None; import {', '.join(public)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-300:]
