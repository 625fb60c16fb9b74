"""Learning: representations whose weights come from the collection itself get them before anything is extracted."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from interpdisc_core import digest
from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.extraction import prepared
from interpdisc_core.images import Pixels
from interpdisc_core.ingest import environment
from interpdisc_core.lab import collection as collections
from interpdisc_core.plan import Plan, to_json
from interpdisc_core.progress import Watch
from interpdisc_core.representations import Learns
from interpdisc_core.runs import Member
from interpdisc_core.storage import Place


def unlearned(representations: dict[str, object]) -> dict[str, Learns]:
    """Those that are to be learned first, by name."""
    return {name: spec for name, spec in representations.items() if isinstance(spec, Learns) and not spec.learned}


def learn(url: str, collection: str, representation: Learns, watch: Watch) -> str:
    """Learn a representation from a seeded sample of a collection's images; returns the address of its weights.

    Goes on where an interrupted call stopped. What was learned from these images before is taken as it is.
    Raises PlanError where no image can be read.
    """
    members = collections.read(url, collection).members
    rng = np.random.default_rng(0)
    chosen = sorted(rng.permutation(len(members))[: representation.sample].tolist())
    some = [members[place] for place in chosen]
    name = digest.of_json([digest.of_settings(representation), [member.sha256 for member in some]])
    kept, file = Place.of(url) / "learned", f"{name}.safetensors"
    if not kept.exists(file):
        meter = watch.meter("learn", name)
        images = _images(representation, some)
        weights = representation.learn(images, kept / name, lambda share: meter.at(100 * share))
        kept.write(file, weights)
        kept.remove(name)  # its checkpoints
        meter.close()
    return f"{kept.url}/{file}"


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where what was learned is. address: of the result, plan: a plan with it, weights: the file."""

    address: str
    plan: str
    weights: str


def deliver(url: str, collection: str, plan: Plan, address: str, out: str) -> Delivered:
    """Put what was learned beside `out`, NAME.json: NAME.safetensors, and there the plan that names it.

    address: of the weights in the archive. Raises StoreError where there is no room or no right.
    """
    place, name = Place.of(out.rpartition("/")[0] or "."), out.rpartition("/")[2].removesuffix(".json")
    kept, _, file = address.rpartition("/")
    weights = Place.of(kept).read(file)
    place.write(f"{name}.safetensors", weights)
    representation: Any = plan.representation
    learned = replace(plan, representation=representation.having(f"{place.url}/{name}.safetensors"))
    place.write_json(f"{name}.json", to_json(learned))
    result: dict[str, Any] = {
        "images": len(collections.read(url, collection).members), "weights": f"{place.url}/{name}.safetensors",
        "plan": out, "bytes": len(weights), "environment": environment(),
    }  # fmt: skip
    Place.of(kept).write_json(f"{file.removesuffix('.safetensors')}.json", result)
    return Delivered(f"{kept}/{file.removesuffix('.safetensors')}.json", result["plan"], result["weights"])


def _images(representation: Learns, members: list[Member]) -> Pixels:
    """Prepared images (n, side, side, 3) uint8 of the members that can be read."""
    found = []
    plan = Plan(representation=representation)  # type: ignore[arg-type]
    for member in members:
        try:
            found.append(prepared(plan, member.uri, member.sha256))
        except Unreadable:  # extraction quarantines it
            continue
    if not found:
        raise PlanError(f"not one of {len(members)} images could be read, so nothing can be learned from them.")
    return np.stack(found)
