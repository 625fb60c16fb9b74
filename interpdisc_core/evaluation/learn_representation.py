"""Learn the weights of representations from the collection itself, before features are extracted."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from interpdisc_core import digest
from interpdisc_core._types import PixelArray
from interpdisc_core.archive.run import RunMember
from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.evaluation.dataset import read_dataset
from interpdisc_core.plan import Plan, plan_to_json
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.provenance import collect_environment
from interpdisc_core.representations import Trainable
from interpdisc_core.representations.batching import load_network_input
from interpdisc_core.storage.location import Location


def select_untrained(representations: dict[str, object]) -> dict[str, Trainable]:
    """The representations that must be learned first, by name."""
    return {
        name: spec for name, spec in representations.items() if isinstance(spec, Trainable) and not spec.learned_weights
    }


def learn_representation(url: str, collection: str, representation: Trainable, watch: ProgressReporter) -> str:
    """Learn a representation from a seeded sample of a collection's images.

    Resumes where an interrupted call stopped. Weights that were learned from the same images before are used.

    Args:
        url: The archive.
        collection: Name of the collection in it.
        representation: What is learned.
        watch: Where progress is reported.

    Returns:
        The address of the weights.

    Raises:
        PlanError: If no image can be read.
    """
    members = read_dataset(url, collection).members
    rng = np.random.default_rng(0)
    indices = sorted(rng.permutation(len(members))[: representation.sample].tolist())
    sample_members = [members[index] for index in indices]
    name = digest.digest_json([digest.digest_settings(representation), [member.sha256 for member in sample_members]])
    location, file = Location.parse(url) / "learned", f"{name}.safetensors"
    if not location.exists(file):
        meter = watch.open_meter("learn", name)
        images = _load_images(representation, sample_members)
        weights = representation.learn(images, location / name, lambda share: meter.update(100 * share))
        location.write_checked(file, weights)
        location.remove(name)  # its checkpoints
        meter.flush()
    return f"{location.url}/{file}"


@dataclass(frozen=True, slots=True)
class PlanExport:
    """Where a learned representation is.

    Attributes:
        result_address: Address of the result.
        plan: Address of a plan that uses it.
        weights: Address of the weights.
    """

    result_address: str
    plan: str
    weights: str


def export_plan(url: str, collection: str, plan: Plan, address: str, out: str) -> PlanExport:
    """Copy learned weights to NAME.safetensors, and write a plan that uses them to NAME.json.

    Args:
        url: The archive.
        collection: Name of the collection that was learned from.
        plan: The plan without weights.
        address: Of the weights in the archive.
        out: NAME.json.

    Raises:
        StoreError: If the files cannot be written.
    """
    destination, source = Location.parse(out), Location.parse(address)
    location, name = destination.parent, destination.name.removesuffix(".json")
    weights = source.parent.read(source.name)
    location.write(f"{name}.safetensors", weights)
    representation: Any = plan.representation
    updated_plan = replace(plan, representation=representation.with_weights(f"{location.url}/{name}.safetensors"))
    location.write_json(f"{name}.json", plan_to_json(updated_plan))
    result: dict[str, Any] = {
        "images": len(read_dataset(url, collection).members),
        "weights": f"{location.url}/{name}.safetensors",
        "plan": out,
        "bytes": len(weights),
        "environment": collect_environment(),
    }
    result_file = f"{source.name.removesuffix('.safetensors')}.json"
    source.parent.write_checked_json(result_file, result)
    return PlanExport(f"{source.parent.url}/{result_file}", result["plan"], result["weights"])


def _load_images(representation: Trainable, members: list[RunMember]) -> PixelArray:
    """Network inputs (n, side, side, 3) uint8 of the members that can be read."""
    images = []
    plan = Plan(representation=representation)  # type: ignore[arg-type]
    for member in members:
        try:
            images.append(load_network_input(plan.representation, member.uri, member.sha256))
        except Unreadable:  # extraction quarantines it
            continue
    if not images:
        raise PlanError(f"none of {len(members)} images could be read, so nothing can be learned from them.")
    return np.stack(images)
