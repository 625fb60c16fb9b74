"""What protects the page server: which requests are answered, and what a page may load and run.

On loopback only requests that name loopback are answered, so that another site's page cannot reach the server by a name
that points here. What changes something must come from a page of this server, by its `Origin`.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

RESOURCE_POLICY_HEADER = "Cross-Origin-Resource-Policy"
_THUMBNAIL_PATH = re.compile(r"/days/[^/]+/thumbs/[^/]+\.jpg")
"""Thumbnails are shown in Prefect's UI too, at another port; for 127.0.0.1, browsers do not accept `same-site`.

Another page may show a thumbnail whose name it knows; it cannot read it.
"""

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    RESOURCE_POLICY_HEADER: "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class RequestGuard:
    """Refuses requests with another Host than ours, and adds protective headers to every response.

    Attributes:
        app: The application behind it.
        loopback_only: Whether only requests that name loopback are answered.
    """

    app: ASGIApp
    loopback_only: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = SECURITY_HEADERS | (
                    {RESOURCE_POLICY_HEADER: "cross-origin"} if _THUMBNAIL_PATH.fullmatch(scope["path"]) else {}
                )
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if self.loopback_only and scope["path"] != "/healthz" and not is_loopback(host):
            refusal = PlainTextResponse("This server is for this machine only.\n", 421)
            await refusal(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


def is_loopback(host: str) -> bool:
    """Whether a Host header, or an address to listen at, names this machine's loopback."""
    try:
        hostname = urlsplit(f"//{host}").hostname or ""
        urlsplit(f"//{host}").port  # noqa: B018 - raises if it is not one
        return hostname == "localhost" or ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class ForeignRequest:
    """Why a request is refused, and with which HTTP status."""

    text: str
    status: int


def find_foreign_reason(headers: Headers) -> ForeignRequest | None:
    """Why a server on loopback does not answer: another Host than loopback, or a page of another address; else None.

    Programs send neither `Origin` nor `Sec-Fetch-Site`; browsers send them, and a page cannot change them. A page of ours may
    call this machine 127.0.0.1 or localhost. Following a link to here is allowed, for the page that it opens is ours.
    """
    host, origin = headers.get("host", ""), headers.get("origin", "")
    if not is_loopback(host):
        return ForeignRequest("This server is for this machine only.", 421)
    if origin:
        is_own = is_loopback(urlsplit(origin).netloc) and _get_port(urlsplit(origin).netloc) == _get_port(host)
        return None if is_own else ForeignRequest("This server answers its own pages only.", 403)
    is_navigation = headers.get("sec-fetch-mode", "") == "navigate" and headers.get("sec-fetch-dest", "") == "document"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not is_navigation:
        return ForeignRequest("This server answers its own pages only.", 403)
    return None


def _get_port(netloc: str) -> int | None:
    """The port of an address whose host `is_loopback` knows."""
    return urlsplit(f"//{netloc}").port


def find_refusal_reason(request: Request) -> str | None:
    """Why a request may not change anything: it comes from another site's page, or does not name its page; else None."""
    origin, host = request.headers.get("origin", ""), request.headers.get("host", "")
    if not origin:
        return "the request does not say which page it comes from."
    if not host or urlsplit(origin).netloc != host:
        return "it comes from another site’s page."
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return "it comes from another site’s page."
    return None
