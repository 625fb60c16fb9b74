"""The data files that a PDS label names, and which names are safe to follow.

A label is hostile input: it may name any file as its data. Only files in the label's own folder are ever read.
"""

import re

POINTER_KEYWORDS = ("^IMAGE", "^QUBE", "^SPECTRAL_QUBE")
"""Keywords of a PDS3 label that point to the samples of an image."""

# Bounded repetitions only, so that the time to search grows with the label's length, whatever is in it.
_POINTER = r'^[ \t]*\^(?:IMAGE|QUBE|SPECTRAL_QUBE{})[ \t]*=[ \t\r\n]*(?:\([ \t\r\n]*)?["\']([^"\'\r\n]{{1,255}})["\']'
_PDS3_POINTER = re.compile(_POINTER.format(""), re.MULTILINE)
_ANY_POINTER = re.compile(_POINTER.format("|CORE"), re.MULTILINE | re.IGNORECASE)
_PDS4_FILE_NAME = re.compile(r"<(?:\w{1,20}:)?file_name>\s{0,99}([^<>]{1,255}?)\s{0,99}</(?:\w{1,20}:)?file_name>")
_PDS4_IMAGE_ARRAY = re.compile(r"<(?:\w{1,20}:)?Array_[23]D")


def find_file_names(label_text: str) -> list[str]:
    """The files that a PDS3 or PDS4 label names as its image data, as written; none if it is not an image's label."""
    if "PDS_VERSION_ID" in label_text[:4096]:
        return [name.strip() for name in _PDS3_POINTER.findall(label_text)]
    return (
        [name.strip() for name in _PDS4_FILE_NAME.findall(label_text)] if _PDS4_IMAGE_ARRAY.search(label_text) else []
    )


def find_first_pointer(label_text: str) -> str:
    """The first file that a PDS3 or ISIS label points to, whatever the case of the keyword; empty if there is none."""
    match = _ANY_POINTER.search(label_text)
    return match[1].strip() if match else ""


def is_safe_name(name: str) -> bool:
    """Whether a name is that of a file in the label's folder: no folder, no control characters, no markup.

    Example:
        >>> [is_safe_name(name) for name in ("A.IMG", "../A.IMG", "/etc/passwd", "..", "A<B.IMG")]
        [True, False, False, False, False]
    """
    return bool(re.fullmatch(r"[^/\\\x00-\x1f<>:|\"]{1,255}", name)) and name.strip(". ") != ""
