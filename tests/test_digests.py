"""Digests of settings are names in archives: they stay what they were in version 0.1.0 at commit c3a4ab7.

The known digests are in `tests/data/archives-v2-expected.json`, made by `tests/data/make_archives_v2.py`.
"""

import json
import typing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpdisc_core import digest, inverters, representations, selectors
from interpdisc_core.evaluation import label_errors, sampling, study
from interpdisc_core.inverters import checkpoint, generators
from interpdisc_core.operations.daily import settings as daily_settings
from interpdisc_core.plan import Plan, read_plan
from interpdisc_core.representations.transforms import FeatureTransform
from interpdisc_core.training import recipe

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
KNOWN: dict[str, Any] = json.loads((ROOT / "tests/data/archives-v2-expected.json").read_text("utf-8"))["digests"]
DEFAULTS: dict[str, Any] = KNOWN["defaults"]
UNIONS: dict[str, Any] = {
    "Representation": representations.Representation,
    "Selector": selectors.Selector,
    "Inverter": inverters.Inverter,
    "Generator": generators.Generator,
    "Trials": sampling.Trials,
    "Method": label_errors.LabelErrorMethod,
    "Experiment": study.Experiment,
}
"""By the names that they had in version 0.1.0."""
OLD_CLASS_NAMES = {
    "AllImages": "Whole",
    "BootstrapSample": "Resampled",
    "ClassSample": "Drawn",
    "ConfidentLearning": "Confident",
    "DiscoveryExperiment": "Discovery",
    "FeatureTransform": "Treatment",
    "LabelErrorExperiment": "LabelErrors",
    "NeighborDisagreement": "Neighbours",
    "OnePerProduct": "OneEach",
    "ReplayExperiment": "Replay",
    "ShuffledOrder": "Reordered",
    "WithinClassDemud": "WithinClass",
}
"""Classes of which only the fields are in any digest on disk, so they could be renamed."""


def digests_of_plan(plan: Plan) -> dict[str, str]:
    return {
        "plan": plan.digest,
        "features": plan.features_digest,
        "rendering": plan.rendering.compute_digest(plan.representation),
    }


def digests_of_study(settings: study.Study) -> dict[str, Any]:
    features = {name: representations.digest_features(item) for name, item in settings.representations.items()}
    return {"study": digest.digest_json(study.study_to_json(settings)), "features": features}


def digest_as_before(settings: Any) -> str:
    """The digest of settings under the class name that they had in version 0.1.0."""
    name = type(settings).__name__
    return digest.digest_json({"type": OLD_CLASS_NAMES.get(name, name), **asdict(settings)})


def make_default(union: Any, kind: str) -> Any:
    """The settings of a kind, all of them the default."""
    members = typing.get_args(typing.get_args(union)[0])
    return next(member() for member in members if member.kind == kind)


@pytest.mark.parametrize("name", KNOWN["plans"])
def test_plans_of_deploy_keep_their_digests(name: str) -> None:
    assert digests_of_plan(read_plan(str(DEPLOY / "plans" / name))) == KNOWN["plans"][name]


@pytest.mark.parametrize("name", KNOWN["studies"])
def test_studies_of_deploy_keep_their_digests(name: str) -> None:
    assert digests_of_study(study.read_study(str(DEPLOY / "studies" / name))) == KNOWN["studies"][name]


@pytest.mark.parametrize("name", KNOWN["daily"])
def test_daily_settings_of_deploy_keep_the_digests_of_their_plan_and_memory(name: str) -> None:
    settings = daily_settings.read_daily(str(DEPLOY / "daily" / name))
    expected = {key: value for key, value in KNOWN["daily"][name].items() if key != "settings"}  # names no file
    assert digests_of_plan(settings.plan) | {"remembers": settings.memory_digest} == expected


@pytest.mark.parametrize(("union", "kind"), [(union, kind) for union in UNIONS for kind in DEFAULTS[union]])
def test_default_settings_of_every_kind_keep_their_digest(union: str, kind: str) -> None:
    settings = make_default(UNIONS[union], kind)
    assert digest_as_before(settings) == DEFAULTS[union][kind]
    if type(settings).__name__ not in OLD_CLASS_NAMES:
        assert digest.digest_settings(settings) == DEFAULTS[union][kind]


@pytest.mark.parametrize("kind", DEFAULTS["features"])
def test_features_of_every_representation_keep_their_name(kind: str) -> None:
    """The name in an archive, which depends on the network's weights too."""
    representation = make_default(representations.Representation, kind)
    assert representations.digest_features(representation) == DEFAULTS["features"][kind]


def test_default_plan_recipe_study_and_daily_settings_keep_their_digests() -> None:
    assert digests_of_plan(Plan()) == DEFAULTS["Plan"]
    assert recipe.Recipe().digest == DEFAULTS["Recipe"]
    assert digests_of_study(study.Study()) == DEFAULTS["Study"]
    assert digest_as_before(FeatureTransform()) == DEFAULTS["Treatment"]
    assert daily_settings.parse_daily({"source": {"kind": "msl-feed"}}).memory_digest == DEFAULTS["Daily"]


def test_checkpoints_in_the_package_are_the_same_files() -> None:
    shipped = checkpoint.list_shipped_checkpoints().values()
    assert {path.name: checkpoint.digest_checkpoint(str(path)) for path in shipped} == KNOWN["checkpoints"]


def test_a_digest_depends_on_values_alone(tmp_path: Path) -> None:
    """Not on the order of keys, the byte order of an array or its layout in memory."""
    assert digest.digest_json({"a": 1, "b": [2]}) == digest.digest_json({"b": [2], "a": 1})
    array = np.arange(6.0).reshape(2, 3)
    assert digest.digest_array(array) == digest.digest_array(np.asfortranarray(array.astype(">f8")))
    assert digest.digest_array(array) != digest.digest_array(array.astype(np.float32))
    (tmp_path / "file").write_bytes(b"abc")
    assert digest.digest_file(str(tmp_path / "file")) == digest.digest_bytes(b"abc")
