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

from interpdisc_core.archive import pick_vectors
from interpdisc_core.archive.pick_vectors import PICKS_PER_CHECKPOINT
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.metrics.discovery import evaluate_discovery
from interpdisc_core.pipeline.feature_readers import read_feature_table
from interpdisc_core.pipeline.select_features import select_rows
from interpdisc_core.pipeline.select_options import SelectOptions, parse_ids
from interpdisc_core.pipeline.selection_background import fit_background
from interpdisc_core.representations import PixelValues
from interpdisc_core.selectors import Demud
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.storage.location import Location
from tests.flows.conftest import CHECKOUT, COMMAND
from tests.pipeline.test_ingest import PLAN, run_extract, run_ingest, write_photos

RANDOM = np.random.default_rng(7)
VALUES = (RANDOM.normal(size=(90, 12)) * np.linspace(5, 0.5, 12)).astype(np.float32)
IDS = [f"image {number}" for number in range(90)]
LABELS = ["abcde"[number % 5] for number in range(90)]
SELECTORS = [
    Demud(rank=4),
    Demud(rank=9),
    Demud(method="incremental", rank=4),
    Demud(method="static", rank=4),
    Demud(rank=4, start="random", seed=3),
    Demud(rank=4, start=17),
    Demud(rank=3, interest="c", action="seek"),
]
over_selectors = pytest.mark.parametrize("settings", SELECTORS, ids=repr)


class Killed(BaseException):
    """As a kill: nothing may catch it."""


@pytest.fixture
def source(tmp_path: Path) -> str:
    """90 labelled rows."""
    path = tmp_path / "f.npz"
    np.savez(path, features=VALUES, ids=np.array(IDS), labels=np.array(LABELS), sol=np.arange(90))
    return str(path)


