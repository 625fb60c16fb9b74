"""Answers of a server are not trusted: where they may redirect, how large they may be, and what is not an image."""

import gzip
import resource
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from interpdisc_core.sources.feeds import HttpPolicy
from interpdisc_core.sources.feeds.download import download_image
from interpdisc_core.sources.feeds.http_client import FetchError, HttpClient
from interpdisc_core.storage.location import Location

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40 + b"\xff\xd9"
Answer = tuple[int, dict[str, str], bytes]
HASTY = HttpPolicy(pause_s=0.0, timeout_s=2.0, tries=3, backoff_s=0.001, max_wait_s=5.0)


class FakeServer(ThreadingHTTPServer):
    """Answers by path; `requests` are the path, headers and time of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Callable[[int], Answer]] = {}
        self.requests: list[tuple[str, dict[str, str], float]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is not an error."""

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        times = sum(path == self.path for path, _, _ in self.server.requests)
        self.server.requests.append((self.path, dict(self.headers), time.monotonic()))
        status, headers, data = self.server.answers[self.path](times)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        if headers.get("Content-Length", str(len(data))) != str(len(data)):
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server on loopback."""
    with FakeServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server: FakeServer, folder: Path, answers: Callable[[int], Answer], policy: HttpPolicy = HASTY) -> bytes:
    """The image at a path with these answers."""
    server.answers["/image"] = answers
    body = download_image(
        HttpClient(server.url("/"), policy), Location.parse(folder), "partial", server.url("/image"), has_partial=True
    )
    assert body
    return body.data


# ------------------------------------------------------------------------------------------------------ images


def test_an_image_is_fetched_uncompressed(server: FakeServer, tmp_path: Path) -> None:
    """With the program's name as the user agent."""
    assert fetch(server, tmp_path, lambda _: (200, {}, JPEG)) == JPEG
    _, headers, _ = server.requests[0]
    assert headers["User-Agent"].startswith("interpdisc/")
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {}, b""), "empty"),
        ((200, {"Content-Type": "text/html"}, b"<p>sorry"), "a web page"),
        ((200, {"Content-Type": "image/jpeg"}, b"\n<!DOCTYPE html><html>"), "a web page"),
        ((200, {}, JPEG[:-2]), "JPEG without its end"),
        ((200, {}, b"\x89PNG\r\n\x1a\n" + bytes(99)), "PNG without its end"),
        ((200, {"Content-Length": str(len(JPEG) + 9)}, JPEG), "the connection broke"),
        ((200, {"Repr-Digest": "sha-256=:" + "A" * 43 + "=:"}, JPEG), "sha256 digest is wrong"),
        ((200, {"Content-MD5": "A" * 22 + "=="}, JPEG), "md5 digest is wrong"),
        ((206, {"Content-Range": "bytes 5-9/100"}, JPEG), "another range"),
        ((503, {}, b""), "503"),
        ((429, {"Retry-After": "0"}, b""), "429"),
    ],
)
def test_bodies_that_are_not_the_image_are_refused_after_three_attempts(
    server: FakeServer, tmp_path: Path, answer: Answer, reason: str
) -> None:
    """And the image is fetched if the last attempt gives it."""
    with pytest.raises(FetchError, match=reason):
        fetch(server, tmp_path, lambda _: answer)
    assert len(server.requests) == 3
    server.requests.clear()
    assert fetch(server, tmp_path, lambda times: answer if times < 2 else (200, {}, JPEG)) == JPEG


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_permanent_errors_are_not_retried(server: FakeServer, tmp_path: Path, status: int) -> None:
    """One attempt."""
    with pytest.raises(FetchError, match=str(status)):
        fetch(server, tmp_path, lambda _: (status, {}, b""))
    assert len(server.requests) == 1


def test_an_image_that_changes_during_a_download_is_fetched_whole(server: FakeServer, tmp_path: Path) -> None:
    """The rest of another content is not appended to the beginning of the first."""
    other = JPEG[:-2] + b"other\xff\xd9"

    def answer(times: int) -> Answer:
        if times == 0:
            return 200, {"ETag": '"one"', "Content-Length": str(len(JPEG))}, JPEG[:5000]
        if server.requests[-1][1].get("If-Range") == '"one"':
            return 200, {"ETag": '"two"'}, other
        return 500, {}, b""

    assert fetch(server, tmp_path, answer) == other
    assert server.requests[1][1]["Range"] == "bytes=5000-"


def test_a_saved_download_is_resumed(server: FakeServer, tmp_path: Path) -> None:
    """Also by a later process; a server that ignores ranges sends the whole image again."""

    def broken(times: int) -> Answer:
        return 200, {"ETag": '"one"', "Content-Length": str(len(JPEG))}, JPEG[:7000]

    def rest(times: int) -> Answer:
        start = int(server.requests[-1][1]["Range"].removeprefix("bytes=").rstrip("-"))
        size = len(JPEG)
        return 206, {"ETag": '"one"', "Content-Range": f"bytes {start}-{size - 1}/{size}"}, JPEG[start:]

    for resume in (rest, lambda times: (200, {}, JPEG)):
        with pytest.raises(FetchError):
            fetch(server, tmp_path, broken)
        assert (tmp_path / "partial").exists()
        assert fetch(server, tmp_path, resume) == JPEG
        assert not (tmp_path / "partial").exists()


