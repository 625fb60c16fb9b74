"""The page server: the published site of an archive, and the buttons with which people say what they think of an image.

It shows static files as they are, besides filling the slots of a day's page: the verdicts of now, and a form for each
pick. Everything that is written is a verdict, `interpdisc_core.feedback`.

What protects it: only files of the site are read, by names that hold no path; on loopback only requests that name
loopback are answered (another site's page cannot reach it by a name that points here); a verdict must come from a page
of this server, by its `Origin` and by a token that only such a page knows; pages may load and run nothing but the
site's own files. There are no accounts: whoever reaches the server may read and mark, so let it out of loopback only
behind something that asks who they are.
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

from deploy.guarding import Guarded, foreign
from interpdisc_core import feedback
from interpdisc_core.errors import InterpdiscError, PlanError
from interpdisc_core.feedback import Mark
from interpdisc_core.pages import environment
from interpdisc_core.site import words
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".jpg": "image/jpeg",
    ".atom": "application/atom+xml; charset=utf-8",
}
"""What is served, by the end of its name; nothing else is."""
BODY = 16_384
"""Most bytes of what a form sends."""
TOKEN, PERSON = "interpdisc-token", "interpdisc-by"
"""Cookies: what a form must send back, and who marked last in this browser."""
_YEAR = 31_536_000
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SLOT = re.compile(rb"<!--slot:mark:([0-9a-f]{16,64}):([0-9]{1,9})-->.*?<!--/slot:mark-->", re.DOTALL)
_DAY = re.compile(r"days/[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_BACK = re.compile(r"/days/[A-Za-z0-9][A-Za-z0-9._-]{0,99}/(index\.html)?(#pick-[0-9]{1,9})?")


@dataclass(slots=True)
class Pages:
    """The routes of a server over one archive. It keeps the verdicts that it has read; events never change."""

    archive: Place
    _kept: dict[str, Mark] = field(default_factory=dict)

    @property
    def site(self) -> Place:
        """What is served."""
        return self.archive / "site"

    async def health(self, _: Request) -> Response:
        """Whether the server answers. It says nothing of the archive."""
        return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})

    async def file(self, request: Request) -> Response:
        """A file of the site; a day's page with its verdicts and forms."""
        path = str(request.path_params["path"])
        if path == "" or path.endswith("/"):
            path += "index.html"
        if _DAY.fullmatch(path):
            return RedirectResponse(f"/{path}/", 308)
        if not allowed(path):
            return PlainTextResponse("There is no such page.\n", 404)
        try:
            data = await run_in_threadpool(self._read, path)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
            if path == "index.html":
                return PlainTextResponse("Nothing was published yet: `interpdisc daily` makes the pages.\n", 404)
            return PlainTextResponse("There is no such page.\n", 404)
        kind = TYPES[path[path.rindex(".") :]]
        if not _SLOT.search(data) or not path.endswith(".html"):
            return _answer(request, data, kind)
        token = request.cookies.get(TOKEN, "")
        token = token if re.fullmatch(r"[0-9a-f]{32}", token) else secrets.token_hex(16)
        by = _person(request)
        response = _answer(request, await run_in_threadpool(self._filled, data, path, token, by), kind)
        response.set_cookie(TOKEN, token, max_age=_YEAR, httponly=True, samesite="lax", path="/")
        return response

    def _read(self, path: str) -> bytes:
        if not self.site.remote and not Path(self.site.url, path).resolve().is_relative_to(
            Path(self.site.url).resolve()
        ):
            raise FileNotFoundError(path)
        return self.site.read(path)

    async def mark(self, request: Request) -> Response:
        """Take a verdict: `id`, `verdict`, `by`, `note`, and the token of the page that it comes from."""
        if (why := foreign(request)) is not None:
            return PlainTextResponse(f"Not taken: {why}\n", 403)
        try:
            told = await _form(request)
        except PlanError as error:
            return PlainTextResponse(f"{error}\n", 413)
        known = request.cookies.get(TOKEN, "")
        if not known or not hmac.compare_digest(known.encode(), told.get("token", "").encode()):
            return PlainTextResponse("Not taken: this page is too old; load it again and say it once more.\n", 403)
        by = told.get("by", "")
        try:
            made = await run_in_threadpool(
                feedback.mark, self.archive, told.get("id", ""), told.get("verdict", ""), by, told.get("note", "")
            )
        except PlanError as error:
            return PlainTextResponse(f"Not taken: {error}\n", 400)
        back = told.get("back", "")
        response = RedirectResponse(back if _BACK.fullmatch(back) else "/", 303)
        response.set_cookie(PERSON, quote(made.by, safe=""), max_age=_YEAR, httponly=True, samesite="lax", path="/")
        return response

    def _filled(self, page: bytes, path: str, token: str, by: str) -> bytes:
        """A day's page with the verdicts of now and a form at each pick."""
        try:
            said = feedback.latest(feedback.trail(self.archive, self._kept))
        except InterpdiscError as error:
            log.warning("the page is shown without verdicts: %s", error)
            return page
        template = environment().get_template("marking.html.j2")
        back = "/" + path.removesuffix("index.html")

        def fill(slot: re.Match[bytes]) -> bytes:
            key, rank = slot[1].decode(), slot[2].decode()
            form = template.render(key=key, rank=rank, mark=said.get(key), token=token, by=by, back=back, words=words)
            return form.encode("utf-8", "backslashreplace")

        return _SLOT.sub(fill, page)


