"""PDS4 labels: XML to plain fields, and to XML that GDAL can be given."""

from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from interpdisc_core.errors import Unreadable
from interpdisc_core.labels import plain


@dataclass(slots=True)
class Xml:
    """A PDS4 label. fields: by name, flat. safe: the same label written anew, without all that is not elements.

    files: names of data files. offset: of the first array, in bytes.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    safe: bytes = b""
    files: list[str] = field(default_factory=list)
    offset: int = 0


def xml(data: bytes) -> Xml:
    """Read a PDS4 label. Raises Unreadable; also for document types, which have entities and name other files.

    A field's name is its element's without namespace; where that is taken already, its parent's name comes before;
    further repetitions are left out. Names of the mission, host and instrument, and motion counters, are brought to
    `mission_name`, `instrument_host_name`, `instrument_name`, `SITE`, `DRIVE` ….
    """
    label = Xml()
    out: list[str] = []
    path: list[str] = []
    texts: list[list[str]] = []
    nested: list[dict[str, str]] = [{}]
    seen_offset = False

    def opened(name: str, attributes: dict[str, str]) -> None:
        if len(path) >= 64:
            raise Unreadable("damaged label: nested more than 64 levels deep")
        path.append(name)
        texts.append([])
        nested.append({})
        out.append(f"<{name}" + "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items()) + ">")

    def closed(name: str) -> None:
        nonlocal seen_offset
        text, inner = "".join(texts.pop()).strip(), nested.pop()
        path.pop()
        out.append(f"{escape(text)}</{name}>")
        parent = path[-1].rpartition(":")[2] if path else ""
        own = name.rpartition(":")[2]
        if inner:
            _collected(label.fields, own, inner)
            nested[-1].setdefault(own, "")
            return
        nested[-1][own] = text
        if own == "file_name":
            if not plain(text):
                raise Unreadable("its label names a file outside its folder as its data")
            label.files.append(text)
        if own == "offset" and parent.startswith("Array") and not seen_offset:
            seen_offset, label.offset = True, int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        if own in ("name", "type", "description", "comment"):
            own = f"{parent}_{own}"
        if own in label.fields:
            own = f"{parent}_{own}"
        label.fields.setdefault(own, text)

    def doctype(*_: object) -> None:
        raise Unreadable("a label with a document type, which could name other files; PDS4 labels have none")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.CharacterDataHandler = lambda text: texts[-1].append(text) if texts else None
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Unreadable(f"damaged label: {error}") from None
    except (ValueError, LookupError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("damaged label: its encoding is unknown") from None
    label.safe = b'<?xml version="1.0" encoding="UTF-8"?>\n' + "".join(out).encode("utf-8", "replace")
    return label


def _collected(fields: dict[str, Any], element: str, inner: dict[str, str]) -> None:
    if element == "Observing_System_Component":
        kind = "instrument" if inner.get("type", "").lower() == "instrument" else "instrument_host"
        fields.setdefault(f"{kind}_name", inner.get("name", ""))
    elif element == "Investigation_Area":
        fields.setdefault("mission_name", inner.get("name", ""))
    elif element == "Motion_Counter_Index" and inner.get("index_id"):
        fields.setdefault(inner["index_id"], inner.get("index_value_number", ""))
