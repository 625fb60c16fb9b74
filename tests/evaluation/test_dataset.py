"""The labelled collection of a study."""

from pathlib import Path

import numpy as np
from PIL import Image

from interpdisc_core.archive.run import RunInputs
from interpdisc_core.evaluation import dataset
from interpdisc_core.pipeline import ingest
from interpdisc_core.progress import ProgressReporter


def test_columns_of_a_table_are_those_of_the_images_that_its_labels_are_of(tmp_path: Path) -> None:
    """Names are compared as for labels; of rows that contradict each other, only that on which they agree is taken."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / "in" / "a" / f"{number}.png")
    table = tmp_path / "labels.csv"
    table.write_text(
        "id;filename;label;sol;site\n10;.\\in\\a\\0.png;rock ;12;x\n11;in/a/1.png;rock;13;x\n12;1.png;sand;14;x\n13;2;NaN;15;x\n"
    )
    url, inputs = str(tmp_path / "archive"), RunInputs(sources=(str(tmp_path / "in"),), labels=str(table))
    listing = ingest.list_inputs(url, inputs)
    ingest.check_inputs(url, listing.name, (0, listing.unchecked), listing.sequence, ProgressReporter(url))
    summary = dataset.collect_images(url, listing.name, inputs, 16, 1)
    assert (summary.images, summary.labeled, summary.classes) == (3, 1, 1)
    images = dataset.read_dataset(url, summary.name)
    shown = {m.id: (m.label, r.get("sol"), r.get("site")) for m, r in zip(images.members, images.records, strict=True)}
    assert shown == {"a/0.png": ("rock", "12", "x"), "a/1.png": (None, None, "x"), "a/2.png": (None, "15", "x")}