def allowed(path: str) -> bool:
    """Whether a path can be a file of the site: plain names without a leading dot, and an end that is served."""
    parts = path.split("/")
    return all(map(_PART.fullmatch, parts)) and "." in parts[-1] and path[path.rindex(".") :] in TYPES


def application(archive: Place, loopback: bool) -> ASGIApp:
    """The server as an ASGI application. loopback: answer only requests that name loopback."""
    pages = Pages(archive)
    routes = [
        Route("/healthz", pages.health, methods=["GET"]),
        Route("/mark", pages.mark, methods=["POST"]),
        Route("/{path:path}", pages.file, methods=["GET"]),
    ]
    return Guarded(Starlette(routes=routes, exception_handlers={Exception: _failed}), loopback)


def _answer(request: Request, data: bytes, kind: str) -> Response:
    """The data, or that the browser has it already. It asks each time, since a day may be published again."""
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    asked = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in asked or "*" in asked:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=kind, headers=headers)


async def _form(request: Request) -> Mapping[str, str]:
    """What a form sent, the last of each field. Raises PlanError where it is too large or no form."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise PlanError("A verdict is sent as a form.")
    data = bytearray()
    try:
        async for part in request.stream():
            data += part
            if len(data) > BODY:
                raise PlanError(f"A verdict has at most {BODY:,} bytes.")
    except ClientDisconnect:
        raise PlanError("The request ended too soon.") from None
    try:
        fields = parse_qs(data.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise PlanError("This is no form.") from None
    return {name: values[-1] for name, values in fields.items()}


def _person(request: Request) -> str:
    """Who marked last in this browser; empty where that cannot be told."""
    name = unquote(request.cookies.get(PERSON, ""))
    return name if len(name) <= 80 and name.isprintable() else ""


async def _failed(_: Request, error: Exception) -> Response:
    told = str(error) if isinstance(error, InterpdiscError) else "the server failed; its log says why."
    return PlainTextResponse(f"{told}\n", 500)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address, on any free port where `port` is 0. Raises PlanError where that cannot be."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise PlanError(f"cannot serve at {host}, port {port}: {error}; give another with --port or --host.") from None


def address_of(at: socket.socket) -> str:
    """The URL of a socket that listens."""
    host, port = at.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(archive: Place, at: socket.socket, loopback: bool) -> None:
    """Serve at a socket that listens, until the process is asked to stop. loopback: as of `application`."""
    import uvicorn

    config = uvicorn.Config(
        application(archive, loopback), log_level="warning", access_log=False, server_header=False, lifespan="off",
        ws="none", timeout_keep_alive=15, limit_concurrency=200, proxy_headers=False, timeout_graceful_shutdown=10,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[at])
