"""A selection alone: its picks are those of the selector, whatever it is interrupted, extended or cut by."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from interpdisc_core import bare
from interpdisc_core.bare import Asked, ids_of, select
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.evaluation import discovery
from interpdisc_core.representations import PixelValues
from interpdisc_core.runs import STEP
from interpdisc_core.selectors import Demud
from interpdisc_core.selectors.seen import Seen
from interpdisc_core.storage import Place
from tests.core.test_ingest import PLAN, extracted, ingested, photos
from tests.flows.conftest import CHECKOUT, COMMAND

RANDOM = np.random.default_rng(7)
VALUES = (RANDOM.normal(size=(90, 12)) * np.linspace(5, 0.5, 12)).astype(np.float32)
IDS = [f"image {number}" for number in range(90)]
LABELS = ["abcde"[number % 5] for number in range(90)]
SETTINGS = [
    Demud(rank=4), Demud(rank=9), Demud(method="incremental", rank=4), Demud(method="static", rank=4),
    Demud(rank=4, start="random", seed=3), Demud(rank=4, start=17), Demud(rank=3, interest="c", action="seek"),
]  # fmt: skip
over_settings = pytest.mark.parametrize("settings", SETTINGS, ids=repr)


class Killed(BaseException):
    """As a kill: nothing may catch it."""


@pytest.fixture
def source(tmp_path: Path) -> str:
    """90 labelled rows."""
    path = tmp_path / "f.npz"
    np.savez(path, features=VALUES, ids=np.array(IDS), labels=np.array(LABELS), sol=np.arange(90))
    return str(path)


def picked(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What must be the same, to the last bit."""
    return [tuple(pick.values()) for pick in result["picks"]]


def vectors(out: Path) -> Any:
    """The array of vectors."""
    return np.asarray(zarr.open_array(out / "vectors", mode="r")[:])


def straight(settings: Demud, picks: int, values: Any = VALUES, prior: Any = None) -> list[tuple[int, float]]:
    """Rows and scores as the selector itself makes them."""
    prior = np.empty((0, values.shape[1])) if prior is None else prior
    selection = settings.open(values, prior, LABELS)
    made: list[tuple[int, float]] = []
    while len(made) < picks and (choice := selection.peek()):
        made.append((choice.row, choice.score))
        selection.learn(choice.row)
    return made


