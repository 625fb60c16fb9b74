"""The feed of discoveries, Atom (RFC 4287): an entry for each pick of the last days, newest first.

An entry is named by its day and observation, so it keeps its id, and a reader shows it once, however often the day is
done again or a better version of the image comes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urljoin
from uuid import UUID, uuid5
from xml.etree import ElementTree

from interpdisc_core.pages import visible

DAYS = 30
"""Days whose entries the feed has."""
_NAMES = UUID("6ba32a4b-4d43-5c75-9d62-39b7b0b0f3a5")
_ATOM = "http://www.w3.org/2005/Atom"
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. name: what it is of, within its day. published, updated: RFC 3339. page, picture: paths in the site."""

    day: str
    name: str
    title: str
    summary: str
    published: str
    updated: str
    page: str
    picture: str = ""
    category: str = ""


def render(entries: Sequence[Entry], archive: str, title: str, base: str = "") -> bytes:
    """The feed as XML. archive: its address, which names the feed. base: the site's public address, or empty.

    Without a base links are relative to the feed's own address.
    """
    ElementTree.register_namespace("", _ATOM)
    root = ElementTree.Element(f"{{{_ATOM}}}feed", {"xml:lang": "en"})
    _text(root, "id", urn("feed", archive))
    _text(root, "title", title)
    _text(root, "updated", max((entry.updated for entry in entries), default=_EPOCH))
    _text(ElementTree.SubElement(root, f"{{{_ATOM}}}author"), "name", "interpdisc")
    _text(root, "generator", "interpdisc")
    _link(root, "self", _at(base, "feed.atom"), "application/atom+xml")
    _link(root, "alternate", _at(base, "index.html"), "text/html")
    for entry in entries:
        _entry(root, entry, base)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def urn(*parts: str) -> str:
    """The same parts, the same name: a `urn:uuid:`."""
    text = "\0".join(parts)
    return uuid5(_NAMES, text.encode("utf-8", "backslashreplace").decode()).urn


def moment(text: str) -> str:
    """A time as RFC 3339 wants it; the epoch where it is none. A time without a zone is UTC."""
    found = re.fullmatch(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.\d+)?(Z|[+-]\d{2}:\d{2})?", text)
    if not found:
        return _EPOCH
    zone = found[3] or "Z"
    return f"{found[1]}T{found[2]}{'Z' if zone == '+00:00' else zone}"


def _entry(root: ElementTree.Element, entry: Entry, base: str) -> None:
    made = ElementTree.SubElement(root, f"{{{_ATOM}}}entry")
    _text(made, "id", urn("entry", entry.day, entry.name))
    _text(made, "title", entry.title)
    _text(made, "published", entry.published)
    _text(made, "updated", entry.updated)
    _link(made, "alternate", _at(base, entry.page), "text/html")
    if entry.picture:
        _link(made, "enclosure", _at(base, entry.picture), "image/jpeg")
    if entry.category:
        ElementTree.SubElement(made, f"{{{_ATOM}}}category", {"term": xml_text(entry.category)})
    _text(made, "summary", entry.summary).set("type", "text")


def _text(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    made = ElementTree.SubElement(parent, f"{{{_ATOM}}}{name}")
    made.text = xml_text(text)
    return made


def _link(parent: ElementTree.Element, rel: str, href: str, kind: str) -> None:
    ElementTree.SubElement(parent, f"{{{_ATOM}}}link", {"rel": rel, "type": kind, "href": href})


def _at(base: str, path: str) -> str:
    where, hash_, fragment = path.partition("#")
    safe = quote(where) + hash_ + quote(fragment)
    return urljoin(base.rstrip("/") + "/", safe) if base else safe


def xml_text(text: str) -> str:
    """Text without what XML 1.0 cannot hold: control characters, surrogates and non-characters shown by their number."""
    shown: str = visible(text, keep="\n\t")
    return "".join(f"⟨U+{ord(c):04X}⟩" if ord(c) in (0xFFFE, 0xFFFF) else c for c in shown)
