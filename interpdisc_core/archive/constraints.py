"""Constraints of a selection: what counts as seen before, what people said of images, and what may be picked.

A run without constraints starts from its background alone and may pick any of its candidates.
"""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from typing import Any

import numpy as np

from interpdisc_core._types import FloatArray
from interpdisc_core.archive.memory import Memory
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.selectors import Prior, Selection
from interpdisc_core.selectors.decision import Choice
from interpdisc_core.settings import settings
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location

_FILE, _OLD_FILE = "constraints.json", "terms.json"
"""In a run's folder; layout versions 1 and 2 wrote the other one."""
ANY_GROUP = "*"
"""In a budget: every group that is not listed."""


@settings
class SelectionConstraints:
    """What a selection takes into account besides its images.

    Attributes:
        stratum: Stratum of the archive's memory of which `batches` are records.
        batches: Digests of the records that count as seen, by batch name.
        absorbed: (batch, row) of features that people called boring; the model explains them completely.
        known: Keys of images that are learned first and never picked.
        observations: The observation of an image, by key; each observation is picked once.
        groups: The group that the budget counts an image in, by key.
        budget: Largest number of picks by group, `*` for every group that is not listed.
    """

    stratum: str = ""
    batches: Mapping[str, str] = field(default_factory=dict)
    absorbed: tuple[tuple[int, int], ...] = ()
    known: tuple[str, ...] = ()
    observations: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    budget: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, location: Location) -> "SelectionConstraints":
        """The constraints in a run's folder; empty ones if there is no such file."""
        for name in (_FILE, _OLD_FILE):
            with contextlib.suppress(FileNotFoundError), name_damage(f"{location.url}/{name}"):
                payload = location.read_checked_json(name)
                lists = {"absorbed": tuple(map(tuple, payload["absorbed"])), "known": tuple(payload["known"])}
                return cls(**payload | lists)
        return cls()

    def write(self, location: Location) -> None:
        """Write them into a run's folder."""
        location.write_checked_json(_FILE, self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """As a JSON value. It is hashed: equal constraints have equal values."""
        return asdict(self)

    def build_prior(self, archive: Location, boring_rows: FloatArray) -> Prior | None:
        """The prior of the memory's records and the features of boring images (m, d); None if there are neither."""
        prior = Memory(archive, self.stratum).load_horizon(list(self.batches)) if self.batches else None
        return with_absorbed(prior, boring_rows)

    def constrain(self, selection: Selection, keys: Sequence[str]) -> "ConstrainedSelection":
        """A selection over rows with these keys that keeps to the constraints."""
        return ConstrainedSelection(self, selection, keys)


@single_blas_thread
def with_absorbed(prior: Prior | None, boring_rows: FloatArray) -> Prior | None:
    """The prior extended such that its model of any rank of at least m explains the boring rows (m, d), too.

    One image among thousands would hardly change a low-rank model. So the deviation of each row from the mean gets the
    weight of the strongest direction. The mean does not change.
    """
    if not len(boring_rows):
        return prior
    if prior is None or not prior.count or not len(prior.values):
        return Prior.from_items(
            boring_rows if prior is None or not prior.count else np.vstack([prior.mean[None], boring_rows])
        )
    deviations = boring_rows - prior.mean
    lengths = np.linalg.norm(deviations, axis=1, keepdims=True)
    weighted_deviations = deviations * (prior.values[0] / np.maximum(lengths, np.finfo(float).tiny))
    _, values, axes = np.linalg.svd(
        np.vstack([prior.values[:, None] * prior.axes, weighted_deviations]), full_matrices=False
    )
    rank = int((values > 1e-10 * values[0]).sum())
    return Prior(prior.count, prior.mean, values[:rank], axes[:rank])


class ConstrainedSelection:
    """A selection that picks each observation once, keeps to budgets, and never picks known images.

    Its state depends on the picks alone, so learning the same picks again restores it.
    """

    def __init__(self, constraints: SelectionConstraints, selection: Selection, keys: Sequence[str]) -> None:
        self.selection, self.budget = selection, constraints.budget
        self._observations = [constraints.observations.get(key, key) for key in keys]
        self._groups = [constraints.groups.get(key, "") for key in keys]
        self._available, self._picks_by_group = set(range(len(keys))), Counter[str]()
        known_keys = set(constraints.known)
        for row in [row for row, key in enumerate(keys) if key in known_keys]:
            self._available.discard(row)
            selection.absorb(row)
        for group in sorted(set(self._groups)):
            self._close_group_if_spent(group)

    def peek(self) -> Choice | None:
        """The next pick, or None if no novel image is left. Changes nothing."""
        return self.selection.peek() if self._available else None

    def learn(self, row: int) -> None:
        """Learn `row` as picked, and skip the other rows of its observation and of groups whose budget is spent."""
        self.selection.learn(row)
        self._available.discard(row)
        for other in sorted(row_ for row_ in self._available if self._observations[row_] == self._observations[row]):
            self._skip_row(other)
        self._picks_by_group[self._groups[row]] += 1
        self._close_group_if_spent(self._groups[row])

    def compute_weight_direction(self, choice: Choice) -> FloatArray | None:
        """See `interpdisc_core.selectors.Selection`."""
        return self.selection.compute_weight_direction(choice)

    def counters(self) -> dict[str, Any]:
        """See `interpdisc_core.selectors.Selection`."""
        return self.selection.counters()

    def _close_group_if_spent(self, group: str) -> None:
        limit = self.budget.get(group, self.budget.get(ANY_GROUP))
        if limit is not None and self._picks_by_group[group] >= limit:
            for row in sorted(row for row in self._available if self._groups[row] == group):
                self._skip_row(row)

    def _skip_row(self, row: int) -> None:
        self._available.discard(row)
        self.selection.skip(row)
