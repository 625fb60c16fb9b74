"""The page server: the published site of an archive, with buttons for verdicts on its images.

It serves static files, and fills the slots of a day's page with the current verdicts and a form for each pick. All that
it writes are verdicts, see `interpdisc_core.archive.feedback`.

What protects it: only files of the site are read, by names that hold no path; on loopback only requests that name
loopback are answered (another site's page cannot reach it by a name that points here); a verdict must come from a page
of this server, by its `Origin` and by a token that only such a page knows; pages may load and run nothing but the
site's own files; slow clients keep nobody out (see `deploy.slow_clients`). There are no accounts: whoever reaches the
server may read and record verdicts. Expose it beyond loopback only behind a proxy that authenticates people.
"""

import hashlib
import hmac
import logging
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from deploy.request_guard import RequestGuard, find_refusal_reason
from interpdisc_core.archive import feedback
from interpdisc_core.archive.feedback import VerdictEvent
from interpdisc_core.errors import InterpdiscError, PlanError
from interpdisc_core.reporting.html import get_template_environment
from interpdisc_core.reporting.site import phrases
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".jpg": "image/jpeg",
    ".atom": "application/atom+xml; charset=utf-8",
}
"""Media types by suffix; nothing else is served."""
MAX_FORM_BYTES = 16_384
"""Most bytes of a form."""
TOKEN_COOKIE, AUTHOR_COOKIE = "interpdisc-token", "interpdisc-by"
"""Cookies: the token that a form must send back, and the last author in this browser."""
_YEAR_S = 31_536_000
_PATH_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_VERDICT_SLOT = re.compile(rb"<!--slot:mark:([0-9a-f]{16,64}):([0-9]{1,9})-->.*?<!--/slot:mark-->", re.DOTALL)
_DAY_PATH = re.compile(r"days/[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_RETURN_PATH = re.compile(r"/days/[A-Za-z0-9][A-Za-z0-9._-]{0,99}/(index\.html)?(#pick-[0-9]{1,9})?")


@dataclass(slots=True)
class PageServer:
    """The routes of a server over one archive. Verdicts that were read are cached; they never change."""

    archive: Location
    _verdict_cache: dict[str, VerdictEvent] = field(default_factory=dict)

    @property
    def site(self) -> Location:
        """Where the served files are."""
        return self.archive / "site"

    async def get_health(self, _: Request) -> Response:
        """Answer a health check; it says nothing about the archive."""
        return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})

    async def get_file(self, request: Request) -> Response:
        """Serve a file of the site; a day's page with its verdicts and forms."""
        path = str(request.path_params["path"])
        if path == "" or path.endswith("/"):
            path += "index.html"
        if _DAY_PATH.fullmatch(path):
            return RedirectResponse(f"/{path}/", 308)
        if not is_public_path(path):
            return PlainTextResponse("There is no such page.\n", 404)
        try:
            data = await run_in_threadpool(self._read_file, path)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
            if path == "index.html":
                return PlainTextResponse(
                    "No pages are published yet: `interpdisc daily` makes them. Reports of `interpdisc discover` are files, runs/RUN/report.html in the archive.\n",
                    404,
                )
            return PlainTextResponse("There is no such page.\n", 404)
        media_type = MEDIA_TYPES[path[path.rindex(".") :]]
        if not _VERDICT_SLOT.search(data) or not path.endswith(".html"):
            return _respond(request, data, media_type)
        token = request.cookies.get(TOKEN_COOKIE, "")
        token = token if re.fullmatch(r"[0-9a-f]{32}", token) else secrets.token_hex(16)
        author = _read_author(request)
        response = _respond(request, await run_in_threadpool(self._fill_slots, data, path, token, author), media_type)
        response.set_cookie(TOKEN_COOKIE, token, max_age=_YEAR_S, httponly=True, samesite="lax", path="/")
        return response

    def _read_file(self, path: str) -> bytes:
        if not self.site.is_remote and not Path(self.site.url, path).resolve().is_relative_to(
            Path(self.site.url).resolve()
        ):
            raise FileNotFoundError(path)
        return self.site.read(path)

    async def post_verdict(self, request: Request) -> Response:
        """Record a verdict: `id`, `verdict`, `by`, `note`, and the token of the page that it comes from."""
        if (refusal := find_refusal_reason(request)) is not None:
            return PlainTextResponse(f"Not recorded: {refusal}\n", 403)
        try:
            form = await _read_form(request)
        except PlanError as error:
            return PlainTextResponse(f"{error}\n", 413)
        expected_token = request.cookies.get(TOKEN_COOKIE, "")
        if not expected_token or not hmac.compare_digest(expected_token.encode(), form.get("token", "").encode()):
            return PlainTextResponse("Not recorded: this page is too old; reload it and try again.\n", 403)
        author = form.get("by", "")
        try:
            verdict = await run_in_threadpool(
                feedback.record_verdict,
                self.archive,
                form.get("id", ""),
                form.get("verdict", ""),
                author,
                form.get("note", ""),
            )
        except PlanError as error:
            return PlainTextResponse(f"Not recorded: {error}\n", 400)
        return_path = form.get("back", "")
        response = RedirectResponse(return_path if _RETURN_PATH.fullmatch(return_path) else "/", 303)
        response.set_cookie(
            AUTHOR_COOKIE, quote(verdict.by, safe=""), max_age=_YEAR_S, httponly=True, samesite="lax", path="/"
        )
        return response

    def _fill_slots(self, page: bytes, path: str, token: str, author: str) -> bytes:
        """A day's page with the current verdicts and a form at each pick."""
        try:
            latest_verdicts = feedback.select_current_verdicts(
                feedback.read_verdict_history(self.archive, self._verdict_cache)
            )
        except InterpdiscError as error:
            log.warning("the page is shown without verdicts: %s", error)
            return page
        template = get_template_environment().get_template("marking.html.j2")
        return_path = "/" + path.removesuffix("index.html")

        def fill_slot(slot: re.Match[bytes]) -> bytes:
            key, rank = slot[1].decode(), slot[2].decode()
            form = template.render(
                key=key,
                rank=rank,
                mark=latest_verdicts.get(key),
                token=token,
                by=author,
                back=return_path,
                phrases=phrases,
            )
            return form.encode("utf-8", "backslashreplace")

        return _VERDICT_SLOT.sub(fill_slot, page)


