"""A server is a stranger: where its answers may lead, how large they may be, and what is not an image."""

import gzip
import resource
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from interpdisc_core.feeds import Manners
from interpdisc_core.feeds.client import Client, Trouble
from interpdisc_core.feeds.downloads import fetch
from interpdisc_core.storage import Place

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40 + b"\xff\xd9"
Answer = tuple[int, dict[str, str], bytes]
HASTY = Manners(pause_s=0.0, timeout_s=2.0, tries=3, backoff_s=0.001, longest_wait_s=5.0)


class Stranger(ThreadingHTTPServer):
    """Answers by path; `asked` are the requests: path and headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Callable[[int], Answer]] = {}
        self.asked: list[tuple[str, dict[str, str], float]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is not an error."""

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Stranger
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        times = sum(path == self.path for path, _, _ in self.server.asked)
        self.server.asked.append((self.path, dict(self.headers), time.monotonic()))
        status, headers, data = self.server.answers[self.path](times)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        if headers.get("Content-Length", str(len(data))) != str(len(data)):
            self.close_connection = True


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """A server on loopback."""
    with Stranger() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetched(server: Stranger, place: Path, answers: Callable[[int], Answer], manners: Manners = HASTY) -> bytes:
    """The image at a path that answers so, or Trouble."""
    server.answers["/image"] = answers
    body = fetch(Client(server.url("/"), manners), Place.of(place), "partial", server.url("/image"), begun=True)
    assert body
    return body.data


# ------------------------------------------------------------------------------------------------------ images


def test_an_image_comes_as_it_is(stranger: Stranger, tmp_path: Path) -> None:
    """Asked for by name, uncompressed."""
    assert fetched(stranger, tmp_path, lambda _: (200, {}, JPEG)) == JPEG
    _, headers, _ = stranger.asked[0]
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
        ((200, {"Repr-Digest": "sha-256=:" + "A" * 43 + "=:"}, JPEG), "not what its sha256 says"),
        ((200, {"Content-MD5": "A" * 22 + "=="}, JPEG), "not what its md5 says"),
        ((206, {"Content-Range": "bytes 5-9/100"}, JPEG), "another part"),
        ((503, {}, b""), "503"), ((429, {"Retry-After": "0"}, b""), "429"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_tried_again_and_never_taken(
    stranger: Stranger, tmp_path: Path, answer: Answer, reason: str
) -> None:
    """Three tries and a reason; and an image where the last try gives one."""
    with pytest.raises(Trouble, match=reason):
        fetched(stranger, tmp_path, lambda _: answer)
    assert len(stranger.asked) == 3
    stranger.asked.clear()
    assert fetched(stranger, tmp_path, lambda times: answer if times < 2 else (200, {}, JPEG)) == JPEG


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_what_will_not_change_is_not_asked_for_again(stranger: Stranger, tmp_path: Path, status: int) -> None:
    """One try."""
    with pytest.raises(Trouble, match=str(status)):
        fetched(stranger, tmp_path, lambda _: (status, {}, b""))
    assert len(stranger.asked) == 1


def test_an_image_that_changes_while_it_is_fetched(stranger: Stranger, tmp_path: Path) -> None:
    """The rest of another content is not put to the beginning of the first."""
    other = JPEG[:-2] + b"other\xff\xd9"

    def answer(times: int) -> Answer:
        if times == 0:
            return 200, {"ETag": '"one"', "Content-Length": str(len(JPEG))}, JPEG[:5000]
        if stranger.asked[-1][1].get("If-Range") == '"one"':
            return 200, {"ETag": '"two"'}, other
        return 500, {}, b""

    assert fetched(stranger, tmp_path, answer) == other
    assert stranger.asked[1][1]["Range"] == "bytes=5000-"


def test_a_part_that_is_kept_is_gone_on_with(stranger: Stranger, tmp_path: Path) -> None:
    """By another process, later; a server that ignores ranges sends the whole again."""

    def broken(times: int) -> Answer:
        return 200, {"ETag": '"one"', "Content-Length": str(len(JPEG))}, JPEG[:7000]

    def rest(times: int) -> Answer:
        start = int(stranger.asked[-1][1]["Range"].removeprefix("bytes=").rstrip("-"))
        size = len(JPEG)
        return 206, {"ETag": '"one"', "Content-Range": f"bytes {start}-{size - 1}/{size}"}, JPEG[start:]

    for go_on in (rest, lambda times: (200, {}, JPEG)):
        with pytest.raises(Trouble):
            fetched(stranger, tmp_path, broken)
        assert (tmp_path / "partial").exists()
        assert fetched(stranger, tmp_path, go_on) == JPEG
        assert not (tmp_path / "partial").exists()


def test_an_image_that_is_too_large(stranger: Stranger, tmp_path: Path) -> None:
    """Refused by what is announced, and by what comes."""
    small = Manners(largest_image=1000)
    with pytest.raises(Trouble, match="10246 bytes, more than 1000"):
        fetched(stranger, tmp_path, lambda _: (200, {}, JPEG), small)
    with pytest.raises(Trouble, match="more than 1000 bytes"):
        fetched(stranger, tmp_path, lambda _: (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(10**5))), small)