def whole(out: Path, result: dict[str, Any]) -> None:
    """What is in the folder agrees with the result and with itself."""
    assert json.loads((out / "result.json").read_text()) == result
    with (out / "picks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], float(row["score"])) for row in rows] == [(p["id"], p["score"]) for p in result["picks"]]
    x, expected, residual = vectors(out)[: len(result["picks"])].swapaxes(0, 1)
    np.testing.assert_allclose(x - expected, residual, atol=1e-12 * np.abs(x).max(initial=1))
    assert sorted(p.name for p in out.iterdir()) == ["picks.csv", "result.json", "selection.json", "vectors"]


@over_settings
def test_the_picks_are_the_selectors(settings: Demud, source: str, tmp_path: Path) -> None:
    """Rows, scores, x, x̂ and r of each pick, beside their ids and labels."""
    result = select(Asked(source=source, selector=settings, picks=25), str(tmp_path / "out"))
    assert [(pick["row"], pick["score"]) for pick in result["picks"]] == straight(settings, 25)
    assert [pick["id"] for pick in result["picks"]] == [IDS[pick["row"]] for pick in result["picks"]]
    assert [pick["label"] for pick in result["picks"]] == [LABELS[pick["row"]] for pick in result["picks"]]
    assert [pick["rank"] for pick in result["picks"]] == list(range(1, 26))
    assert (result["n"], result["d"], result["exhausted"], result["resumed_at"]) == (90, 12, False, 0)
    kept = vectors(tmp_path / "out")
    assert kept.shape == (25, 3, 12)
    np.testing.assert_array_equal(kept[:, 0], VALUES[[pick["row"] for pick in result["picks"]]].astype(np.float64))
    plain = settings.start in ("svd", "mean")  # a row that is given opens with a score of 0
    scores = [pick["score"] for pick in result["picks"]]
    np.testing.assert_allclose((kept[not plain :, 2] ** 2).sum(axis=1), scores[not plain :], rtol=1e-9)
    whole(tmp_path / "out", result)


@over_settings
def test_a_larger_number_goes_on(settings: Demud, source: str, tmp_path: Path) -> None:
    """30, then 50, then 50 again, then 12: always the first of the straight 50; nothing is done twice."""
    asked = Asked(source=source, selector=settings)
    expected = select(replace(asked, picks=50), str(tmp_path / "straight"))
    out = tmp_path / "out"
    for picks, resumed in ((7, 0), (30, 7), (50, 30), (50, 50), (12, 12), (33, 33)):
        result = select(replace(asked, picks=picks), str(out))
        assert picked(result) == picked(expected)[:picks]
        assert result["resumed_at"] == resumed
        whole(out, result)
    np.testing.assert_array_equal(vectors(out), vectors(tmp_path / "straight"))


@pytest.mark.parametrize("picks", [9, 10, 25])
def test_a_death_at_any_write_is_nothing(
    picks: int, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after any write, a folder goes on to the same picks and vectors; also when it is extended."""
    asked = Asked(source=source, selector=Demud(rank=4))
    expected = select(replace(asked, picks=picks), str(tmp_path / "straight"))
    started = tmp_path / "started"
    select(replace(asked, picks=6), str(started))
    writes = 0
    deaths = -1

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == deaths:
                raise Killed
            result = real(*args, **kwargs)
            writes += 1
            if writes == deaths:
                raise Killed
            return result

        return call

    monkeypatch.setattr(Place, "write", dying(Place.write))
    monkeypatch.setattr(Place, "remove", dying(Place.remove))
    monkeypatch.setattr(bare._Vectors, "write", dying(bare._Vectors.write))
    monkeypatch.setattr(bare._Vectors, "cut", dying(bare._Vectors.cut))
    monkeypatch.setattr(zarr, "create_array", dying(zarr.create_array))
    for before in (None, started):
        deaths = 0
        while True:
            deaths, writes, out = deaths + 1, 0, tmp_path / "out"
            if before:
                shutil.copytree(before, out)
            try:
                select(replace(asked, picks=picks), str(out))
                died = False
            except Killed:
                died = True
            at, deaths = deaths, -1
            result = select(replace(asked, picks=picks), str(out))
            assert picked(result) == picked(expected), at
            np.testing.assert_array_equal(vectors(out), vectors(tmp_path / "straight"))
            whole(out, result)
            shutil.rmtree(out)
            deaths = at
            if not died:
                break
        assert deaths > 8


@pytest.mark.parametrize(
    "changes",
    [
        {"selector": Demud(rank=5)}, {"normalise": "l2"}, {"where": "sol < 80"}, {"known": ("image 1",)},
        {"interesting": ("image 2",)}, {"background_where": "sol < 9"}, {"selector": Demud(rank=4, sign="low")},
    ],
    ids=str,
)  # fmt: skip
def test_other_settings_begin_anew(changes: dict[str, Any], source: str, tmp_path: Path) -> None:
    """A folder that holds another selection is begun anew, and back."""
    base = Asked(source=source, selector=Demud(rank=4), picks=12, background=(source,), background_where="sol < 5")
    other, out = replace(base, **changes), str(tmp_path / "out")
    expected = [select(asked, str(tmp_path / f"{number}")) for number, asked in enumerate((base, other))]
    for number in (0, 1, 0):
        result = select((base, other)[number], out)
        assert result["resumed_at"] == 0
        assert picked(result) == picked(expected[number])
        whole(tmp_path / "out", result)


def test_other_data_begin_anew(source: str, tmp_path: Path) -> None:
    """The same command over a file that was written again goes not on from picks of the other."""
    asked, out = Asked(source=source, selector=Demud(rank=4), picks=12), str(tmp_path / "out")
    select(asked, out)
    np.savez(source, features=VALUES[::-1].copy())
    result = select(asked, out)
    assert result["resumed_at"] == 0
    assert [(pick["row"], pick["score"]) for pick in result["picks"]] == straight(Demud(rank=4), 12, VALUES[::-1])


def test_labels_do_not_change_picks_but_classes_of_interest_do(source: str, tmp_path: Path) -> None:
    """Other labels keep the picks and score them anew; where the selector looks at them, it begins anew."""
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\nimage 1,z\n")
    asked, out = Asked(source=source, selector=Demud(rank=4), picks=12), str(tmp_path / "out")
    first = select(asked, out)
    again = select(replace(asked, labels=str(labels)), out)
    assert again["resumed_at"] == 12
    assert again["classes"]["total"] == first["classes"]["total"] + 1
    interested = replace(asked, selector=Demud(rank=4, interest="c"))
    select(interested, out)
    assert select(replace(interested, labels=str(labels)), out)["resumed_at"] == 0


def test_the_score_of_a_discovery(source: str, tmp_path: Path) -> None:
    """nAUC and classes are those of the evaluation over the rows that could be picked; without labels there are none."""
    asked = Asked(source=source, selector=Demud(rank=4), picks=15, known=("image 3", "image 8"))
    result = select(asked, str(tmp_path / "out"))
    free = [row for row in range(90) if row not in (3, 8)]
    rows = [free.index(pick["row"]) for pick in result["picks"]]
    assert result["nauc"] == discovery([LABELS[row] for row in free], rows, 15).summary()["nauc"]
    np.save(tmp_path / "f.npy", VALUES)
    without = select(replace(asked, source=str(tmp_path / "f.npy"), known=()), str(tmp_path / "out"))
    assert (without["nauc"], without["classes"]) == (None, None)


def test_what_is_known_and_what_is_interesting(source: str, tmp_path: Path) -> None:
    """Known rows are learned and never picked; an interesting one is picked and not learned."""
    first = select(Asked(source=source, selector=Demud(rank=4), picks=1), str(tmp_path / "0"))["picks"][0]["row"]
    selection = Demud(rank=4).open(VALUES, np.empty((0, 12)))
    for row in (5, 30):
        selection.learn(row)
    expected = []
    for _ in range(20):
        choice = selection.peek()
        assert choice is not None
        expected.append((choice.row, choice.score))
        (selection.skip if choice.row == first else selection.learn)(choice.row)
    asked = Asked(
        source=source, selector=Demud(rank=4), picks=8, known=("image 30", "image 5"), interesting=(IDS[first],)
    )  # fmt: skip
    for picks in (8, 20):  # also when it goes on
        result = select(replace(asked, picks=picks), str(tmp_path / "out"))
    assert [(pick["row"], pick["score"]) for pick in result["picks"]] == expected
    assert first in [row for row, _ in expected]


@pytest.mark.parametrize("many", [False, True])
def test_the_background_is_known(many: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows count as seen, in one or block by block; several are one; a part of the source may be."""
    if many:
        monkeypatch.setattr(bare, "_AT_ONCE", 10)
    np.save(tmp_path / "f.npy", VALUES)
    for name, part in (("a", VALUES[:20]), ("b", VALUES[20:50])):
        np.save(tmp_path / f"{name}.npy", part)
    expected = straight(Demud(rank=4), 20, VALUES[50:], VALUES[:50].astype(np.float64))
    asked = Asked(source=str(tmp_path / "f.npy"), where="row >= 50", selector=Demud(rank=4), picks=20)
    two = replace(asked, background=(str(tmp_path / "a.npy"), str(tmp_path / "b.npy")))
    same = replace(asked, background=(asked.source,), background_where="row < 50")
    for number, given in enumerate((two, same)):
        result = select(given, str(tmp_path / f"{number}"))
        assert result["background"]["count"] == 50
        assert [pick["row"] - 50 for pick in result["picks"]] == [row for row, _ in expected]
        np.testing.assert_allclose([p["score"] for p in result["picks"]], [score for _, score in expected], rtol=1e-9)


def test_a_model_block_by_block_is_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Singular values and directions as of the SVD of all rows, rank-deficient and far from the origin too."""
    low = RANDOM.normal(size=(5000, 3)) @ RANDOM.normal(size=(3, 12)) + 1e4
    np.save(tmp_path / "f.npy", low)
    table = bare.tables.read(str(tmp_path / "f.npy"))
    found, expected = bare._seen([table], 12, Demud()), Seen.of(low)
    assert found.count == 5000
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.axes @ expected.axes.T), np.eye(3), atol=1e-9)


def test_missing_values_of_the_background(tmp_path: Path) -> None:
    """Refused with the row; 0; or the mean of the rows that have it."""
    values = VALUES[:30].astype(np.float64)
    values[4, 2] = np.nan
    np.save(tmp_path / "f.npy", values)
    table = bare.tables.read(str(tmp_path / "f.npy"))
    with pytest.raises(PlanError, match=r"its row 4 \('4'\)"):
        bare._seen([table], 12, Demud())
    for missing, filling in (("zero", 0.0), ("ignore", np.nanmean(values[:, 2]))):
        filled = np.where(np.isnan(values), filling, values)
        found = bare._seen([table], 12, Demud(missing=missing))  # type: ignore[arg-type]
        np.testing.assert_allclose(found.mean, filled.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.values, Seen.of(filled).values, rtol=1e-12)


def test_the_start_row_is_the_sources(source: str, tmp_path: Path) -> None:
    """With a part of the rows, `start` still is the number of a row in the source."""
    asked = Asked(source=source, selector=Demud(rank=4, start=70), where="sol >= 40", picks=5)
    result = select(asked, str(tmp_path / "out"))
    assert result["picks"][0]["row"] == 70
    assert result["settings"]["selector"]["start"] == 70
    for start in (39, 90):
        with pytest.raises(PlanError, match=f"start row {start} is not among the 50 rows"):
            select(replace(asked, selector=Demud(start=start)), str(tmp_path / "out"))


def test_exhaustion_is_told_and_kept(tmp_path: Path) -> None:
    """Where nothing is new any more it stops, says so, and a larger number changes nothing."""
    np.save(tmp_path / "f.npy", np.repeat(VALUES[:4], 5, axis=0))
    asked, out = Asked(source=str(tmp_path / "f.npy"), picks=12), tmp_path / "out"
    result = select(asked, str(out))
    assert (len(result["picks"]), result["exhausted"]) == (4, True)
    assert vectors(out).shape == (4, 3, 12)
    whole(out, result)
    again = select(replace(asked, picks=20), str(out))
    assert (picked(again), again["exhausted"], again["resumed_at"]) == (picked(result), True, 4)
    assert not select(replace(asked, picks=3), str(out))["exhausted"]
    nothing = select(replace(asked, background=(asked.source,)), str(tmp_path / "none"))
    assert (nothing["picks"], nothing["exhausted"]) == ([], True)
    assert select(replace(asked, background=(asked.source,)), str(tmp_path / "none"))["picks"] == []
    few = select(replace(asked, selector=Demud(method="static"), picks=50), str(tmp_path / "few"))
    assert (len(few["picks"]), few["exhausted"]) == (20, False)


def test_an_archive_alone_is_the_run(tmp_path: Path) -> None:
    """Over an archive the picks are those of its run: the same ids and scores, raw and normalised."""
    from interpdisc_core.progress import Watch
    from interpdisc_core.selection import select as run_select
    from tests.core.test_ingest import run_of

    for normalise in ("none", "l2"):
        plan = replace(PLAN, normalise=normalise, selector=Demud(rank=4), picks=14)  # type: ignore[arg-type]
        archive = tmp_path / normalise
        settled = ingested(archive, photos(tmp_path / "photos", 25), plan=plan, block=6)
        extracted(archive, settled, plan)
        run_select(str(archive), settled.run, Watch(str(archive)))
        expected = [(pick.id, pick.score) for pick in run_of(archive, settled).picks()]
        asked = Asked(source=str(archive), normalise=normalise, selector=Demud(rank=4), picks=14)  # type: ignore[arg-type]
        result = select(asked, str(tmp_path / f"{normalise}-out"))
        assert [(pick["id"], pick["score"]) for pick in result["picks"]] == expected
        assert result["settings"]["features"] == plan.features


def test_an_archive_as_background(tmp_path: Path) -> None:
    """The representation is that of the source, or is chosen where bare features stand beside an archive of several."""
    small = replace(PLAN, representation=PixelValues(side=4))
    for name, plans, first in (("a", (PLAN, small), 0), ("b", (small,), 9)):
        for plan in plans:
            settled = ingested(tmp_path / name, photos(tmp_path / f"{name}-photos", 9, first), plan=plan)
            extracted(tmp_path / name, settled, plan)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    asked = Asked(source=b, background=(a,), picks=4)
    result = select(asked, str(tmp_path / "0"))
    assert (result["n"], result["d"], result["background"]["count"]) == (9, 48, 9)
    with pytest.raises(PlanError, match="names 0 of its 1 representations"):
        select(replace(asked, source=a, features=PLAN.features, background=(b,)), str(tmp_path / "1"))
    table = bare.tables.read(b)
    np.save(tmp_path / "b.npy", table.rows.get(np.arange(9)))
    beside = select(replace(asked, source=str(tmp_path / "b.npy"), features=small.features), str(tmp_path / "2"))
    assert [pick["score"] for pick in beside["picks"]] == [pick["score"] for pick in result["picks"]]
    with pytest.raises(PlanError, match="choose with --features"):
        select(replace(asked, source=str(tmp_path / "b.npy")), str(tmp_path / "3"))


def test_misuse_is_one_sentence_and_destroys_nothing(source: str, tmp_path: Path) -> None:
    """Each says what cannot be meant; what is in the folder stays."""
    asked, out = Asked(source=source, selector=Demud(rank=4), picks=5), tmp_path / "out"
    kept = select(asked, str(out))
    np.save(tmp_path / "other.npy", VALUES[:, :5])
    gap = VALUES.copy()
    gap[50, 3] = np.nan
    np.save(tmp_path / "gap.npy", gap)
    (tmp_path / "weights.txt").write_text("1 2 3")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"source": str(tmp_path / "nothing")}, "no such file"),
        ({"background": (str(tmp_path / "other.npy"),)}, "other.npy: its rows have 5 features, those of .* 12"),
        ({"known": ("image 1", "nobody")}, "'nobody' is not among"),
        ({"known": tuple(IDS)}, "all of its 90 rows are known"),
        ({"where": "sol > 900"}, "true of none"),
        ({"where": "soul > 900"}, "there are .*sol"),
        ({"source": str(tmp_path / "gap.npy")}, "no finite value|not finite"),
        ({"background": (str(tmp_path / "gap.npy"),)}, "row 50"),
        ({"selector": Demud(weights=str(tmp_path / "weights.txt"))}, "12 numbers"),
        ({"selector": Demud(weights=str(tmp_path / "absent.txt"))}, "absent.txt"),
        ({"source": str(tmp_path / "gap.npy"), "selector": Demud(interest="c")}, "needs labels"),
    ]
    for changes, said in cases:
        with pytest.raises(PlanError, match=said):
            select(replace(asked, **changes), str(out))
        whole(out, kept)
    for changes, said in (
        ({"picks": 0}, "at least 1"), ({"threads": 0}, "at least 1"), ({"background_where": "sol > 1"}, "no --background"),
        ({"known": ("a",), "interesting": ("a",)}, "both known and interesting"),
    ):  # fmt: skip
        with pytest.raises(PlanError, match=said):
            replace(asked, **changes)
    archive = ingested(tmp_path / "archive", photos(tmp_path / "photos", 3))
    for folder in ("archive", f"archive/runs/{archive.run}"):
        before = sorted((tmp_path / folder).iterdir())
        with pytest.raises(PlanError, match="of something else; name another folder"):
            select(asked, str(tmp_path / folder))
        assert sorted((tmp_path / folder).iterdir()) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "picks.csv").write_text("mine")
    with pytest.raises(PlanError, match=r"holds picks.csv of something else"):
        select(asked, str(tmp_path / "mine"))
    with pytest.raises(StoreError):
        select(asked, source)  # a file


def test_ids_of_a_command_line(tmp_path: Path) -> None:
    """Separated by commas, or lines of a file."""
    assert ids_of("") == ()
    assert ids_of(" a b, c,,d") == ("a b", "c", "d")
    (tmp_path / "ids.txt").write_bytes("\ufeffa,b\r\n\r\n c \nü\n".encode())
    assert ids_of(f"@{tmp_path / 'ids.txt'}") == ("a,b", "c", "ü")
    with pytest.raises(PlanError, match=r"absent.txt: cannot be read"):
        ids_of("@absent.txt")


# ------------------------------------------------------------------------------------------------ the command


def run(*args: str | Path, expect: int = 0, command: list[str] = COMMAND) -> tuple[str, str]:
    """What the command says on both streams."""
    done = subprocess.run([*command, *map(str, args)], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_the_command(source: str, tmp_path: Path) -> None:
    """It prints the first picks and where things are, JSON and nothing else with --json, and misuse as a sentence."""
    out, err = run("select", source, "-n", 12, "-k", 4, "--out", tmp_path / "out")
    expected = straight(Demud(rank=4), 12)
    assert "12 picks of 90 rows of 12 features" in out
    assert re.search(rf"^ +1 +{expected[0][0]} +\S+ +'image {expected[0][0]}'", out, re.MULTILINE)
    assert "nAUC (t = 12)" in out
    assert str(tmp_path / "out") in out
    assert "Traceback" not in err
    shown, _ = run("select", source, "-n", 12, "-k", 4, "--out", tmp_path / "out", "--json")
    result = json.loads(shown)
    assert [(pick["row"], pick["score"]) for pick in result["picks"]] == expected
    assert result["resumed_at"] == 12
    shown, _ = run("show", tmp_path / "out")
    assert source in shown
    assert f"image {expected[11][0]}" in shown
    out, _ = run(
        "select", source, "-n", 3, "-k", 4, "--method", "incremental", "--start", 3, "--sign", "high", "--weights",
        "boostlow", "--missing", "zero", "--interest", "c", "--interest-action", "seek", "--normalise", "l2", "--where",
        "sol < 80", "--known", "image 5", "--interesting", "image 6", "--threads", 2, "--out", tmp_path / "all", "--json",
    )  # fmt: skip
    asked = json.loads(out)["settings"]
    assert asked["selector"] == {
        "kind": "demud", "method": "incremental", "rank": 4, "variance": None, "start": 3, "seed": 0, "sign": "high",
        "weights": "boostlow", "interest": "c", "action": "seek", "missing": "zero",
    }  # fmt: skip
    for args, said in (
        (["--method", "slow"], "--method is full, incremental, static, not 'slow'"), (["--start", "-1"], "--start is"),
        (["--where", "soul == 1"], "there is no field 'soul'"), (["-n", "0"], "at least 1"),
    ):  # fmt: skip
        _, err = run("select", source, *args, "--out", tmp_path / "no", expect=2)
        assert said in err
        assert not (tmp_path / "no").exists()


def test_it_is_light() -> None:
    """Neither Prefect nor Dask nor torch is loaded for it."""
    code = "import sys, deploy.cli, deploy.running, interpdisc_core.bare; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    heavy = {"prefect", "dask", "distributed", "torch", "torchvision", "onnxruntime", "matplotlib", "s3fs"}
    assert not heavy & set(done.stdout.split())


SLOWLY = """
import time
from interpdisc_core.storage import Place
write = Place.write
def slowly(self, name, data):
    write(self, name, data)
    time.sleep(3.0)
Place.write = slowly
from deploy.cli import main
main()
"""


def test_kill_9_and_the_same_command(source: str, tmp_path: Path) -> None:
    """Killed at checkpoint after checkpoint, the same command makes the same picks; no two write at once."""
    expected = select(Asked(source=source, selector=Demud(rank=4), picks=45), str(tmp_path / "straight"))
    out, args = tmp_path / "out", ["select", source, "-n", "45", "-k", "4", "--out", str(tmp_path / "out"), "--json"]
    reached = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOWLY, *args], cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while len(_state(out)) <= reached:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if not reached:
            _, err = run(*args, expect=2)
            assert "another run is writing this folder" in err
        process.kill()
        process.communicate()
        reached = len(_state(out))
        assert 0 < reached < 45
        assert reached % STEP == 0
        assert not (out / "result.json").exists()
    shown, _ = run(*args)
    result = json.loads(shown)
    assert result["resumed_at"] == reached
    assert picked(result) == picked(expected)
    np.testing.assert_array_equal(vectors(out), vectors(tmp_path / "straight"))
    for lock in (".lock", "lock.json"):
        os.remove(out / lock)
    whole(out, result)


def _state(out: Path) -> list[int]:
    try:
        return list(json.loads((out / "selection.json").read_text()).get("rows", []))
    except FileNotFoundError:
        return []
