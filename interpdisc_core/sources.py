"""What there is to look at: the inputs that a SOURCE names, before any of them is read.

A SOURCE is a folder, a glob, a single file, a list (CSV with a column of paths, and optionally an id, a label and
metadata), or an `s3://` prefix or pattern. Everything found is listed, also what cannot be an image: each input gets
a status later, and none is skipped in silence.
"""

import csv
import glob
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.images import MAX_BYTES
from interpdisc_core.storage import is_remote, s3_filesystem

PATH_COLUMNS = ("path", "file", "uri", "url", "filename", "image", "name")
ID_COLUMNS = ("id", "imageid", "image_id")
LABEL_COLUMNS = ("label", "class_name", "class", "category")
_SAYS_LITTLE = ("images", "image", "img", "imgs", "data", "photos", "pictures", "raw", "files")
_NO_IMAGE = re.compile(
    r"\.(csv|tsv|txt|md|rst|json|jsonl|geojson|xml|lbl|html?|pdf|ya?ml|toml|ini|log|py|ipynb|sh|zip|tar|t?gz|npy|npz|"
    r"parquet|db|sqlite|mat|h5|pth|safetensors)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One input as it was found. `uri` is lossless ASCII for files (`file://`, percent-encoded) and as stored for S3.

    id: the name that people see, relative to the source. size: bytes, -1 unknown. stamp: changes when the content
    may have (modification time or ETag). skipped: why it is not even tried, or empty. label: a class, or None.
    record: the source's own record of it, verbatim.
    """

    id: str
    uri: str
    size: int = -1
    stamp: str = ""
    skipped: str = ""
    label: str | None = None
    record: dict[str, str] = field(default_factory=dict)


def listing(sources: Iterable[str]) -> list[Listed]:
    """All inputs of `sources`, each URI once, in order of id.

    Raises PlanError for a source that does not exist or names nothing.
    """
    found: dict[str, Listed] = {}
    for source in sources:
        before = len(found)
        any_found = False
        for item in _list(source):
            any_found = True
            found.setdefault(item.uri, item)
        if len(found) == before and not any_found:
            raise PlanError(
                f"{source}: nothing there; give a folder, a glob, a CSV list or an s3:// prefix with images."
            )
    return sorted(found.values(), key=lambda item: (item.id, item.uri))


def _list(source: str) -> Iterator[Listed]:
    if is_remote(source):
        return _list_s3(source)
    if os.path.isdir(source):
        return _list_folder(os.path.abspath(source))
    if os.path.isfile(source):
        if source.lower().endswith(".csv"):
            return _list_csv(source)
        return iter([_file(os.path.abspath(source), os.path.basename(source))])
    if glob.has_magic(source):
        return _list_glob(source)
    raise PlanError(f"{source}: no such file or folder.")


def _list_folder(root: str) -> Iterator[Listed]:
    blind: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=blind.append):
        folders.sort()
        for name in list(folders):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                yield _entry(path, os.path.relpath(path, root), skipped="a link to a folder (links are not followed)")
            elif name.startswith("."):
                folders.remove(name)
                yield _entry(path, os.path.relpath(path, root), skipped="a hidden folder")
        for name in sorted(files):
            path = os.path.join(folder, name)
            yield _file(path, os.path.relpath(path, root))
    for error in blind:
        path = os.fspath(error.filename)
        yield _entry(path, os.path.relpath(path, root), skipped=f"a folder that cannot be read ({error.strerror})")


def _list_glob(pattern: str) -> Iterator[Listed]:
    fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    root = os.path.abspath(os.path.dirname(fixed) or ".")
    for path in sorted(glob.glob(pattern, recursive=True)):
        if not os.path.isdir(path):
            yield _file(os.path.abspath(path), os.path.relpath(path, root))


def _file(path: str, name: str) -> Listed:
    skipped = ""
    if os.path.basename(path).startswith(".") or os.path.basename(path) == "Thumbs.db":
        skipped = "a hidden file"
    elif match := _NO_IMAGE.search(path):
        skipped = f"not an image by its name ({match.group(0).lower()})"
    try:
        facts = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in a list's path
        return _entry(path, name, skipped=skipped)  # reading it will say why
    return _entry(path, name, facts.st_size, str(facts.st_mtime_ns), skipped)


def _entry(path: str, name: str, size: int = -1, stamp: str = "", skipped: str = "") -> Listed:
    return Listed(Path(shown(name)).as_posix(), file_uri(path), size, stamp, skipped)


def shown(name: str) -> str:
    """A name as text: bytes that are not UTF-8 are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def title(source: str) -> str:
    """What people call a source: its last name, with the one before where the last says little."""
    *before, name = [part for part in re.split(r"[/\\\\]", source) if part and not glob.has_magic(part)] or ["images"]
    return f"{before[-1]}/{name}" if before and name.lower() in _SAYS_LITTLE else name


def file_uri(path: str) -> str:
    """A local path as a `file://` address; any name, in any encoding, survives."""
    return "file://" + quote(os.fsencode(os.path.abspath(path)))


def _list_s3(source: str) -> Iterator[Listed]:
    files = s3_filesystem()
    bare = source.removeprefix("s3://")
    if glob.has_magic(bare):
        root = re.split(r"[*?\[]", bare, maxsplit=1)[0].rpartition("/")[0]
        found = files.glob(source, detail=True)
    else:
        root = bare.rstrip("/")
        try:
            found = files.find(source, detail=True)
        except FileNotFoundError:
            raise PlanError(f"{source}: no such bucket or prefix.") from None
    for key, facts in sorted(found.items()):
        if facts.get("type") == "directory" or key.endswith("/"):
            continue
        name = key[len(root) :].lstrip("/") or key.rpartition("/")[2]
        match = _NO_IMAGE.search(key)
        skipped = f"not an image by its name ({match.group(0).lower()})" if match else ""
        stamp = str(facts.get("ETag") or facts.get("LastModified") or "").strip('"')
        yield Listed(name, f"s3://{key}", int(facts.get("size") or 0), stamp, skipped)


def _list_csv(path: str) -> Iterator[Listed]:
    table = read_table(path)
    where = column(table, PATH_COLUMNS)
    if where is None:
        raise PlanError(f"{path}: no column of paths; name one of its columns {', '.join(PATH_COLUMNS)}.")
    name, label = column(table, ID_COLUMNS), column(table, LABEL_COLUMNS)
    base = os.path.dirname(os.path.abspath(path))
    for row in table:
        # Paths keep their bytes, whatever the encoding; what people read must be text.
        given, record = row[where], {shown(key): shown(value) for key, value in row.items()}
        item = _list_one(given, base)
        yield Listed(
            record[shown(name)] if name and record[shown(name)] else item.id,
            item.uri, item.size, item.stamp, item.skipped, (record[shown(label)] or None) if label else None, record,
        )  # fmt: skip


def _list_one(given: str, base: str) -> Listed:
    if "://" in given and not given.startswith("file://"):
        return Listed(shown(given), shown(given))
    path = os.fsdecode(unquote_to_bytes(given.removeprefix("file://"))) if given.startswith("file://") else given
    return _file(os.path.join(base, path), given)


def read_table(path: str) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, as text. Raises PlanError where it is not one."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig", "surrogateescape")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (OSError, csv.Error) as error:
        raise PlanError(f"{path}: cannot be read as CSV: {error}.") from error
    if not rows:
        raise PlanError(f"{path}: a CSV list without rows; it needs a header and one line an image.")
    return [{str(key): value or "" for key, value in row.items() if key is not None} for row in rows]