def is_public_path(path: str) -> bool:
    """Whether a path can be a file of the site: plain names without a leading dot, and a suffix that is served."""
    parts = path.split("/")
    return all(map(_PATH_PART.fullmatch, parts)) and "." in parts[-1] and path[path.rindex(".") :] in MEDIA_TYPES


def create_app(archive: Location, loopback_only: bool) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        archive: Whose pages are served.
        loopback_only: Whether only requests that name loopback are answered.
    """
    page_server = PageServer(archive)
    routes = [
        Route("/healthz", page_server.get_health, methods=["GET"]),
        Route("/mark", page_server.post_verdict, methods=["POST"]),
        Route("/{path:path}", page_server.get_file, methods=["GET"]),
    ]
    return RequestGuard(Starlette(routes=routes, exception_handlers={Exception: _handle_error}), loopback_only)


def _respond(request: Request, data: bytes, media_type: str) -> Response:
    """The data, or 304 if the browser has it. Browsers ask each time, since a day may be published again."""
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    known_etags = [
        candidate.strip().removeprefix("W/") for candidate in request.headers.get("if-none-match", "").split(",")
    ]
    if etag in known_etags or "*" in known_etags:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


async def _read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form, the last value of each. Raises PlanError if it is too large or not a form."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise PlanError("A verdict is sent as a form.")
    data = bytearray()
    try:
        async for part in request.stream():
            data += part
            if len(data) > MAX_FORM_BYTES:
                raise PlanError(f"A verdict has at most {MAX_FORM_BYTES:,} bytes.")
    except ClientDisconnect:
        raise PlanError("The request ended too soon.") from None
    try:
        fields = parse_qs(data.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise PlanError("This is no form.") from None
    return {name: values[-1] for name, values in fields.items()}


def _read_author(request: Request) -> str:
    """The last author in this browser; empty if unknown."""
    name = unquote(request.cookies.get(AUTHOR_COOKIE, ""))
    return name if len(name) <= 80 and name.isprintable() else ""


async def _handle_error(_: Request, error: Exception) -> Response:
    message = str(error) if isinstance(error, InterpdiscError) else "the server failed; see its log."
    return PlainTextResponse(f"{message}\n", 500)


def open_listener(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 is any free port. Raises PlanError if it cannot listen there."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise PlanError(f"cannot serve at {host}, port {port}: {error}; give another with --port or --host.") from None


def format_url(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve_pages(archive: Location, listener: socket.socket, loopback_only: bool) -> None:
    """Serve at a listening socket until the process is asked to stop; see `create_app` for the other arguments."""
    import uvicorn

    from deploy.slow_clients import BoundedHttpProtocol

    config = uvicorn.Config(
        create_app(archive, loopback_only),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http=BoundedHttpProtocol,
        timeout_keep_alive=15,
        limit_concurrency=200,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
    uvicorn.Server(config).run(sockets=[listener])
