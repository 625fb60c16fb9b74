"""HTTP as a guest: paced, patient, with limits; nothing that a server says is trusted.

Addresses lead to the feed's own host or to those that were allowed, redirections included. A try that fails for a
passing reason is made again, later each time; where the server says when (Retry-After), then.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar
from urllib.parse import urljoin

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, LocationParseError, LocationValueError
from urllib3.util import Timeout, parse_url

from interpdisc_core.feeds.manners import Manners

T = TypeVar("T")
_CHUNK = 1 << 16
_REDIRECTIONS = 5
_SLOW = 20
"""One try lasts at most this many times the time-out: a server that drips does not hold a poll for ever."""
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_PORTS = {"http": 80, "https": 443}


class Trouble(Exception):
    """Why something could not be fetched, as one phrase.

    passing: another try may go well. far: the host is at fault, not this address. wait: seconds that it asked for.
    """

    def __init__(self, reason: str, *, passing: bool = False, far: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.passing, self.far, self.wait = passing, far, wait


class Client:
    """Requests to one feed's hosts; may be used from several threads. `base`: the feed's address."""

    def __init__(self, base: str, manners: Manners) -> None:
        self.manners, self._base = manners, parse_url(base)
        self.stop = threading.Event()
        self._lock, self._free = threading.Lock(), 0.0
        self._pool = urllib3.PoolManager(
            num_pools=8,
            maxsize=manners.together,
            retries=False,
            timeout=Timeout(connect=manners.timeout_s, read=manners.timeout_s),
            headers={"User-Agent": f"interpdisc/{_version()} (novelty detection)", "Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """Stop what is waiting and close the connections."""
        self.stop.set()
        self._pool.clear()

    def tried(self, once: Callable[[], T]) -> T:
        """What `once` returns, after as many tries as the manners allow. Raises its Trouble."""
        wait = self.manners.backoff_s
        for left in reversed(range(self.manners.tries)):
            try:
                self._turn()
                return once()
            except Trouble as error:
                if not left or not error.passing or self.stop.is_set():
                    raise
                if error.wait > self.manners.longest_wait_s:
                    raise Trouble(f"{error}, and asks to come back in {error.wait:.0f} s", far=True) from None
                if error.wait:  # it is meant for all requests
                    with self._lock:
                        self._free = max(self._free, time.monotonic() + error.wait)
                self.stop.wait(min(wait, self.manners.longest_wait_s) * random.uniform(0.5, 1.5))
                wait *= 2
        raise AssertionError("a try returns or raises")

    def _turn(self) -> None:
        """Wait for the next turn: requests start one after another, a pause apart."""
        with self._lock:
            at = max(self._free, time.monotonic())
            self._free = at + self.manners.pause_s
        if self.stop.wait(max(at - time.monotonic(), 0)):
            raise Trouble("interrupted")

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer to a GET, its body unread; status 200, 206, 304 or 416. Raises Trouble for all else."""
        for _ in range(_REDIRECTIONS):
            self._check(url)
            with _told():
                response = self._pool.request(
                    "GET", url, headers={**self._pool.headers, **(headers or {})}, redirect=False, preload_content=False
                )
            try:
                if (place := response.headers.get("Location")) and response.status in (301, 302, 303, 307, 308):
                    url = _joined(url, place)
                    continue
                _check_status(response)
                yield response
                return
            finally:
                response.close()  # a connection whose answer was read to its end is back in the pool by now
        raise Trouble(f"more than {_REDIRECTIONS} redirections")

    def _check(self, url: str) -> None:
        try:
            found = parse_url(url)
        except LocationParseError:
            raise Trouble("not an address") from None
        if found.scheme not in _PORTS or not found.host:
            raise Trouble(f"an address of a kind that is not fetched ({str(found.scheme)[:20]})")
        if (found.scheme, found.host, found.port) == (self._base.scheme, self._base.host, self._base.port):
            return
        if found.scheme == "http" and self._base.scheme == "https":
            raise Trouble("an address without encryption")
        if not any(found.host == host or found.host.endswith(f".{host}") for host in self.manners.hosts) or (
            found.port not in (None, _PORTS[found.scheme])
        ):
            raise Trouble(f"an address at {found.host[:80]}, which is not one of the feed's hosts")

    def read(self, response: urllib3.BaseHTTPResponse, most: int) -> Iterator[bytes]:
        """The body in pieces, decompressed where it was compressed. Raises Trouble when there are more than `most` bytes."""
        until, size = time.monotonic() + _SLOW * self.manners.timeout_s, 0
        # What is there is taken as it comes: of a body that breaks off, the beginning is worth having.
        with _told():
            while piece := response.read1(_CHUNK, decode_content=True):
                if (size := size + len(piece)) > most:
                    raise Trouble(f"more than {most} bytes")
                yield piece
                if self.stop.is_set():
                    raise Trouble("interrupted")
                if time.monotonic() > until:
                    raise Trouble(f"not there after {_SLOW * self.manners.timeout_s:.0f} s", passing=True, far=True)

    def json(self, url: str) -> Any:
        """The JSON value at `url`, numbers that JSON has not (NaN) as text. Raises Trouble."""

        def once() -> Any:
            with self.get(url) as response:
                data = b"".join(self.read(response, self.manners.largest_page))
            try:
                return json.loads(data, parse_constant=str, parse_int=_whole_number)
            except (ValueError, RecursionError):
                what = "a web page" if is_html(data) else "not JSON"
                raise Trouble(f"the feed's answer is {what}", passing=True, far=True) from None

        return self.tried(once)


def _whole_number(digits: str) -> int | str:
    return int(digits) if len(digits) < 1000 else digits  # Python refuses thousands of digits


def _joined(url: str, place: str) -> str:
    try:
        return urljoin(url, place)
    except ValueError:
        raise Trouble("a redirection to what is not an address") from None


def is_html(data: bytes | bytearray) -> bool:
    """Whether a body is a web page, whatever it was called."""
    start = bytes(data[:512]).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--"))


def _check_status(response: urllib3.BaseHTTPResponse) -> None:
    if response.status in (200, 206, 304, 416):
        return
    wait = 0.0
    if response.status in _BUSY and (asked := response.headers.get("Retry-After")):
        try:
            wait = urllib3.Retry().parse_retry_after(asked)
        except (InvalidHeader, ValueError, OverflowError):
            wait = 0.0
    busy = response.status in _BUSY
    raise Trouble(f"the server answered {response.status}", passing=busy, far=busy, wait=wait)


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong on the way is Trouble that may pass."""
    try:
        yield
    except LocationValueError:
        raise Trouble("not an address") from None
    except (HTTPError, OSError) as error:
        kind = type(error).__name__
        reason = {
            "ReadTimeoutError": "no answer in time", "ConnectTimeoutError": "no connection in time",
            "ProtocolError": "the connection broke", "DecodeError": "its compression is damaged",
            "NewConnectionError": "no connection", "NameResolutionError": "no such host", "SSLError": "no trusted encryption",
        }.get(kind, kind)  # fmt: skip
        raise Trouble(reason, passing=True, far=True) from error


def _version() -> str:
    try:
        return version("interpdisc")
    except PackageNotFoundError:
        return "0"