def column(table: list[dict[str, str]], names: tuple[str, ...]) -> str | None:
    """The first of `names` that the table has as a column, whatever its case."""
    have = {key.strip().lower(): key for key in table[0]}
    return next((have[name] for name in names if name in have), None)


def read(uri: str) -> bytes:
    """The bytes of an input.

    Raises Unreadable, whose `access` attribute is True: the file may be all right another time.
    """
    if uri.startswith("s3://"):
        return _read_s3(uri)
    if not uri.startswith("file://"):
        raise _no_access(f"an address of a kind that is not supported ({uri.partition(':')[0][:20]})")
    path = unquote_to_bytes(uri.removeprefix("file://"))
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):
            raise _no_access("not a regular file")
        if facts.st_size > MAX_BYTES:
            raise _no_access(f"larger than {MAX_BYTES // 10**9} GB")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise _no_access("vanished: no such file any more") from None
    except PermissionError:
        raise _no_access("no permission to read it") from None
    except OSError as error:
        raise _no_access(f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _no_access(f"cannot be read: {error}") from error


def _read_s3(uri: str) -> bytes:
    try:
        facts = s3_filesystem().info(uri)
        if facts["size"] > MAX_BYTES:
            raise _no_access(f"larger than {MAX_BYTES // 10**9} GB")
        data: bytes = s3_filesystem().cat_file(uri)
        return data
    except FileNotFoundError:
        raise _no_access("vanished: no such object any more") from None
    except PermissionError:
        raise _no_access("no permission to read it") from None


def _no_access(reason: str) -> Unreadable:
    error = Unreadable(reason)
    error.access = True
    return error
