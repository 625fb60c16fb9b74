"""Which images the names in a table are of: names are compared as paths."""

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from interpdisc_core import sources
from interpdisc_core.sources.uris import FILE_SCHEME, file_path

_SUFFIX = re.compile(r"\.(?=\w*[a-z])\w{1,5}$", re.IGNORECASE)
_LAST_UNAMBIGUOUS = 1
"""Up to this rank, a name is of each image that it fits."""


@dataclass(frozen=True, slots=True)
class NameMatches:
    """What names fit.

    Attributes:
        ids_by_name: Ids of the images that a name is of, for each name of an image.
        unclear: Names that fit several images equally well, with the ids of these, or their addresses where several files have the id.
    """

    ids_by_name: dict[str, tuple[str, ...]]
    unclear: dict[str, tuple[str, ...]]

    @property
    def image_count(self) -> int:
        """Number of images with a name."""
        return len({image for images in self.ids_by_name.values() for image in images})


def match_names(names: Iterable[str], table_path: str, ids: Sequence[str], uris: Sequence[str] = ()) -> NameMatches:
    r"""Find the images of names.

    A name is that of an image, from the most exact to the least: by its id; by its address (an absolute path, a URI, a
    path relative to the table's folder); by its id in another form (`./`, `\`, composed characters); by the last parts
    of its path; by one of these where the name or the image has no suffix. Only the most exact counts.

    Args:
        names: Names as `sources.read_csv_table` has them, without blanks around.
        table_path: The table that has the names.
        ids: Ids of the images.
        uris: Addresses of the images; or none.
    """
    index = _index_names(names, os.path.dirname(os.path.abspath(table_path)))
    found: dict[str, dict[int, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for image, uri in zip(ids, uris or [""] * len(ids), strict=True):
        for key in _list_image_keys(image, uri):
            for name in index.get(key, ()):
                found[name][key[0]][image] = None
    uris_by_id: dict[str, dict[str, None]] = defaultdict(dict)
    for image, uri in zip(ids, uris, strict=False):
        uris_by_id[image][uri] = None
    ids_by_name, unclear = {}, {}
    for name, images_by_rank in found.items():
        rank = min(images_by_rank)
        images = tuple(images_by_rank[rank])
        # Labels are by id, so that an id of several files cannot be given one.
        if shared := next((uris_by_id[image] for image in images if len(uris_by_id[image]) > 1), None):
            unclear[name] = tuple(shared)
        elif rank <= _LAST_UNAMBIGUOUS or len(images) == 1:
            ids_by_name[name] = images
        else:
            unclear[name] = images
    return NameMatches(ids_by_name, unclear)


def _index_names(names: Iterable[str], folder: str) -> dict[tuple[int, str], list[str]]:
    index: dict[tuple[int, str], list[str]] = defaultdict(list)
    for name in names:
        # Bytes that are not UTF-8 are those of the file's name, or text in another encoding.
        for text in dict.fromkeys((sources.display_name(name), sources.decode_cell(name))):
            if not text:
                continue
            address = text if "://" in text else posixpath.join(folder, text.replace("\\", "/"))
            place, path = _normalise_path(address), _normalise_path(text)
            keys = [(0, text), (1, place), (2, path), (3, path)]
            keys += dict.fromkeys((4, stem) for stem in (path, place))
            keys += dict.fromkeys((5, _drop_suffix(stem)) for stem in (path, place))
            for key in keys:
                index[key].append(name)
    return index


def _list_image_keys(image: str, uri: str) -> Iterator[tuple[int, str]]:
    path = _normalise_path(image)
    yield 0, image
    if uri:
        yield 1, _normalise_path(uri)
    yield 2, path
    tails = dict.fromkeys((*_list_tails(path), *_list_tails(_normalise_path(uri))))
    for tail in tails:
        yield 3, tail
        if (stem := _drop_suffix(tail)) != tail:
            yield 4, stem
        else:
            yield 5, tail


def _normalise_path(text: str) -> str:
    """A path or URI with `/` between its parts, without `.`, `..` and the scheme of files, in composed characters (NFC)."""
    if text.startswith(FILE_SCHEME):
        text = sources.display_name(os.fsdecode(file_path(text)))
    if "://" in text:
        return unicodedata.normalize("NFC", text)
    return posixpath.normpath(unicodedata.normalize("NFC", text.replace("\\", "/"))) if text else ""


def _list_tails(path: str) -> Iterator[str]:
    """The last part of a path, the last two, and so on."""
    end = len(path)
    while (end := path.rfind("/", 0, end)) >= 0:
        yield path[end + 1 :]
    if path:
        yield path


def _drop_suffix(path: str) -> str:
    return _SUFFIX.sub("", path)
