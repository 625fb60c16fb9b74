"""Shards in other processes, by messages: what is sent, and how lost state is restored.

A pick sends each process one new direction of the basis, the mean and the model's coordinates, and gets a few numbers
back; the model and the decision stay here. How a message gets there and back is up to a subclass.
"""

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from interpdisc_core.selectors.decision import Subspace
from interpdisc_core.selectors.exact.moments import Moments
from interpdisc_core.selectors.exact.remote_shard import ModelMessage, ShardRequest, ShardResponse, StateLost
from interpdisc_core.selectors.exact.shard_messages import ScoreQuery, ShardCandidates, ShardCounters
from interpdisc_core.selectors.exact.shard_pool import ShardSpec
from interpdisc_core.selectors.rows import ReadStats, Rows


class RemoteShardPool(ABC):
    """A `interpdisc_core.selectors.exact.shard_pool.ShardPool` whose shards are in other processes.

    Args:
        open_rows: Opens all rows, in whatever process; it is pickled.
        shard_count: How many shards to build.
    """

    def __init__(self, open_rows: Callable[[], Rows], shard_count: int) -> None:
        self.open_rows, self.shard_count = open_rows, shard_count
        self.name = uuid.uuid4().hex[:12]
        self.requests: list[ShardRequest] = []
        self.directions_sent: list[int] = []
        """Directions of the basis that the process of each shard has; 0 once it is another process."""
        self.taken_rows: list[int] = []
        self.seconds = {"asking": 0.0}
        self._query: ScoreQuery | None = None
        self._latest_responses: dict[int, ShardResponse] = {}
        self._max_radius = 0.0

    @abstractmethod
    def send(self, number: int, request: ShardRequest) -> Any:
        """Send a request to the process of shard `number`, without waiting; returns what `receive` needs."""

    @abstractmethod
    def receive(self, number: int, request: ShardRequest, sent: Any) -> ShardResponse | StateLost:
        """Wait for the response to a request; `sent` is what `send` returned for it."""

    def build_shards(self, shard_specs: list[ShardSpec], scatter: bool) -> Iterator[Moments]:
        """See `ShardPool`."""
        self.requests = [
            ShardRequest(f"{self.name}-{number}", self.open_rows, spec, ()) for number, spec in enumerate(shard_specs)
        ]
        self.directions_sent = [0] * len(shard_specs)
        for response in self._request_all([replace(request, scatter=scatter) for request in self.requests]):
            self._max_radius = max(self._max_radius, response.max_radius)
            yield from response.moments

    def get_max_radius(self) -> float:
        """See `ShardPool`."""
        return self._max_radius

    def begin_query(self, query: ScoreQuery) -> float:
        """See `ShardPool`."""
        self._query = query
        responses = self._request_all([self._make_query_request(number) for number in range(len(self.requests))])
        return max((response.lower_bound for response in responses), default=-np.inf)

    def finish_query(self, score_floor: float) -> list[ShardCandidates]:
        """See `ShardPool`."""
        assert self._query is not None
        light_query = replace(self._query, model=_empty_model(self._query.model), bound_forms={}, basis=None)
        responses = self._request_all(
            [replace(request, query=light_query, score_floor=score_floor) for request in self.requests]
        )
        return [response.candidates for response in responses if response.candidates is not None]

    def drop_row(self, row: int) -> None:
        """See `ShardPool`."""
        self.taken_rows.append(row)

    def sum_counters(self) -> ShardCounters:
        """See `ShardPool`. Work of a shard before it was lost is not counted."""
        return sum((response.counters for response in self._latest_responses.values()), ShardCounters())

    def sum_read_stats(self) -> ReadStats:
        """See `ShardPool`."""
        return sum((response.read_stats for response in self._latest_responses.values()), ReadStats())

    def _make_query_request(self, number: int) -> ShardRequest:
        """The request to begin the current query, with the directions that shard `number` does not have yet."""
        query = self._query
        assert query is not None
        if query.model.in_basis is None or query.basis is None:
            model = ModelMessage(query.model.mean, None, np.empty((0, 0)), 0, query.model.axes)
        else:
            sent = self.directions_sent[number]
            model = ModelMessage(query.model.mean, query.model.in_basis, query.basis[sent:], sent, None)
            self.directions_sent[number] = len(query.basis)
        light_query = replace(query, model=_empty_model(query.model), basis=None)
        return replace(self.requests[number], query=light_query, model=model)

    def _request_all(self, requests: list[ShardRequest]) -> list[ShardResponse]:
        start = time.perf_counter()
        requests = [replace(request, taken_rows=tuple(self.taken_rows)) for request in requests]
        sent = [self.send(number, request) for number, request in enumerate(requests)]
        responses = [self._complete(number, request, sent[number]) for number, request in enumerate(requests)]
        self._latest_responses.update(enumerate(responses))
        self.seconds["asking"] += time.perf_counter() - start
        return responses

    def _complete(self, number: int, request: ShardRequest, sent: Any) -> ShardResponse:
        """The response to a request; if the shard has lost its state, after the query was begun again."""
        while isinstance(response := self.receive(number, request, sent), StateLost):
            self.directions_sent[number] = 0
            begin = replace(self._make_query_request(number), taken_rows=request.taken_rows)
            begun = self._complete(number, begin, self.send(number, begin))
            if request.score_floor is None:
                return begun
            sent = self.send(number, request)
        return response


def _empty_model(model: Subspace) -> Subspace:
    """A model without content, for messages that carry it otherwise."""
    return Subspace(model.mean[:0], model.axes[:0, :0])
