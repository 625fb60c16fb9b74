"""One image from its address: resumed where it broke off, whole, and an image; else not taken."""

import base64
import binascii
import contextlib
import hashlib
import json
import re
from dataclasses import dataclass, field

import urllib3

from interpdisc_core import digest
from interpdisc_core.errors import InterpdiscError
from interpdisc_core.feeds.client import Client, Trouble, is_html
from interpdisc_core.storage import Place

_SAVE = 16_000_000
"""Bytes after which an unfinished download is kept, so that a killed process does not begin a large one again."""
_TAIL = 4096


@dataclass(frozen=True, slots=True)
class Body:
    """A whole image file. etag: the server's name for this content, or empty."""

    data: bytes
    sha256: str
    etag: str


@dataclass(slots=True)
class _Part:
    """What is there of a download. validator: proves to the server that it goes on with the same content."""

    url: str
    validator: str = ""
    data: bytearray = field(default_factory=bytearray)
    kept: int = 0

    @classmethod
    def of(cls, place: Place, name: str, url: str) -> "_Part":
        try:
            head, _, data = place.read(name).partition(b"\n")
            said = json.loads(head)
            if said["url"] == url:
                return cls(url, str(said["validator"]), bytearray(data), len(data))
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return cls(url)

    def keep(self, place: Place, name: str) -> None:
        if self.validator and self.data and len(self.data) != self.kept:
            head = json.dumps({"url": self.url, "validator": self.validator}).encode()
            place.write(name, head + b"\n" + self.data)
            self.kept = len(self.data)

    def clear(self) -> None:
        self.validator = ""
        self.data.clear()


def fetch(client: Client, place: Place, name: str, url: str, *, begun: bool, etag: str = "") -> Body | None:
    """The image at `url`; what is there of it, should it break off, is kept under `name` and gone on with.

    begun: whether there is something under `name`. etag: of a content that is there; None where it is still the same.

    Raises Trouble: with the reason where it cannot be had, is cut short, is a web page, or is not what its digest says.
    """
    part = _Part.of(place, name, url) if begun else _Part(url)

    def once() -> Body | None:
        headers = {"Range": f"bytes={len(part.data)}-", "If-Range": part.validator} if part.data else {}
        if etag and not part.data:
            headers = {"If-None-Match": etag}
        with client.get(url, headers) as response:
            if response.status == 304 and "If-None-Match" in headers:
                return None
            size = _begin(part, response)
            if size is not None and size > client.manners.largest_image:
                raise Trouble(f"{size} bytes, more than {client.manners.largest_image}")
            for piece in client.read(response, client.manners.largest_image - len(part.data)):
                part.data += piece
                if len(part.data) - part.kept >= _SAVE:
                    part.keep(place, name)
            return _whole(part, response, size)

    try:
        body = client.tried(once)
    except BaseException:
        with contextlib.suppress(InterpdiscError):  # the first error is the one to tell
            part.keep(place, name)
        raise
    if begun or part.kept:
        place.remove(name)
    return body


def _begin(part: _Part, response: urllib3.BaseHTTPResponse) -> int | None:
    """Make `part` ready for this answer's body; returns how long the whole will be, None if unknown."""
    if response.status == 206:
        given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        same = response.headers.get("ETag", part.validator) == part.validator or '"' not in part.validator
        if given and int(given[1]) == len(part.data) > 0 and same:
            return None if given[3] == "*" else int(given[3])
    if response.status != 200:
        part.clear()
        raise Trouble("the server sent another part than was asked for", passing=True)
    part.clear()
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise Trouble("a web page instead of an image", passing=True)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None  # neither its length nor a part of it means anything for the file
    etag = response.headers.get("ETag", "")
    part.validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    length = response.headers.get("Content-Length", "")
    return int(length) if re.fullmatch(r"\d{1,15}", length) else None


def _whole(part: _Part, response: urllib3.BaseHTTPResponse, size: int | None) -> Body:
    if size is not None and len(part.data) < size:
        raise Trouble(f"cut short: {len(part.data)} of {size} bytes", passing=True, far=True)
    data, etag = bytes(part.data), response.headers.get("ETag", "")
    if reason := _refused(data, size, response):
        part.clear()
        raise Trouble(reason, passing=True)
    return Body(data, digest.of_bytes(data), etag)


def _refused(data: bytes, size: int | None, response: urllib3.BaseHTTPResponse) -> str:
    if not data:
        return "empty"
    if size is not None and len(data) != size:
        return f"{len(data)} bytes where {size} were announced"
    if is_html(data):
        return "a web page instead of an image"
    if (said := _digest_said(response)) and hashlib.new(said[0], data).digest() != said[1]:
        return f"not what its {said[0]} says"
    end = data[-_TAIL:].rstrip(b"\0")
    if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in end:
        return "cut short: a JPEG without its end"
    if data.startswith(b"\x89PNG") and b"IEND" not in end:
        return "cut short: a PNG without its end"
    return ""


def _digest_said(response: urllib3.BaseHTTPResponse) -> tuple[str, bytes] | None:
    """Which digest the whole content has by the server's own word (RFC 9530, Content-MD5), if it says."""
    if response.headers.get("Content-Encoding"):
        return None
    if found := re.search(r"sha-256=:([A-Za-z0-9+/=]+):", response.headers.get("Repr-Digest", "")):
        name, text = "sha256", found[1]
    elif response.status == 200 and (text := response.headers.get("Content-MD5", "")):
        name = "md5"
    else:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return (name, value) if len(value) == hashlib.new(name).digest_size else None
