"""HTTP requests to a feed's server: rate limited, retried, with limits of size and time; no answer is trusted.

Only the feed's own host and allowed hosts are contacted, also by redirections. An attempt that fails for a temporary
reason is repeated after a growing wait, or when the server says (Retry-After).
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urljoin

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, LocationParseError, LocationValueError
from urllib3.util import Timeout, parse_url

from interpdisc_core.metadata.untrusted import load_untrusted_json
from interpdisc_core.provenance import package_version
from interpdisc_core.sources.feeds.settings import HttpPolicy

T = TypeVar("T")
_CHUNK_BYTES = 1 << 16
_MAX_REDIRECTS = 5
_MAX_TRY_TIMEOUTS = 20
"""An attempt lasts at most this many times the timeout: a very slow server must not hold a poll for ever."""
_RETRYABLE_STATUSES = (408, 425, 429, 500, 502, 503, 504)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class FetchError(Exception):
    """Something could not be fetched.

    Args:
        reason: Why, as one phrase.
        retryable: Another attempt may succeed.
        host_down: The host is at fault, not this URL.
        retry_after: Seconds that the server asks to wait; 0 if it does not.
    """

    def __init__(
        self, reason: str, *, retryable: bool = False, host_down: bool = False, retry_after: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.retryable, self.host_down, self.retry_after = retryable, host_down, retry_after


class HttpClient:
    """Requests to one feed's hosts; thread-safe.

    Args:
        base: The feed's URL.
        policy: Rate limits, retries and limits of size.
    """

    def __init__(self, base: str, policy: HttpPolicy) -> None:
        self.policy, self._base = policy, parse_url(base)
        self.stop = threading.Event()
        self._lock, self._next_start = threading.Lock(), 0.0
        self._pool = urllib3.PoolManager(
            num_pools=8,
            maxsize=policy.max_connections,
            retries=False,
            timeout=Timeout(connect=policy.timeout_s, read=policy.timeout_s),
            headers={
                "User-Agent": f"interpdisc/{package_version('interpdisc', default='0')} (novelty detection)",
                "Accept-Encoding": "identity",
            },
        )

    def close(self) -> None:
        """End all waits, and close the connections."""
        self.stop.set()
        self._pool.clear()

    def retry(self, attempt: Callable[[], T]) -> T:
        """The result of `attempt`, called again while it fails for a temporary reason and the policy allows.

        Raises:
            FetchError: Of the last attempt.
        """
        wait = self.policy.backoff_s
        for tries_left in reversed(range(self.policy.tries)):
            try:
                self._wait_turn()
                return attempt()
            except FetchError as error:
                if not tries_left or not error.retryable or self.stop.is_set():
                    raise
                if error.retry_after > self.policy.max_wait_s:
                    raise FetchError(f"{error}, and asks to wait {error.retry_after:.0f} s", host_down=True) from None
                if error.retry_after:  # which holds for all requests
                    with self._lock:
                        self._next_start = max(self._next_start, time.monotonic() + error.retry_after)
                self.stop.wait(min(wait, self.policy.max_wait_s) * random.uniform(0.5, 1.5))
                wait *= 2
        raise AssertionError("an attempt returns or raises")

    def _wait_turn(self) -> None:
        """Wait until this request may start: requests start one after another, a pause apart."""
        with self._lock:
            start = max(self._next_start, time.monotonic())
            self._next_start = start + self.policy.pause_s
        if self.stop.wait(max(start - time.monotonic(), 0)):
            raise FetchError("interrupted")

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[urllib3.BaseHTTPResponse]:
        """The response to a GET with status 200, 206, 304 or 416, its body unread.

        Raises:
            FetchError: For any other status, a URL that is not allowed, or an error on the way.
        """
        for _ in range(_MAX_REDIRECTS):
            self._check_url(url)
            with _translate_http_errors():
                response = self._pool.request(
                    "GET", url, headers={**self._pool.headers, **(headers or {})}, redirect=False, preload_content=False
                )
            try:
                if (location := response.headers.get("Location")) and response.status in (301, 302, 303, 307, 308):
                    url = _join_url(url, location)
                    continue
                _check_status(response)
                yield response
                return
            finally:
                response.close()  # a connection whose body was read to its end is already back in the pool
        raise FetchError(f"more than {_MAX_REDIRECTS} redirections")

    def _check_url(self, url: str) -> None:
        try:
            parts = parse_url(url)
        except LocationParseError:
            raise FetchError("an invalid URL") from None
        if parts.scheme not in _DEFAULT_PORTS or not parts.host:
            raise FetchError(f"a URL with an unsupported scheme ({str(parts.scheme)[:20]})")
        if (parts.scheme, parts.host, parts.port) == (self._base.scheme, self._base.host, self._base.port):
            return
        if parts.scheme == "http" and self._base.scheme == "https":
            raise FetchError("a URL without encryption")
        if not any(parts.host == host or parts.host.endswith(f".{host}") for host in self.policy.hosts) or (
            parts.port not in (None, _DEFAULT_PORTS[parts.scheme])
        ):
            raise FetchError(f"a URL at {parts.host[:80]}, which is not one of the feed's hosts (http_policy.hosts)")

    def read_body(self, response: urllib3.BaseHTTPResponse, max_bytes: int) -> Iterator[bytes]:
        """The body in chunks, decompressed.

        Raises:
            FetchError: If it is larger than `max_bytes`, takes too long, or the connection breaks.
        """
        deadline, size = time.monotonic() + _MAX_TRY_TIMEOUTS * self.policy.timeout_s, 0
        # Chunks are returned as they arrive: the beginning of an interrupted body is kept.
        with _translate_http_errors():
            while chunk := response.read1(_CHUNK_BYTES, decode_content=True):
                if (size := size + len(chunk)) > max_bytes:
                    raise FetchError(f"more than {max_bytes} bytes")
                yield chunk
                if self.stop.is_set():
                    raise FetchError("interrupted")
                if time.monotonic() > deadline:
                    raise FetchError(
                        f"not complete after {_MAX_TRY_TIMEOUTS * self.policy.timeout_s:.0f} s",
                        retryable=True,
                        host_down=True,
                    )

    def get_json(self, url: str) -> Any:
        """The JSON value at `url`; NaN and infinities become text.

        Raises:
            FetchError: If it cannot be fetched or is not JSON.
        """

        def attempt() -> Any:
            with self.get(url) as response:
                data = b"".join(self.read_body(response, self.policy.max_page_bytes))
            try:
                return load_untrusted_json(data, parse_int=_parse_json_int)
            except ValueError:
                content_kind = "a web page" if is_html(data) else "not JSON"
                raise FetchError(f"the feed's answer is {content_kind}", retryable=True, host_down=True) from None

        return self.retry(attempt)


def _parse_json_int(digits: str) -> int | str:
    return int(digits) if len(digits) < 1000 else digits  # Python refuses thousands of digits


def _join_url(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise FetchError("a redirection to an invalid URL") from None


def is_html(data: bytes | bytearray) -> bool:
    """Whether a body is a web page, whatever its content type."""
    start = bytes(data[:512]).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--"))


def _check_status(response: urllib3.BaseHTTPResponse) -> None:
    if response.status in (200, 206, 304, 416):
        return
    retry_after = 0.0
    if response.status in _RETRYABLE_STATUSES and (retry_after_header := response.headers.get("Retry-After")):
        try:
            retry_after = urllib3.Retry().parse_retry_after(retry_after_header)
        except (InvalidHeader, ValueError, OverflowError):
            retry_after = 0.0
    busy = response.status in _RETRYABLE_STATUSES
    raise FetchError(f"the server answered {response.status}", retryable=busy, host_down=busy, retry_after=retry_after)


@contextmanager
def _translate_http_errors() -> Iterator[None]:
    """Turn errors of the connection into a retryable `FetchError`."""
    try:
        yield
    except LocationValueError:
        raise FetchError("an invalid URL") from None
    except (HTTPError, OSError) as error:
        kind = type(error).__name__
        reason = {
            "ReadTimeoutError": "no answer in time",
            "ConnectTimeoutError": "no connection in time",
            "ProtocolError": "the connection broke",
            "DecodeError": "its compression is damaged",
            "NewConnectionError": "no connection",
            "NameResolutionError": "no such host",
            "SSLError": "no trusted encryption",
        }.get(kind, kind)
        raise FetchError(reason, retryable=True, host_down=True) from error
