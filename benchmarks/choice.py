"""Settings chosen on some images and scored on others: the table of all settings that were tried.

    interpdisc evaluate PHOTOS --labels folder --study choice-drawn --out drawn
    interpdisc evaluate ROVER --labels labels.csv --study choice-whole --where "split == 'train'" --out train
    interpdisc evaluate ROVER --labels labels.csv --study choice-whole --out whole
    interpdisc evaluate ROVER --labels labels.csv --study choice-whole --where "split != 'train'" --out rest
    python benchmarks/choice.py drawn train whole rest

The rule is fixed here and uses the first two only: the greatest mean of nAUC (whi2018) on `train` and on the drawn
unbalanced classes (any method finds the balanced ones). Settings are in the order of the rule, the chosen one first.
"""

import csv
import sys
from pathlib import Path

SettingKey = tuple[str, str, str]


def read_summary(folder: str) -> dict[tuple[SettingKey, str], float]:
    with (Path(folder) / "summary.csv").open(newline="") as file:
        return {
            ((row["representation"], row["treatment"], row["method"]), row["trials"]): float(row["nauc_whi2018"])
            for row in csv.DictReader(file)
            if row["nauc_whi2018"]
        }


def main() -> None:
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    random_draws, train, all_images, rest = map(read_summary, sys.argv[1:])
    unbalanced_scores = {key: value for (key, trials), value in random_draws.items() if trials.startswith("unbalanced")}
    balanced_scores = {key: value for (key, trials), value in random_draws.items() if trials.startswith("balanced")}
    train_scores, whole_scores, rest_scores = (
        {key: value for (key, _), value in scores.items()} for scores in (train, all_images, rest)
    )
    keys = sorted(
        unbalanced_scores.keys() & train_scores.keys(), key=lambda key: -(unbalanced_scores[key] + train_scores[key])
    )
    print("| features | treatment | selector | rule | train | unbalanced | balanced | whole | without train |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|")
    for position, key in enumerate(keys):
        numbers = [
            (unbalanced_scores[key] + train_scores[key]) / 2,
            train_scores[key],
            unbalanced_scores[key],
            balanced_scores[key],
            whole_scores[key],
            rest_scores[key],
        ]
        mark = "**" if position == 0 else ""
        print("| " + " | ".join([*key, *(f"{mark}{number:.2f}{mark}" for number in numbers)]) + " |")


if __name__ == "__main__":
    main()
