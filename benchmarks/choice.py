"""A setting that is chosen on some images, and what it comes to on others: the table of every setting that was tried.

    interpdisc evaluate PHOTOS --labels folder --study choice-drawn --out drawn
    interpdisc evaluate ROVER --labels labels.csv --study choice-whole --where "split == 'train'" --out train
    interpdisc evaluate ROVER --labels labels.csv --study choice-whole --out whole
    interpdisc evaluate ROVER --labels labels.csv --study choice-whole --where "split != 'train'" --out rest
    python benchmarks/choice.py drawn train whole rest

The rule is fixed here and looks at the first two alone: the greatest mean of nAUC (whi2018) on `train` and on the drawn
unbalanced classes (the balanced ones are found by anything). Settings are in the order of the rule, the chosen one first.
"""

import csv
import sys
from pathlib import Path

Key = tuple[str, str, str]


def read(folder: str) -> dict[tuple[Key, str], float]:
    with (Path(folder) / "summary.csv").open(newline="") as file:
        return {
            ((row["representation"], row["treatment"], row["method"]), row["trials"]): float(row["nauc_whi2018"])
            for row in csv.DictReader(file)
            if row["nauc_whi2018"]
        }


def main() -> None:
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    drawn, train, whole, rest = map(read, sys.argv[1:])
    unbalanced = {key: value for (key, trials), value in drawn.items() if trials.startswith("unbalanced")}
    balanced = {key: value for (key, trials), value in drawn.items() if trials.startswith("balanced")}
    learned, every, unseen = ({key: value for (key, _), value in one.items()} for one in (train, whole, rest))
    keys = sorted(unbalanced.keys() & learned.keys(), key=lambda key: -(unbalanced[key] + learned[key]))
    print("| features | treatment | selector | rule | train | unbalanced | balanced | whole | without train |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|")
    for place, key in enumerate(keys):
        numbers = [
            (unbalanced[key] + learned[key]) / 2,
            learned[key],
            unbalanced[key],
            balanced[key],
            every[key],
            unseen[key],
        ]
        mark = "**" if place == 0 else ""
        print("| " + " | ".join([*key, *(f"{mark}{number:.2f}{mark}" for number in numbers)]) + " |")


if __name__ == "__main__":
    main()
