"""Makes `archives-v2.tar.xz` and `archives-v2-expected.json`. Made by version 0.1.0 at commit c3a4ab7.

It runs on the program of that commit only, and is kept to show what the data is:

    python tests/data/make_archives_v2.py

Archives keep absolute addresses of their images, so everything lies in one fixed folder, and tests unpack it there.
After packing, the archives are extended once by the same program; what came of that is in the expected results too.
"""

import csv
import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))
HOME = Path("/tmp/interpdisc-archives-v2")
STAMP = 1_700_000_000
"""The modification time of every input; the key of an input depends on it."""
PIXELS = {"kind": "pixels", "side": 8}
FIELDS = ("path", "id", "sol", "instrument")
PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "rocket.jpg",
)


# ---------------------------------------------------------------------------------------------------------- inputs


def crop(photo: str, place: int, side: int = 72) -> Image.Image:
    """A part of a photo that ships in scikit-image."""
    import skimage

    whole = Image.open(Path(str(skimage.__file__)).parent / "data" / photo).convert("RGB")
    left, top = whole.width // 4 + 37 * place, whole.height // 4 + 23 * place
    return whole.crop((left, top, left + 2 * side, top + 2 * side)).resize((side, side))


def jpeg(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=70)
    return sink.getvalue()


def png(seed: int, kind: int, side: int = 24) -> bytes:
    """A small PNG: smooth, one of a few kinds, and none like another."""
    chance = np.random.default_rng([seed, kind])
    ramp = np.linspace(0, 1, side)
    wave = np.outer(np.sin(ramp * (2 + kind)), np.cos(ramp * (1 + kind)))[:, :, None]
    base = wave * np.array([1.0, 0.8, 0.5 + 0.1 * kind])
    noise = chance.normal(0, 0.15, (4, 4, 3)).repeat(side // 4, 0).repeat(side // 4, 1)
    sink = io.BytesIO()
    Image.fromarray((90 + 110 * np.abs(base + noise)).clip(5, 250).astype(np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def put(name: str, data: bytes) -> None:
    path = HOME / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (STAMP, STAMP))


def put_json(name: str, value: Any) -> None:
    put(name, json.dumps(value, indent=1).encode() + b"\n")


def table(rows: list[dict[str, Any]]) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def downlink(sols: range) -> bytes:
    """The images of some sols, as a list with records. The first of each sol is of a kind that was not there before."""
    rows = []
    for sol in sols:
        for number in range(6):
            name = f"{sol}-{number}.png"
            put(f"downlink/{name}", png(100 * sol + number, sol - 798 if number == 0 else number % 3))
            instrument = "MAST_LEFT" if number % 2 else "MAST_RIGHT"
            rows.append(dict(zip(FIELDS, (f"downlink/{name}", name, sol, instrument), strict=True)))
    return table(rows)


def inputs() -> None:
    """All images, lists and settings."""
    labels = []
    for number, photo in enumerate(PHOTOS):
        for place in range(1 if number % 2 else 2):
            name = f"{Path(photo).stem}-{place}.jpg"
            put(f"photos/{name}", jpeg(crop(photo, place)))
            labels.append({"file": name, "class_name": Path(photo).stem})
    put("photos/copy.jpg", (HOME / "photos/brick-0.jpg").read_bytes())
    put("photos/broken.jpg", (HOME / "photos/coffee-0.jpg").read_bytes()[:300])
    put("photos/notes.txt", b"not an image\n")
    put("photos.csv", table(labels))
    put("more/grass-0.jpg", jpeg(crop("grass.png", 0)))
    for place in range(2, 6):
        put(f"known/astronaut-{place}.jpg", jpeg(crop("astronaut.png", place)))
    refined = {"kind": "refined", "refine": {"kind": "gradient", "steps": 3, "size": 64}}
    put_json("discover.json", {"selector": {"kind": "demud", "rank": 5}, "inverter": refined, "picks": 4, "explain": 1})
    few = {"representation": PIXELS, "selector": {"kind": "demud", "rank": 3}, "picks": 4, "explain": 0}
    put_json("pixels.json", few)
    put("list-4.csv", downlink(range(801, 805)))
    put("list.csv", downlink(range(801, 802)))
    source = {"kind": "list", "path": str(HOME / "list.csv")}
    put_json(
        "daily.json", {"source": source, "plan": few, "listed": 2, "horizon": "sols", "sols": 5, "budget": {"*": 3}}
    )
    for number in range(2):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as tar:
            members = [(f"{n:04d}.png", png(9000 + n, n % 4)) for n in range(11 * number, 11 * number + 12)]
            for name, data in [*members, (f"cut-{number}.png", png(number, 1)[:-50])]:
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(data), STAMP
                tar.addfile(info, io.BytesIO(data))
        put(f"shards/m-{number}.tar", sink.getvalue())
    chance = np.random.default_rng(11)
    values = chance.normal(size=(8, 10))[chance.integers(0, 8, 120)] * 3 + chance.normal(size=(120, 10))
    sink = io.BytesIO()
    np.save(sink, values.astype(np.float32))
    put("features.npy", sink.getvalue())
    put_json(
        "recipe.json",
        {
            "representation": {"kind": "pixels", "side": 4},
            "generator": {"kind": "light", "size": 64},
            "validation": 0.2,
            "views": 1,
            "epoch": 8,
            "batch": 4,
            "feature": 0,
        },
    )
    put_json(
        "study.json",
        {
            "title": "Small photos",
            "experiments": {
                "discovery": {
                    "kind": "discovery",
                    "t": 8,
                    "novel": ["rocket"],
                    "representations": {"pixels": PIXELS},
                    "treatments": {"raw": {}, "L2": {"normalise": "l2"}},
                    "selectors": {
                        "DEMUD": {"kind": "demud", "rank": 3},
                        "farthest": {"kind": "farthest-first"},
                        "random": {"kind": "random"},
                    },
                },
                "labels": {
                    "kind": "label-errors",
                    "representations": {"pixels": PIXELS},
                    "rates": [0.1],
                    "draws": 1,
                    "shown": 4,
                },
                "days": {"kind": "replay", "representations": {"pixels": PIXELS}, "day": r"-(\d)", "budgets": [1, 2]},
            },
        },
    )


# ------------------------------------------------------------------------------------------------------- the program


class Program:
    """The command line, with one Prefect server for all calls."""

    def __init__(self, api: str) -> None:
        self.env = os.environ | {
            "PREFECT_API_URL": api,
            "PYTHONPATH": str(CHECKOUT),
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
        }

    def __call__(self, *args: Any) -> str:
        command = [sys.executable, "-m", "deploy", *map(str, args)]
        done = subprocess.run(command, cwd=HOME, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        print(*args[:2], flush=True)
        return done.stdout

    def json(self, *args: Any) -> Any:
        return json.loads(self(*args, "--json"))

    def flow(self, *args: Any) -> Any:
        return self.json(*args, "--workers", "1")


DISCOVER = (
    HOME / "photos",
    "--labels",
    HOME / "photos.csv",
    "--background",
    HOME / "known",
    "--archive",
    HOME / "discover",
)
DAILY = ("daily", "--settings", HOME / "daily.json", "--archive", HOME / "daily")
BACKFILL = (
    "backfill",
    HOME / "shards",
    "--archive",
    HOME / "backfill",
    "--plan",
    HOME / "pixels.json",
    "--block",
    "16",
)
BARE = ("select", HOME / "features.npy", "-k", "4", "--out", HOME / "picks-bare")
SHARDS = ("select", HOME / "backfill", "-k", "4", "--out", HOME / "picks-shards")
HORIZON = (
    "select",
    HOME / "features.npy",
    "-k",
    "4",
    "--where",
    "row >= 80",
    "--horizon",
    "mast",
    "--last",
    "2",
    "--memory",
    HOME / "memory",
    "--out",
    HOME / "picks-horizon",
)
TRAIN = (
    "train-inverter",
    HOME / "photos",
    "--archive",
    HOME / "training",
    "--out",
    HOME / "small.safetensors",
    "--recipe",
    HOME / "recipe.json",
    "--held-out",
    "cups='coffee' in id",
    "--about",
    "small photos",
    "--licence",
    "CC0-1.0",
)
EVALUATE = (
    "evaluate",
    HOME / "photos",
    "--labels",
    HOME / "photos.csv",
    "--study",
    HOME / "study.json",
    "--archive",
    HOME / "lab",
)
ARCHIVES = ("discover", "daily", "backfill", "memory", "training", "lab")


def archives(do: Program) -> dict[str, Any]:
    """Makes every archive; returns the results as the program told them."""
    told: dict[str, Any] = {}
    told["discover"] = do.flow("discover", *DISCOVER, "--plan", HOME / "discover.json")
    run = HOME / "discover" / "runs" / told["discover"]["run"]
    told["explain"] = do.flow("explain", run, "--steps", "2")
    days = []
    days.append(do.flow(*DAILY))
    do("mark", HOME / "daily", days[0]["days"][0]["picks"][1]["id"], "boring", "--by", "ann", "--note", "seen often")
    put("list.csv", downlink(range(801, 803)))
    days.append(do.flow(*DAILY))
    do("mark", HOME / "daily", days[1]["days"][0]["picks"][0]["id"], "interesting", "--by", "ben")
    put("list.csv", downlink(range(801, 804)))
    days.append(do.flow(*DAILY))
    do("undo", HOME / "daily", "sol-00802", "--by", "ann", "--why", "wrong exposure")
    told["daily"] = [day for made in days for day in made["days"]]
    told["marks"] = do.json("marks", HOME / "daily")
    told["backfill"] = do.flow(*BACKFILL)
    told["select bare"] = do.json(*BARE, "-n", "12")
    told["select shards"] = do.json(*SHARDS, "-n", "5")
    # Only an archive can remember, so one is begun by a backfill and holds nothing else that matters.
    do.flow(
        "backfill",
        HOME / "shards",
        "--archive",
        HOME / "memory",
        "--plan",
        HOME / "pixels.json",
        "--block",
        "16",
        "--remember",
        "shards",
    )
    for name, where in (
        ("sol-8", "row < 20"),
        ("sol-9", "row >= 20 and row < 40"),
        ("sol-10", "row >= 40 and row < 80"),
    ):
        do("remember", HOME / "features.npy", "mast", name, "--where", where, "--memory", HOME / "memory")
    told["select horizon"] = do.json(*HORIZON, "-n", "6")
    told["training"] = do.flow(*TRAIN, "--epochs", "2")
    told["study"] = do.flow(*EVALUATE)
    return told


def extended(do: Program) -> dict[str, Any]:
    """The archives extended, by which a later program is compared."""
    told: dict[str, Any] = {}
    (run,) = (HOME / "discover/runs").iterdir()
    told["explain"] = do.flow("explain", run, "--inverter", "upconv", "--explain", "2")
    told["discover"] = do.flow(
        "discover", HOME / "photos", HOME / "more", *DISCOVER[1:], "--plan", HOME / "discover.json", "-n", "7"
    )
    shutil.copy(HOME / "list-4.csv", HOME / "list.csv")
    told["fourth day"] = do.flow(*DAILY)["days"]
    do("redo", HOME / "daily", "sol-00802")
    told["redone"] = do.flow(*DAILY)["days"]
    told["select bare"] = do.json(*BARE, "-n", "20")
    told["select shards"] = do.json(*SHARDS, "-n", "9")
    told["select horizon"] = do.json(*HORIZON, "-n", "9")
    told["training"] = do.flow(*TRAIN, "--epochs", "3")
    return told


# ----------------------------------------------------------------------------------------------------------- expected


def picks(result: Any) -> list[dict[str, Any]]:
    """What must be the same of each pick; scores to the last bit."""
    names = ("rank", "id", "key", "row", "label", "near_ties", "novelty_rank", "trusted")
    return [
        {n: pick[n] for n in names if n in pick} | {"score": float(pick["score"]).hex()} for pick in result["picks"]
    ]


def rendered(result: Any) -> dict[str, Any]:
    """The numbers of the picks that were rendered, by rank."""
    return {str(p["rank"]): p["numbers"] for p in result["picks"] if "feature_error" in p["numbers"]}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(folder: str, pattern: str) -> dict[str, str]:
    return {str(p.relative_to(HOME)): sha256(p) for p in sorted((HOME / folder).glob(pattern)) if p.is_file()}


def read(name: str) -> Any:
    return json.loads((HOME / name).read_text())


def day(made: dict[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in ("day", "revision", "ledger", "spikes")} | {"picks": picks(made)}


def commits() -> dict[str, Any]:
    """What the daily archive holds of each day, but for times."""
    found: dict[str, Any] = {}
    for folder in sorted((HOME / "daily/days").iterdir()):
        found[folder.name] = {
            path.stem: {k: v for k, v in json.loads(path.read_text()).items() if k != "at"}
            for path in sorted(folder.glob("*.json"))
            if path.name in ("commit.json", "undone.json")
        }
    return found


def lines(result: Any) -> list[Any]:
    """The lines of a study, but for times; numbers in full."""
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in result["lines"]]


def epochs(result: Any) -> list[Any]:
    return [{k: v for k, v in epoch.items() if "seconds" not in k} for epoch in result["epochs"]]


def expected(do: Program, told: dict[str, Any]) -> dict[str, Any]:
    from interpdisc_core.daily import settings as daily

    from interpdisc_core import digest, plan
    from interpdisc_core.inverters.checkpoint import card_of
    from interpdisc_core.training import recipe

    discover, training = told["discover"], told["training"]
    used = plan.read(str(HOME / "discover.json"))
    card = dataclasses.asdict(card_of((HOME / "small.safetensors").read_bytes(), "small"))
    weights = HOME / "training" / "training" / training["training"]
    return {
        "verify": {name: do.json("verify", HOME / name) for name in ARCHIVES},
        "show": {name: do.json("show", HOME / name)["counts"] for name in ARCHIVES},
        "discover": {
            "run": discover["run"],
            "plan": used.digest,
            "features": used.features,
            "counts": discover["counts"],
            "candidates": discover["candidates"],
            "nauc": discover["nauc"],
            "classes": discover["classes"],
            "picks": picks(discover),
            "rendered": rendered(discover),
        },
        "explain": {
            "picks": picks(told["explain"]),
            "rendering": told["explain"]["rendering"],
            "rendered": rendered(told["explain"]),
            "explanations": files("discover", "runs/*/explanations/*/*"),
        },
        "daily": {
            "remembers": daily.read(str(HOME / "daily.json")).remembers,
            "days": [day(made) for made in told["daily"]],
            "held": commits(),
            "memory": files("daily", "memory/**/*"),
            "marks": [{k: mark[k] for k in ("id", "key", "verdict", "by", "note", "counts")} for mark in told["marks"]],
        },
        "backfill": {
            "name": told["backfill"]["name"],
            "proof": told["backfill"]["proof"],
            "shards": files("backfill", "backfills/*/shards/*"),
        },
        "memory": files("memory", "memory/**/*"),
        "select bare": {"picks": picks(told["select bare"])},
        "select shards": {"picks": picks(told["select shards"])},
        "select horizon": {"picks": picks(told["select horizon"]), "horizon": told["select horizon"]["horizon"]},
        "training": {
            "name": training["training"],
            "recipe": recipe.read(str(HOME / "recipe.json")).digest,
            "images": training["images"],
            "examples": training["examples"],
            "epochs": epochs(training),
            "best": training["best"],
            "scores": training["scores"],
            "threshold": training["threshold"],
            "weights": {path.name: sha256(path) for path in sorted(weights.glob("*.safetensors"))},
            "card": {k: v for k, v in card.items() if k not in ("environment", "date")},
            "checkpoint": digest.of_file(str(HOME / "small.safetensors")),
        },
        "study": {
            "images": told["study"]["images"],
            "cells": told["study"]["cells"],
            "lines": lines(told["study"]),
            "others": told["study"].get("others", {}),
            "outcomes": sorted(files("lab", "lab/cells/*")),
            "names": sorted(p.name for p in (HOME / "lab/lab/studies").iterdir()),
        },
    }


def digests() -> dict[str, Any]:
    """The names of settings: of what ships, and of every kind with nothing given."""
    from interpdisc_core.daily import settings as daily
    from interpdisc_core.lab import label_errors, study, trials
    from interpdisc_core.treatments import Treatment

    from interpdisc_core import digest, inverters, plan, representations, selectors
    from interpdisc_core.inverters import checkpoint, generators
    from interpdisc_core.training import recipe

    def kinds(union: Any) -> list[type]:
        members = typing.get_args(typing.get_args(union)[0]) if typing.get_origin(union) is typing.Annotated else ()
        return [one for one in members if not typing.get_args(one)]

    def defaults(union: Any) -> dict[str, str]:
        found = {}
        for one in kinds(union):
            try:
                found[one().kind] = digest.of_settings(one())
            except TypeError:  # it has no defaults for everything
                continue
        return dict(sorted(found.items()))

    def of_plan(one: Any) -> dict[str, str]:
        return {"plan": one.digest, "features": one.features, "rendering": one.rendering.name(one.representation)}

    def of_study(one: Any) -> dict[str, Any]:
        return {
            "study": digest.of_json(study.to_json(one)),
            "features": {n: representations.features_of(r) for n, r in one.representations.items()},
        }

    def each(folder: str, act: Any) -> dict[str, Any]:
        return {path.name: act(str(path)) for path in sorted((CHECKOUT / "deploy" / folder).glob("*.json"))}

    features = {}
    for one in kinds(representations.Representation):
        try:
            features[one().kind] = representations.features_of(one())
        except TypeError:
            continue
    asked = daily.read
    return {
        "plans": each("plans", lambda path: of_plan(plan.read(path))),
        "studies": each("studies", lambda path: of_study(study.read(path))),
        "daily": each(
            "daily",
            lambda p: (
                of_plan(asked(p).plan)
                | {"remembers": asked(p).remembers, "settings": digest.of_json(daily.to_json(asked(p)))}
            ),
        ),
        "defaults": {
            "Representation": defaults(representations.Representation),
            "features": dict(sorted(features.items())),
            "Selector": defaults(selectors.Selector),
            "Inverter": defaults(inverters.Inverter),
            "Generator": defaults(generators.Generator),
            "Trials": defaults(trials.Trials),
            "Method": defaults(label_errors.Method),
            "Experiment": defaults(study.Experiment),
            "Plan": of_plan(plan.Plan()),
            "Recipe": recipe.Recipe().digest,
            "Study": of_study(study.Study()),
            "Treatment": digest.of_settings(Treatment()),
            "Daily": daily.parse({"source": {"kind": "msl-feed"}}).remembers,
        },
        "checkpoints": {path.name: checkpoint.content(str(path)) for path in sorted(checkpoint.shipped().values())},
    }


# --------------------------------------------------------------------------------------------------------------- pack


def pack(to: Path) -> None:
    """Everything but caches, locks and weights, in order."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(info.name).parts
        if {"cache", "progress"} & set(parts) or parts[-1:] in ((".lock",), ("lock.json",)):
            return None
        if parts[:2] == ("training", "training") or info.name.endswith("small.safetensors"):
            return None  # the weights of the smallest network are 9 MB
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mode, info.mtime = (0o755 if info.isdir() else 0o644), STAMP
        return info

    with tempfile.NamedTemporaryFile(suffix=".tar") as plainly:
        with tarfile.open(plainly.name, "w") as tar:
            tar.add(HOME, ".", filter=plain)
        with to.open("wb") as sink:
            subprocess.run(["xz", "-9e", "-c", plainly.name], stdout=sink, check=True)


def main() -> None:
    command = ["git", "log", "-1", "--format=%h", "--", "interpdisc_core", "deploy", "flows", "tasks"]
    head = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()
    if not head.startswith("c3a4ab7"):
        raise SystemExit(f"this is the program of commit {head}; check out c3a4ab7.")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    inputs()
    state = tempfile.mkdtemp()
    os.environ["XDG_STATE_HOME"] = state
    from deploy.server import prefect_server

    data = Path(__file__).resolve().parent
    try:
        with prefect_server(keep=False) as running:
            do = Program(running.api)
            told = archives(do)
            known = {"made by": {"version": "0.1.0", "commit": "c3a4ab7"}, "home": str(HOME)} | expected(do, told)
            pack(data / "archives-v2.tar.xz")
            then = extended(do)
    finally:
        shutil.rmtree(state, ignore_errors=True)
    known["extended"] = {
        "discover": {
            "run": then["discover"]["run"],
            "counts": then["discover"]["counts"],
            "picks": picks(then["discover"]),
        },
        "explain": {"rendered": rendered(then["explain"]), "rendering": then["explain"]["rendering"]},
        "fourth day": [day(made) for made in then["fourth day"]],
        "redone": [day(made) for made in then["redone"]],
        "held": commits(),
        "memory": files("daily", "memory/**/*"),
        **{name: {"picks": picks(then[name])} for name in ("select bare", "select shards", "select horizon")},
        "training": {"epochs": epochs(then["training"])},
    }
    known["digests"] = digests()
    (data / "archives-v2-expected.json").write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(HOME)


if __name__ == "__main__":
    main()
