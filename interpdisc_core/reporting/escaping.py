"""Other people's text, such as names of images and reasons of a server, in Markdown and on terminals.

A `MarkdownText` is Markdown that this program wrote; any other text is escaped when it is put into one. HTML has
`interpdisc_core.reporting.html`, CSV `interpdisc_core.storage.tables.mark_formula`.
"""

import re
from collections.abc import Sequence
from urllib.parse import quote

_MARKUP = re.compile(
    r"""(?<![0-9])\.|\.(?![0-9])     # a point, unless in a number: www.
        |(?<=[0-9])\)|               # 1) begins a list
        (?<![A-Za-z0-9])[-_]|[-_](?![A-Za-z0-9])
        |[!#$&*+:<=>@\[\\\]^`{|}~]""",
    re.VERBOSE,
)
"""All punctuation that may be Markdown's where it stands: markup, HTML, and addresses that become links by themselves."""
_MAX_CHARS = 500
_URL_CHARACTERS = ":/?&=%#@~+,;-._"


class MarkdownText(str):
    """Markdown whose parts from outside are escaped: made by the functions below, or a literal of the program."""

    __slots__ = ()


def escape_controls(text: str, max_chars: int = 0) -> str:
    r"""Text with line ends, terminal control characters and the like as escapes; cut after `max_chars`, 0 for never.

    Example:
        >>> escape_controls("naïve\x1b[31m.jpg")
        'naïve\\x1b[31m.jpg'
    """
    escaped = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
    return f"{escaped[: max_chars - 1]}…" if max_chars and len(escaped) > max_chars else escaped


def escape_markdown(value: object) -> MarkdownText:
    r"""A value as Markdown that is shown verbatim, in one line: as a paragraph's text, a list's item or a table's cell.

    Nothing in it is markup, HTML, or an address that becomes a link.

    Example:
        >>> print(escape_markdown("<b>a|b</b> 1.5"))
        \<b\>a\|b\</b\> 1.5
    """
    if isinstance(value, MarkdownText):
        return value
    line = escape_controls(" ".join(str(value).split()), _MAX_CHARS)
    return MarkdownText(_MARKUP.sub(r"\\\g<0>", line))


def format_markdown(template: str, *values: object, **named_values: object) -> MarkdownText:
    r"""`str.format` with values that are escaped; those that are `MarkdownText` already are put in as they are.

    Example:
        >>> print(format_markdown("**Picks of {name}**", name="a*b"))
        **Picks of a\*b**
    """
    escaped_values = {name: escape_markdown(value) for name, value in named_values.items()}
    return MarkdownText(template.format(*map(escape_markdown, values), **escaped_values))


def join_markdown(separator: str, parts: Sequence[object]) -> MarkdownText:
    """The parts, escaped unless they are `MarkdownText`, with Markdown between them."""
    return MarkdownText(separator.join(map(escape_markdown, parts)))


def format_code(text: str) -> MarkdownText:
    """A text as inline code in one line, whatever backticks it holds; not for tables."""
    line = escape_controls(text)
    fence = "`" * (1 + _longest_backticks(line))
    return MarkdownText(f"{fence} {line} {fence}" if "`" in line or not line.strip() else f"`{line}`")


def format_code_block(text: str, language: str) -> MarkdownText:
    """Lines of code as a block of their own, whatever backticks they hold."""
    fence = "`" * max(3, 1 + _longest_backticks(text))
    return MarkdownText(f"{fence}{language}\n{text}\n{fence}")


def format_link(text: str, url: str) -> MarkdownText:
    """A link; what is not part of a URL's syntax is percent-encoded."""
    return MarkdownText(f"[{escape_markdown(text)}]({quote(url, safe=_URL_CHARACTERS)})")


def format_picture(text: str, url: str) -> MarkdownText:
    """A picture at a URL, as `format_link`."""
    return MarkdownText(f"!{format_link(text, url)}")


def format_markdown_table(
    head: Sequence[object], rows: Sequence[Sequence[object]], *, text_columns: int = 1
) -> MarkdownText:
    """A table in Markdown.

    Args:
        head: Titles of the columns.
        rows: Cells; they are escaped unless they are `MarkdownText`.
        text_columns: How many of the first columns are aligned to the left; the others are to the right.
    """
    rule = [MarkdownText("---")] * text_columns + [MarkdownText("---:")] * (len(head) - text_columns)
    table_lines = [head, rule, *rows]
    return MarkdownText("\n".join(f"| {join_markdown(' | ', cells)} |" for cells in table_lines) + "\n")


def _longest_backticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
