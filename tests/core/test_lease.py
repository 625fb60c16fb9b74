"""One at a time writes an archive: two never hold its lock, a dead holder's is taken over, and a lost one is noticed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from interpdisc_core.claims import SKEW, Claim, Holder
from interpdisc_core.digest import of_bytes
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.lease import LOCK, held, refuse_if_held
from interpdisc_core.storage import Place
from interpdisc_core.swapping import Found, slot

CHECKOUT = Path(__file__).resolve().parents[2]
SECONDS = 120.0

# ------------------------------------------------------------------------------- step by step, on clocks of our own


class Memory:
    """A slot that swaps in one step; `meanwhile` is what others do between a look and the swap that follows it."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.meanwhile: list[Callable[[], object]] = []
        self.forgets = 0

    def read(self) -> Found | None:
        return None if self.data is None else Found(self.data, of_bytes(self.data))

    def swap(self, data: bytes, version: str | None) -> str | None:
        while self.meanwhile:
            self.meanwhile.pop()()
        found = self.read()
        if (found.version if found else None) != version:
            return None
        self.data = data
        if self.forgets:
            self.forgets -= 1
            raise StoreError("the answer is lost")
        return of_bytes(data)


class Several(RuleBasedStateMachine):
    """Some processes of machines whose clocks differ, in any order, one within another's step, and with lost answers."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.slot = 1e9, Memory()
        self.offsets = [0.0, SKEW / 2, -SKEW / 2]
        self.tokens = 0
        self.claims: list[Claim | None] = [None] * 3

    def clock(self, who: int) -> Callable[[], float]:
        return lambda: self.now + self.offsets[who]

    def step(self, who: int, what: str) -> None:
        claim = self.claims[who]
        try:
            if claim is None and what == "take":
                self.tokens += 1
                me = Holder(owner=f"{who}", token=str(self.tokens), taken=0.0, until=0.0, machine=str(who))
                claim = Claim(self.slot, me, SECONDS, self.clock(who))
                if claim.take() is None:
                    self.claims[who] = claim
            elif (claim and what == "renew" and not claim.renew()) or (claim and what == "die"):
                self.claims[who] = None
            elif claim and what == "give back":
                claim.give_back()
                self.claims[who] = None
        except StoreError:
            if what != "renew":
                self.claims[who] = None

    WHO = st.integers(0, 2)
    WHAT = st.sampled_from(["take", "take", "take", "renew", "give back", "die"])

    @rule(
        who=WHO, what=WHAT, others=st.lists(st.tuples(WHO, WHAT), max_size=1), forgets=st.sampled_from([0, 0, 0, 0, 1])
    )
    def one(self, who: int, what: str, others: list[tuple[int, str]], forgets: int) -> None:
        self.slot.meanwhile = [lambda pair=pair: self.step(*pair) for pair in others if pair[0] != who]
        self.slot.forgets = forgets
        self.step(who, what)
        self.slot.meanwhile, self.slot.forgets = [], 0

    @rule(seconds=st.sampled_from([SECONDS / 4, SECONDS - 1, SECONDS + SKEW + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def at_most_one_holds_it(self) -> None:
        holding = [claim for claim in self.claims if claim and not claim.lost and not claim.expired()]
        assert len(holding) <= 1

    def teardown(self) -> None:
        """Whatever happened, once everybody is gone and time has passed somebody gets it."""
        self.now += SECONDS + 2 * SKEW
        self.claims[0] = None
        self.step(0, "take")
        assert self.claims[0] is not None


TestSeveral = Several.TestCase


def test_a_holder_reads_back_and_anything_else_is_none() -> None:
    holder = Holder(owner="é\x1b[2J", token="t", taken=1e9, until=1e9 + 0.25, machine="m", process=7, over=True)
    assert Holder.unpacked(holder.packed()) == holder
    assert "\x1b" not in str(holder)
    for data in (b"", b"{}", b"[1]", b"\xff", b"null", holder.packed().replace(b"2001", b"year"), holder.packed()[:-9]):
        assert Holder.unpacked(data) is None


# ------------------------------------------------------------------------------------------- folders and buckets


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An address in a real S3 protocol server (moto) on loopback, in this process."""
    moto = pytest.importorskip("moto.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"), ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"), ("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true"),
        ):  # fmt: skip
            patch.setenv(name, value)
        from interpdisc_core import storage

        storage._s3.cache_clear()
        storage.s3_filesystem().mkdir("locks")
        yield "s3://locks"
        storage._s3.cache_clear()
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "archive")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def test_a_file_is_swapped_by_who_knows_it(archive: str) -> None:
    file = slot(Place.of(archive), "x.json")
    assert file.read() is None
    assert file.swap(b"late", "a version") is None
    first = file.swap(b"one", None)
    assert first is not None
    assert file.swap(b"two", None) is None
    assert file.read() == Found(b"one", first)
    second = file.swap(b"two", first)
    assert second is not None
    assert file.swap(b"three", first) is None
    assert file.read() == Found(b"two", second)


