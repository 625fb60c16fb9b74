"""A feed on loopback: serves a folder of Mars images sol by sol in the words of the Mars 2020 and MSL feeds, with faults.

python -m deploy.rehearsal.feed_server IMAGES --sols 15 --faults all
curl -X POST http://127.0.0.1:8800/advance      the next sol comes down
curl http://127.0.0.1:8800/truth?schema=msl     what a client should have, now and in the end
curl http://127.0.0.1:8800/state                the clock, and how often what went wrong
"""

import argparse
import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deploy.rehearsal.downlink import Downlink, Faults, Shot
from deploy.rehearsal.schemas import SCHEMAS, mars2020_id, page, records
from interpdisc_core.errors import InterpdiscError

_WEB_PAGE = (
    b"<!DOCTYPE html><html><head><title>mars.nasa.gov</title></head><body><h1>We will be right back</h1></body></html>"
)
_PATHS = {"/api/v1/raw_image_items/": "msl", "/rss/api/": "mars2020"}


class FeedServer(ThreadingHTTPServer):
    """The server; `advance_every`: polls (looks at a first page) after which the clock goes on by itself, 0 for never."""

    daemon_threads = True

    def __init__(self, downlink: Downlink, port: int = 0, *, advance_every: int = 0, wait_s: float = 1.0) -> None:
        self.downlink, self.advance_every, self.wait_s = downlink, advance_every, wait_s
        self.looks, self.requests, self.resumed = 0, 0, 0
        self.by_name = {shot.name: shot for shot in downlink.shots} | {
            mars2020_id(shot.name): shot for shot in downlink.shots
        }
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def feed_url(self, schema: str) -> str:
        """The address of one of its feeds, as a feed's settings want it."""
        return self.base + next(path for path, name in _PATHS.items() if name == schema)

    def truth(self, schema: str) -> dict[str, Any]:
        """What is served now and in the end, by image id: `now` is a sha256 or null, `versions` are all there will be."""
        link = self.downlink
        images = {}
        for shot in link.shots:
            served = link.version(shot, link.clock)
            images[shot.name if schema == "msl" else mars2020_id(shot.name)] = {
                "sol": shot.sol, "file": shot.path.name, "now": link.sha256(shot, served) if served else None,
                "versions": [link.sha256(shot, version) for version in shot.versions],
            }  # fmt: skip
        return self.state() | {"images": images}

    def state(self) -> dict[str, Any]:
        """The clock, and how often what went wrong."""
        link = self.downlink
        sol = link.steps[min(link.clock, len(link.steps)) - 1] if link.clock else None
        return {
            "clock": link.clock, "end": link.end, "done": link.clock >= link.end, "sol": None if sol == -1 else sol,
            "published": len(link.published()), "requests": self.requests, "resumed": self.resumed,
            "happened": link.happened(),
        }  # fmt: skip

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is not an error."""

    @contextlib.contextmanager
    def running(self) -> Iterator["FeedServer"]:
        """Serve from a thread until the block ends."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FeedServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's acknowledgement of its head

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Let the clock go on."""
        self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1 << 16))
        path = urlsplit(self.path)
        if path.path != "/advance":
            return self._send(404, b"no such page", "text/plain")
        steps = parse_qs(path.query).get("steps", ["1"])[0]
        self.server.downlink.advance(int(steps) if re.fullmatch(r"\d{1,6}", steps) else 1)
        return self._json(self.server.state())

    def do_GET(self) -> None:
        """A page of a feed, an image, or what a rehearsal wants to know."""
        self.server.requests += 1
        path = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(path.query).items()}
        if path.path == "/truth":
            return self._json(self.server.truth(given.get("schema", "msl")))
        if path.path == "/state":
            return self._json(self.server.state())
        if path.path in _PATHS:
            return self._page(_PATHS[path.path], given)
        stem, _, _ = path.path.rpartition("/")[2].rpartition(".")
        small = re.fullmatch(r"(.*)_(320|800|1200)", stem)
        if shot := self.server.by_name.get(small[1] if small else stem):
            return self._image(shot, stem, poorer=bool(small))
        return self._send(404, _WEB_PAGE, "text/html")

    def _page(self, schema: str, given: dict[str, str]) -> None:
        server, link = self.server, self.server.downlink
        if given.get("page", "0") == "0":
            server.looks += 1
            if server.advance_every and server.looks % server.advance_every == 0:
                link.advance()
        other = (
            given.get("category", "mars2020")
            if schema == "mars2020"
            else given.get("condition_1", "msl:").partition(":")[0]
        )
        if other != schema:
            return self._json({"type": "error", "mission": other, "error_message": "No more images."})
        data = json.dumps(page(records(link, schema, server.base), given, schema)).encode()
        name = f"{schema} {link.clock} {given.get('page')}"
        if link.goes_wrong("pages", name):
            kind = link.faults.draw("which", name, server.looks) % 5
            if kind == 0:
                return self._send(500, b"", "text/plain")
            if kind == 1:
                return self._send(200, _WEB_PAGE, "text/html")
            if kind == 2:
                return self._send(200, data[: len(data) // 2], "application/json")
            if kind == 3:
                return self._broken(data, "application/json", reset=True)
            return self._send(429, b"", "text/plain", {"Retry-After": f"{server.wait_s:.0f}"})
        return self._send(200, data, "application/json")

    def _image(self, shot: Shot, stem: str, *, poorer: bool) -> None:
        link, wait = self.server.downlink, self.server.wait_s
        version = link.version(shot, link.clock)
        if version is None:
            return self._send(404, _WEB_PAGE, "text/html")
        data = shot.content(version if not poorer else type(version)(version.at, version.received, "thumbnail", True))
        kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        name = f"{stem} {version.how}"
        if link.goes_wrong("errors", name):
            return self._send(500 + 3 * (link.faults.draw("500", name) % 2), _WEB_PAGE, "text/html")
        if link.goes_wrong("busy", name):
            return self._send(429, b"", "text/plain", {"Retry-After": f"{wait:.0f}"})
        if link.goes_wrong("html", name):
            return self._send(200, _WEB_PAGE, "text/html" if link.faults.draw("html", name) % 2 else kind)
        if link.goes_wrong("cut", name):
            return self._send(200, data[: len(data) * 2 // 3], kind)
        if link.goes_wrong("truncated", name):
            return self._broken(data, kind, reset=False)
        if link.goes_wrong("reset", name):
            return self._broken(data, kind, reset=True)
        return self._whole(data, kind, pause=wait / 4 if link.goes_wrong("slow", name) else 0.0)

    def _whole(self, data: bytes, kind: str, *, pause: float) -> None:
        """The image, or the rest of it where the client has the beginning of the same content."""
        headers = self._named(data)
        if self.headers.get("If-None-Match") == headers["ETag"]:
            return self._send(304, b"", kind, headers)
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        status, total = 200, len(data)
        if start and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            begin = int(start[1])
            if begin >= total:
                return self._send(416, b"", kind, {"Content-Range": f"bytes */{total}"})
            status, data = 206, data[begin:]
            self.server.resumed += 1
            headers["Content-Range"] = f"bytes {begin}-{total - 1}/{total}"
        return self._send(status, data, kind, headers, pause=pause)

    def _named(self, data: bytes) -> dict[str, str]:
        sha256 = hashlib.sha256(data)
        digest = base64.b64encode(sha256.digest()).decode()
        return {"ETag": f'"{sha256.hexdigest()[:16]}"', "Accept-Ranges": "bytes", "Repr-Digest": f"sha-256=:{digest}:"}

    def _broken(self, data: bytes, kind: str, *, reset: bool) -> None:
        """Half of what is announced, then the connection ends."""
        self._head(200, len(data), kind, self._named(data))
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        if reset:
            # Closing with a zero linger time sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), "application/json")

    def _send(
        self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None, *, pause: float = 0.0
    ) -> None:
        self._head(status, len(data), kind, headers or {})
        half = len(data) // 2 if pause else 0
        self.wfile.write(data[:half])
        if pause:
            self.wfile.flush()
            time.sleep(pause)
        self.wfile.write(data[half:])

    def _head(self, status: int, size: int, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        length = {} if status == 304 else {"Content-Length": str(size)}
        for name, value in {"Content-Type": kind, **length, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def main(arguments: list[str]) -> int:
    """Serve until Control-C."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.rehearsal.feed_server", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("images", type=Path, help="a folder of images named as MSL products")
    parser.add_argument("--port", type=int, default=8800, help="0 for any that is free")
    parser.add_argument("--sols", type=int, default=0, help="so many of the sols that have images; 0 for all")
    parser.add_argument("--most", type=int, default=0, help="so many images of each sol; 0 for all")
    parser.add_argument("--faults", default="none", help="none, all, or rates: late=0.1,resent=0.05")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--advance-every", type=int, default=0, metavar="POLLS", help="a sol comes down after so many polls"
    )
    given = parser.parse_args(arguments)
    try:
        downlink = Downlink.of(given.images, Faults.of(given.faults, given.seed), sols=given.sols, most=given.most)
    except InterpdiscError as error:
        parser.error(str(error))
    with FeedServer(downlink, given.port, advance_every=given.advance_every) as server:
        addresses = {
            "base": server.base,
            "images": len(downlink.shots),
            "sols": len(downlink.steps),
            "end": downlink.end,
        }
        print(json.dumps(addresses | {schema: server.feed_url(schema) for schema in SCHEMAS}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
