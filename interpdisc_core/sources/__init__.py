"""What there is to look at: the inputs that a source names, before any of them is read.

A source is one of the plug-ins below, or a text that stands for one (see `parse`). Everything found is listed, also
what cannot be an image: each input gets a status later, and none is skipped in silence.

To add one: write a frozen dataclass with a `kind` and `list`, in its own module, and name it in `Source` below.
"""

import glob
import os
import re
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from pydantic import Field, TypeAdapter, ValidationError

from interpdisc_core.errors import PlanError
from interpdisc_core.feeds import Mars2020Feed as Mars2020Feed
from interpdisc_core.feeds import MslFeed as MslFeed
from interpdisc_core.sources.folder import Folder as Folder
from interpdisc_core.sources.list_file import ListFile as ListFile
from interpdisc_core.sources.list_file import column as column
from interpdisc_core.sources.list_file import read_table as read_table
from interpdisc_core.sources.listed import ID_COLUMNS as ID_COLUMNS
from interpdisc_core.sources.listed import LABEL_COLUMNS as LABEL_COLUMNS
from interpdisc_core.sources.listed import PATH_COLUMNS as PATH_COLUMNS
from interpdisc_core.sources.listed import Listed as Listed
from interpdisc_core.sources.listed import Lists as Lists
from interpdisc_core.sources.listed import file_uri as file_uri
from interpdisc_core.sources.listed import shown as shown
from interpdisc_core.sources.one_file import OneFile as OneFile
from interpdisc_core.sources.pattern import Glob as Glob
from interpdisc_core.sources.reading import read as read
from interpdisc_core.sources.s3_prefix import S3Prefix as S3Prefix
from interpdisc_core.sources.shards import Shards as Shards
from interpdisc_core.storage import Place, is_remote

Source = Annotated[
    Folder | Glob | OneFile | ListFile | S3Prefix | Shards | Mars2020Feed | MslFeed, Field(discriminator="kind")
]
FEEDS: dict[str, Source] = {
    "msl": MslFeed(), "mars2020": Mars2020Feed(), "ingenuity": Mars2020Feed(category="ingenuity"),
}  # fmt: skip
"""What stands behind `feed:` and a name."""

_ADAPTER: TypeAdapter[Source] = TypeAdapter(Source)
_SAYS_LITTLE = ("images", "image", "img", "imgs", "data", "photos", "pictures", "raw", "files")
_SHARDS, _FEED = "shards:", "feed:"
_SHARD = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.\w{1,4})$", re.IGNORECASE)


def listing(sources: Iterable[str | Source], inbox: Place | None = None) -> list[Listed]:
    """All inputs of `sources`, each URI once, in order of id. inbox: where what feeds brought is kept.

    Raises PlanError for a source that does not exist or names nothing; a feed may have brought nothing yet.
    """
    found: dict[str, Listed] = {}
    for given in sources:
        source = parse(given) if isinstance(given, str) else given
        any_found = False
        for item in source.list(inbox):
            any_found = True
            found.setdefault(item.uri, item)
        if not any_found and not hasattr(source, "poll"):
            raise PlanError(
                f"{_text(given)}: nothing there; give a folder, a glob, a CSV list, a tar or zip, or an s3:// prefix "
                "with images."
            )
    return sorted(found.values(), key=lambda item: (item.id, item.uri))


def parse(text: str) -> Source:
    """The source that a text stands for.

    A folder; a pattern; a `.csv` list; a `.tar` or `.zip`, a pattern or `{000..099}` of them; any other file;
    `s3://bucket/prefix` in all these forms but the list; `shards:` before a folder or prefix of tars; `feed:msl`,
    `feed:mars2020` or `feed:ingenuity`; or the JSON of any source, which is the way to give its other settings:
    `{"kind": "msl-feed", "since_sol": 4000}`. What exists is taken as it is, whatever its name looks like.

    Raises PlanError where it is none of these.
    """
    if _is_json(text) and not os.path.exists(text):
        return _from_json(text)
    if text.startswith(_SHARDS) and not os.path.exists(text):
        return Shards(of=text.removeprefix(_SHARDS))
    if is_remote(text):
        return Shards(of=text) if _SHARD.search(text) else S3Prefix(url=text)
    path = os.fsdecode(unquote_to_bytes(text.removeprefix("file://"))) if text.startswith("file://") else text
    if os.path.isdir(path):
        return Folder(path=path)
    if os.path.isfile(path):
        return Shards(of=path) if _SHARD.search(path) else _file(path)
    if text.startswith(_FEED):
        return _feed(text.removeprefix(_FEED))
    if _SHARD.search(path) and (glob.has_magic(path) or "{" in path):
        return Shards(of=path)
    if glob.has_magic(path):
        return Glob(pattern=path)
    raise PlanError(f"{text}: no such file or folder.")


def _file(path: str) -> Source:
    return ListFile(path=path) if path.lower().endswith(".csv") else OneFile(path=path)


def _feed(name: str) -> Source:
    if name not in FEEDS:
        raise PlanError(f"{_FEED}{name}: no feed of this name; there are {', '.join(FEEDS)}.")
    return FEEDS[name]


def to_json(source: Source) -> dict[str, Any]:
    """The settings of a source as a JSON value; as text, `parse` reads it back to an equal source."""
    value: dict[str, Any] = _ADAPTER.dump_python(source, mode="json")
    return value


def _from_json(text: str) -> Source:
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PlanError(f"a source given as JSON: {where + ': ' if where else ''}{first['msg']}.") from None


def absolute(text: str) -> str:
    """A text for `parse` that means the same to a process in another folder."""
    if text.startswith(_SHARDS) and not os.path.exists(text):
        return _SHARDS + absolute(text.removeprefix(_SHARDS))
    names = text.startswith(_FEED) or _is_json(text)
    return text if "://" in text or (names and not os.path.exists(text)) else os.path.abspath(text)


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{") and ":" in text


def title(source: str | Source) -> str:
    """What people call a source: its last name, with the one before where the last says little."""
    text = _text(source).removeprefix(_SHARDS)
    *before, name = [part for part in re.split(r"[/\\\\]", text) if part and not glob.has_magic(part)] or ["images"]
    return f"{before[-1]}/{name}" if before and name.lower() in _SAYS_LITTLE else name


def _text(source: str | Source) -> str:
    """What names a source: its path, pattern or address; of others their kind."""
    given = source
    if isinstance(given, str):
        if not _is_json(given):
            return given
        try:
            given = _ADAPTER.validate_json(given)
        except ValidationError:
            return "source"
    names = (getattr(given, field, "") for field in ("called", "path", "pattern", "of", "url"))
    return str(next((name for name in names if name), given.kind))
