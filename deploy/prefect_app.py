"""The Prefect server of a run, for its owner's programs and its own pages: `python -P -m deploy.prefect_app SOCKET`.

SOCKET is the number of a listening socket that whoever starts this hands down. So the port cannot be taken by another
program between its choice and the server's start, and whoever connects in the meantime, or while the server is started
again, waits instead of being refused. (Prefect's own command opens a port by itself.)

Requests need the password of `PREFECT_SERVER_API_AUTH_STRING`, which Prefect checks. Before that, requests are refused that
name another host than loopback, or that come from a page of another address: a browser would send them for any web page.
"""

import os
import socket
import sys
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy.request_guard import find_foreign_reason

_KEEP_ALIVE_S = 5


@dataclass(frozen=True, slots=True)
class LocalPagesOnly:
    """Passes on requests, and web sockets, that name this machine's loopback and come from no foreign page.

    Attributes:
        app: The application behind it.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with 421 or 403."""
        if scope["type"] in ("http", "websocket") and (reason := find_foreign_reason(Headers(scope=scope))):
            if scope["type"] == "websocket":
                await receive()  # the protocol: an answer follows the request to connect
                await send({"type": "websocket.close", "code": 1008, "reason": reason.text})
                return
            await PlainTextResponse(f"{reason.text}\n", reason.status)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def main() -> None:
    """Serve until the process is told to end."""
    os.umask(0o077)
    listener = socket.socket(fileno=int(sys.argv[1]))
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(
        LocalPagesOnly(create_app(final=True)),
        log_level="warning",
        timeout_keep_alive=_KEEP_ALIVE_S,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
