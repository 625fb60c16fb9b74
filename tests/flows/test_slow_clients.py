"""Clients that send or read slowly lose their connection, and keep nobody out."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from deploy import slow_clients
from interpdisc_core.archive.layout import open_or_create_archive
from tests.flows.test_serve import serve_archive

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
UNFINISHED = (b"", HEAD, HEAD.replace(b"GET", b"POST") + b"Content-Length: 9\r\n\r\nab", HEAD + b"\r\n")
"""Nothing, half a head, half a body, and a connection that stays open after its answer."""


def test_slow_clients_keep_nobody_out(tmp_path: Path) -> None:
    """With more of them than the server has connections, another request is answered at once, and again."""
    open_or_create_archive(str(tmp_path / "archive"))
    with serve_archive(tmp_path / "archive") as (browser, _), contextlib.ExitStack() as stack:
        for number in range(400):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", browser.port), timeout=60))
            connection.sendall(UNFINISHED[number % len(UNFINISHED)])
            if number % 100 == 99:
                assert browser.request("GET", "/healthz")[0] == 200


async def answer_much(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads the body, and answers with more than sockets hold."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(64):
        await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server in this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(answer_much, http=slow_clients.BoundedHttpProtocol, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join(30)
    assert not slow_clients._waiting


def read_to_end(connection: socket.socket) -> int:
    """Bytes until the server closes the connection; fails if it does not."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(2**20):
            count += len(data)
    return count


@pytest.mark.parametrize("sent", UNFINISHED[:3])
def test_a_request_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch, port: int, sent: bytes) -> None:
    monkeypatch.setattr(slow_clients, "REQUEST_TIMEOUT_S", 0.05)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        assert read_to_end(connection) == 0


def test_only_a_client_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as reader:
        reader.sendall(HEAD + b"Connection: close\r\n\r\n")
        assert read_to_end(reader) > 2**26
    monkeypatch.setattr(slow_clients, "WRITE_TIMEOUT_S", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as idle:
        idle.sendall(HEAD + b"\r\n")
        is_closed = threading.Event()
        monkeypatch.setattr(slow_clients.BoundedHttpProtocol, "_close", _signal_close(is_closed))
        assert is_closed.wait(60)
        assert read_to_end(idle) < 2**26


def _signal_close(event: threading.Event) -> Any:
    close = slow_clients.BoundedHttpProtocol._close

    def close_and_signal(self: Any) -> None:
        close(self)
        event.set()

    return close_and_signal
