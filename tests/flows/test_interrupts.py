"""Control-C is heard, also where a library swallows the first one."""

import signal
import time

import pytest

from deploy.interrupts import make_inside_check, repeat_interrupt


def swallows(times: int) -> int:
    """A run that drops `times` interrupts, as a finaliser of a library does; returns how many it dropped if let go on."""
    dropped = 0
    signal_at = [0.1]
    began = time.monotonic()
    while time.monotonic() - began < 20:
        try:
            if signal_at and time.monotonic() - began > signal_at[0]:
                signal_at.clear()
                signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)
        except KeyboardInterrupt:
            dropped += 1
            if dropped > times:
                raise
    return dropped


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_run_ends_however_often_it_is_swallowed(times: int) -> None:
    """One Control-C ends a run that drops the first, or the first three."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), repeat_interrupt(make_inside_check(swallows), interval_s=0.2):
        swallows(times)
    assert signal.getsignal(signal.SIGINT) is before


def test_who_has_heard_is_left_in_peace() -> None:
    """Once the run is left, what it does at the end is not interrupted again."""
    with repeat_interrupt(make_inside_check(swallows), interval_s=0.1):
        with pytest.raises(KeyboardInterrupt):
            swallows(0)
        time.sleep(0.5)
