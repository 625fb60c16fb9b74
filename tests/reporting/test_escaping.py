"""Hostile text is shown verbatim where Markdown is rendered: no link, picture, HTML or broken table."""

import re
import shlex
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from interpdisc_core.reporting.escaping import (
    MarkdownText,
    escape_controls,
    escape_markdown,
    format_code,
    format_code_block,
    format_link,
    format_markdown,
    format_markdown_table,
)

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PIECES = [
    "a",
    "b",
    " ",
    "[x](http://h)",
    "![x](y)",
    "<b>",
    "<!--",
    "|",
    "`",
    "``",
    "\n\n",
    "\n---\n",
    "1. ",
    "1) ",
    "- ",
    "# ",
    "&amp;",
    "\\",
    "*",
    "__",
    "~~",
    "www.h.io",
    "me@h.io",
    "\x1b[31m",
    "\u202e",
    "\t",
    ">",
    "{x}",
    "\x00",
]
HOSTILE = st.one_of(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join), st.text(min_size=1))


def render(text: str) -> list[tuple[str, str]]:
    """The kinds of a document's elements, and their texts; pieces of text that follow each other are one."""
    elements: list[list[str]] = []
    for block in RENDERER.parse(text):
        for token in block.children or [block]:
            kind = "text" if token.type == "text_special" else token.type
            if kind == "text" and elements and elements[-1][0] == "text":
                elements[-1][1] += token.content
            else:
                elements.append([kind, token.content])
    return [(kind, content) for kind, content in elements]


def shown(text: str) -> str:
    """What is to be seen of a text."""
    return escape_controls(" ".join(text.split()), 500)


def build_document(name: str) -> str:
    table = format_markdown_table(["a", name], [[name, 1.5], [MarkdownText("**b**"), name]])
    return format_markdown("{0}\n\n# {0}\n\n* {0}\n* **{0}**, {0}\n\n{1}\n> {0}\n", name, table)


@given(name=HOSTILE.filter(lambda text: shown(text) != ""))
@example("1) a")
@example("x_ _y")
def test_markdown_shows_hostile_text_verbatim(name: str) -> None:
    expected = [(kind, content.replace("NAME", shown(name))) for kind, content in render(build_document("NAME"))]
    assert render(build_document(name)) == expected
    assert not re.search(r"(?<!\\)://|(?<!\\)@|www(?<!\\)\.", escape_markdown(name)), (
        "no renderer makes links of addresses"
    )


@given(text=HOSTILE.filter(str.strip))
def test_code_ends_where_the_program_ends_it(text: str) -> None:
    command = f"cp {shlex.quote(text)} ."
    document = format_markdown("x {}\n\n{}\n\ny", format_code(text), format_code_block(command, "sh"))
    kinds = [(token.type, token.content) for token in RENDERER.parse(document)]
    assert [kind for kind, _ in kinds] == [
        *["paragraph_open", "inline", "paragraph_close"],
        "fence",
        *["paragraph_open", "inline", "paragraph_close"],
    ]
    inline = [token.type for token in RENDERER.parse(document)[1].children or []]
    assert inline == ["text", "code_inline"]


@given(text=HOSTILE.filter(lambda text: shown(text) != ""), path=HOSTILE)
def test_a_link_leads_only_below_its_site(text: str, path: str) -> None:
    [paragraph] = [
        t
        for t in RENDERER.parse(format_link(text, f"http://site.example/{path.encode('utf-8', 'replace').decode()}"))
        if t.type == "inline"
    ]
    children: list[Any] = paragraph.children or []
    assert (children[0].type, children[-1].type) == ("link_open", "link_close")
    assert children[0].attrs["href"].startswith("http://site.example/")
    assert "".join(child.content for child in children[1:-1]) == shown(text)


def test_values_are_escaped_once() -> None:
    inner = format_markdown("**{}**", "a*b")
    assert format_markdown("{} {}", inner, "c*d") == r"**a\*b** c\*d"
    assert escape_markdown(inner) is inner


@pytest.mark.parametrize("text", ["1.5 ± 0.2", "a-b_c", "95 % of 10 / 20, best", "", "−3"])
def test_ordinary_text_is_as_it_was(text: str) -> None:
    assert escape_markdown(text) == text
