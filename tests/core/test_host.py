"""Shards behind messages: the picks are those of one process, to the bit, whatever is lost on the way and when."""

import itertools
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Choice, Demud, Means, Rows, host
from interpdisc_core.selectors.choice import Subspace
from interpdisc_core.selectors.crew import Site
from interpdisc_core.selectors.host import Again, Answer, Model, Order
from interpdisc_core.selectors.leading import Moments
from interpdisc_core.selectors.rows import ArrayRows, Reads
from interpdisc_core.selectors.shard import Counts, Found, Look
from tests.strategies import METHODS, Problem, clustered, problems, small, told

NUMBERS = itertools.count()


class WireCrew:
    """A `Crew` by the rules of `deploy.crew`, without a cluster: every message is pickled, there and back.

    lose: the part of the messages before which the other side loses all it has.
    """

    def __init__(self, opened: Callable[[], Rows], number: int, lose: float = 0.0, seed: int = 0) -> None:
        self.opened, self.number, self.lose = opened, number, lose
        self.random, self.name = np.random.default_rng(seed), f"wire-{next(NUMBERS)}"
        self.orders, self.sent, self.taken = list[Order](), list[int](), list[int]()
        self.said, self.far, self.lost, self.again = dict[int, Answer](), 0.0, 0, 0
        self.sizes: list[int] = []

    def build(self, sites: list[Site], scatter: bool) -> Iterator[Moments]:
        self.orders = [Order(f"{self.name}-{number}", self.opened, site, ()) for number, site in enumerate(sites)]
        self.sent = [0] * len(sites)
        for made in self.ask([replace(order, scatter=scatter) for order in self.orders]):
            self.far = max(self.far, made.reach)
            yield from made.moments

    def reach(self) -> float:
        return self.far

    def begin(self, look: Look) -> float:
        self.look = look
        return max((made.low for made in self.ask(self.beginnings())), default=-np.inf)

    def finish(self, floor: float) -> list[Found]:
        bare = replace(self.look, model=nothing(self.look.model), forms={}, basis=None)
        made = self.ask([replace(order, look=bare, floor=floor) for order in self.orders])
        return [one.found for one in made if one.found is not None]

    def drop(self, row: int) -> None:
        self.taken.append(row)

    def counts(self) -> Counts:
        return sum((said.counts for said in self.said.values()), Counts())

    def reads(self) -> Reads:
        return sum((said.reads for said in self.said.values()), Reads())

    def beginnings(self, whole: bool = False) -> list[Order]:
        look, orders = self.look, []
        for number, order in enumerate(self.orders):
            have = 0 if whole else self.sent[number]
            if look.model.within is None or look.basis is None:
                model = Model(look.model.mean, None, np.empty((0, 0)), 0, look.model.axes)
            else:
                model = Model(look.model.mean, look.model.within, look.basis[have:], have, None)
                self.sent[number] = len(look.basis)
            orders.append(replace(order, look=replace(look, model=nothing(look.model), basis=None), model=model))
        return orders

    def ask(self, orders: list[Order]) -> list[Answer]:
        orders = [replace(order, taken=tuple(self.taken)) for order in orders]
        made: dict[int, Answer] = {}
        for number in self.random.permutation(len(orders)):  # in any order
            made[int(number)] = self.answered(int(number), orders[number])
        self.said.update(made)
        return [made[number] for number in range(len(orders))]

    def answered(self, number: int, order: Order) -> Answer:
        made = self.send(order)
        while isinstance(made, Again):
            self.again += 1
            again = replace(self.beginnings(whole=True)[number], taken=order.taken)
            begun = self.answered(number, again)
            if order.floor is None:
                return begun
            made = self.send(order)
        return made

    def send(self, order: Order) -> Answer | Again:
        if self.random.random() < self.lose:
            host._HOSTED.clear()
            self.lost += 1
        message = pickle.dumps(order)
        self.sizes.append(len(message) - len(pickle.dumps(order.opened)))
        answer: Answer | Again = pickle.loads(pickle.dumps(host.answer(pickle.loads(message))))
        return answer


def nothing(model: Subspace) -> Subspace:
    """A model that weighs nothing on its way."""
    return Subspace(model.mean[:0], model.axes[:0, :0])


def run(
    settings: Demud, x: npt.NDArray[Any], prior: npt.NDArray[np.float64], means: Means, picks: int,
    labels: list[str] | None = None,
) -> list[Choice]:  # fmt: skip
    """A run in which every fourth pick is not absorbed."""
    selection, made = settings.open(x, prior, labels, means), []
    while len(made) < picks and (choice := selection.peek()) is not None:
        made.append(choice)
        (selection.skip if len(made) % 4 == 0 else selection.learn)(choice.row)
    return made


def wire(x: npt.NDArray[Any], number: int, lose: float = 0.0, seed: int = 0) -> WireCrew:
    """A crew over an array's rows."""
    return WireCrew(partial(ArrayRows, x), number, lose, seed)


@given(
    problems(), st.integers(1, 4), st.sampled_from((0.0, 0.1, 0.6)), st.integers(0, 99), st.sampled_from((3, 8)),
    st.sampled_from((8, 16)),
)  # fmt: skip
def test_messages_and_losses_change_no_bit(
    problem: Problem, number: int, lose: float, seed: int, block: int, bits: Any
) -> None:
    """Any problem over any number of shards, which are lost at any messages: the picks of one process, to the bit."""
    x, prior = problem.features, problem.prior
    with small(block):
        straight = run(problem.settings, x, prior, Means(bits=bits), 20)
        made = run(problem.settings, x, prior, Means(bits=bits, crew=wire(x, number, lose, seed)), 20)
    assert told(made) == told(straight)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("number", "lose"), [(1, 0.0), (3, 0.0), (3, 0.05), (5, 0.5), (11, 0.0)])
