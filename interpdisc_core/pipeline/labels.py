"""Classes of images: from a CSV file, or from the names of folders."""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from interpdisc_core import sources
from interpdisc_core.errors import PlanError
from interpdisc_core.pipeline.match_names import NameMatches, match_names
from interpdisc_core.sources import ListFile, Source, SourceEntry
from interpdisc_core.sources.csv_list import CsvTable

_NAMES_SHOWN = 2


@dataclass(frozen=True, slots=True)
class Labels:
    """Classes by image id, for the images that have one.

    Attributes:
        by_id: The class of each image.
        notes: Sentences about what does not fit: rows that are incomplete, names of no image, contradictions.
        contradictions: Ids of the images with several classes.
    """

    by_id: dict[str, str]
    notes: tuple[str, ...] = ()
    contradictions: frozenset[str] = frozenset()

    def class_of(self, image: str, own_label: str | None) -> str | None:
        """The class of an image; its own if the labels have none for it, and none if they contradict each other."""
        return None if image in self.contradictions else self.by_id.get(image, own_label)


@dataclass(frozen=True, slots=True)
class LabelRows:
    """Rows of a CSV file by image id.

    Attributes:
        by_id: The rows of each image that has some, in the file's order; keys and values are text.
        label_column: The column of classes.
        notes: Sentences about the column taken, rows that are incomplete, and names that fit no image or several.
    """

    by_id: dict[str, list[dict[str, str]]]
    label_column: str = ""
    notes: tuple[str, ...] = ()


def load_labels(label_source: str, ids: Sequence[str], uris: Sequence[str] = ()) -> Labels:
    """Read the classes of images.

    Args:
        label_source: Path of a CSV file with a column of images and one of classes; `folder` for the name of the
            folder of each image; or empty for no labels.
        ids: Ids of the images.
        uris: Their addresses, in the same order; or none.

    An image to which the file gives several classes has none; nor has one with NaN or a like value.

    Raises:
        PlanError: If the file lacks one of the columns, names none of the images, or has no class.
    """
    if label_source == "folder":
        return Labels({image: folder for image in ids if (folder := posixpath.basename(posixpath.dirname(image)))})
    label_rows = load_label_rows(label_source, ids, uris)
    classes_by_id = {
        image: list(dict.fromkeys(filter(None, (sources.parse_class(row[label_rows.label_column]) for row in rows))))
        for image, rows in label_rows.by_id.items()
    }
    contradictions = [image for image, classes in classes_by_id.items() if len(classes) > 1]
    note = _note_contradictions(contradictions)
    return Labels(
        {image: classes[0] for image, classes in classes_by_id.items() if len(classes) == 1},
        (*label_rows.notes, *([f"{posixpath.basename(label_source)}: {note}"] if note else [])),
        frozenset(contradictions),
    )


def load_label_rows(label_source: str, ids: Sequence[str], uris: Sequence[str] = ()) -> LabelRows:
    """The rows of a CSV of labels by image; none for other sources of labels.

    The column of images is that which names most of them; see `match_names` for how.

    Args, Raises: As `load_labels`.
    """
    if label_source in ("", "folder"):
        return LabelRows({})
    csv_table = sources.read_csv_table(label_source)
    label_column = sources.find_column(csv_table.rows, sources.LABEL_COLUMNS)
    if label_column is None or len(csv_table.rows[0]) < 2:
        raise PlanError(
            f"{label_source}: labels need a column of images ({', '.join(sources.PATH_COLUMNS[:3])}, …) and one of "
            f"classes ({', '.join(sources.LABEL_COLUMNS)}), separated by commas, semicolons or tabs; it has "
            f"{', '.join(map(repr, csv_table.rows[0]))}."
        )
    if not any(sources.parse_class(row[label_column]) for row in csv_table.rows):
        raise PlanError(f"{label_source}: none of its rows has a class in the column {label_column!r}.")
    name_column, matches = _choose_name_column(csv_table.rows, label_column, label_source, ids, uris)
    rows_by_name: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in csv_table.rows:
        rows_by_name[row[name_column].strip()].append(
            {sources.decode_cell(key).strip(): sources.decode_cell(value).strip() for key, value in row.items()}
        )
    by_id: dict[str, list[dict[str, str]]] = defaultdict(list)
    for name, rows in rows_by_name.items():
        for image in matches.ids_by_name.get(name, ()):
            by_id[image] += rows
    unknown = [
        sources.decode_cell(n) for n in rows_by_name if n not in matches.ids_by_name and n not in matches.unclear
    ]
    unclear = [sources.decode_cell(name) for name in matches.unclear]
    has_choice = (
        sources.find_column([{key: "" for key in csv_table.rows[0] if key != label_column}], _NAME_COLUMNS)
        != name_column
    )
    is_not_utf8 = any(sources.display_name(v) != v for row in csv_table.rows for v in (*row, *row.values()))
    notes = (
        f"its column {name_column!r} is taken as the images' names, for it fits most: "
        f"{len(by_id):,} of {len(set(ids)):,} images."
        if has_choice
        else "",
        "it is not UTF-8, and is read as Windows-1252; if characters are wrong, save it as CSV (UTF-8)."
        if is_not_utf8
        else "",
        _note_ragged_lines(csv_table),
        _count_note(unknown, "name is", "names are", "not that of an image"),
        _count_note(
            unclear,
            "name fits",
            "names fit",
            "several images, and none of these is labelled by it; write the folder too",
        ),
    )
    return LabelRows(
        dict(by_id),
        sources.decode_cell(label_column).strip(),
        tuple(f"{posixpath.basename(label_source)}: {note}" for note in notes if note),
    )


