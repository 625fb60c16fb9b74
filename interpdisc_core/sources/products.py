"""Products of planetary archives in two files: a label (PDS3 `.lbl`, PDS4 `.xml`) and its data beside it.

Such a product is one input, addressed by its label; read, it is a bundle: an uncompressed zip of the label and its
data under the names that the label uses, the same bytes for the same files.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from interpdisc_core.errors import Unreadable
from interpdisc_core.images import MAX_BYTES
from interpdisc_core.sources import access
from interpdisc_core.sources.access import Facts
from interpdisc_core.sources.listed import Listed, by_name, last_part

LABEL = re.compile(r"\.(lbl|xml)$", re.IGNORECASE)
LABEL_BYTES = 1 << 20
"""A larger file is not looked at as a label."""
_PDS3 = re.compile(
    r'^[ \t]*\^(?:IMAGE|QUBE|SPECTRAL_QUBE)[ \t]*=[ \t\r\n]*\(?[ \t\r\n]*"([^"\r\n]{1,255})"', re.MULTILINE
)
_PDS4 = re.compile(r"<(?:\w{1,20}:)?file_name>\s{0,99}([^<>]{1,255}?)\s{0,99}</(?:\w{1,20}:)?file_name>")
_ARRAY = re.compile(r"<(?:\w{1,20}:)?Array_[23]D")
_READERS = 16


@dataclass(frozen=True, slots=True)
class Part:
    """A file of data: the name by which the label calls it, its address and facts."""

    name: str
    uri: str
    facts: Facts


def data_names(text: str) -> tuple[str, ...]:
    """The files that a label says hold its image, each once; none where this is not the label of an image."""
    if "PDS_VERSION_ID" in text[:4096]:
        names = _PDS3.findall(text)
    else:
        names = _PDS4.findall(text) if _ARRAY.search(text) else []
    # What is no image by its name is a table or text; so a label is never the data of another.
    return tuple(dict.fromkeys(name for given in names if (name := given.strip()) and not by_name(name)))


def parts(uri: str, text: str, known: dict[str, Listed] | None = None) -> tuple[Part, ...]:
    """The data that a label at `uri` with this text has beside it; none where it is not the label of an image.

    known: inputs by address whose facts need not be asked for. A name may differ from that of its file in case.
    Raises Unreadable for a label that points to another folder, and, with `access` set, where its data is missing.
    """
    found = []
    for name in data_names(text):
        if re.search(r"[/\\\x00-\x1f]", name) or name.startswith("."):
            raise Unreadable(f"a label that points elsewhere ({name[:80]!r}); its data must lie beside it")
        found.append(_part(uri, name, known or {}))
    return tuple(found)


def _part(uri: str, name: str, known: dict[str, Listed]) -> Part:
    for spelling in dict.fromkeys((name, name.upper(), name.lower())):
        there = access.beside(uri, spelling)
        if (item := known.get(there)) and item.size >= 0:
            return Part(name, there, Facts(item.size, item.stamp))
    for spelling in dict.fromkeys((name, name.upper(), name.lower())):
        there = access.beside(uri, spelling)
        try:
            return Part(name, there, access.look(there))
        except Unreadable as error:
            if not str(error).startswith("vanished"):
                raise
    raise access.no_access(f"the data of this label is not beside it ({name[:80]!r})")


def paired(items: Sequence[Listed]) -> Iterator[Listed]:
    """The same inputs, with each label that has its data beside it as a product, and that data as skipped."""
    labels = [item for item in items if _may_be_label(item)]
    if not labels:
        yield from items
        return
    known = {item.uri: item for item in items}

    def described(item: Listed) -> tuple[Part, ...] | Unreadable | None:
        try:
            return parts(item.uri, _text(access.part(item.uri, 0, LABEL_BYTES)), known) or None
        except Unreadable as error:
            return None if error.access else error

    with ThreadPoolExecutor(_READERS if labels[0].uri.startswith("s3://") else 1) as pool:
        answers = dict(zip((item.uri for item in labels), pool.map(described, labels), strict=True))
    products: dict[str, Listed] = {}
    described_by: dict[str, Listed] = {}
    # Where data has a label of each kind, the PDS3 one is taken: it is the older, and so the original.
    for item in sorted(labels, key=lambda item: (item.uri[-4:].lower() != ".lbl", item.id, item.uri)):
        answer = answers[item.uri]
        if isinstance(answer, Unreadable):
            products[item.uri] = replace(item, skipped=str(answer))
        elif answer and (first := next((described_by[p.uri] for p in answer if p.uri in described_by), None)):
            products[item.uri] = replace(item, skipped=f"another label of the data that {first.id} describes")
        elif answer:
            size = max(item.size, 0) + sum(part.facts.size for part in answer)
            stamp = "+".join((item.stamp, *(part.facts.stamp for part in answer)))
            products[item.uri] = replace(item, size=size, stamp=stamp, skipped="")
            described_by |= {part.uri: item for part in answer}
    for item in items:
        if (label := described_by.get(item.uri)) is not None:
            yield replace(item, skipped=f"the data of {label.id}")
        else:
            yield products.get(item.uri, item)


def _may_be_label(item: Listed) -> bool:
    if not LABEL.search(item.uri) or item.size > LABEL_BYTES:
        return False
    return item.skipped in ("", by_name(item.uri))


def _text(label: bytes) -> str:
    try:
        return label.decode("utf-8")
    except UnicodeDecodeError:
        return label.decode("latin-1")


def bundle(uri: str) -> bytes:
    """What is at the address of a label: a bundle with its data, or its own bytes where it is not an image's label.

    Raises Unreadable as `parts` does, and for more than MAX_BYTES.
    """
    if access.look(uri).size > LABEL_BYTES:
        return access.fetch(uri)
    label = access.fetch(uri)
    found = parts(uri, _text(label))
    if not found:
        return label
    if sum(part.facts.size for part in found) + len(label) > MAX_BYTES:
        raise access.no_access(f"larger than {MAX_BYTES // 10**9} GB")
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_fixed(last_part(uri)), label)
        for part in sorted(found, key=lambda part: part.name):
            archive.writestr(_fixed(part.name), access.fetch(part.uri))
    return sink.getvalue()


def _fixed(name: str) -> zipfile.ZipInfo:
    """A member's header that depends on its name alone."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o644 << 16
    return info
