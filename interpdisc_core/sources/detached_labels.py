"""Products of planetary archives in two files: a PDS label (`.lbl` of PDS3, `.xml` of PDS4) and its data next to it.

Such a product is one input, whose URI is the label's. Its bytes are a bundle: an uncompressed zip of the label and its data
under the names that the label uses, always the same bytes for the same files.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from interpdisc_core.errors import Unreadable
from interpdisc_core.metadata.pds_pointers import find_file_names, is_safe_name
from interpdisc_core.sources import fetch
from interpdisc_core.sources.entry import SourceEntry, find_skip_reason
from interpdisc_core.sources.fetch import FileStat
from interpdisc_core.sources.uris import is_object_uri, sibling_uri, uri_basename

PDS_LABEL_SUFFIX = re.compile(r"\.(lbl|xml)$", re.IGNORECASE)
MAX_PDS_LABEL_BYTES = 1 << 20
"""A larger file is not read as a label."""
_READERS = 16


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file: the name that the label uses, its URI and status."""

    name: str
    uri: str
    stat: FileStat


def find_data_names(text: str) -> tuple[str, ...]:
    r"""The files that a label names as its image data, each once; none if it is not an image's label.

    Example:
        >>> find_data_names('PDS_VERSION_ID = PDS3\n^IMAGE = ("A.IMG", 5)')
        ('A.IMG',)
    """
    # Names that are not an image's are tables or texts; so a label is never the data of another label.
    return tuple(dict.fromkeys(name for name in find_file_names(text) if name and not find_skip_reason(name)))


def find_data_files(uri: str, text: str, entries_by_uri: dict[str, SourceEntry] | None = None) -> tuple[DataFile, ...]:
    """The data files of a label; none if it is not an image's label. Names may differ from the files' in case.

    Args:
        uri: The label's.
        text: The label.
        entries_by_uri: Known inputs, whose status need not be read.

    Raises:
        Unreadable: If the label names a file in another folder; `retryable` if a data file is missing.
    """
    data_files = []
    for name in find_data_names(text):
        if not is_safe_name(name) or name.startswith("."):
            raise Unreadable(f"a label that points elsewhere ({name[:80]!r}); its data must be in its folder")
        data_files.append(_find_data_file(uri, name, entries_by_uri or {}))
    return tuple(data_files)


def _find_data_file(uri: str, name: str, entries_by_uri: dict[str, SourceEntry]) -> DataFile:
    for spelling in dict.fromkeys((name, name.upper(), name.lower())):
        candidate = sibling_uri(uri, spelling)
        if (known_entry := entries_by_uri.get(candidate)) and known_entry.size >= 0:
            return DataFile(name, candidate, FileStat(known_entry.size, known_entry.stamp))
    for spelling in dict.fromkeys((name, name.upper(), name.lower())):
        candidate = sibling_uri(uri, spelling)
        try:
            return DataFile(name, candidate, fetch.stat_uri(candidate))
        except Unreadable as error:
            if not str(error).startswith("vanished"):
                raise
    raise Unreadable(f"its data is missing ({name[:80]!r} is not in its folder)", retryable=True)


def pair_labels(items: Sequence[SourceEntry]) -> Iterator[SourceEntry]:
    """The same inputs: each label whose data are listed next to it is a product, and the data have a `skip_reason`."""
    label_entries = [item for item in items if _may_be_label(item)]
    if not label_entries:
        yield from items
        return
    entries_by_uri = {item.uri: item for item in items}

    def read_label(item: SourceEntry) -> tuple[DataFile, ...] | Unreadable | None:
        try:
            return (
                find_data_files(
                    item.uri, _decode_label(fetch.fetch_range(item.uri, 0, MAX_PDS_LABEL_BYTES)), entries_by_uri
                )
                or None
            )
        except Unreadable as error:
            return error

    with ThreadPoolExecutor(_READERS if is_object_uri(label_entries[0].uri) else 1) as pool:
        files_by_label = dict(
            zip((item.uri for item in label_entries), pool.map(read_label, label_entries), strict=True)
        )
    products: dict[str, SourceEntry] = {}
    label_by_uri: dict[str, SourceEntry] = {}
    # If data have a label of each kind, the PDS3 label is used: it is the older, so the original.
    for item in sorted(label_entries, key=lambda item: (item.uri[-4:].lower() != ".lbl", item.id, item.uri)):
        files = files_by_label[item.uri]
        if isinstance(files, Unreadable):
            products[item.uri] = replace(item, skip_reason=str(files))
        elif files and (earlier_label := next((label_by_uri[p.uri] for p in files if p.uri in label_by_uri), None)):
            products[item.uri] = replace(
                item, skip_reason=f"another label of the data that {earlier_label.id} describes"
            )
        elif files:
            size = max(item.size, 0) + sum(data_file.stat.size for data_file in files)
            stamp = "+".join((item.stamp, *(data_file.stat.stamp for data_file in files)))
            products[item.uri] = replace(item, size=size, stamp=stamp, skip_reason="")
            label_by_uri |= {data_file.uri: item for data_file in files}
    for item in items:
        if (label_entry := label_by_uri.get(item.uri)) is not None:
            yield replace(item, skip_reason=f"the data of {label_entry.id}")
        else:
            yield products.get(item.uri, item)


def _may_be_label(item: SourceEntry) -> bool:
    if not PDS_LABEL_SUFFIX.search(item.uri) or item.size > MAX_PDS_LABEL_BYTES:
        return False
    return item.skip_reason in ("", find_skip_reason(item.uri))


def _decode_label(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_bundle(uri: str) -> bytes:
    """The bundle of a label and its data; the file's own bytes if it is not an image's label.

    Raises:
        Unreadable: As `find_data_files`; `retryable` if it has more than `MAX_FILE_BYTES`.
    """
    if fetch.stat_uri(uri).size > MAX_PDS_LABEL_BYTES:
        return fetch.fetch_bytes(uri)
    label_bytes = fetch.fetch_bytes(uri)
    data_files = find_data_files(uri, _decode_label(label_bytes))
    if not data_files:
        return label_bytes
    fetch.check_size(sum(data_file.stat.size for data_file in data_files) + len(label_bytes))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_make_zip_info(uri_basename(uri)), label_bytes)
        for data_file in sorted(data_files, key=lambda data_file: data_file.name):
            archive.writestr(_make_zip_info(data_file.name), fetch.fetch_bytes(data_file.uri))
    return buffer.getvalue()


def _make_zip_info(name: str) -> zipfile.ZipInfo:
    """A member's header that depends on the name alone."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o644 << 16
    return info