def pick_values(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What must be the same, to the last bit."""
    return [tuple(pick.values()) for pick in result["picks"]]


def read_vectors(out: Path) -> Any:
    """The array of vectors."""
    return np.asarray(zarr.open_array(out / "vectors", mode="r")[:])


def select_directly(settings: Demud, picks: int, values: Any = VALUES, prior: Any = None) -> list[tuple[int, float]]:
    """Rows and scores as the selector itself makes them."""
    prior = np.empty((0, values.shape[1])) if prior is None else prior
    selection = settings.open(values, prior, LABELS)
    picks_made: list[tuple[int, float]] = []
    while len(picks_made) < picks and (choice := selection.peek()):
        picks_made.append((choice.row, choice.score))
        selection.learn(choice.row)
    return picks_made


def check_folder(out: Path, result: dict[str, Any]) -> None:
    """What is in the folder agrees with the result and with itself."""
    assert json.loads((out / "result.json").read_text()) == result
    with (out / "picks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], float(row["score"])) for row in rows] == [(p["id"], p["score"]) for p in result["picks"]]
    x, expected, residual = read_vectors(out)[: len(result["picks"]), :3].swapaxes(0, 1)
    np.testing.assert_allclose(x - expected, residual, atol=1e-12 * np.abs(x).max(initial=1))
    names = ["picks.csv", "result.json", "selection.json", "selection.json.sha256", "vectors"]
    assert sorted(p.name for p in out.iterdir()) == names


@over_selectors
def test_the_picks_of_features_are_those_of_the_selector(settings: Demud, source: str, tmp_path: Path) -> None:
    """Rows, scores, x, x̂ and r of each pick, beside their ids and labels."""
    result = select_rows(SelectOptions(source=source, selector=settings, picks=25), str(tmp_path / "out"))
    assert [(pick["row"], pick["score"]) for pick in result["picks"]] == select_directly(settings, 25)
    assert [pick["id"] for pick in result["picks"]] == [IDS[pick["row"]] for pick in result["picks"]]
    assert [pick["label"] for pick in result["picks"]] == [LABELS[pick["row"]] for pick in result["picks"]]
    assert [pick["rank"] for pick in result["picks"]] == list(range(1, 26))
    assert (result["n"], result["d"], result["exhausted"], result["resumed_at"]) == (90, 12, False, 0)
    stored = read_vectors(tmp_path / "out")
    assert stored.shape == (25, 4, 12)
    np.testing.assert_array_equal(stored[:, 0], VALUES[[pick["row"] for pick in result["picks"]]].astype(np.float64))
    plain = settings.start in ("svd", "mean")  # a row that is given opens with a score of 0
    scores = [pick["score"] for pick in result["picks"]]
    np.testing.assert_allclose((stored[not plain :, 2] ** 2).sum(axis=1), scores[not plain :], rtol=1e-9)
    check_folder(tmp_path / "out", result)


@over_selectors
def test_more_picks_extend_a_selection_and_fewer_shorten_it(settings: Demud, source: str, tmp_path: Path) -> None:
    """30, then 50, then 50 again, then 12: always the first of the straight 50; nothing is done twice."""
    options = SelectOptions(source=source, selector=settings)
    expected = select_rows(replace(options, picks=50), str(tmp_path / "straight"))
    out = tmp_path / "out"
    for picks, resumed in ((7, 0), (30, 7), (50, 30), (50, 50), (12, 12), (33, 33)):
        result = select_rows(replace(options, picks=picks), str(out))
        assert pick_values(result) == pick_values(expected)[:picks]
        assert result["resumed_at"] == resumed
        check_folder(out, result)
    np.testing.assert_array_equal(read_vectors(out), read_vectors(tmp_path / "straight"))


@pytest.mark.parametrize("picks", [9, 10, 25])
def test_a_kill_at_any_write_changes_no_pick(
    picks: int, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after any write, a folder goes on to the same picks and vectors; also when it is extended."""
    options = SelectOptions(source=source, selector=Demud(rank=4))
    expected = select_rows(replace(options, picks=picks), str(tmp_path / "straight"))
    started = tmp_path / "started"
    select_rows(replace(options, picks=6), str(started))
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

    monkeypatch.setattr(Location, "write", dying(Location.write))
    monkeypatch.setattr(Location, "remove", dying(Location.remove))
    monkeypatch.setattr(pick_vectors, "write_vectors", dying(pick_vectors.write_vectors))
    monkeypatch.setattr(pick_vectors, "resize_vectors", dying(pick_vectors.resize_vectors))
    monkeypatch.setattr(zarr, "create_array", dying(zarr.create_array))
    for before in (None, started):
        deaths = 0
        while True:
            deaths, writes, out = deaths + 1, 0, tmp_path / "out"
            if before:
                shutil.copytree(before, out)
            try:
                select_rows(replace(options, picks=picks), str(out))
                died = False
            except Killed:
                died = True
            at, deaths = deaths, -1
            result = select_rows(replace(options, picks=picks), str(out))
            assert pick_values(result) == pick_values(expected), at
            np.testing.assert_array_equal(read_vectors(out), read_vectors(tmp_path / "straight"))
            check_folder(out, result)
            shutil.rmtree(out)
            deaths = at
            if not died:
                break
        assert deaths > 8


@pytest.mark.parametrize(
    "changes",
    [
        {"selector": Demud(rank=5)},
        {"normalise": "l2"},
        {"where": "sol < 80"},
        {"known": ("image 1",)},
        {"interesting": ("image 2",)},
        {"background_where": "sol < 9"},
        {"selector": Demud(rank=4, sign="low")},
    ],
    ids=str,
)
def test_other_settings_start_the_selection_again(changes: dict[str, Any], source: str, tmp_path: Path) -> None:
    """A folder that holds another selection is begun anew, and back."""
    base = SelectOptions(
        source=source, selector=Demud(rank=4), picks=12, background=(source,), background_where="sol < 5"
    )
    other, out = replace(base, **changes), str(tmp_path / "out")
    expected = [select_rows(options, str(tmp_path / f"{number}")) for number, options in enumerate((base, other))]
    for number in (0, 1, 0):
        result = select_rows((base, other)[number], out)
        assert result["resumed_at"] == 0
        assert pick_values(result) == pick_values(expected[number])
        check_folder(tmp_path / "out", result)


def test_other_data_start_the_selection_again(source: str, tmp_path: Path) -> None:
    """The same command over a file that was written again goes not on from picks of the other."""
    options, out = SelectOptions(source=source, selector=Demud(rank=4), picks=12), str(tmp_path / "out")
    select_rows(options, out)
    np.savez(source, features=VALUES[::-1].copy())
    result = select_rows(options, out)
    assert result["resumed_at"] == 0
    assert [(pick["row"], pick["score"]) for pick in result["picks"]] == select_directly(
        Demud(rank=4), 12, VALUES[::-1]
    )


def test_labels_change_picks_only_with_a_class_of_interest(source: str, tmp_path: Path) -> None:
    """Other labels keep the picks and score them anew; where the selector looks at them, it begins anew."""
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\nimage 1,z\n")
    options, out = SelectOptions(source=source, selector=Demud(rank=4), picks=12), str(tmp_path / "out")
    first = select_rows(options, out)
    again = select_rows(replace(options, labels=str(labels)), out)
    assert again["resumed_at"] == 12
    assert again["classes"]["total"] == first["classes"]["total"] + 1
    interested = replace(options, selector=Demud(rank=4, interest="c"))
    select_rows(interested, out)
    assert select_rows(replace(interested, labels=str(labels)), out)["resumed_at"] == 0


def test_the_discovery_score_is_that_of_the_rows_to_pick_from(source: str, tmp_path: Path) -> None:
    """nAUC and classes are those of the evaluation over the rows that could be picked; without labels there are none."""
    options = SelectOptions(source=source, selector=Demud(rank=4), picks=15, known=("image 3", "image 8"))
    result = select_rows(options, str(tmp_path / "out"))
    free = [row for row in range(90) if row not in (3, 8)]
    rows = [free.index(pick["row"]) for pick in result["picks"]]
    assert result["nauc"] == evaluate_discovery([LABELS[row] for row in free], rows, 15).as_dict()["nauc"]
    np.save(tmp_path / "f.npy", VALUES)
    without = select_rows(replace(options, source=str(tmp_path / "f.npy"), known=()), str(tmp_path / "out"))
    assert (without["nauc"], without["classes"]) == (None, None)


def test_known_rows_are_learned_and_interesting_rows_are_not(source: str, tmp_path: Path) -> None:
    """Known rows are learned and never picked; an interesting one is picked and not learned."""
    first = select_rows(SelectOptions(source=source, selector=Demud(rank=4), picks=1), str(tmp_path / "0"))["picks"][0][
        "row"
    ]
    selection = Demud(rank=4).open(VALUES, np.empty((0, 12)))
    for row in (5, 30):
        selection.learn(row)
    expected = []
    for _ in range(20):
        choice = selection.peek()
        assert choice is not None
        expected.append((choice.row, choice.score))
        (selection.skip if choice.row == first else selection.learn)(choice.row)
    options = SelectOptions(
        source=source, selector=Demud(rank=4), picks=8, known=("image 30", "image 5"), interesting=(IDS[first],)
    )
    for picks in (8, 20):  # also when it goes on
        result = select_rows(replace(options, picks=picks), str(tmp_path / "out"))
    assert [(pick["row"], pick["score"]) for pick in result["picks"]] == expected
    assert first in [row for row, _ in expected]


def test_the_background_counts_as_known(tmp_path: Path) -> None:
    """The rows of several backgrounds count as one; a part of the source may be the background."""
    np.save(tmp_path / "f.npy", VALUES)
    for name, part in (("a", VALUES[:20]), ("b", VALUES[20:50])):
        np.save(tmp_path / f"{name}.npy", part)
    expected = select_directly(Demud(rank=4), 20, VALUES[50:], VALUES[:50].astype(np.float64))
    options = SelectOptions(source=str(tmp_path / "f.npy"), where="row >= 50", selector=Demud(rank=4), picks=20)
    two = replace(options, background=(str(tmp_path / "a.npy"), str(tmp_path / "b.npy")))
    same = replace(options, background=(options.source,), background_where="row < 50")
    for number, variant in enumerate((two, same)):
        result = select_rows(variant, str(tmp_path / f"{number}"))
        assert result["background"]["count"] == 50
        assert [pick["row"] - 50 for pick in result["picks"]] == [row for row, _ in expected]
        np.testing.assert_allclose([p["score"] for p in result["picks"]], [score for _, score in expected], rtol=1e-9)


def test_a_background_model_built_block_by_block_is_that_of_one_svd(tmp_path: Path) -> None:
    """Also where the rows are rank-deficient and far from the origin; and it makes the same picks."""
    low_rank = RANDOM.normal(size=(5000, 3)) @ RANDOM.normal(size=(3, 12)) + 1e4
    np.save(tmp_path / "f.npy", low_rank)
    table = read_feature_table(str(tmp_path / "f.npy"))
    model, expected = fit_background([table], 12, "refuse"), Prior.from_items(low_rank)
    assert model.count == 5000
    np.testing.assert_allclose(model.values, expected.values, rtol=1e-9)
    np.testing.assert_allclose(np.abs(model.axes @ expected.axes.T), np.eye(3), atol=1e-9)
    np.save(tmp_path / "part.npy", VALUES[:50])
    np.save(tmp_path / "rest.npy", VALUES[50:])
    model = fit_background([read_feature_table(str(tmp_path / "part.npy"))], 12, "refuse", max_svd_rows=10)
    picks = select_directly(Demud(rank=4), 20, VALUES[50:], model)
    expected_picks = select_directly(Demud(rank=4), 20, VALUES[50:], VALUES[:50].astype(np.float64))
    assert [row for row, _ in picks] == [row for row, _ in expected_picks]
    np.testing.assert_allclose([s for _, s in picks], [s for _, s in expected_picks], rtol=1e-9)


def test_missing_values_of_a_background_are_refused_or_filled(tmp_path: Path) -> None:
    """Refused with the row; 0; or the mean of the rows that have it."""
    values = VALUES[:30].astype(np.float64)
    values[4, 2] = np.nan
    np.save(tmp_path / "f.npy", values)
    table = read_feature_table(str(tmp_path / "f.npy"))
    with pytest.raises(PlanError, match=r"its row 4 \('4'\)"):
        fit_background([table], 12, "refuse")
    for missing, filling in (("zero", 0.0), ("ignore", np.nanmean(values[:, 2]))):
        filled = np.where(np.isnan(values), filling, values)
        actual = fit_background([table], 12, missing)  # type: ignore[arg-type]
        np.testing.assert_allclose(actual.mean, filled.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(actual.values, Prior.from_items(filled).values, rtol=1e-12)


def test_the_start_row_is_numbered_in_the_source(source: str, tmp_path: Path) -> None:
    """With a part of the rows, `start` still is the number of a row in the source."""
    options = SelectOptions(source=source, selector=Demud(rank=4, start=70), where="sol >= 40", picks=5)
    result = select_rows(options, str(tmp_path / "out"))
    assert result["picks"][0]["row"] == 70
    assert result["settings"]["selector"]["start"] == 70
    for start in (39, 90):
        with pytest.raises(PlanError, match=f"start row {start} is not among the 50 rows"):
            select_rows(replace(options, selector=Demud(start=start)), str(tmp_path / "out"))


def test_exhaustion_is_reported_and_remembered(tmp_path: Path) -> None:
    """Where nothing is new any more it stops, says so, and a larger number changes nothing."""
    np.save(tmp_path / "f.npy", np.repeat(VALUES[:4], 5, axis=0))
    options, out = SelectOptions(source=str(tmp_path / "f.npy"), picks=12), tmp_path / "out"
    result = select_rows(options, str(out))
    assert (len(result["picks"]), result["exhausted"]) == (4, True)
    assert read_vectors(out).shape == (4, 4, 12)
    check_folder(out, result)
    again = select_rows(replace(options, picks=20), str(out))
    assert (pick_values(again), again["exhausted"], again["resumed_at"]) == (pick_values(result), True, 4)
    assert not select_rows(replace(options, picks=3), str(out))["exhausted"]
    nothing = select_rows(replace(options, background=(options.source,)), str(tmp_path / "none"))
    assert (nothing["picks"], nothing["exhausted"]) == ([], True)
    assert select_rows(replace(options, background=(options.source,)), str(tmp_path / "none"))["picks"] == []
    few = select_rows(replace(options, selector=Demud(method="static"), picks=50), str(tmp_path / "few"))
    assert (len(few["picks"]), few["exhausted"]) == (20, False)


def test_selecting_from_an_archive_makes_the_picks_of_its_run(tmp_path: Path) -> None:
    """Over an archive the picks are those of its run: the same ids and scores, raw and normalised."""
    from interpdisc_core.pipeline.select import select_picks as run_select
    from interpdisc_core.progress import ProgressReporter
    from tests.pipeline.test_ingest import open_run

    for normalise in ("none", "l2"):
        plan = replace(PLAN, normalise=normalise, selector=Demud(rank=4), picks=14)  # type: ignore[arg-type]
        archive = tmp_path / normalise
        ingest_result = run_ingest(archive, write_photos(tmp_path / "photos", 25), plan=plan, block=6)
        run_extract(archive, ingest_result, plan)
        run_select(str(archive), ingest_result.run, ProgressReporter(str(archive)))
        expected = [(pick.id, pick.score) for pick in open_run(archive, ingest_result).read_picks()]
        options = SelectOptions(source=str(archive), normalise=normalise, selector=Demud(rank=4), picks=14)  # type: ignore[arg-type]
        result = select_rows(options, str(tmp_path / f"{normalise}-out"))
        assert [(pick["id"], pick["score"]) for pick in result["picks"]] == expected
        assert result["settings"]["features"] == plan.features_digest


def test_an_archive_as_background_needs_the_same_representation(tmp_path: Path) -> None:
    """The representation is that of the source, or is chosen where bare features stand beside an archive of several."""
    small = replace(PLAN, representation=PixelValues(side=4))
    for name, plans, first in (("a", (PLAN, small), 0), ("b", (small,), 9)):
        for plan in plans:
            ingest_result = run_ingest(tmp_path / name, write_photos(tmp_path / f"{name}-photos", 9, first), plan=plan)
            run_extract(tmp_path / name, ingest_result, plan)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    options = SelectOptions(source=b, background=(a,), picks=4)
    result = select_rows(options, str(tmp_path / "0"))
    assert (result["n"], result["d"], result["background"]["count"]) == (9, 48, 9)
    with pytest.raises(PlanError, match="names 0 of its 1 representations"):
        select_rows(replace(options, source=a, features=PLAN.features_digest, background=(b,)), str(tmp_path / "1"))
    table = read_feature_table(b)
    np.save(tmp_path / "b.npy", table.rows.get(np.arange(9)))
    from_file = select_rows(
        replace(options, source=str(tmp_path / "b.npy"), features=small.features_digest), str(tmp_path / "2")
    )
    assert [pick["score"] for pick in from_file["picks"]] == [pick["score"] for pick in result["picks"]]
    with pytest.raises(PlanError, match="choose with --features"):
        select_rows(replace(options, source=str(tmp_path / "b.npy")), str(tmp_path / "3"))


def test_misuse_is_refused_and_changes_no_file(source: str, tmp_path: Path) -> None:
    """Each says what cannot be meant; what is in the folder stays."""
    options, out = SelectOptions(source=source, selector=Demud(rank=4), picks=5), tmp_path / "out"
    first_result = select_rows(options, str(out))
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
        ({"where": "soul > 900"}, "choose from .*sol"),
        ({"source": str(tmp_path / "gap.npy")}, "no finite value|not finite"),
        ({"background": (str(tmp_path / "gap.npy"),)}, "row 50"),
        ({"selector": Demud(weights=str(tmp_path / "weights.txt"))}, "12 numbers"),
        ({"selector": Demud(weights=str(tmp_path / "absent.txt"))}, "absent.txt"),
        ({"source": str(tmp_path / "gap.npy"), "selector": Demud(interest="c")}, "needs labels"),
    ]
    for changes, message in cases:
        with pytest.raises(PlanError, match=message):
            select_rows(replace(options, **changes), str(out))
        check_folder(out, first_result)
    for changes, message in (
        ({"picks": 0}, "at least 1"),
        ({"threads": 0}, "at least 1"),
        ({"background_where": "sol > 1"}, "needs --background"),
        ({"known": ("a",), "interesting": ("a",)}, "both known and interesting"),
    ):
        with pytest.raises(PlanError, match=message):
            replace(options, **changes)
    archive = run_ingest(tmp_path / "archive", write_photos(tmp_path / "photos", 3))
    for folder in ("archive", f"archive/runs/{archive.run}"):
        before = sorted((tmp_path / folder).iterdir())
        with pytest.raises(PlanError, match="of something else; name another folder"):
            select_rows(options, str(tmp_path / folder))
        assert sorted((tmp_path / folder).iterdir()) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "picks.csv").write_text("mine")
    with pytest.raises(PlanError, match=r"holds picks.csv of something else"):
        select_rows(options, str(tmp_path / "mine"))
    with pytest.raises(StoreError):
        select_rows(options, source)  # a file


