"""HTTP connections that wait for their client, within limits of time and number.

A client that sends its request slowly, keeps a connection open, or does not read its answer costs the server a
connection. Each wait has a time limit; and if too many connections wait, the one that has waited longest is closed, so
that a new client always gets in, however many slow ones there are.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_WAITING_CONNECTIONS = 150
"""Most connections that wait for their clients; fewer than the server's limit of connections."""
REQUEST_TIMEOUT_S, WRITE_TIMEOUT_S = 20.0, 60.0
"""Seconds in which a request must arrive with its body, and in which a client must read some of its answer."""

_waiting: dict["BoundedHttpProtocol", asyncio.TimerHandle] = {}
"""Connections that wait for their client, the longest first, with what ends the wait."""


class BoundedHttpProtocol(H11Protocol):
    """A connection whose waits for its client end."""

    def connection_made(self, transport: Any) -> None:
        """A client connected: its request must arrive in time."""
        super().connection_made(transport)
        while len(_waiting) >= MAX_WAITING_CONNECTIONS:
            next(iter(_waiting))._close()
        self._wait(REQUEST_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        """Data arrived; that alone does not prolong the wait for a request."""
        super().data_received(data)
        is_answered_now = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if is_answered_now and not self.flow.write_paused:
            self._stop_waiting()
        elif self not in _waiting:  # the first bytes of another request
            self._wait(REQUEST_TIMEOUT_S)

    def on_response_complete(self) -> None:
        """The answer is written, perhaps not yet sent: another request may follow, in time."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.flow.write_paused and not self.transport.is_closing():
            self._wait(REQUEST_TIMEOUT_S)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stop_waiting()
        if self.cycle is not None and self.cycle.response_complete:
            self._wait(REQUEST_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        _waiting[self] = self.loop.call_later(seconds, self._close)

    def _wait_for_reader(self, unread_before: int | None = None) -> None:
        """Wait for as long as the client reads some of what is left."""
        unread = self.transport.get_write_buffer_size()
        if unread_before is not None and unread >= unread_before:
            self._close()
            return
        self._stop_waiting()
        _waiting[self] = self.loop.call_later(WRITE_TIMEOUT_S, self._wait_for_reader, unread)

    def _stop_waiting(self) -> None:
        if timer := _waiting.pop(self, None):
            timer.cancel()

    def _close(self) -> None:
        self._stop_waiting()
        self.transport.abort()
