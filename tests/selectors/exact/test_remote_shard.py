"""Shards behind messages: the picks are those of one process, to the bit, whatever is lost on the way and when."""

import itertools
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Choice, ComputeOptions, Demud, Rows
from interpdisc_core.selectors.decision import Subspace
from interpdisc_core.selectors.exact import remote_shard
from interpdisc_core.selectors.exact.remote_pool import RemoteShardPool
from interpdisc_core.selectors.exact.remote_shard import ModelMessage, ShardRequest, ShardResponse, StateLost
from interpdisc_core.selectors.exact.shard_messages import ScoreQuery
from interpdisc_core.selectors.rows import ArrayRows
from tests.helpers.strategies import (
    METHODS,
    SelectionProblem,
    comparable_choices,
    draw_problems,
    make_clusters,
    small_blocks,
    take_picks,
)

NUMBERS = itertools.count()


class WireShardPool(RemoteShardPool):
    """A pool in this process: every message is pickled, both ways, and handled in any order.

    lose: the share of the messages before which the other side loses all its state.
    """

    def __init__(self, open_rows: Callable[[], Rows], shard_count: int, lose: float = 0.0, seed: int = 0) -> None:
        super().__init__(open_rows, shard_count)
        self.lose, self.random = lose, np.random.default_rng(seed)
        self.losses, self.restarts = 0, 0
        self.sizes: list[int] = []
        self._waiting: dict[int, ShardRequest] = {}
        self._responses: dict[int, ShardResponse | StateLost] = {}

    def send(self, number: int, request: ShardRequest) -> None:
        self._waiting[number] = request

    def receive(self, number: int, request: ShardRequest, sent: None) -> ShardResponse | StateLost:
        for other in self.random.permutation(sorted(self._waiting)):
            self._responses[int(other)] = self._exchange(self._waiting.pop(int(other)))
        response = self._responses.pop(number)
        self.restarts += isinstance(response, StateLost)
        return response

    def _exchange(self, request: ShardRequest) -> ShardResponse | StateLost:
        if self.random.random() < self.lose:
            remote_shard._HOSTED_SHARDS.clear()
            self.losses += 1
        message = pickle.dumps(request)
        self.sizes.append(len(message) - len(pickle.dumps(request.open_rows)))
        response = remote_shard.handle_request(pickle.loads(message))
        answer: ShardResponse | StateLost = pickle.loads(pickle.dumps(response))
        return answer


def empty_model(model: Subspace) -> Subspace:
    """A model without content, to be sent in place of one that is sent otherwise."""
    return Subspace(model.mean[:0], model.axes[:0, :0])


def run(
    options: Demud,
    x: npt.NDArray[Any],
    picks: int,
    prior: npt.NDArray[np.float64] | None = None,
    labels: list[str] | None = None,
    **compute: Any,
) -> list[Choice]:
    """A run in which every fourth pick is skipped."""
    prior = np.empty((0, x.shape[1])) if prior is None else prior
    selection, choices = options.open(x, prior, labels, ComputeOptions(**compute)), []
    while len(choices) < picks and (choice := selection.peek()) is not None:
        choices.append(choice)
        (selection.skip if len(choices) % 4 == 0 else selection.learn)(choice.row)
    return choices


def make_pool(x: npt.NDArray[Any], shard_count: int, lose: float = 0.0, seed: int = 0) -> WireShardPool:
    """A pool over the rows of an array."""
    return WireShardPool(partial(ArrayRows, x), shard_count, lose, seed)


@given(
    draw_problems(),
    st.integers(1, 4),
    st.sampled_from((0.0, 0.1, 0.6)),
    st.integers(0, 99),
    st.sampled_from((3, 8)),
    st.sampled_from((8, 16)),
)
def test_messages_and_losses_change_no_bit(
    problem: SelectionProblem, shard_count: int, lose: float, seed: int, block: int, bits: Any
) -> None:
    """Any problem over any number of shards, which are lost at any messages: the picks of one process, to the bit."""
    x, prior, options = problem.features, problem.prior, problem.settings
    with small_blocks(block):
        straight = run(options, x, 20, prior, copy_bits=bits)
        choices = run(options, x, 20, prior, copy_bits=bits, shard_pool=make_pool(x, shard_count, lose, seed))
    assert comparable_choices(choices) == comparable_choices(straight)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("shard_count", "lose"), [(3, 0.0), (5, 0.5), (11, 0.0)])
def test_many_picks_over_messages(method: Any, shard_count: int, lose: float) -> None:
    """Fifty picks of 400 rows on up to 11 shards, more than a process keeps: each is lost and rebuilt."""
    x, options = make_clusters(400, 12, seed=1), Demud(method=method, rank=5)
    with small_blocks(32, query_group=8):
        pool = make_pool(x, shard_count, lose)
        choices = run(options, x, 50, shard_pool=pool)
        assert comparable_choices(choices) == comparable_choices(run(options, x, 50))
    assert (pool.losses > 0) == (lose > 0)
    assert (pool.restarts > 0) == (lose > 0 or shard_count > remote_shard._MAX_SHARDS)