def test_ids_are_separated_by_commas_or_lines(tmp_path: Path) -> None:
    """Separated by commas, or lines of a file."""
    assert parse_ids("") == ()
    assert parse_ids(" a b, c,,d") == ("a b", "c", "d")
    (tmp_path / "ids.txt").write_bytes("\ufeffa,b\r\n\r\n c \nü\n".encode())
    assert parse_ids(f"@{tmp_path / 'ids.txt'}") == ("a,b", "c", "ü")
    with pytest.raises(PlanError, match=r"absent.txt: cannot be read"):
        parse_ids("@absent.txt")


# ------------------------------------------------------------------------------------------------ the command


def run_command(*args: str | Path, expect: int = 0, command: list[str] = COMMAND) -> tuple[str, str]:
    """What the command says on both streams."""
    done = subprocess.run([*command, *map(str, args)], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_the_select_command(source: str, tmp_path: Path) -> None:
    """It prints the first picks and where things are, JSON and nothing else with --json, and misuse as a sentence."""
    out, err = run_command("select", source, "-n", 12, "-k", 4, "--out", tmp_path / "out")
    expected = select_directly(Demud(rank=4), 12)
    assert "12 picks of 90 rows of 12 features" in out
    assert re.search(rf"^ +1 +{expected[0][0]} +\S+ +image {expected[0][0]}", out, re.MULTILINE)
    assert "nAUC (t = 12)" in out
    assert str(tmp_path / "out") in out
    assert "Traceback" not in err
    output, _ = run_command("select", source, "-n", 12, "-k", 4, "--out", tmp_path / "out", "--json")
    result = json.loads(output)
    assert [(pick["row"], pick["score"]) for pick in result["picks"]] == expected
    assert result["resumed_at"] == 12
    output, _ = run_command("show", tmp_path / "out")
    assert source in output
    assert f"image {expected[11][0]}" in output
    out, _ = run_command(
        "select",
        source,
        "-n",
        3,
        "-k",
        4,
        "--method",
        "incremental",
        "--start",
        3,
        "--sign",
        "high",
        "--weights",
        "boostlow",
        "--missing",
        "zero",
        "--interest",
        "c",
        "--interest-action",
        "seek",
        "--normalize",
        "l2",
        "--where",
        "sol < 80",
        "--known",
        "image 5",
        "--interesting",
        "image 6",
        "--threads",
        2,
        "--out",
        tmp_path / "all",
        "--json",
    )
    settings = json.loads(out)["settings"]
    assert settings["selector"] == {
        "kind": "demud",
        "method": "incremental",
        "rank": 4,
        "variance": None,
        "start": 3,
        "seed": 0,
        "sign": "high",
        "weights": "boostlow",
        "interest": "c",
        "action": "seek",
        "missing": "zero",
    }
    for args, message in (
        (["--method", "slow"], "'slow' is not one of"),
        (["--start", "-1"], "--start is"),
        (["--where", "soul == 1"], "there is no field 'soul'"),
        (["-n", "0"], "greater than or equal"),
    ):
        _, err = run_command("select", source, *args, "--out", tmp_path / "no", expect=2)
        assert message in err
        assert not (tmp_path / "no").exists()


def test_selecting_imports_no_heavy_library() -> None:
    """Neither Prefect nor Dask nor torch is loaded for it."""
    code = "import sys, deploy.cli, deploy.run_flow, interpdisc_core.pipeline.select_features; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    heavy = {"prefect", "dask", "distributed", "torch", "torchvision", "onnxruntime", "matplotlib", "s3fs"}
    assert not heavy & set(done.stdout.split())


SLOWLY = """
import time
from interpdisc_core.storage.location import Location
write = Location.write
def slowly(self, name, data, **options):
    write(self, name, data, **options)
    time.sleep(3.0)
Location.write = slowly
from deploy.cli import main
main()
"""


def test_the_command_resumes_after_sigkill(source: str, tmp_path: Path) -> None:
    """Killed at checkpoint after checkpoint, the same command makes the same picks; no two write at once."""
    expected = select_rows(SelectOptions(source=source, selector=Demud(rank=4), picks=45), str(tmp_path / "straight"))
    out, args = tmp_path / "out", ["select", source, "-n", "45", "-k", "4", "--out", str(tmp_path / "out"), "--json"]
    reached = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOWLY, *args], cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while len(read_checkpoint_rows(out)) <= reached:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if not reached:
            _, err = run_command(*args, expect=2)
            assert "another run is writing to this folder" in err
        process.kill()
        process.communicate()
        reached = len(read_checkpoint_rows(out))
        assert 0 < reached < 45
        assert reached % PICKS_PER_CHECKPOINT == 0
        assert not (out / "result.json").exists()
    output, _ = run_command(*args)
    result = json.loads(output)
    assert result["resumed_at"] == reached
    assert pick_values(result) == pick_values(expected)
    np.testing.assert_array_equal(read_vectors(out), read_vectors(tmp_path / "straight"))
    for lock in (".lock", "lock.json"):
        os.remove(out / lock)
    check_folder(out, result)


def read_checkpoint_rows(out: Path) -> list[int]:
    try:
        return list(json.loads((out / "selection.json").read_text()).get("rows", []))
    except FileNotFoundError:
        return []
