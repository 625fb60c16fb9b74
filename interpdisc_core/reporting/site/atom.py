"""The feed of discoveries as Atom (RFC 4287): an entry for each pick of the last days, newest first.

The id of an entry is made from its day and observation. So feed readers show it once, even if the day is published again
or a better version of the image comes in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urljoin
from uuid import UUID, uuid5
from xml.etree import ElementTree

from interpdisc_core.reporting.html import escape_invisible

FEED_DAYS = 30
"""Days in the feed."""
_URN_NAMESPACE = UUID("6ba32a4b-4d43-5c75-9d62-39b7b0b0f3a5")
_ATOM = "http://www.w3.org/2005/Atom"
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class AtomEntry:
    """An entry of the feed.

    Attributes:
        name: What it is about, unique within its day.
        published: RFC 3339, as `updated`.
        page: Path in the site, as `picture`.
    """

    day: str
    name: str
    title: str
    summary: str
    published: str
    updated: str
    page: str
    picture: str = ""
    category: str = ""


def render_atom(entries: Sequence[AtomEntry], archive: str, title: str, base: str = "") -> bytes:
    """The feed as XML.

    Args:
        entries: In the order in which they are written.
        archive: Address of the archive; it names the feed.
        title: Of the feed.
        base: Public address of the site; if empty, links are relative to the feed's own address.
    """
    ElementTree.register_namespace("", _ATOM)
    root = ElementTree.Element(f"{{{_ATOM}}}feed", {"xml:lang": "en"})
    _append_text(root, "id", build_urn("feed", archive))
    _append_text(root, "title", title)
    _append_text(root, "updated", max((entry.updated for entry in entries), default=_EPOCH))
    _append_text(ElementTree.SubElement(root, f"{{{_ATOM}}}author"), "name", "interpdisc")
    _append_text(root, "generator", "interpdisc")
    _append_link(root, "self", _resolve_link(base, "feed.atom"), "application/atom+xml")
    _append_link(root, "alternate", _resolve_link(base, "index.html"), "text/html")
    for entry in entries:
        _append_entry(root, entry, base)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def build_urn(*parts: str) -> str:
    """A `urn:uuid:` that follows from the parts."""
    text = "\0".join(parts)
    return uuid5(_URN_NAMESPACE, text.encode("utf-8", "backslashreplace").decode()).urn


def format_rfc3339(text: str) -> str:
    """An ISO time as RFC 3339; a time without a zone is UTC, other text becomes the epoch."""
    match = re.fullmatch(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.\d+)?(Z|[+-]\d{2}:\d{2})?", text)
    if not match:
        return _EPOCH
    zone = match[3] or "Z"
    return f"{match[1]}T{match[2]}{'Z' if zone == '+00:00' else zone}"


def _append_entry(root: ElementTree.Element, entry: AtomEntry, base: str) -> None:
    element = ElementTree.SubElement(root, f"{{{_ATOM}}}entry")
    _append_text(element, "id", build_urn("entry", entry.day, entry.name))
    _append_text(element, "title", entry.title)
    _append_text(element, "published", entry.published)
    _append_text(element, "updated", entry.updated)
    _append_link(element, "alternate", _resolve_link(base, entry.page), "text/html")
    if entry.picture:
        _append_link(element, "enclosure", _resolve_link(base, entry.picture), "image/jpeg")
    if entry.category:
        ElementTree.SubElement(element, f"{{{_ATOM}}}category", {"term": escape_xml_chars(entry.category)})
    _append_text(element, "summary", entry.summary).set("type", "text")


def _append_text(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, f"{{{_ATOM}}}{name}")
    element.text = escape_xml_chars(text)
    return element


def _append_link(parent: ElementTree.Element, rel: str, href: str, kind: str) -> None:
    ElementTree.SubElement(parent, f"{{{_ATOM}}}link", {"rel": rel, "type": kind, "href": href})


def _resolve_link(base: str, path: str) -> str:
    file_path, separator, fragment = path.partition("#")
    quoted_path = quote(file_path) + separator + quote(fragment)
    return urljoin(base.rstrip("/") + "/", quoted_path) if base else quoted_path


def escape_xml_chars(text: str) -> str:
    """Text with the characters that XML 1.0 cannot hold replaced by their numbers: controls, surrogates, non-characters."""
    visible_text: str = escape_invisible(text, allowed="\n\t")
    return "".join(f"⟨U+{ord(c):04X}⟩" if ord(c) in (0xFFFE, 0xFFFF) else c for c in visible_text)