def test_one_at_a_time(archive: str) -> None:
    """Another thread is refused and told by whom; within, it is the same lease; after, it is free."""
    refused: list[str] = []

    def other(act: Callable[[], object]) -> None:
        try:
            act()
        except PlanError as error:
            refused.append(str(error))

    def tried() -> None:
        with held(archive):
            pass

    with held(archive, owner="daily") as lease:
        with held(archive, owner="within") as again:
            assert again is lease
        refuse_if_held(archive)
        for act in (tried, lambda: refuse_if_held(archive, "folder")):
            thread = threading.Thread(target=other, args=(act,))
            thread.start()
            thread.join()
        lease.check()
    assert len(refused) == 2
    assert "another run is writing this archive ('daily, " in refused[0]
    assert "another run is writing this folder ('daily, " in refused[1]
    assert f"process {os.getpid()}" in refused[0]
    refuse_if_held(archive)
    tried()


def test_who_waits_gets_it(archive: str) -> None:
    got, go = threading.Event(), threading.Event()

    def first() -> None:
        with held(archive):
            got.set()
            go.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    assert got.wait(30)
    threading.Timer(0.3, go.set).start()
    with held(archive, wait_s=30) as lease:
        assert go.is_set()
        lease.check()
    thread.join()


def test_an_error_within_gives_it_back_and_stays_itself(archive: str) -> None:
    with pytest.raises(KeyError, match="mine"), held(archive):
        raise KeyError("mine")
    with held(archive):
        pass


def test_a_lost_lease_is_noticed(archive: str) -> None:
    """Somebody else's name is in the file: `check` says so, and so does the end, unless an error is on its way."""
    place = Place.of(archive)

    def stolen() -> None:
        there = Holder.unpacked(place.read(LOCK))
        assert there
        place.write(LOCK, replace(there, token="another", owner="thief").packed())

    with pytest.raises(StoreError, match="lost the lock of the archive to 'thief'"), held(archive):
        stolen()
    place.remove(LOCK)
    with pytest.raises(StoreError, match="thief"), held(archive, seconds=0.8) as lease:  # noqa: PT012
        stolen()
        for _ in range(100):
            lease.check()
            time.sleep(0.05)
    place.remove(LOCK)
    with pytest.raises(KeyError, match="mine"), held(archive):  # noqa: PT012
        stolen()
        raise KeyError("mine")


def test_it_is_renewed_while_it_is_held(archive: str) -> None:
    with held(archive, seconds=0.8) as lease:
        before = lease.until
        deadline = time.monotonic() + 30
        while lease.until < before + 0.5:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        there = Holder.unpacked(Place.of(archive).read(LOCK))
        assert there
        assert there.until > before
    there = Holder.unpacked(Place.of(archive).read(LOCK))
    assert there
    assert there.over


def test_a_sleeper_goes_on_where_nobody_came_in_between(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expired by its own clock, but still its own: it is renewed, not lost."""
    with held(archive) as lease:
        now = time.time
        monkeypatch.setattr(lease._claim, "clock", lambda: now() + 3600)
        assert lease._claim.expired()
        lease.check()
        assert not lease._claim.expired()


@pytest.mark.parametrize("ago", [0.0, SKEW + 60])
def test_a_holder_of_another_machine_is_believed_until_it_has_expired(archive: str, ago: float) -> None:
    now = time.time()
    other = Holder(owner="afar", token="x", taken=now - 999, until=now - ago, machine="elsewhere", space="s", process=1)
    Place.of(archive).write(LOCK, other.packed())
    if ago:
        with held(archive) as lease:
            lease.check()
    else:
        with pytest.raises(PlanError, match=r"'afar' since .* until "), held(archive):
            pass


def test_a_damaged_lock_is_a_sentence(archive: str) -> None:
    Place.of(archive).write(LOCK, b"\0what")
    with pytest.raises(StoreError, match=r"damaged: make sure that nothing writes it, and remove"), held(archive):
        pass


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for address in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="cannot be written"):
            refuse_if_held(str(address))


# --------------------------------------------------------------------------------------------------- real processes

HOLD = """
import sys
from interpdisc_core.errors import PlanError
from interpdisc_core.lease import held
from interpdisc_core.storage import Place
address = sys.argv[1]
Place.of(address).exists("warm")
print("ready", flush=True)
sys.stdin.readline()
try:
    with held(address, owner="child") as lease:
        print("got", flush=True)
        sys.stdin.readline()
        lease.check()
except PlanError as error:
    print("no", error, flush=True)
"""


def child(address: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, address], cwd=CHECKOUT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def test_of_processes_that_race_one_wins(archive: str) -> None:
    contenders = [child(archive) for _ in range(3)]
    for process in contenders:
        go(process)
    said = [process.stdout.readline() for process in contenders if process.stdout]
    for process in contenders:
        process.communicate("\n", timeout=60)
    assert sorted(text.partition(" ")[0].strip() for text in said) == ["got", "no", "no"]
    with held(archive):
        pass


def test_kill_9_leaves_it_to_the_next_at_once(archive: str) -> None:
    process = child(archive)
    go(process)
    assert process.stdout
    assert process.stdout.readline() == "got\n"
    with pytest.raises(PlanError, match="'child, "), held(archive):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    with held(archive) as lease:
        lease.check()
    process.stdout.close()
