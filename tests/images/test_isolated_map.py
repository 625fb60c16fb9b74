"""An item that kills its process costs only itself, and no other item is blamed. The processes and their deaths are real."""

import operator
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from interpdisc_core.errors import Unreadable
from interpdisc_core.images.isolated_map import ProcessDeath, map_isolated


def test_only_the_items_that_kill_are_blamed() -> None:
    """A process that raises the signal of each item: SIGKILL and SIGSEGV end it, signal 0 does nothing."""
    outcomes = list(map_isolated(signal.raise_signal, [0, 9, 0, 11, 9, 0], lambda number, death: str(death)))
    assert [outcome is None for outcome in outcomes] == [True, False, True, False, False, True]
    assert "SIGKILL: most likely it takes more memory" in outcomes[1]
    assert "SIGSEGV: a fault of a library" in outcomes[3]


def test_a_process_that_dies_once_is_not_the_items_fault(tmp_path: Path) -> None:
    """Killed from outside at the first try, which leaves a mark: the second try counts."""
    marks = [tmp_path / name for name in "abc"]
    deaths: list[ProcessDeath] = []
    outcomes = list(map_isolated(_die_once, marks, lambda mark, death: deaths.append(death)))
    assert outcomes == ["a", "b", "c"]
    assert deaths == []


def _die_once(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return mark.name


def test_one_item_is_in_the_process_at_a_time() -> None:
    """An item is taken from the source only after the output of the one before was given out."""
    events: list[str] = []

    def numbers() -> Iterator[int]:
        for number in range(3):
            events.append(f"in {number}")
            yield number

    outputs = map_isolated(operator.neg, numbers(), lambda number, death: 0)
    events.extend(f"out {-output}" for output in outputs)
    assert events == ["in 0", "out 0", "in 1", "out 1", "in 2", "out 2"]


def test_errors_are_those_of_the_function() -> None:
    """What the function raises is raised here, with its settings; a lack of memory is the item's own."""
    with pytest.raises(Unreadable, match="no such") as caught:
        list(map_isolated(_raise_unreadable, ["no such"], lambda item, death: None))
    assert caught.value.retryable
    assert list(map_isolated(partial(bytes), [2**62], lambda item, death: type(death))) == [ProcessDeath]


def _raise_unreadable(reason: str) -> None:
    raise Unreadable(reason, retryable=True)
