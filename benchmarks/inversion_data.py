"""The list of images that the shipped inverters are trained on and scored with.

    python benchmarks/inversion_data.py $INTERPDISC_DATA list.csv

Columns: path, collection (mars, caltech), label, split. Mars: `train` of the data's own split by sol, the rest
`held-out`. Caltech-101 without `Faces_easy` (crops of `Faces`): a tenth, drawn by a fixed seed, is `held-out`.
"""

import argparse
import csv
import random
from pathlib import Path


def rows(data: Path) -> list[dict[str, str]]:
    with (data / "msl/labels.csv").open(newline="") as file:
        found = [
            {"path": str((data / "msl/images" / row["file"]).resolve()), "collection": "mars", "label": row["class_name"],
             "split": "train" if row["split"] == "train" else "held-out"}
            for row in csv.DictReader(file)
        ]  # fmt: skip
    photos = sorted(p for p in (data / "caltech101").glob("*/*") if p.is_file() and p.parent.name != "Faces_easy")
    kept = set(random.Random(0).sample(photos, len(photos) // 10))
    return found + [
        {
            "path": str(p.resolve()),
            "collection": "caltech",
            "label": p.parent.name,
            "split": "held-out" if p in kept else "train",
        }
        for p in photos
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, help="folder with msl/ (images, labels.csv) and caltech101/ (one folder a class)"
    )
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    table = rows(given.data)
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    print(f"{len(table)} images, {sum(row['split'] == 'held-out' for row in table)} of them held out: {given.out}")


if __name__ == "__main__":
    main()
