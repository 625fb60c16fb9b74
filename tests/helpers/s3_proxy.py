"""A real HTTP proxy before an S3 server, which answers some requests with an error of S3, or breaks them off."""

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

_HOP_HEADERS = {"connection", "transfer-encoding", "content-length", "server", "date"}


@dataclass(frozen=True)
class S3Answer:
    """An error of S3: HTTP status, code and message."""

    status: int
    code: str
    message: str

    def to_xml(self) -> bytes:
        return f'<?xml version="1.0"?><Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>'.encode()


EXPIRED = S3Answer(400, "ExpiredToken", "The provided token has expired.")
DENIED = S3Answer(403, "AccessDenied", "Access Denied")

BreakOff = Literal["reset", "cut"]
"""No answer at all; or half of the body of the store's own answer."""
AnswerRule = Callable[[str, str], S3Answer | BreakOff | None]
"""From the method and the path of a request to what goes wrong with its answer, or None to forward it."""


@contextmanager
def open_s3_proxy(upstream: str, rule: AnswerRule) -> Iterator[str]:
    """The address of a proxy before the S3 server at `upstream`."""
    host = urlsplit(upstream).netloc
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                answer = rule(self.command, urlsplit(self.path).path)
            if answer == "reset":
                # Closing with a zero linger time sends RST instead of FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            if isinstance(answer, S3Answer):
                self._send(answer.status, [("Content-Type", "application/xml")], answer.to_xml())
                return
            connection = http.client.HTTPConnection(host, timeout=30)
            try:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                response = connection.getresponse()
                data = response.read()
            finally:
                connection.close()
            headers = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP_HEADERS]
            length = response.getheader("Content-Length") if self.command == "HEAD" else None
            is_cut = answer == "cut" and self.command == "GET"
            self.close_connection = self.close_connection or is_cut
            self._send(response.status, headers, data, length, is_cut=is_cut)

        def _send(
            self,
            status: int,
            headers: list[tuple[str, str]],
            data: bytes,
            length: str | None = None,
            *,
            is_cut: bool = False,
        ) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":  # which has no body: the store's words are lost
                self.wfile.write(data[: len(data) // 2] if is_cut else data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
