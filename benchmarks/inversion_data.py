"""The list of images that the shipped inverters are trained on and scored with.

    python benchmarks/inversion_data.py $INTERPDISC_DATA list.csv

Columns: path, collection (mars, caltech), label, split. Mars: `train` of the data's own split by sol, the rest
`held-out`. Caltech-101 without `Faces_easy` (crops of `Faces`): a tenth, drawn by a fixed seed, is `held-out`.
"""

import argparse
import csv
import random
from pathlib import Path


def list_rows(data: Path) -> list[dict[str, str]]:
    with (data / "msl/labels.csv").open(newline="") as file:
        mars_rows = [
            {
                "path": str((data / "msl/images" / row["file"]).resolve()),
                "collection": "mars",
                "label": row["class_name"],
                "split": "train" if row["split"] == "train" else "held-out",
            }
            for row in csv.DictReader(file)
        ]
    photos = sorted(p for p in (data / "caltech101").glob("*/*") if p.is_file() and p.parent.name != "Faces_easy")
    held_out = set(random.Random(0).sample(photos, len(photos) // 10))
    return mars_rows + [
        {
            "path": str(p.resolve()),
            "collection": "caltech",
            "label": p.parent.name,
            "split": "held-out" if p in held_out else "train",
        }
        for p in photos
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, help="folder with msl/ (images, labels.csv) and caltech101/ (one folder a class)"
    )
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    table = list_rows(options.data)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    print(f"{len(table)} images, {sum(row['split'] == 'held-out' for row in table)} of them held out: {options.out}")


if __name__ == "__main__":
    main()
