"""PDS4 labels: XML to plain fields, and to XML that is safe for GDAL.

No library is used (`pds4_tools`): this reader is hardened against hostile labels.
"""

from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from interpdisc_core.errors import Unreadable
from interpdisc_core.metadata.pds_pointers import is_safe_name


@dataclass(slots=True)
class Pds4Label:
    """A PDS4 label.

    Args:
        fields: Its elements by name, flat.
        safe_xml: The same label with elements, attributes and texts only, written by this module.
        data_names: Names of the data files.
        offset: Of the first array, in bytes.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    safe_xml: bytes = b""
    data_names: list[str] = field(default_factory=list)
    offset: int = 0


def parse_pds4_label(data: bytes) -> Pds4Label:
    """Read a PDS4 label.

    A field's name is its element's without namespace. If that name exists already, the parent's name is put before it;
    further repetitions are left out. Mission, host, instrument and motion counters become `mission_name`,
    `instrument_host_name`, `instrument_name`, `SITE`, `DRIVE` ….

    Raises:
        Unreadable: If it is not XML, is nested too deeply, names a file outside of its folder, or has a document type,
            which may define entities and name other files.
    """
    pds_label = Pds4Label()
    output: list[str] = []
    path: list[str] = []
    texts: list[list[str]] = []
    child_texts: list[dict[str, str]] = [{}]
    has_offset = False

    def start_element(name: str, attributes: dict[str, str]) -> None:
        if len(path) >= 64:
            raise Unreadable("damaged label: nested more than 64 levels deep")
        path.append(name)
        texts.append([])
        child_texts.append({})
        output.append(f"<{name}" + "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items()) + ">")

    def end_element(name: str) -> None:
        nonlocal has_offset
        text, children = "".join(texts.pop()).strip(), child_texts.pop()
        path.pop()
        output.append(f"{escape(text)}</{name}>")
        parent = path[-1].rpartition(":")[2] if path else ""
        element = name.rpartition(":")[2]
        if children:
            _add_special_fields(pds_label.fields, element, children)
            child_texts[-1].setdefault(element, "")
            return
        child_texts[-1][element] = text
        if element == "file_name":
            if not is_safe_name(text):
                raise Unreadable("its label names a file outside its folder as its data")
            pds_label.data_names.append(text)
        if element == "offset" and parent.startswith("Array") and not has_offset:
            has_offset, pds_label.offset = (
                True,
                int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0,
            )
        if element in ("name", "type", "description", "comment"):
            element = f"{parent}_{element}"
        if element in pds_label.fields:
            element = f"{parent}_{element}"
        pds_label.fields.setdefault(element, text)

    def reject_doctype(*_: object) -> None:
        raise Unreadable("a label with a document type (DOCTYPE), which could name other files; PDS4 labels have none")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start_element, end_element
    parser.CharacterDataHandler = lambda text: texts[-1].append(text) if texts else None
    parser.StartDoctypeDeclHandler = reject_doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Unreadable(f"damaged label: {error}") from None
    except (ValueError, LookupError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("damaged label: its encoding is unknown") from None
    pds_label.safe_xml = b'<?xml version="1.0" encoding="UTF-8"?>\n' + "".join(output).encode("utf-8", "replace")
    return pds_label


def _add_special_fields(fields: dict[str, Any], element: str, children: dict[str, str]) -> None:
    if element == "Observing_System_Component":
        kind = "instrument" if children.get("type", "").lower() == "instrument" else "instrument_host"
        fields.setdefault(f"{kind}_name", children.get("name", ""))
    elif element == "Investigation_Area":
        fields.setdefault("mission_name", children.get("name", ""))
    elif element == "Motion_Counter_Index" and children.get("index_id"):
        fields.setdefault(children["index_id"], children.get("index_value_number", ""))
