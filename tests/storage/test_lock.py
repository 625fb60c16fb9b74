"""One at a time writes an archive: two never hold its lock, a dead holder's is taken over, and a lost one is noticed."""

import json
import os
import signal
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

from interpdisc_core.digest import digest_bytes
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.storage.compare_and_swap import Versioned, open_versioned_file
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.lock import LOCK_FILE, archive_lock, refuse_if_locked
from interpdisc_core.storage.lock_protocol import MAX_CLOCK_SKEW_S, LockFile, LockOwner
from tests.helpers.ports import find_free_ports

CHECKOUT = Path(__file__).resolve().parents[2]
SECONDS = 120.0
LOCK_KEYS = {"owner", "token", "taken", "until", "machine", "space", "process", "started", "over"}
"""Of lock.json, which processes of other versions read."""

# ------------------------------------------------------------------------------- step by step, on clocks of our own


class MemoryFile:
    """A slot that swaps in one step; `meanwhile` is what others do between a look and the swap that follows it."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.meanwhile: list[Callable[[], object]] = []
        self.forgets = 0

    def read(self) -> Versioned | None:
        return None if self.data is None else Versioned(self.data, digest_bytes(self.data))

    def swap(self, data: bytes, version: str | None) -> str | None:
        while self.meanwhile:
            self.meanwhile.pop()()
        current = self.read()
        if (current.version if current else None) != version:
            return None
        self.data = data
        if self.forgets:
            self.forgets -= 1
            raise StoreError("the answer is lost")
        return digest_bytes(data)


class SeveralProcesses(RuleBasedStateMachine):
    """Some processes of machines whose clocks differ, in any order, one within another's step, and with lost answers."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.file = 1e9, MemoryFile()
        self.offsets = [0.0, MAX_CLOCK_SKEW_S / 2, -MAX_CLOCK_SKEW_S / 2]
        self.tokens = 0
        self.lock_files: list[LockFile | None] = [None] * 3

    def clock(self, index: int) -> Callable[[], float]:
        return lambda: self.now + self.offsets[index]

    def step(self, index: int, action: str) -> None:
        lock_file = self.lock_files[index]
        try:
            if lock_file is None and action == "take":
                self.tokens += 1
                identity = LockOwner(owner=f"{index}", token=str(self.tokens), taken=0.0, until=0.0, machine=str(index))
                lock_file = LockFile(self.file, identity, SECONDS, self.clock(index))
                if lock_file.acquire() is None:
                    self.lock_files[index] = lock_file
            elif (lock_file and action == "renew" and not lock_file.renew()) or (lock_file and action == "die"):
                self.lock_files[index] = None
            elif lock_file and action == "give back":
                lock_file.release()
                self.lock_files[index] = None
        except StoreError:
            if action != "renew":
                self.lock_files[index] = None

    INDEX = st.integers(0, 2)
    ACTION = st.sampled_from(["take", "take", "take", "renew", "give back", "die"])

    @rule(
        index=INDEX,
        action=ACTION,
        others=st.lists(st.tuples(INDEX, ACTION), max_size=1),
        forgets=st.sampled_from([0, 0, 0, 0, 1]),
    )
    def one(self, index: int, action: str, others: list[tuple[int, str]], forgets: int) -> None:
        self.file.meanwhile = [lambda pair=pair: self.step(*pair) for pair in others if pair[0] != index]
        self.file.forgets = forgets
        self.step(index, action)
        self.file.meanwhile, self.file.forgets = [], 0

    @rule(seconds=st.sampled_from([SECONDS / 4, SECONDS - 1, SECONDS + MAX_CLOCK_SKEW_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def at_most_one_holds_it(self) -> None:
        holding = [
            lock_file
            for lock_file in self.lock_files
            if lock_file and not lock_file.lost_to and not lock_file.is_expired()
        ]
        assert len(holding) <= 1

    def teardown(self) -> None:
        """Whatever happened, once everybody is gone and time has passed somebody gets it."""
        self.now += SECONDS + 2 * MAX_CLOCK_SKEW_S
        self.lock_files[0] = None
        self.step(0, "take")
        assert self.lock_files[0] is not None


TestSeveralProcesses = SeveralProcesses.TestCase


def test_an_owner_is_read_back_and_damaged_bytes_are_none() -> None:
    holder = LockOwner(owner="é\x1b[2J", token="t", taken=1e9, until=1e9 + 0.25, machine="m", process=7, released=True)
    assert LockOwner.from_bytes(holder.to_bytes()) == holder
    assert "\x1b" not in str(holder)
    assert set(json.loads(holder.to_bytes())) == LOCK_KEYS
    for data in (
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b"null",
        holder.to_bytes().replace(b"2001", b"year"),
        holder.to_bytes()[:-9],
    ):
        assert LockOwner.from_bytes(data) is None


# ------------------------------------------------------------------------------------------- folders and buckets


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An address in a real S3 protocol server (moto) on loopback, in this process."""
    moto = pytest.importorskip("moto.server")
    [port] = find_free_ports(1)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ):
            patch.setenv(name, value)
        from interpdisc_core.storage import remote_files

        remote_files._make_s3_filesystem.cache_clear()
        remote_files.get_s3_filesystem().mkdir("locks")
        yield "s3://locks"
        remote_files._make_s3_filesystem.cache_clear()
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "archive")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def test_a_file_is_swapped_only_with_its_version(archive: str) -> None:
    file = open_versioned_file(Location.parse(archive), "x.json")
    assert file.read() is None
    assert file.swap(b"late", "a version") is None
    first = file.swap(b"one", None)
    assert first is not None
    assert file.swap(b"two", None) is None
    assert file.read() == Versioned(b"one", first)
    second = file.swap(b"two", first)
    assert second is not None
    assert file.swap(b"three", first) is None
    assert file.read() == Versioned(b"two", second)


def test_one_at_a_time(archive: str) -> None:
    """Another thread is refused and told by whom; within, it is the same lease; after, it is free."""
    refused: list[str] = []

    def other(act: Callable[[], object]) -> None:
        try:
            act()
        except PlanError as error:
            refused.append(str(error))

    def tried() -> None:
        with archive_lock(archive):
            pass

    with archive_lock(archive, owner="daily") as lease:
        with archive_lock(archive, owner="within") as again:
            assert again is lease
        refuse_if_locked(archive)
        for act in (tried, lambda: refuse_if_locked(archive, "folder")):
            thread = threading.Thread(target=other, args=(act,))
            thread.start()
            thread.join()
        lease.check()
    assert len(refused) == 2
    assert "another run is writing to this archive ('daily, " in refused[0]
    assert "another run is writing to this folder ('daily, " in refused[1]
    assert f"process {os.getpid()}" in refused[0]
    refuse_if_locked(archive)
    tried()


def test_a_waiting_process_gets_the_lock(archive: str) -> None:
    got, go = threading.Event(), threading.Event()

    def first() -> None:
        with archive_lock(archive):
            got.set()
            go.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    assert got.wait(30)
    threading.Timer(0.3, go.set).start()
    with archive_lock(archive, wait_s=30) as lease:
        assert go.is_set()
        lease.check()
    thread.join()


def test_an_error_inside_releases_the_lock_and_is_raised(archive: str) -> None:
    with pytest.raises(KeyError, match="mine"), archive_lock(archive):
        raise KeyError("mine")
    with archive_lock(archive):
        pass


def test_a_lost_lease_is_noticed(archive: str) -> None:
    """Somebody else's name is in the file: `check` says so, and so does the end, unless an error is on its way."""
    place = Location.parse(archive)

    def stolen() -> None:
        current_owner = LockOwner.from_bytes(place.read(LOCK_FILE))
        assert current_owner
        place.write(LOCK_FILE, replace(current_owner, token="another", owner="thief").to_bytes())

    with pytest.raises(StoreError, match="lost the lock of the archive to 'thief'"), archive_lock(archive):
        stolen()
    place.remove(LOCK_FILE)
    with pytest.raises(StoreError, match="thief"), archive_lock(archive, duration_s=0.8) as lease:  # noqa: PT012
        stolen()
        for _ in range(100):
            lease.check()
            time.sleep(0.05)
    place.remove(LOCK_FILE)
    with pytest.raises(KeyError, match="mine"), archive_lock(archive):  # noqa: PT012
        stolen()
        raise KeyError("mine")


def test_it_is_renewed_while_it_is_held(archive: str) -> None:
    with archive_lock(archive, duration_s=0.8) as lease:
        before = lease.expires_at
        deadline = time.monotonic() + 30
        while lease.expires_at < before + 0.5:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        current_owner = LockOwner.from_bytes(Location.parse(archive).read(LOCK_FILE))
        assert current_owner
        assert current_owner.until > before
    current_owner = LockOwner.from_bytes(Location.parse(archive).read(LOCK_FILE))
    assert current_owner
    assert current_owner.released


def test_an_expired_lock_that_nobody_took_is_renewed(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expired by its own clock, but still its own: it is renewed, not lost."""
    with archive_lock(archive) as lease:
        now = time.time
        monkeypatch.setattr(lease._lock_file, "clock", lambda: now() + 3600)
        assert lease._lock_file.is_expired()
        lease.check()
        assert not lease._lock_file.is_expired()


@pytest.mark.parametrize("ago", [0.0, MAX_CLOCK_SKEW_S + 60])
def test_a_lock_of_another_machine_holds_until_it_has_expired(archive: str, ago: float) -> None:
    now = time.time()
    other = LockOwner(
        owner="afar", token="x", taken=now - 999, until=now - ago, machine="elsewhere", space="s", process=1
    )
    Location.parse(archive).write(LOCK_FILE, other.to_bytes())
    if ago:
        with archive_lock(archive) as lease:
            lease.check()
    else:
        with pytest.raises(PlanError, match=r"'afar' since .* until "), archive_lock(archive):
            pass


def test_a_damaged_lock_is_reported(archive: str) -> None:
    Location.parse(archive).write(LOCK_FILE, b"\0what")
    with (
        pytest.raises(StoreError, match=r"damaged: make sure that nothing writes it, and run `interpdisc repair`"),
        archive_lock(archive),
    ):
        pass


def test_a_location_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for address in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="cannot be written"):
            refuse_if_locked(str(address))


# --------------------------------------------------------------------------------------------------- real processes

HOLD = """
import sys
from interpdisc_core.errors import PlanError
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.lock import archive_lock
address = sys.argv[1]
Location.parse(address).exists("warm")
print("ready", flush=True)
sys.stdin.readline()
try:
    with archive_lock(address, owner="child") as lease:
        print("got", flush=True)
        sys.stdin.readline()
        lease.check()
except PlanError as error:
    print("no", error, flush=True)
"""


def child(address: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, address], cwd=CHECKOUT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
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
    answers = [process.stdout.readline() for process in contenders if process.stdout]
    for process in contenders:
        process.communicate("\n", timeout=60)
    assert sorted(text.partition(" ")[0].strip() for text in answers) == ["got", "no", "no"]
    with archive_lock(archive):
        pass


def test_the_lock_of_a_killed_process_is_free_at_once(archive: str) -> None:
    process = child(archive)
    go(process)
    assert process.stdout
    assert process.stdout.readline() == "got\n"
    with pytest.raises(PlanError, match="'child, "), archive_lock(archive):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    with archive_lock(archive) as lease:
        lease.check()
    process.stdout.close()