_NAME_COLUMNS = sources.ID_COLUMNS + sources.PATH_COLUMNS


def _choose_name_column(
    rows: list[dict[str, str]], label_column: str, label_source: str, ids: Sequence[str], uris: Sequence[str]
) -> tuple[str, NameMatches]:
    """The column that names most images, of equals the one that is called so, and what its names fit."""

    def rank(column: str) -> int:
        name = column.strip().lower()
        return _NAME_COLUMNS.index(name) if name in _NAME_COLUMNS else len(_NAME_COLUMNS)

    columns = sorted((column for column in rows[0] if column != label_column), key=rank)
    matches = {
        column: match_names(dict.fromkeys(row[column].strip() for row in rows), label_source, ids, uris)
        for column in columns
    }
    name_column = max(columns, key=lambda column: (matches[column].image_count, len(matches[column].unclear)))
    found = matches[name_column]
    if not found.image_count:
        if found.unclear:
            name, images = next(iter(found.unclear.items()))
            raise PlanError(
                f"{label_source}: each of its names fits several images: {sources.decode_cell(name)!r} is that of "
                f"{images[0]!r} and {images[1]!r}; write the folder too."
            )
        names = list(dict.fromkeys(sources.decode_cell(row[columns[0]]).strip() for row in rows))
        raise PlanError(
            f"{label_source}: none of its {len(names)} names is that of an image; the first in the column "
            f"{columns[0]!r} is {names[0]!r}, and an image is {next(iter(ids), '')!r}."
        )
    return name_column, found


def note_source_labels(source_texts: Iterable[str | Source], entries: Iterable[SourceEntry]) -> tuple[str, ...]:
    """Sentences about ragged lines of the lists among sources, and about inputs listed with several classes."""
    notes = []
    for text_or_source in source_texts:
        source = sources.parse_source(text_or_source) if isinstance(text_or_source, str) else text_or_source
        if isinstance(source, ListFile) and (note := _note_ragged_lines(sources.read_csv_table(source.path))):
            notes.append(f"{posixpath.basename(source.path)}: {note}")
    if note := _note_contradictions([entry.id for entry in entries if entry.has_several_labels]):
        notes.append(note)
    return tuple(notes)


def _note_contradictions(images: Sequence[str]) -> str:
    return _count_note(images, "image has", "images have", "several classes, so taken as unlabelled")


def _note_ragged_lines(table: CsvTable) -> str:
    return _count_note(table.ragged_lines, "line has", "lines have", "more or fewer values than the header")


def count_unlabelled(labels: Iterable[str | None]) -> str:
    """A sentence about the images without a class, if some have one and others have none; else empty."""
    has_label = [bool(label) for label in labels]
    if all(has_label) or not any(has_label):
        return ""
    missing = len(has_label) - sum(has_label)
    return f"{missing:,} of the {len(has_label):,} images to pick from have no label; they count as no class."


def _count_note(items: Sequence[object], one: str, many: str, fault: str) -> str:
    """Such as `3 names are not that of an image: 'a', 'b' and 1 more`."""
    if not items:
        return ""
    shown = ", ".join(repr(item) for item in items[:_NAMES_SHOWN])
    rest = f" and {len(items) - _NAMES_SHOWN:,} more" if len(items) > _NAMES_SHOWN else ""
    return f"{len(items):,} {one if len(items) == 1 else many} {fault}: {shown}{rest}."
