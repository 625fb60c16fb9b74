"""What a selection starts from besides its images: what is remembered, what people said, and what may be picked.

A run without terms starts from its background alone, and picks any of its candidates.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from interpdisc_core.memory import Memory
from interpdisc_core.selectors import Seen, Selection
from interpdisc_core.selectors.choice import Choice, Floats
from interpdisc_core.storage import Place

ANY = "*"
"""In a budget: every group that is not named."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """stratum, batches: records of the archive's memory that count as seen, by name, with what names their content.

    absorbed: (batch, row) of features that people called boring; the model explains them wholly. known: keys of images
    that are learned first and never picked. observations: by key, what the image belongs to; one pick of each.
    groups: by key, what a budget counts. budget: most picks by group, `*` for any that is not named.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    stratum: str = ""
    batches: Mapping[str, str] = field(default_factory=dict)
    absorbed: tuple[tuple[int, int], ...] = ()
    known: tuple[str, ...] = ()
    observations: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    budget: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, place: Place) -> "Terms":
        """Those of a run's folder; none where it has none."""
        try:
            told = place.read_json("terms.json")
        except FileNotFoundError:
            return cls()
        return cls(**told | {"absorbed": tuple(map(tuple, told["absorbed"])), "known": tuple(told["known"])})

    def write(self, place: Place) -> None:
        """Put them into a run's folder."""
        place.write_json("terms.json", self.told())

    def told(self) -> dict[str, Any]:
        """As a JSON value; equal terms have equal values."""
        return asdict(self)

    def prior(self, archive: Place, boring: Floats) -> Seen | None:
        """What counts as seen: the memory's records and the boring items (m, d); None where that is nothing."""
        seen = Memory(archive, self.stratum).horizon(list(self.batches)) if self.batches else None
        return absorbing(seen, boring)

    def limited(self, selection: Selection, keys: Sequence[str]) -> "Limited":
        """A selection over rows of these keys that keeps to the terms."""
        return Limited(self, selection, keys)


def absorbing(seen: Seen | None, boring: Floats) -> Seen | None:
    """What was seen, with a model that explains the boring items (m, d) too, at any rank of at least m.

    One image among thousands would hardly turn a low-rank model. So each item's part outside the mean counts as much as
    the strongest direction there is; the mean stays.
    """
    if not len(boring):
        return seen
    if seen is None or not seen.count or not len(seen.values):
        return Seen.of(boring if seen is None or not seen.count else np.vstack([seen.mean[None], boring]))
    apart = boring - seen.mean
    lengths = np.linalg.norm(apart, axis=1, keepdims=True)
    weighted = apart * (seen.values[0] / np.maximum(lengths, np.finfo(float).tiny))
    _, values, axes = np.linalg.svd(np.vstack([seen.values[:, None] * seen.axes, weighted]), full_matrices=False)
    kept = int((values > 1e-10 * values[0]).sum())
    return Seen(seen.count, seen.mean, values[:kept], axes[:kept])


class Limited:
    """A selection that picks each observation once, keeps to budgets, and never picks what is known.

    What it does besides picking follows from the picks, so replaying these restores it.
    """

    def __init__(self, terms: Terms, selection: Selection, keys: Sequence[str]) -> None:
        self.selection, self.budget = selection, terms.budget
        self._of = [terms.observations.get(key, key) for key in keys]
        self._group = [terms.groups.get(key, "") for key in keys]
        self._left, self._used = set(range(len(keys))), Counter[str]()
        known = set(terms.known)
        for row in [row for row, key in enumerate(keys) if key in known]:
            self._left.discard(row)
            selection.absorb(row)
        for group in sorted(set(self._group)):
            self._close(group)

    def peek(self) -> Choice | None:
        """The next pick, or None where nothing is left that is new. Changes nothing."""
        return self.selection.peek() if self._left else None

    def learn(self, row: int) -> None:
        """Take `row` as picked; others of its observation, and of a group whose budget is spent, are taken unseen."""
        self.selection.learn(row)
        self._left.discard(row)
        for other in sorted(row_ for row_ in self._left if self._of[row_] == self._of[row]):
            self._skip(other)
        self._used[self._group[row]] += 1
        self._close(self._group[row])

    def counters(self) -> dict[str, Any]:
        """See `interpdisc_core.selectors.Selection`."""
        return self.selection.counters()

    def _close(self, group: str) -> None:
        most = self.budget.get(group, self.budget.get(ANY))
        if most is not None and self._used[group] >= most:
            for row in sorted(row for row in self._left if self._group[row] == group):
                self._skip(row)

    def _skip(self, row: int) -> None:
        self._left.discard(row)
        self.selection.skip(row)