def test_an_image_that_is_too_large_is_refused(server: FakeServer, tmp_path: Path) -> None:
    """By its announced and by its actual size."""
    small = HttpPolicy(max_image_bytes=1000)
    with pytest.raises(FetchError, match="10246 bytes, more than 1000"):
        fetch(server, tmp_path, lambda _: (200, {}, JPEG), small)
    with pytest.raises(FetchError, match="more than 1000 bytes"):
        fetch(server, tmp_path, lambda _: (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(10**5))), small)


# --------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://mars.nasa.gov/x",
        "gopher://x",
        "http://",
        "//",
        "not an address",
        "http://[::1",
        "http://169.254.169.254/latest/meta-data",
        "https://mars.nasa.gov.evil.example/x",
        "https://evilnasa.gov/x",
        "https://mars.nasa.gov@evil.example/x",
        "https://mars.nasa.gov:22/x",
        "http://127.0.0.1:1/x",
        "http://localhost/x",
        "http://mars.nasa.gov\\@evil.example/",
        "https://evil.example\r\nHost: mars.nasa.gov/",
        "",
    ],
)
def test_urls_of_other_hosts_are_refused(server: FakeServer, tmp_path: Path, url: str) -> None:
    """Before anything is sent, also by a redirection."""
    client = HttpClient(server.url("/"), HASTY)
    with pytest.raises(FetchError), client.get(url):
        pass
    if url.strip() and url.isprintable():
        server.answers["/image"] = lambda _: (302, {"Location": url}, b"")
        with pytest.raises(FetchError):
            download_image(client, Location.parse(tmp_path), "partial", server.url("/image"), has_partial=False)
    assert {path for path, _, _ in server.requests} <= {"/image", "/not%20an%20address"}


def test_an_https_feed_never_leads_to_http(server: FakeServer) -> None:
    """Not even on the same host."""
    with (
        pytest.raises(FetchError, match="without encryption"),
        HttpClient("https://mars.nasa.gov/", HASTY).get("http://mars.nasa.gov/x"),
    ):
        pass


def test_redirections_are_followed_a_few_times(server: FakeServer, tmp_path: Path) -> None:
    """On the same host."""
    server.answers["/there"] = lambda _: (200, {}, JPEG)
    assert fetch(server, tmp_path, lambda _: (301, {"Location": "/there"}, b"")) == JPEG
    with pytest.raises(FetchError, match="redirections"):
        fetch(server, tmp_path, lambda _: (307, {"Location": "/image"}, b""))


# ------------------------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("data", [b"", b"{", b"<html>", b"\xff\xfe", b"[" * 10**5, b'{"a": 1} trailing'])
def test_pages_that_are_not_json_are_retried(server: FakeServer, data: bytes) -> None:
    """Then refused; accepted if the last attempt is JSON."""
    server.answers["/page"] = lambda _: (200, {}, data)
    client = HttpClient(server.url("/"), HASTY)
    with pytest.raises(FetchError, match="the feed's answer is"):
        client.get_json(server.url("/page"))
    assert len(server.requests) == 3
    server.requests.clear()
    server.answers["/page"] = lambda times: (
        200,
        {},
        data if times < 2 else b'{"n": NaN, "big": 1' + b"0" * 5000 + b"}",
    )
    assert client.get_json(server.url("/page")) == {"n": "NaN", "big": "1" + "0" * 5000}


def test_a_compressed_page_cannot_fill_the_memory(server: FakeServer) -> None:
    """A page of 400 MB in 400 kB is refused at the limit."""
    bomb = gzip.compress(bytes(400_000_000), 1)
    server.answers["/page"] = lambda _: (200, {"Content-Encoding": "gzip"}, bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FetchError, match="more than 1000000 bytes"):
        HttpClient(server.url("/"), HttpPolicy(max_page_bytes=1_000_000)).get_json(server.url("/page"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_retry_after_holds_for_all_requests(server: FakeServer) -> None:
    """The next request starts after the requested wait; a wait that is too long ends the attempts."""
    server.answers["/page"] = lambda times: (429, {"Retry-After": "1"}, b"") if times == 0 else (200, {}, b"[]")
    server.answers["/other"] = lambda _: (200, {}, b"[]")
    client = HttpClient(server.url("/"), HASTY)
    other = threading.Timer(0.3, lambda: client.get_json(server.url("/other")))
    other.start()
    assert client.get_json(server.url("/page")) == []
    other.join()
    first = server.requests[0][2]
    assert all(at - first >= 0.99 for _, _, at in server.requests[1:])
    server.answers["/page"] = lambda _: (503, {"Retry-After": "4000"}, b"")
    with pytest.raises(FetchError, match="wait 4000 s"):
        client.get_json(server.url("/page"))


def test_requests_are_a_pause_apart(server: FakeServer) -> None:
    """Also from several threads."""
    server.answers["/page"] = lambda _: (200, {}, b"[]")
    client = HttpClient(server.url("/"), HttpPolicy(pause_s=0.05))
    threads = [threading.Thread(target=client.get_json, args=(server.url("/page"),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(at for _, _, at in server.requests)
    assert times[-1] - times[0] >= 0.05 * 4 - 0.02


def test_stopping_ends_a_wait(server: FakeServer) -> None:
    """A waiting request fails at once."""
    server.answers["/page"] = lambda _: (503, {"Retry-After": "4"}, b"")
    client = HttpClient(server.url("/"), HASTY)
    threading.Timer(0.2, client.close).start()
    with pytest.raises(FetchError):
        client.get_json(server.url("/page"))
    assert len(server.requests) == 1
