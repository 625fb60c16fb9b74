"""Downloads one image: resumes an interrupted download, and refuses what is incomplete or not an image."""

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
from interpdisc_core.metadata.jpeg_markers import find_jpeg_end
from interpdisc_core.sources.feeds.http_client import FetchError, HttpClient, is_html
from interpdisc_core.storage.location import Location

_SAVE_INTERVAL_BYTES = 16_000_000
"""An unfinished download is saved after this many bytes, so that a killed process does not start it again."""
_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class DownloadedImage:
    """A complete image file; `etag` is the server's name for this content, or empty."""

    data: bytes
    sha256: str
    etag: str


@dataclass(slots=True)
class _PartialDownload:
    """The beginning of a download; `validator` makes the server resume it only if the content is the same (If-Range)."""

    url: str
    validator: str = ""
    data: bytearray = field(default_factory=bytearray)
    saved_bytes: int = 0

    @classmethod
    def load(cls, location: Location, name: str, url: str) -> "_PartialDownload":
        try:
            header_line, _, data = location.read(name).partition(b"\n")
            header = json.loads(header_line)
            if header["url"] == url:
                return cls(url, str(header["validator"]), bytearray(data), len(data))
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return cls(url)

    def save(self, location: Location, name: str) -> None:
        if not self.data and self.saved_bytes:
            # What was saved is of no use: resuming it again would fail in the same way at every poll.
            location.remove(name)
            self.saved_bytes = 0
        if self.validator and self.data and len(self.data) != self.saved_bytes:
            header_line = json.dumps({"url": self.url, "validator": self.validator}).encode()
            location.write(name, header_line + b"\n" + self.data)
            self.saved_bytes = len(self.data)

    def clear(self) -> None:
        self.validator = ""
        self.data.clear()


def download_image(
    client: HttpClient, location: Location, name: str, url: str, *, has_partial: bool, etag: str = ""
) -> DownloadedImage | None:
    """The image at `url`. The beginning of an interrupted download is saved, and resumed by the next call.

    Args:
        client: Of the feed.
        location: Where the beginning of a download is saved.
        name: Its name there.
        url: Of the image.
        has_partial: Whether `name` exists.
        etag: Of a known content, or empty.

    Returns:
        None if the content still has this `etag`.

    Raises:
        FetchError: If it cannot be fetched, is truncated, is a web page, or does not match the server's digest.
    """
    partial = _PartialDownload.load(location, name, url) if has_partial else _PartialDownload(url)

    def attempt() -> DownloadedImage | None:
        headers = {"Range": f"bytes={len(partial.data)}-", "If-Range": partial.validator} if partial.data else {}
        if etag and not partial.data:
            headers = {"If-None-Match": etag}
        with client.get(url, headers) as response:
            if response.status == 304 and "If-None-Match" in headers:
                return None
            size = _start_body(partial, response)
            if size is not None and size > client.policy.max_image_bytes:
                raise FetchError(f"{size} bytes, more than {client.policy.max_image_bytes}")
            for chunk in client.read_body(response, client.policy.max_image_bytes - len(partial.data)):
                partial.data += chunk
                if len(partial.data) - partial.saved_bytes >= _SAVE_INTERVAL_BYTES:
                    partial.save(location, name)
            return _finish_download(partial, response, size)

    try:
        image = client.retry(attempt)
    except BaseException:
        with contextlib.suppress(InterpdiscError):  # the first error is the one to report
            partial.save(location, name)
        raise
    if has_partial or partial.saved_bytes:
        location.remove(name)
    return image


def _start_body(partial: _PartialDownload, response: urllib3.BaseHTTPResponse) -> int | None:
    """Make `partial` ready for the response's body; returns the size of the whole file, None if unknown."""
    if response.status == 206:
        content_range = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        is_same_content = (
            response.headers.get("ETag", partial.validator) == partial.validator or '"' not in partial.validator
        )
        if content_range and int(content_range[1]) == len(partial.data) > 0 and is_same_content:
            return None if content_range[3] == "*" else int(content_range[3])
    if response.status != 200:
        partial.clear()
        raise FetchError("the server sent another range than requested", retryable=True)
    partial.clear()
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise FetchError("a web page instead of an image", retryable=True)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None  # neither its length nor a range says anything about the file
    etag = response.headers.get("ETag", "")
    partial.validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    length = response.headers.get("Content-Length", "")
    return int(length) if re.fullmatch(r"\d{1,15}", length) else None


def _finish_download(
    partial: _PartialDownload, response: urllib3.BaseHTTPResponse, size: int | None
) -> DownloadedImage:
    if size is not None and len(partial.data) < size:
        raise FetchError(f"truncated: {len(partial.data)} of {size} bytes", retryable=True, host_down=True)
    data, etag = bytes(partial.data), response.headers.get("ETag", "")
    if reason := _find_body_fault(data, size, response):
        partial.clear()
        raise FetchError(reason, retryable=True)
    return DownloadedImage(data, digest.digest_bytes(data), etag)


def _find_body_fault(data: bytes, size: int | None, response: urllib3.BaseHTTPResponse) -> str:
    if not data:
        return "empty"
    if size is not None and len(data) != size:
        return f"{len(data)} bytes, but {size} were announced"
    if is_html(data):
        return "a web page instead of an image"
    if (expected_digest := _read_server_digest(response)) and hashlib.new(
        expected_digest[0], data
    ).digest() != expected_digest[1]:
        return f"its {expected_digest[0]} digest is wrong"
    # Servers pad files, or send a second picture after the first: what counts is that the first is complete.
    if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-_TAIL_BYTES:] and find_jpeg_end(data) is None:
        return "truncated: a JPEG without its end"
    if data.startswith(b"\x89PNG") and b"IEND" not in data[-_TAIL_BYTES:] and b"IEND\xae\x42\x60\x82" not in data:
        return "truncated: a PNG without its end"
    return ""


def _read_server_digest(response: urllib3.BaseHTTPResponse) -> tuple[str, bytes] | None:
    """The whole content's digest that the server gives (RFC 9530, Content-MD5): its algorithm and value, or None."""
    if response.headers.get("Content-Encoding"):
        return None
    if match := re.search(r"sha-256=:([A-Za-z0-9+/=]+):", response.headers.get("Repr-Digest", "")):
        name, text = "sha256", match[1]
    elif response.status == 200 and (text := response.headers.get("Content-MD5", "")):
        name = "md5"
    else:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return (name, value) if len(value) == hashlib.new(name).digest_size else None