def test_many_picks_over_messages(method: Any, number: int, lose: float) -> None:
    """Fifty picks of 400 rows on up to 11 shards, more than a process keeps: each is lost and told all again."""
    x, none = clustered(400, 12, seed=1), np.empty((0, 12))
    settings = Demud(method=method, rank=5)
    with small(32, group=8):
        crew = wire(x, number, lose)
        made = run(settings, x, none, Means(crew=crew), 50)
        assert told(made) == told(run(settings, x, none, Means(), 50))
    assert (crew.lost > 0) == (lose > 0)
    assert (crew.again > 0) == (lose > 0 or number > host._MOST)


def test_many_features_over_messages() -> None:
    """Of products that are large enough for several threads every bit is the same as from one."""
    x, none = clustered(2500, 300, seed=2), np.empty((0, 300))
    made = run(Demud(rank=5), x, none, Means(crew=wire(x, 2)), 4)
    assert told(made) == told(run(Demud(rank=5), x, none, Means(), 4))


@pytest.mark.parametrize("missing", ["zero", "ignore"])
@pytest.mark.parametrize("action", ["keep", "seek"])
@pytest.mark.parametrize("sign", ["both", "low"])
def test_behaviours_over_messages(missing: Any, action: Any, sign: Any) -> None:
    """Missing values, weights, signs and a class of interest go with the messages."""
    x = clustered(150, 8, seed=3)
    x[np.random.default_rng(3).random(x.shape) < 0.02] = np.nan
    settings = Demud(rank=3, missing=missing, interest="q", action=action, sign=sign, weights="boostlow")
    labels = ["q" if row % 5 == 0 else "p" for row in range(150)]
    with small(32, group=8):
        made = run(settings, x, np.empty((0, 8)), Means(crew=wire(x, 3, 0.2)), 30, labels)
        assert told(made) == told(run(settings, x, np.empty((0, 8)), Means(), 30, labels))


@pytest.mark.parametrize("method", ["full", "incremental"])
def test_a_pick_sends_one_direction(method: Any) -> None:
    """A message for a pick has about as many bytes as two rows, however many were picked; a look back has fewer."""
    dimension = 2000
    x = clustered(80, dimension, seed=4)
    crew = wire(x, 1)
    run(Demud(method=method, rank=4, start=0), x, np.empty((0, dimension)), Means(crew=crew), 40)
    row, rest = 8 * dimension, 3 * len(pickle.dumps(np.empty((4, 45)))) + 20_000
    centre = row  # an order says of what its shard is made
    assert max(crew.sizes[1:]) < 2 * row + centre + rest
    assert min(crew.sizes) < centre + rest


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_refused_is_told_of_over_messages(bad: float) -> None:
    """The error of another process is the sentence of this one: row and feature of the whole."""
    x = clustered(100, 4, seed=5)
    x[77, 2] = bad
    with small(16), pytest.raises(PlanError, match=r"row 77 .* feature 2 "):
        Demud().open(x, np.empty((0, 4)), means=Means(crew=wire(x, 3))).peek()


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_an_order_that_is_answered_twice_is_answered_alike(seed: int, scatter: bool) -> None:
    """A message whose answer was lost is sent again: moments, scores and rivals are the same."""
    x = clustered(40, 5, seed=seed)
    site = Demud().open(x, np.empty((0, 5))).screen._site(0, 40, np.zeros(5))
    order = Order(f"twice-{next(NUMBERS)}", partial(ArrayRows, x), site, ())
    model = Model(x.mean(axis=0), None, np.empty((0, 0)), 0, np.eye(5)[:2])
    look = Look(1, nothing(Subspace(x[0], np.eye(5)[:2])), {}, 0.0)
    orders = [replace(order, scatter=scatter), replace(order, look=look, model=model)]
    for sent in [*orders, replace(order, look=look, floor=0.0)]:
        once, twice = host.answer(sent), host.answer(sent)
        assert isinstance(once, Answer)
        assert isinstance(twice, Answer)
        assert (once.low, once.found, once.reach) == (twice.low, twice.found, twice.reach)
        assert [part.sum.tobytes() for part in once.moments] == [part.sum.tobytes() for part in twice.moments]
        assert [part.scatter.tobytes() for part in once.moments] == [part.scatter.tobytes() for part in twice.moments]


def test_a_shard_that_is_new_asks_for_what_went_before() -> None:
    """To finish a pick that it has not begun, or to add to a basis that it has not: it says `Again`."""
    x = clustered(40, 5, seed=6)
    site = Demud().open(x, np.empty((0, 5))).screen._site(0, 40, np.zeros(5))
    order = Order("new", partial(ArrayRows, x), site, ())
    look = Look(3, nothing(Subspace(x[0], np.eye(5)[:2])), {}, 0.0)
    assert host.answer(replace(order, look=look, floor=0.0)) == Again()
    host.forget("new")
    within = (np.zeros(4), np.eye(4)[:2])
    assert host.answer(replace(order, look=look, model=Model(x[0], within, np.eye(5)[3:4], 3, None))) == Again()
    host.forget("new")
    host.forget("new")  # to forget what is not there is no error


def test_counters_over_messages_are_those_of_one_process() -> None:
    """Rows screened and bounds are the same; rows read are those of here and there together."""
    x, none = clustered(300, 10, seed=7), np.empty((0, 10))
    counters = []
    with small(32):
        for means in (Means(threads=3), Means(crew=wire(x, 3))):
            selection = Demud(rank=4).open(x, none, means=means)
            for _ in range(20):
                choice = selection.peek()
                assert choice is not None
                selection.learn(choice.row)
            counters.append({key: told for key, told in selection.counters().items() if key != "seconds"})
    assert counters[0] == counters[1]
