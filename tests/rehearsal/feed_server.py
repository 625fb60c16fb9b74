"""A feed on loopback: serves a folder of Mars images sol by sol with the schemas of the Mars 2020 and MSL feeds, with faults.

python -m tests.rehearsal.feed_server IMAGES --sols 15 --faults all
curl -X POST http://127.0.0.1:8800/advance      publish the next sol
curl http://127.0.0.1:8800/truth?schema=msl     what a client should have, now and in the end
curl http://127.0.0.1:8800/state                the clock, and the number of faults so far
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

from interpdisc_core.errors import InterpdiscError
from tests.rehearsal.downlink import Downlink, FaultRates, Shot
from tests.rehearsal.schemas import SCHEMAS, build_page, list_feed_records, make_mars2020_id

_ERROR_PAGE = (
    b"<!DOCTYPE html><html><head><title>mars.nasa.gov</title></head><body><h1>We will be right back</h1></body></html>"
)
_SCHEMA_BY_PATH = {"/api/v1/raw_image_items/": "msl", "/rss/api/": "mars2020"}


class FeedServer(ThreadingHTTPServer):
    """The server.

    Args:
        downlink: The images and the clock.
        port: 0: any free port.
        advance_every: Polls (requests of a first page) after which the clock advances by itself; 0: never.
        retry_after_s: Seconds in a Retry-After header.
    """

    daemon_threads = True

    def __init__(
        self, downlink: Downlink, port: int = 0, *, advance_every: int = 0, retry_after_s: float = 1.0
    ) -> None:
        self.downlink, self.advance_every, self.retry_after_s = downlink, advance_every, retry_after_s
        self.polls, self.request_count, self.resumed_downloads = 0, 0, 0
        self.by_name = {shot.name: shot for shot in downlink.shots} | {
            make_mars2020_id(shot.name): shot for shot in downlink.shots
        }
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def base_url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def feed_url(self, schema: str) -> str:
        """The address of one of its feeds, for the settings of a feed."""
        return self.base_url + next(path for path, name in _SCHEMA_BY_PATH.items() if name == schema)

    def describe_images(self, schema: str) -> dict[str, Any]:
        """What is served now and later, by image id: `now` is a sha256 or null, `versions` has those of all versions."""
        downlink = self.downlink
        images = {}
        for shot in downlink.shots:
            version_now = downlink.find_version(shot, downlink.clock)
            images[shot.name if schema == "msl" else make_mars2020_id(shot.name)] = {
                "sol": shot.sol,
                "file": shot.path.name,
                "now": downlink.compute_sha256(shot, version_now) if version_now else None,
                "versions": [downlink.compute_sha256(shot, version) for version in shot.versions],
            }
        return self.describe_state() | {"images": images}

    def describe_state(self) -> dict[str, Any]:
        """The clock, and the number of faults so far."""
        downlink = self.downlink
        sol = downlink.steps[min(downlink.clock, len(downlink.steps)) - 1] if downlink.clock else None
        return {
            "clock": downlink.clock,
            "end": downlink.last_step,
            "done": downlink.clock >= downlink.last_step,
            "sol": None if sol == -1 else sol,
            "published": len(downlink.list_published()),
            "requests": self.request_count,
            "resumed": self.resumed_downloads,
            "happened": downlink.count_faults(),
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is not an error."""

    @contextlib.contextmanager
    def serve_in_thread(self) -> Iterator["FeedServer"]:
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
        """Log nothing."""

    def do_POST(self) -> None:
        """Advance the clock."""
        self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1 << 16))
        path = urlsplit(self.path)
        if path.path != "/advance":
            return self._send(404, b"no such page", "text/plain")
        steps = parse_qs(path.query).get("steps", ["1"])[0]
        self.server.downlink.advance(int(steps) if re.fullmatch(r"\d{1,6}", steps) else 1)
        return self._send_json(self.server.describe_state())

    def do_GET(self) -> None:
        """Serve a page of a feed, an image, or the state for a rehearsal."""
        self.server.request_count += 1
        path = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(path.query).items()}
        if path.path == "/truth":
            return self._send_json(self.server.describe_images(query.get("schema", "msl")))
        if path.path == "/state":
            return self._send_json(self.server.describe_state())
        if path.path in _SCHEMA_BY_PATH:
            return self._send_page(_SCHEMA_BY_PATH[path.path], query)
        stem, _, _ = path.path.rpartition("/")[2].rpartition(".")
        size_match = re.fullmatch(r"(.*)_(320|800|1200)", stem)
        if shot := self.server.by_name.get(size_match[1] if size_match else stem):
            return self._send_image(shot, stem, as_thumbnail=bool(size_match))
        return self._send(404, _ERROR_PAGE, "text/html")

    def _send_page(self, schema: str, query: dict[str, str]) -> None:
        server, downlink = self.server, self.server.downlink
        if query.get("page", "0") == "0":
            server.polls += 1
            if server.advance_every and server.polls % server.advance_every == 0:
                downlink.advance()
        mission = (
            query.get("category", "mars2020")
            if schema == "mars2020"
            else query.get("condition_1", "msl:").partition(":")[0]
        )
        if mission != schema:
            return self._send_json({"type": "error", "mission": mission, "error_message": "No more images."})
        data = json.dumps(build_page(list_feed_records(downlink, schema, server.base_url), query, schema)).encode()
        name = f"{schema} {downlink.clock} {query.get('page')}"
        if downlink.meets_fault("pages", name):
            fault_kind = downlink.faults.draw("which", name, server.polls) % 5
            if fault_kind == 0:
                return self._send(500, b"", "text/plain")
            if fault_kind == 1:
                return self._send(200, _ERROR_PAGE, "text/html")
            if fault_kind == 2:
                return self._send(200, data[: len(data) // 2], "application/json")
            if fault_kind == 3:
                return self._send_broken(data, "application/json", reset=True)
            return self._send(429, b"", "text/plain", {"Retry-After": f"{server.retry_after_s:.0f}"})
        return self._send(200, data, "application/json")

    def _send_image(self, shot: Shot, stem: str, *, as_thumbnail: bool) -> None:
        downlink, retry_after_s = self.server.downlink, self.server.retry_after_s
        version = downlink.find_version(shot, downlink.clock)
        if version is None:
            return self._send(404, _ERROR_PAGE, "text/html")
        data = shot.read_content(
            version if not as_thumbnail else type(version)(version.step, version.received_at, "thumbnail", True)
        )
        media_type = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        name = f"{stem} {version.encoding}"
        if downlink.meets_fault("errors", name):
            return self._send(500 + 3 * (downlink.faults.draw("500", name) % 2), _ERROR_PAGE, "text/html")
        if downlink.meets_fault("busy", name):
            return self._send(429, b"", "text/plain", {"Retry-After": f"{retry_after_s:.0f}"})
        if downlink.meets_fault("html", name):
            return self._send(200, _ERROR_PAGE, "text/html" if downlink.faults.draw("html", name) % 2 else media_type)
        if downlink.meets_fault("cut", name):
            return self._send(200, data[: len(data) * 2 // 3], media_type)
        if downlink.meets_fault("truncated", name):
            return self._send_broken(data, media_type, reset=False)
        if downlink.meets_fault("reset", name):
            return self._send_broken(data, media_type, reset=True)
        return self._send_range(
            data, media_type, pause=retry_after_s / 4 if downlink.meets_fault("slow", name) else 0.0
        )

    def _send_range(self, data: bytes, media_type: str, *, pause: float) -> None:
        """The image, or the rest of it where the client has the beginning of the same content."""
        headers = self._digest_headers(data)
        if self.headers.get("If-None-Match") == headers["ETag"]:
            return self._send(304, b"", media_type, headers)
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        status, total = 200, len(data)
        if start and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            range_start = int(start[1])
            if range_start >= total:
                return self._send(416, b"", media_type, {"Content-Range": f"bytes */{total}"})
            status, data = 206, data[range_start:]
            self.server.resumed_downloads += 1
            headers["Content-Range"] = f"bytes {range_start}-{total - 1}/{total}"
        return self._send(status, data, media_type, headers, pause=pause)

    def _digest_headers(self, data: bytes) -> dict[str, str]:
        sha256 = hashlib.sha256(data)
        digest = base64.b64encode(sha256.digest()).decode()
        return {"ETag": f'"{sha256.hexdigest()[:16]}"', "Accept-Ranges": "bytes", "Repr-Digest": f"sha-256=:{digest}:"}

    def _send_broken(self, data: bytes, media_type: str, *, reset: bool) -> None:
        """Half of what is announced, then the connection ends."""
        self._send_head(200, len(data), media_type, self._digest_headers(data))
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        if reset:
            # Closing with a zero linger time sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), "application/json")

    def _send(
        self, status: int, data: bytes, media_type: str, headers: dict[str, str] | None = None, *, pause: float = 0.0
    ) -> None:
        self._send_head(status, len(data), media_type, headers or {})
        half = len(data) // 2 if pause else 0
        self.wfile.write(data[:half])
        if pause:
            self.wfile.flush()
            time.sleep(pause)
        self.wfile.write(data[half:])

    def _send_head(self, status: int, size: int, media_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        length = {} if status == 304 else {"Content-Length": str(size)}
        for name, value in {"Content-Type": media_type, **length, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def main(arguments: list[str]) -> int:
    """Serve until Control-C."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.rehearsal.feed_server", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("images", type=Path, help="a folder of images named as MSL products")
    parser.add_argument("--port", type=int, default=8800, help="0: any free one")
    parser.add_argument("--sols", type=int, default=0, help="number of sols that have images; 0: all")
    parser.add_argument("--max-images", type=int, default=0, help="images of each sol; 0: all")
    parser.add_argument("--faults", default="none", help="none, all, or rates: late=0.1,resent=0.05")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--advance-every", type=int, default=0, metavar="POLLS", help="publish a sol after this many polls; 0: never"
    )
    options = parser.parse_args(arguments)
    try:
        downlink = Downlink.from_folder(
            options.images,
            FaultRates.parse(options.faults, options.seed),
            sols=options.sols,
            max_images=options.max_images,
        )
    except InterpdiscError as error:
        parser.error(str(error))
    with FeedServer(downlink, options.port, advance_every=options.advance_every) as server:
        addresses = {
            "base": server.base_url,
            "images": len(downlink.shots),
            "sols": len(downlink.steps),
            "end": downlink.last_step,
        }
        print(json.dumps(addresses | {schema: server.feed_url(schema) for schema in SCHEMAS}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
