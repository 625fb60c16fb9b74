"""The lab's steps without an orchestrator: arranging, measuring, summing up."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from interpdisc_core import catalog, extraction, ingest
from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation import discovery
from interpdisc_core.lab import arranging, collection, learning, measuring, publishing, results
from interpdisc_core.lab import study as studies
from interpdisc_core.lab.study import Discovery, LabelErrors, Replay, Study, with_representations
from interpdisc_core.lab.trials import Drawn, Group, Reordered, Whole
from interpdisc_core.progress import Watch
from interpdisc_core.representations import PixelValues, SiftWords
from interpdisc_core.runs import Inputs
from interpdisc_core.selectors import Demud, FarthestFirst, NearestNeighbours, Shuffle
from interpdisc_core.storage import Place
from interpdisc_core.treatments import Treatment

CLASSES, EACH = 6, 7
SMALL = PixelValues(side=4)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes of seven small pictures each, in a folder a class; one file that is no picture."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(5)
    for kind in range(CLASSES):
        base = rng.integers(0, 256, (4, 4, 3))
        for number in range(EACH):
            noisy = np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
            path = root / f"class {kind}" / f"{number:04d}-{kind}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(noisy).resize((40, 40), Image.Resampling.BICUBIC).save(path)
    (root / "class 0" / "broken.png").write_bytes(b"no image")
    return root


STUDY = Study(
    experiments={
        "discovery": Discovery(
            representations={"pixels": SMALL}, treatments={"raw": Treatment(), "white": Treatment(whiten=5)},
            selectors={"DEMUD": Demud(rank=3), "random": Shuffle(), "farthest": FarthestFirst()},
            trials={"all": Whole(), "some": Drawn(groups=(Group(classes=3, images=4),), draws=2)}, t=20, novel=("class 3",),
        ),
        "labels": LabelErrors(representations={"pixels": SMALL}, rates=(0.1,), draws=2, shown=5),
        "replay": Replay(
            representations={"pixels": SMALL}, selectors={"DEMUD": Demud(rank=3), "nearest": NearestNeighbours(k=1)},
            day=r"(\d{4})-", budgets=(1, 3), horizons=(None, 2),
        ),
    }
)  # fmt: skip


def begun(url: Path, images: Path, study: Study) -> collection.Collected:
    """Everything up to the features."""
    where, inputs = str(url), Inputs(sources=(str(images),), labels="folder")
    listing = ingest.enlist(where, inputs)
    for rows in ingest.ranges(listing.unchecked, 20, 2):
        ingest.check(where, listing.name, rows, listing.turn, Watch(where))
    found = arranging.collect(where, listing.name, inputs, study, 16, 2)
    blocks, _ = collection.left(where, found.name, study.representations.values())
    for plan, block in blocks:
        extraction.extract(where, plan, block, catalog.next_turn(Place.of(where)), Watch(where))
    return found


def made(
    url: Path, images: Path, study: Study = STUDY, workers: int = 1, stop: Callable[[int], bool] = lambda part: False
) -> tuple[str, list[Any]]:
    """The study, measured, or stopped before a part: its name and outcomes."""
    found = begun(url, images, study)
    arranged = arranging.arrange(str(url), found.name, study, workers)
    for part in arranged.parts:
        if stop(part):
            break
        measuring.measure(str(url), arranged.name, part, Watch(str(url)))
    return arranged.name, results.read(str(url), arranged.name)


def told(outcomes: list[Any]) -> list[Any]:
    """What must be the same in two runs: all but times."""
    timed = ("seconds", "cpu", "selecting")
    return [json.dumps({k: v for k, v in o.items() if k not in timed}, sort_keys=True) for o in outcomes]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, images: Path) -> tuple[Path, str, list[Any]]:
    """The study in an archive."""
    url = tmp_path_factory.mktemp("lab") / "archive"
    return url, *made(url, images)


def test_every_cell_of_the_grid_is_measured(done: tuple[Path, str, list[Any]]) -> None:
    """2 treatments x 3 selectors x 3 draws; 3 methods x (real, 2 planted); 2 selectors x 2 horizons; each has a result."""
    counts: dict[str, int] = {}
    for outcome in done[2]:
        assert outcome["problem"] == ""
        counts[outcome["experiment"]] = counts.get(outcome["experiment"], 0) + 1
    assert counts == {"discovery": 18, "labels": 9, "replay": 4}


def test_a_cell_is_what_the_core_computes(done: tuple[Path, str, list[Any]], images: Path) -> None:
    """Picks and nAUC of a cell are those of its selector on its treated rows, opened by hand."""
    url, name, outcomes = done
    about = Place.of(url / "lab" / "studies" / name).read_json("cells.json")
    whole = collection.read(str(url), about["collection"])
    values = collection.features(str(url), whole.members, SMALL)
    for outcome in outcomes:
        if (outcome["experiment"], outcome["trials"], outcome["method"]) != ("discovery", "all", "DEMUD"):
            continue
        experiment = STUDY.experiments["discovery"]
        assert isinstance(experiment, Discovery)
        rows, treated = [], experiment.treatments[outcome["treatment"]].of(values)
        selection = Demud(rank=3).open(treated, np.empty((0, treated.shape[1])))
        while len(rows) < 20 and (choice := selection.peek()):
            rows.append(choice.row)
            selection.learn(choice.row)
        assert outcome["picks"] == rows
        found = discovery([m.label for m in whole.members], rows, 20)
        assert (outcome["nauc"], outcome["firsts"]) == (found.exact, found.firsts)
        assert outcome["images"] == CLASSES * EACH  # the broken one is in quarantine


@pytest.mark.parametrize("workers", [2, 9])
def test_parts_do_not_matter(
    done: tuple[Path, str, list[Any]], images: Path, tmp_path: Path, workers: int
) -> None:  # fmt: skip
    """However the cells are parted, every outcome is the same."""
    assert told(made(tmp_path / "archive", images, workers=workers)[1]) == told(done[2])


def test_it_goes_on_where_it_was_stopped(done: tuple[Path, str, list[Any]], images: Path, tmp_path: Path) -> None:
    """What was measured before a stop is not measured again, and the end is that of a straight run."""
    url = tmp_path / "archive"
    _, partly = made(url, images, workers=3, stop=lambda part: part == 2)
    missing = [outcome for outcome in partly if outcome["problem"]]
    assert 0 < len(missing) < len(partly)
    assert all("same command again" in outcome["problem"] for outcome in missing)
    files = Place.of(url).names("lab/cells")
    before = {name: Path(url, "lab/cells", name).stat().st_mtime_ns for name in files}
    found = begun(url, images, STUDY)
    arranged = arranging.arrange(str(url), found.name, STUDY, 3)
    assert arranged.left == len(missing)
    for part in arranged.parts:
        measuring.measure(str(url), arranged.name, part, Watch(str(url)))
    assert told(results.read(str(url), arranged.name)) == told(done[2])
    assert before == {name: Path(url, "lab/cells", name).stat().st_mtime_ns for name in files}
    assert arranging.arrange(str(url), found.name, STUDY, 3).left == 0


def test_another_study_uses_what_is_there(done: tuple[Path, str, list[Any]], images: Path) -> None:
    """Cells are named by what they depend on: other names and a smaller grid need nothing new; another t does."""
    url = done[0]
    first = STUDY.experiments["discovery"]
    assert isinstance(first, Discovery)
    smaller = replace(
        first, representations={"renamed": SMALL}, treatments={"as it is": Treatment()}, selectors={"d": Demud(rank=3)}
    )
    found = begun(url, images, STUDY)
    arranged = arranging.arrange(str(url), found.name, Study(experiments={"again": smaller}), 2)
    assert (arranged.cells, arranged.left) == (3, 0)
    assert {o["representation"] for o in results.read(str(url), arranged.name)} == {"renamed"}
    other = arranging.arrange(str(url), found.name, Study(experiments={"again": replace(smaller, t=10)}), 2)
    assert (other.cells, other.left) == (3, 3)


def test_a_method_that_fails_stops_no_other(images: Path, tmp_path: Path) -> None:
    """Its cells have a reason, are tried again, and the tables and the page say so."""
    grid = Discovery(
        representations={"pixels": SMALL}, selectors={"bad": Demud(start=999), "good": Demud(rank=3)}, t=9,
    )  # fmt: skip
    study = Study(experiments={"discovery": grid})
    name, outcomes = made(tmp_path / "archive", images, study)
    problems = {outcome["method"]: outcome["problem"] for outcome in outcomes}
    assert problems["good"] == ""
    assert "start row 999" in problems["bad"]
    found = begun(tmp_path / "archive", images, study)
    assert arranging.arrange(str(tmp_path / "archive"), found.name, study, 1).left == 1
    published = publishing.publish(str(tmp_path / "archive"), name, str(tmp_path / "out"), "interpdisc evaluate", {})
    assert len(published.result["problems"]) == 1
    assert "start row 999" in (tmp_path / "out" / "evaluation.html").read_text()


def test_what_is_published(done: tuple[Path, str, list[Any]], tmp_path: Path) -> None:
    """Tables for programs hold every cell once; pages and Markdown are there; the result is JSON without NaN."""
    url, name, outcomes = done
    published = publishing.publish(str(url), name, str(tmp_path / "out"), "interpdisc evaluate", {"measure": 1.0})
    out = tmp_path / "out"
    for file in ("evaluation.html", "labels.html", "replay.html", "summary.csv", "firsts.csv", "labels-suspects.csv"):
        assert (out / file).stat().st_size > 0, file
    table = pq.read_table(out / "cells.parquet").to_pylist()
    assert len(table) == len(outcomes)
    assert [row["nauc"] for row in table] == [outcome.get("nauc") for outcome in outcomes]
    firsts = pq.read_table(out / "firsts.parquet").to_pylist()
    assert len(firsts) == sum(outcome["classes"] for outcome in outcomes if outcome["experiment"] == "discovery")
    result = json.loads((out / "result.json").read_text(), parse_constant=lambda text: pytest.fail(text))
    assert len(result["lines"]) == 12
    assert set(result["others"]) == {"labels", "replay"}
    assert published.report == str(out / "evaluation.html")
    assert "### discovery: all" in (out / "tables.md").read_text()


def test_lines_sum_up_draws(done: tuple[Path, str, list[Any]]) -> None:
    """Mean and deviation are those of the draws; curves end at the classes found; outlier measures are there."""
    found = [o for o in done[2] if o["experiment"] == "discovery"]
    for line in results.lines(found):
        draws = [
            o for o in found if (o["method"], o["treatment"], o["trials"]) == (line.method, line.treatment, line.trials)
        ]
        assert line.draws == len(draws) == (2 if line.trials == "some" else 1)
        assert line.nauc.mean == pytest.approx(np.mean([o["nauc"] for o in draws]))
        assert line.curve[-1] == pytest.approx(np.mean([len(o["firsts"]) for o in draws]))
        assert line.found[10] == pytest.approx(np.mean([sum(f <= 10 for f in o["firsts"].values()) for o in draws]))
        if line.trials == "all":
            assert 0 <= line.outliers["precision"] <= 1


def test_what_is_learned_comes_first(images: Path, tmp_path: Path) -> None:
    """A learned representation gets its weights once, by content; features and cells do not depend on where they lie."""
    study = Study(experiments={"d": Discovery(
        representations={"words": SiftWords(words=4, side=40)}, selectors={"DEMUD": Demud(rank=2)}, t=5, trials={"all": Whole()},
    )})  # fmt: skip
    seen = []
    for place in ("one", "two"):
        url = str(tmp_path / place / "archive")
        listing = ingest.enlist(url, Inputs(sources=(str(images),), labels="folder"))
        ingest.check(url, listing.name, (0, listing.unchecked), listing.turn, Watch(url))
        found = arranging.collect(url, listing.name, Inputs(sources=(str(images),), labels="folder"), study, 16, 1)
        new = learning.unlearned(study.representations)
        assert list(new) == ["words"]
        address = learning.learn(url, found.name, new["words"], Watch(url))
        assert learning.learn(url, found.name, new["words"], Watch(url)) == address
        learned = with_representations(study, {"words": new["words"].having(address)})
        assert not learning.unlearned(learned.representations)
        seen.append(told(made(tmp_path / place / "archive", images, learned)[1]))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (Study(experiments={"d": Discovery(trials={"x": Drawn()})}), "only 0 of the 6"),
        (Study(experiments={"d": Discovery(novel=("unheard of",))}), "'unheard of'"),
        (Study(experiments={"d": Discovery(trials={"x": Whole(where="sol > 3")})}), "sol"),
    ],
)
def test_a_study_that_cannot_be_made_of_the_images_says_so_first(
    images: Path, tmp_path: Path, study: Study, said: str
) -> None:
    """Before anything is extracted."""
    with pytest.raises(PlanError, match=said):
        begun(tmp_path / "archive", images, study)
    assert not Place.of(tmp_path / "archive").names("features")


@pytest.mark.parametrize(
    "value",
    [
        {"experiments": {}},
        {"experiments": {"d": {"kind": "discovery", "selectors": {}}}},
        {"experiments": {"d": {"kind": "discovery", "t": 0}}},
        {"experiments": {"d": {"kind": "nonsense"}}},
        {"experiments": {"d": {"kind": "label-errors", "rates": [2]}}},
        {"experiments": {"d": {"kind": "replay", "budgets": []}}},
        {"experiments": {"d": {"kind": "replay", "treatments": {"white": {"whiten": 3}}}}},
        {"experiments": {"d": {"kind": "replay", "horizons": [0]}}},
        {"unknown": 1},
        {
            "experiments": {
                "a": {"kind": "discovery", "representations": {"x": {"kind": "pixels"}}},
                "b": {"kind": "discovery", "representations": {"x": {"kind": "pixels", "side": 9}}},
            }
        },
    ],
)
def test_settings_that_cannot_be(value: Any) -> None:
    """Each is refused with a sentence."""
    with pytest.raises(PlanError):
        studies.parse(value)


def test_a_study_travels_as_json() -> None:
    """Written and read it is equal; every named one of the checkout is a study."""
    assert studies.parse(json.loads(json.dumps(studies.to_json(STUDY)))) == STUDY
    kept = list(studies.parse(json.loads(studies.text(STUDY))).experiments)
    assert kept == list(STUDY.experiments), "tables are in the order of the study"
    named = sorted((Path(__file__).parents[2] / "deploy" / "studies").glob("*.json"))
    assert named
    for path in named:
        assert studies.read(str(path)).experiments


def test_other_orders_change_nothing_but_ties(images: Path, tmp_path: Path) -> None:
    """DEMUD without ties has the same nAUC in every order of the rows."""
    study = Study(experiments={"d": Discovery(
        representations={"pixels": SMALL}, selectors={"DEMUD": Demud(rank=3)}, t=20, trials={"orders": Reordered(draws=4)},
    )})  # fmt: skip
    outcomes = made(tmp_path / "archive", images, study)[1]
    assert len({outcome["nauc"] for outcome in outcomes}) == 1
    assert len({tuple(outcome["picks"]) for outcome in outcomes}) == 1
