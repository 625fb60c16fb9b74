"""Table 2 of Wagstaff & Lee 2018 on its own images: nAUC of named plans, through the whole program.

    python benchmarks/mars.py DATA [--archive DIR]

DATA holds `images/` and `labels.csv` (file, class_name). Features are computed once and stay in the archive, so a
second call takes about a minute. Prints the table in Markdown.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PLANS = {
    "lite0 pooled, raw, DEMUD full": "default-300",
    "lite0 pooled, L2, DEMUD full": "normalised-300",
    "lite0 pooled, raw, batch SVD": "batch-svd-300",
    "pixels 32 x 32, DEMUD full": "pixels-300",
    "random, one seeded draw": "random-300",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("INTERPDISC_DATA"), help="default: $INTERPDISC_DATA")
    parser.add_argument("--archive", default="interpdisc-archive")
    options = parser.parse_args()
    if not options.data:
        parser.error("give the data folder, or set INTERPDISC_DATA")
    data = Path(options.data)
    print(f"{date.today()}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores\n")
    print("| run | nAUC whi2018 | nAUC exact | classes at 10 / 25 / 50 / 100 / 300 | near-ties | select, s |")
    print("|---|---:|---:|---|---:|---:|")
    for name, plan in PLANS.items():
        command = [
            str(Path(sys.executable).with_name("interpdisc")),
            "discover",
            str(data / "images"),
            "--labels",
            str(data / "labels.csv"),
            "--archive",
            options.archive,
            "--plan",
            str(CHECKOUT / "deploy" / "plans" / f"{plan}.json"),
            "--explain",
            "0",
            "--json",
        ]
        env = os.environ | {"PYTHONPATH": str(CHECKOUT)}
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)
        nauc, firsts = result["nauc"], result["classes"]["found"].values()
        classes_found = " / ".join(str(sum(first <= t for first in firsts)) for t in (10, 25, 50, 100, 300))
        print(
            f"| {name} | {nauc['whi2018']:.2f} | {nauc['exact']:.2f} | {classes_found} | {result['near_ties']} | {result['timings']['select']:.1f} |",
            flush=True,
        )
    print(f"| random, exact expectation | | {nauc['random']:.2f} | | | |")


if __name__ == "__main__":
    main()
