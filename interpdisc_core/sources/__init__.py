"""Where inputs come from: folders, lists, S3, tar and zip shards, and the rovers' raw-image feeds.

A source is one of the classes in `Source`, or a text that stands for one (see `parse_source`). It lists its inputs before any
is read, including files that cannot be images: each gets a status later, and none is skipped silently. `read_input` reads one.

To add a source: write a frozen dataclass with a `kind` and the method `list` (see `SourceLike`) in its own module, and
add it to `Source` below.

May import `metadata`, `storage` and what is below them. On disk it owns the archive's inbox (see `feeds.inbox`).
"""

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from interpdisc_core.errors import PlanError
from interpdisc_core.metadata.untrusted import load_untrusted_json
from interpdisc_core.settings import parse_settings
from interpdisc_core.sources.csv_list import ListFile as ListFile
from interpdisc_core.sources.csv_list import decode_cell as decode_cell
from interpdisc_core.sources.csv_list import find_column as find_column
from interpdisc_core.sources.csv_list import parse_class as parse_class
from interpdisc_core.sources.csv_list import read_csv_rows as read_csv_rows
from interpdisc_core.sources.csv_list import read_csv_table as read_csv_table
from interpdisc_core.sources.entry import ARCHIVE_SUFFIX
from interpdisc_core.sources.entry import ID_COLUMNS as ID_COLUMNS
from interpdisc_core.sources.entry import LABEL_COLUMNS as LABEL_COLUMNS
from interpdisc_core.sources.entry import PATH_COLUMNS as PATH_COLUMNS
from interpdisc_core.sources.entry import SourceEntry as SourceEntry
from interpdisc_core.sources.entry import SourceLike as SourceLike
from interpdisc_core.sources.feeds import Mars2020Feed as Mars2020Feed
from interpdisc_core.sources.feeds import MslFeed as MslFeed
from interpdisc_core.sources.local import Folder as Folder
from interpdisc_core.sources.local import Glob as Glob
from interpdisc_core.sources.local import OneFile as OneFile
from interpdisc_core.sources.read import read_input as read_input
from interpdisc_core.sources.s3 import S3Prefix as S3Prefix
from interpdisc_core.sources.shards import Shards as Shards
from interpdisc_core.sources.shards import list_shard_entries as list_shard_entries
from interpdisc_core.sources.uris import display_name as display_name
from interpdisc_core.sources.uris import file_uri as file_uri
from interpdisc_core.sources.uris import path_or_uri_to_path
from interpdisc_core.storage.location import Location, is_object_url

Source = Annotated[
    Folder | Glob | OneFile | ListFile | S3Prefix | Shards | Mars2020Feed | MslFeed, Field(discriminator="kind")
]
NAMED_FEEDS: dict[str, Source] = {
    "msl": MslFeed(),
    "mars2020": Mars2020Feed(),
    "ingenuity": Mars2020Feed(category="ingenuity"),
}
"""The feeds that `feed:NAME` stands for."""

_ADAPTER: TypeAdapter[Source] = TypeAdapter(Source)
_GENERIC_NAMES = ("images", "image", "img", "imgs", "data", "photos", "pictures", "raw", "files")
_SHARDS_PREFIX, _FEED_PREFIX = "shards:", "feed:"


def list_entries(sources: Iterable[str | Source], inbox: Location | None = None) -> list[SourceEntry]:
    """All inputs of `sources`, each URI once, sorted by id.

    Args:
        sources: Sources, or texts for `parse_source`.
        inbox: The archive's inbox, for feeds.

    Raises:
        PlanError: If a source does not exist or is empty; a feed may be empty.
    """
    entries: dict[str, SourceEntry] = {}
    for source_or_text in sources:
        source = parse_source(source_or_text) if isinstance(source_or_text, str) else source_or_text
        has_entries = False
        for item in source.list(inbox):
            has_entries = True
            entries[item.uri] = _merge_labels(entries[item.uri], item) if item.uri in entries else item
        if not has_entries and not hasattr(source, "poll"):
            raise PlanError(
                f"{_source_text(source_or_text)}: no files found; name a folder, a pattern, a CSV list, a tar or zip, "
                "or an s3:// prefix with images."
            )
    return sorted(entries.values(), key=lambda item: (item.id, item.uri))


def _merge_labels(entry: SourceEntry, again: SourceEntry) -> SourceEntry:
    """An input that is listed twice: the first, with the class of both, and with none if they differ."""
    if again.label is None or again.label == entry.label or entry.has_several_labels:
        return entry
    return replace(entry, label=None, has_several_labels=True) if entry.label else replace(entry, label=again.label)


