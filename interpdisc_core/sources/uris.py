"""Addresses of files: local paths as `file://` URIs and back, whatever bytes are in a name, and names as text."""

import os
import re
from urllib.parse import quote, unquote_to_bytes

from interpdisc_core.storage.remote_files import OBJECT_SCHEMES

FILE_SCHEME = "file://"
_LIKE_FRAGMENT = re.compile(r"[#&](xywh=\d+,\d+,\d+,\d+|mosaic=[RGB]{4})#*$")
"""The end of a key that reads as the fragment of a tile or a mosaic (see `images.uri_fragments`)."""


def file_uri(path: str) -> str:
    """A local path as a `file://` URI in ASCII; names in any encoding survive.

    Example:
        >>> file_uri("/data/a b.png")
        'file:///data/a%20b.png'
    """
    return FILE_SCHEME + quote(os.fsencode(os.path.abspath(path)))


def file_path(uri: str) -> bytes:
    """The local path of a `file://` URI, as the file system's bytes."""
    return unquote_to_bytes(uri.removeprefix(FILE_SCHEME))


def is_object_uri(uri: str) -> bool:
    """Whether a URI is that of an object in a store, and not a file's."""
    return uri.partition("://")[0] in OBJECT_SCHEMES


def object_uri(key: str, scheme: str = "s3") -> str:
    """The URI of an object in a store: as stored, and with `#` at its end if the key could be taken for a part of an image.

    Args:
        key: Bucket and key.
        scheme: Of its store.

    Example:
        >>> object_uri("bucket/a b.png"), object_uri("bucket/a#xywh=0,0,9,9")
        ('s3://bucket/a b.png', 's3://bucket/a#xywh=0,0,9,9#')
    """
    return f"{scheme}://{key}#" if _LIKE_FRAGMENT.search(key) else f"{scheme}://{key}"


def object_path(uri: str) -> str:
    """The address of the object at its URI, as its store's client takes it; inverse of `object_uri`."""
    return uri[:-1] if uri.endswith("#") and _LIKE_FRAGMENT.search(uri[:-1]) else uri


def path_or_uri_to_path(text: str) -> str:
    """A local path, from a path or a `file://` URI."""
    return os.fsdecode(file_path(text)) if text.startswith(FILE_SCHEME) else text


def sibling_uri(uri: str, name: str) -> str:
    """The URI of the file `name` in the folder of `uri`."""
    folder = uri.rpartition("/")[0]
    if not is_object_uri(uri):
        return f"{folder}/{quote(os.fsencode(name))}"
    scheme, _, path = folder.partition("://")
    return object_uri(f"{path}/{name}", scheme)


def uri_basename(uri: str) -> str:
    """The last part of a URI's path, as text."""
    name = object_path(uri).rpartition("/")[2]
    return name if is_object_uri(uri) else display_name(os.fsdecode(unquote_to_bytes(name)))


def display_name(name: str) -> str:
    r"""A name as text that can be written as UTF-8: other bytes are escaped, as `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