# --------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://mars.nasa.gov/x", "gopher://x", "http://", "//", "not an address", "http://[::1",
        "http://169.254.169.254/latest/meta-data", "https://mars.nasa.gov.evil.example/x", "https://evilnasa.gov/x",
        "https://mars.nasa.gov@evil.example/x", "https://mars.nasa.gov:22/x", "http://127.0.0.1:1/x", "http://localhost/x",
        "http://mars.nasa.gov\\@evil.example/", "https://evil.example\r\nHost: mars.nasa.gov/", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_the_feeds(stranger: Stranger, tmp_path: Path, url: str) -> None:
    """Refused before anything is sent, also as a redirection."""
    client = Client(stranger.url("/"), HASTY)
    with pytest.raises(Trouble), client.get(url):
        pass
    if url.strip() and url.isprintable():
        stranger.answers["/image"] = lambda _: (302, {"Location": url}, b"")
        with pytest.raises(Trouble):
            fetch(client, Place.of(tmp_path), "partial", stranger.url("/image"), begun=False)
    assert {path for path, _, _ in stranger.asked} <= {"/image", "/not%20an%20address"}


def test_encryption_is_not_given_up(stranger: Stranger) -> None:
    """A feed by https leads nowhere by http."""
    with (
        pytest.raises(Trouble, match="without encryption"),
        Client("https://mars.nasa.gov/", HASTY).get("http://mars.nasa.gov/x"),
    ):
        pass


def test_redirections(stranger: Stranger, tmp_path: Path) -> None:
    """Followed on the same host, not for ever."""
    stranger.answers["/there"] = lambda _: (200, {}, JPEG)
    assert fetched(stranger, tmp_path, lambda _: (301, {"Location": "/there"}, b"")) == JPEG
    with pytest.raises(Trouble, match="redirections"):
        fetched(stranger, tmp_path, lambda _: (307, {"Location": "/image"}, b""))


# ------------------------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("data", [b"", b"{", b"<html>", b"\xff\xfe", b"[" * 10**5, b'{"a": 1} trailing'])
def test_pages_that_are_not_json(stranger: Stranger, data: bytes) -> None:
    """Tried again, then Trouble; fine where the last try is."""
    stranger.answers["/page"] = lambda _: (200, {}, data)
    client = Client(stranger.url("/"), HASTY)
    with pytest.raises(Trouble, match="the feed's answer is"):
        client.json(stranger.url("/page"))
    assert len(stranger.asked) == 3
    stranger.asked.clear()
    stranger.answers["/page"] = lambda times: (
        200,
        {},
        data if times < 2 else b'{"n": NaN, "big": 1' + b"0" * 5000 + b"}",
    )
    assert client.json(stranger.url("/page")) == {"n": "NaN", "big": "1" + "0" * 5000}


def test_a_compressed_page_cannot_fill_the_memory(stranger: Stranger) -> None:
    """A page of 400 MB in 400 kB is given up at the limit."""
    bomb = gzip.compress(bytes(400_000_000), 1)
    stranger.answers["/page"] = lambda _: (200, {"Content-Encoding": "gzip"}, bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Trouble, match="more than 1000000 bytes"):
        Client(stranger.url("/"), Manners(largest_page=1_000_000)).json(stranger.url("/page"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_retry_after_holds_for_all_requests(stranger: Stranger) -> None:
    """The next request comes after the wait that was asked for; a wait that is too long ends the tries."""
    stranger.answers["/page"] = lambda times: (429, {"Retry-After": "1"}, b"") if times == 0 else (200, {}, b"[]")
    stranger.answers["/other"] = lambda _: (200, {}, b"[]")
    client = Client(stranger.url("/"), HASTY)
    other = threading.Timer(0.3, lambda: client.json(stranger.url("/other")))
    other.start()
    assert client.json(stranger.url("/page")) == []
    other.join()
    first = stranger.asked[0][2]
    assert all(at - first >= 0.99 for _, _, at in stranger.asked[1:])
    stranger.answers["/page"] = lambda _: (503, {"Retry-After": "4000"}, b"")
    with pytest.raises(Trouble, match="come back in 4000 s"):
        client.json(stranger.url("/page"))


def test_requests_are_a_pause_apart(stranger: Stranger) -> None:
    """Also from several threads."""
    stranger.answers["/page"] = lambda _: (200, {}, b"[]")
    client = Client(stranger.url("/"), Manners(pause_s=0.05))
    threads = [threading.Thread(target=client.json, args=(stranger.url("/page"),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(at for _, _, at in stranger.asked)
    assert times[-1] - times[0] >= 0.05 * 4 - 0.02


def test_stopping_ends_a_wait(stranger: Stranger) -> None:
    """Whoever waits for its turn is told."""
    stranger.answers["/page"] = lambda _: (503, {"Retry-After": "4"}, b"")
    client = Client(stranger.url("/"), HASTY)
    threading.Timer(0.2, client.close).start()
    with pytest.raises(Trouble):
        client.json(stranger.url("/page"))
    assert len(stranger.asked) == 1