def parse_source(text: str) -> Source:
    """The source that a text stands for.

    A folder; a pattern; a `.csv` list; a `.tar` or `.zip`, or a pattern or `{000..099}` of them; any other file;
    `s3://bucket/prefix` in all these forms except the list, as `gs://` and `az://`; `shards:` before a folder or prefix of tars; `feed:msl`,
    `feed:mars2020` or `feed:ingenuity`; or the JSON of any source, which can give its other settings:
    `{"kind": "msl-feed", "since_sol": 4000}`. A path that exists is taken literally, whatever its name looks like.

    Raises:
        PlanError: If it is none of these, or the JSON has an invalid field.

    Example:
        >>> parse_source("s3://bucket/photos").kind
        's3'
        >>> parse_source("shard-{000..099}.tar")
        Shards(kind='shards', of='shard-{000..099}.tar')
    """
    if _is_json(text) and not os.path.exists(text):
        return _from_json(text)
    if text.startswith(_SHARDS_PREFIX) and not os.path.exists(text):
        return Shards(of=text.removeprefix(_SHARDS_PREFIX))
    if is_object_url(text):
        return Shards(of=text) if ARCHIVE_SUFFIX.search(text) else S3Prefix(url=text)
    path = path_or_uri_to_path(text)
    if os.path.isdir(path):
        return Folder(path=path)
    if os.path.isfile(path):
        return Shards(of=path) if ARCHIVE_SUFFIX.search(path) else _file_source(path)
    if text.startswith(_FEED_PREFIX):
        return _find_feed(text.removeprefix(_FEED_PREFIX))
    if ARCHIVE_SUFFIX.search(path) and (glob.has_magic(path) or "{" in path):
        return Shards(of=path)
    if glob.has_magic(path):
        return Glob(pattern=path)
    raise PlanError(f"{text}: no such file or folder.")


def _file_source(path: str) -> Source:
    return ListFile(path=path) if path.lower().endswith(".csv") else OneFile(path=path)


def _find_feed(name: str) -> Source:
    if name not in NAMED_FEEDS:
        raise PlanError(f"{_FEED_PREFIX}{name}: no such feed; choose from {', '.join(NAMED_FEEDS)}.")
    return NAMED_FEEDS[name]


def source_to_json(source: Source) -> dict[str, Any]:
    """A source as a JSON value; `parse_source` reads its text back to an equal source."""
    value: dict[str, Any] = _ADAPTER.dump_python(source, mode="json")
    return value


def _from_json(text: str) -> Source:
    try:
        value = load_untrusted_json(text)
    except ValueError as error:
        raise PlanError(f"a source given as JSON: not JSON ({error}).") from None
    return parse_settings(_ADAPTER, value, "a source given as JSON")


def make_source_absolute(text: str) -> str:
    """A text for `parse_source` that means the same in another working directory."""
    if text.startswith(_SHARDS_PREFIX) and not os.path.exists(text):
        return _SHARDS_PREFIX + make_source_absolute(text.removeprefix(_SHARDS_PREFIX))
    is_symbolic = text.startswith(_FEED_PREFIX) or _is_json(text)
    return text if "://" in text or (is_symbolic and not os.path.exists(text)) else os.path.abspath(text)


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{") and ":" in text


def format_source_title(source: str | Source) -> str:
    """A short name of a source for people: the last part of its path, with the part before it if that is generic.

    Example:
        >>> format_source_title("/data/curiosity/images")
        'curiosity/images'
    """
    text = _source_text(source).removeprefix(_SHARDS_PREFIX)
    *parents, name = [part for part in re.split(r"[/\\\\]", text) if part and not glob.has_magic(part)] or ["images"]
    return f"{parents[-1]}/{name}" if parents and name.lower() in _GENERIC_NAMES else name


def _source_text(source: str | Source) -> str:
    """The text that identifies a source: its path, pattern or URI; else its kind."""
    parsed_source = source
    if isinstance(parsed_source, str):
        if not _is_json(parsed_source):
            return parsed_source
        try:
            parsed_source = _ADAPTER.validate_json(parsed_source)
        except ValidationError:
            return "source"
    candidates = (getattr(parsed_source, field, "") for field in ("inbox_name", "path", "pattern", "of", "url"))
    return str(next((name for name in candidates if name), parsed_source.kind))