def test_many_features_over_messages() -> None:
    """Products that are large enough for several threads have the same bits as on one."""
    x = make_clusters(2500, 300, seed=2)
    choices = run(Demud(rank=5), x, 4, shard_pool=make_pool(x, 2))
    assert comparable_choices(choices) == comparable_choices(run(Demud(rank=5), x, 4))


@pytest.mark.parametrize("missing", ["zero", "ignore"])
@pytest.mark.parametrize("action", ["keep", "seek"])
@pytest.mark.parametrize("sign", ["both", "low"])
def test_behaviors_over_messages(missing: Any, action: Any, sign: Any) -> None:
    """Missing values, weights, signs and a class of interest."""
    x = make_clusters(150, 8, seed=3)
    x[np.random.default_rng(3).random(x.shape) < 0.02] = np.nan
    options = Demud(rank=3, missing=missing, interest="q", action=action, sign=sign, weights="boostlow")
    labels = ["q" if row % 5 == 0 else "p" for row in range(150)]
    with small_blocks(32, query_group=8):
        choices = run(options, x, 30, labels=labels, shard_pool=make_pool(x, 3, 0.2))
        assert comparable_choices(choices) == comparable_choices(run(options, x, 30, labels=labels))


@pytest.mark.parametrize("method", ["full", "incremental"])
def test_a_pick_sends_one_direction(method: Any) -> None:
    """The message of a pick has about the bytes of two rows, however many were picked; one that finishes has fewer."""
    dimension = 2000
    x = make_clusters(80, dimension, seed=4)
    pool = make_pool(x, 1)
    run(Demud(method=method, rank=4, start=0), x, 40, shard_pool=pool)
    row_bytes, other_bytes = 8 * dimension, 3 * len(pickle.dumps(np.empty((4, 45)))) + 20_000
    center_bytes = row_bytes  # every request has the spec of its shard
    assert max(pool.sizes[1:]) < 2 * row_bytes + center_bytes + other_bytes
    assert min(pool.sizes) < center_bytes + other_bytes


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_error_of_a_bad_value_comes_back_over_messages(bad: float) -> None:
    """With the row among all rows, and the feature."""
    x = make_clusters(100, 4, seed=5)
    x[77, 2] = bad
    with small_blocks(16), pytest.raises(PlanError, match=r"row 77 .* feature 2 "):
        run(Demud(), x, 1, shard_pool=make_pool(x, 3))


def make_request(token: str, x: npt.NDArray[Any]) -> ShardRequest:
    """A request to a shard of all rows (40, 5)."""
    spec = Demud().open(x, np.empty((0, 5))).search._build_spec(0, 40, np.zeros(5))
    return ShardRequest(token, partial(ArrayRows, x), spec, ())


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_request_that_is_repeated_has_the_same_response(seed: int, scatter: bool) -> None:
    """A message whose response was lost is sent again: moments, bounds and candidates are the same."""
    x = make_clusters(40, 5, seed=seed)
    request = make_request(f"twice-{next(NUMBERS)}", x)
    model = ModelMessage(x.mean(axis=0), None, np.empty((0, 0)), 0, np.eye(5)[:2])
    query = ScoreQuery(1, empty_model(Subspace(x[0], np.eye(5)[:2])), {}, 0.0)
    for message in (
        replace(request, scatter=scatter),
        replace(request, query=query, model=model),
        replace(request, query=query, score_floor=0.0),
    ):
        first, second = remote_shard.handle_request(message), remote_shard.handle_request(message)
        assert isinstance(first, ShardResponse)
        assert isinstance(second, ShardResponse)
        assert (first.lower_bound, first.candidates, first.max_radius) == (
            second.lower_bound,
            second.candidates,
            second.max_radius,
        )
        assert [part.sum.tobytes() for part in first.moments] == [part.sum.tobytes() for part in second.moments]
        assert [part.scatter.tobytes() for part in first.moments] == [part.scatter.tobytes() for part in second.moments]


def test_a_new_shard_answers_that_its_state_is_lost() -> None:
    """If it is to finish a query that it has not begun, or to add to a basis that it does not have."""
    x = make_clusters(40, 5, seed=6)
    request = make_request("new", x)
    query = ScoreQuery(3, empty_model(Subspace(x[0], np.eye(5)[:2])), {}, 0.0)
    assert remote_shard.handle_request(replace(request, query=query, score_floor=0.0)) == StateLost()
    remote_shard.release_shard("new")
    model = ModelMessage(x[0], (np.zeros(4), np.eye(4)[:2]), np.eye(5)[3:4], 3, None)
    assert remote_shard.handle_request(replace(request, query=query, model=model)) == StateLost()
    remote_shard.release_shard("new")
    remote_shard.release_shard("new")  # to release a shard that is not there is no error


def test_counters_over_messages_are_those_of_one_process() -> None:
    """Rows screened and bounds are the same; rows read are those of both sides together."""
    x, counters = make_clusters(300, 10, seed=7), []
    with small_blocks(32):
        for compute_options in (ComputeOptions(threads=3), ComputeOptions(shard_pool=make_pool(x, 3))):
            selection = Demud(rank=4).open(x, np.empty((0, 10)), compute_options=compute_options)
            take_picks(selection, 20)
            counters.append({name: value for name, value in selection.counters().items() if name != "seconds"})
    assert counters[0] == counters[1]
