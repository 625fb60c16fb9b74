"""The files that an experiment adds to a study's, and what several kinds of experiments need for them."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from interpdisc_core._types import PixelArray
from interpdisc_core.archive.run import RunMember
from interpdisc_core.errors import Unreadable
from interpdisc_core.images.load import load_input_image
from interpdisc_core.images.resize import shrink_to_fit
from interpdisc_core.reporting.escaping import MarkdownText, format_markdown
from interpdisc_core.storage.file_names import slugify
from interpdisc_core.storage.tables import TableRow, rows_to_csv

NO_RESULT = "no method gave a result"


@dataclass(frozen=True, slots=True)
class Outputs:
    """What an experiment adds to a study.

    Attributes:
        files: Content by name.
        main_file: The file to open first.
        headline: Its result in a sentence.
        summary: Its result for programs.
        markdown: Its tables in Markdown.
    """

    files: dict[str, bytes]
    main_file: str
    headline: str
    summary: dict[str, Any]
    markdown: MarkdownText


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """The page of an experiment: HTML, its headline, numbers for programs, and a table in Markdown."""

    html: str
    headline: str
    summary: dict[str, Any]
    markdown_table: MarkdownText


def name_output(title: str, suffix: str) -> str:
    """The name of a file of the experiment with this title: `discovery` and `.csv` give discovery.csv."""
    return slugify(title, "experiment", max_chars=None) + suffix


def build_outputs(title: str, tables: Mapping[str, Sequence[TableRow]], page: RenderedPage | None) -> Outputs:
    """The outputs of an experiment.

    Args:
        title: Of the experiment.
        tables: Rows of each table, by the suffix of its file, such as `-classes.csv`.
        page: Its page; None if no method gave a result.
    """
    files = {name_output(title, suffix): rows_to_csv(rows) for suffix, rows in tables.items()}
    if page is None:
        return Outputs(files, next(iter(files)), NO_RESULT, {"headline": NO_RESULT}, MarkdownText())
    file = name_output(title, ".html")
    return Outputs(
        files | {file: page.html.encode()},
        file,
        page.headline,
        {"headline": page.headline, "page": file, **page.summary},
        format_markdown("## {}\n\n{}\n", title, page.markdown_table),
    )


def load_thumbnail(member: RunMember, side: int = 160) -> PixelArray | None:
    """A member's picture (h, w, 3) uint8, at most `side` pixels on its long side; None if it cannot be read any more."""
    try:
        return shrink_to_fit(load_input_image(member.uri, member.sha256, at_least=side), side)
    except Unreadable:
        return None


def format_method_name(outcome: Mapping[str, Any], **dimensions: Sized) -> str:
    """A method's name, with the names of those of its dimensions that have several values in the experiment.

    Args:
        outcome: Of a cell.
        dimensions: By the outcome's key, the values that the experiment has.
    """
    return ", ".join([outcome["method"], *(outcome[key] for key, values in dimensions.items() if len(values) > 1)])
