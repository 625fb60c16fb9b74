"""The steps of an evaluation without an orchestrator: schedule, run cells, publish."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from interpdisc_core.archive import catalog
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation import aggregate, dataset, learn_representation, publish, run_cells, schedule
from interpdisc_core.evaluation import study as studies
from interpdisc_core.evaluation.sampling import AllImages, ClassGroup, ClassSample, ShuffledOrder
from interpdisc_core.evaluation.study import (
    DiscoveryExperiment,
    LabelErrorExperiment,
    ReplayExperiment,
    Study,
    replace_representations,
)
from interpdisc_core.metrics.discovery import evaluate_discovery
from interpdisc_core.pipeline import extract, ingest
from interpdisc_core.pipeline.partition import split_range
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import PixelValues, SiftWords
from interpdisc_core.representations.transforms import FeatureTransform
from interpdisc_core.selectors import Demud, FarthestFirst, NearestNeighbours, Shuffle
from interpdisc_core.storage.location import Location

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
        "discovery": DiscoveryExperiment(
            representations={"pixels": SMALL},
            treatments={"raw": FeatureTransform(), "white": FeatureTransform(whiten=5)},
            selectors={"DEMUD": Demud(rank=3), "random": Shuffle(), "farthest": FarthestFirst()},
            trials={"all": AllImages(), "some": ClassSample(groups=(ClassGroup(classes=3, images=4),), draws=2)},
            t=20,
            novel=("class 3",),
        ),
        "labels": LabelErrorExperiment(representations={"pixels": SMALL}, rates=(0.1,), draws=2, shown=5),
        "replay": ReplayExperiment(
            representations={"pixels": SMALL},
            selectors={"DEMUD": Demud(rank=3), "nearest": NearestNeighbours(k=1)},
            day=r"(\d{4})-",
            budgets=(1, 3),
            horizons=(None, 2),
        ),
    }
)


def prepare_dataset(url: Path, images: Path, study: Study) -> dataset.DatasetSummary:
    """Collect the images and extract their features."""
    archive, inputs = str(url), RunInputs(sources=(str(images),), labels="folder")
    listing = ingest.list_inputs(archive, inputs)
    for rows in split_range(listing.unchecked, 20, 2):
        ingest.check_inputs(archive, listing.name, rows, listing.sequence, ProgressReporter(archive))
    summary = schedule.collect_dataset(archive, listing.name, inputs, study, 16, 2)
    blocks, _ = dataset.list_missing_blocks(archive, summary.name, study.representations.values())
    for plan, block in blocks:
        extract.extract_block(
            archive, plan, block, catalog.next_sequence(Location.parse(archive)), ProgressReporter(archive)
        )
    return summary


def run_study(
    url: Path, images: Path, study: Study = STUDY, workers: int = 1, stop: Callable[[int], bool] = lambda part: False
) -> tuple[str, list[Any]]:
    """Run a study, or stop before a part; its name and outcomes."""
    summary = prepare_dataset(url, images, study)
    scheduled = schedule.schedule_cells(str(url), summary.name, study, workers)
    for part in scheduled.part_numbers:
        if stop(part):
            break
        run_cells.run_cells(str(url), scheduled.name, part, ProgressReporter(str(url)))
    return scheduled.name, aggregate.read_outcomes(str(url), scheduled.name)


def without_times(outcomes: list[Any]) -> list[Any]:
    """The outcomes as JSON, without what differs between two runs."""
    times = ("seconds", "cpu", "selecting")
    return [
        json.dumps({key: value for key, value in outcome.items() if key not in times}, sort_keys=True)
        for outcome in outcomes
    ]


@pytest.fixture(scope="module")
def finished_study(tmp_path_factory: pytest.TempPathFactory, images: Path) -> tuple[Path, str, list[Any]]:
    """The study in an archive."""
    url = tmp_path_factory.mktemp("lab") / "archive"
    return url, *run_study(url, images)


def test_every_cell_of_the_grid_has_a_result(finished_study: tuple[Path, str, list[Any]]) -> None:
    """2 treatments x 3 selectors x 3 draws; 3 methods x (real, 2 planted); 2 selectors x 2 horizons."""
    counts: dict[str, int] = {}
    for outcome in finished_study[2]:
        assert outcome["problem"] == ""
        counts[outcome["experiment"]] = counts.get(outcome["experiment"], 0) + 1
    assert counts == {"discovery": 18, "labels": 9, "replay": 4}


def test_the_picks_of_a_cell_are_those_of_its_selector_on_its_treated_rows(
    finished_study: tuple[Path, str, list[Any]], images: Path
) -> None:
    url, name, outcomes = finished_study
    manifest = Location.parse(url / "lab" / "studies" / name).read_json("cells.json")
    collection = dataset.read_dataset(str(url), manifest["collection"])
    values = dataset.read_features(str(url), collection.members, SMALL)
    for outcome in outcomes:
        if (outcome["experiment"], outcome["trials"], outcome["method"]) != ("discovery", "all", "DEMUD"):
            continue
        experiment = STUDY.experiments["discovery"]
        assert isinstance(experiment, DiscoveryExperiment)
        rows, treated = [], experiment.treatments[outcome["treatment"]].apply(values)
        selection = Demud(rank=3).open(treated, np.empty((0, treated.shape[1])))
        while len(rows) < 20 and (choice := selection.peek()):
            rows.append(choice.row)
            selection.learn(choice.row)
        assert outcome["picks"] == rows
        result = evaluate_discovery([member.label for member in collection.members], rows, 20)
        assert (outcome["nauc"], outcome["firsts"]) == (result.nauc, result.first_picks)
        assert outcome["images"] == CLASSES * EACH  # the broken image is quarantined


@pytest.mark.parametrize("workers", [2, 9])
def test_outcomes_do_not_depend_on_the_division_into_parts(
    finished_study: tuple[Path, str, list[Any]], images: Path, tmp_path: Path, workers: int
) -> None:
    assert without_times(run_study(tmp_path / "archive", images, workers=workers)[1]) == without_times(
        finished_study[2]
    )


def test_a_stopped_study_resumes_and_ends_like_a_straight_run(
    finished_study: tuple[Path, str, list[Any]], images: Path, tmp_path: Path
) -> None:
    url = tmp_path / "archive"
    _, partial_outcomes = run_study(url, images, workers=3, stop=lambda part: part == 2)
    missing = [outcome for outcome in partial_outcomes if outcome["problem"]]
    assert 0 < len(missing) < len(partial_outcomes)
    assert all("same command again" in outcome["problem"] for outcome in missing)
    files = Location.parse(url).list_names("lab/cells")
    before = {name: Path(url, "lab/cells", name).stat().st_mtime_ns for name in files}
    summary = prepare_dataset(url, images, STUDY)
    scheduled = schedule.schedule_cells(str(url), summary.name, STUDY, 3)
    assert scheduled.remaining_cells == len(missing)
    for part in scheduled.part_numbers:
        run_cells.run_cells(str(url), scheduled.name, part, ProgressReporter(str(url)))
    assert without_times(aggregate.read_outcomes(str(url), scheduled.name)) == without_times(finished_study[2])
    assert before == {name: Path(url, "lab/cells", name).stat().st_mtime_ns for name in files}
    assert schedule.schedule_cells(str(url), summary.name, STUDY, 3).remaining_cells == 0


def test_another_study_uses_existing_outcomes_under_its_own_names(
    finished_study: tuple[Path, str, list[Any]], images: Path
) -> None:
    """Another t needs new outcomes."""
    url = finished_study[0]
    first = STUDY.experiments["discovery"]
    assert isinstance(first, DiscoveryExperiment)
    smaller = replace(
        first,
        representations={"renamed": SMALL},
        treatments={"as it is": FeatureTransform()},
        selectors={"d": Demud(rank=3)},
    )
    summary = prepare_dataset(url, images, STUDY)
    scheduled = schedule.schedule_cells(str(url), summary.name, Study(experiments={"again": smaller}), 2)
    assert (scheduled.cell_count, scheduled.remaining_cells) == (3, 0)
    assert {o["representation"] for o in aggregate.read_outcomes(str(url), scheduled.name)} == {"renamed"}
    other = schedule.schedule_cells(str(url), summary.name, Study(experiments={"again": replace(smaller, t=10)}), 2)
    assert (other.cell_count, other.remaining_cells) == (3, 3)


def test_a_method_that_fails_stops_no_other_and_the_page_says_why(images: Path, tmp_path: Path) -> None:
    """Its cells are computed again by the next run."""
    grid = DiscoveryExperiment(
        representations={"pixels": SMALL},
        selectors={"bad": Demud(start=999), "good": Demud(rank=3)},
        t=9,
    )
    study = Study(experiments={"discovery": grid})
    name, outcomes = run_study(tmp_path / "archive", images, study)
    problems = {outcome["method"]: outcome["problem"] for outcome in outcomes}
    assert problems["good"] == ""
    assert "start row 999" in problems["bad"]
    summary = prepare_dataset(tmp_path / "archive", images, study)
    assert schedule.schedule_cells(str(tmp_path / "archive"), summary.name, study, 1).remaining_cells == 1
    published = publish.publish_study(str(tmp_path / "archive"), name, str(tmp_path / "out"), "interpdisc evaluate", {})
    assert len(published.result["problems"]) == 1
    assert "start row 999" in (tmp_path / "out" / "evaluation.html").read_text()


def test_tables_pages_and_result_are_complete(finished_study: tuple[Path, str, list[Any]], tmp_path: Path) -> None:
    """Tables have every cell once; the result is JSON without NaN."""
    url, name, outcomes = finished_study
    published = publish.publish_study(str(url), name, str(tmp_path / "out"), "interpdisc evaluate", {"measure": 1.0})
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


def test_summaries_are_means_over_draws(finished_study: tuple[Path, str, list[Any]]) -> None:
    discoveries = [outcome for outcome in finished_study[2] if outcome["experiment"] == "discovery"]
    for summary in aggregate.summarize_methods(discoveries):
        draws = [
            outcome
            for outcome in discoveries
            if (outcome["method"], outcome["treatment"], outcome["trials"])
            == (summary.method, summary.treatment, summary.trials)
        ]
        assert summary.draws == len(draws) == (2 if summary.trials == "some" else 1)
        assert summary.nauc.mean == pytest.approx(np.mean([o["nauc"] for o in draws]))
        assert summary.curve[-1] == pytest.approx(np.mean([len(o["firsts"]) for o in draws]))
        assert summary.classes_found[10] == pytest.approx(
            np.mean([sum(f <= 10 for f in o["firsts"].values()) for o in draws])
        )
        if summary.trials == "all":
            assert 0 <= summary.outlier_scores["precision"] <= 1


def test_a_representation_is_learned_once_and_outcomes_do_not_depend_on_where_its_weights_are(
    images: Path, tmp_path: Path
) -> None:
    study = Study(
        experiments={
            "d": DiscoveryExperiment(
                representations={"words": SiftWords(words=4, side=40)},
                selectors={"DEMUD": Demud(rank=2)},
                t=5,
                trials={"all": AllImages()},
            )
        }
    )
    outcomes_by_place = []
    for place in ("one", "two"):
        url = str(tmp_path / place / "archive")
        listing = ingest.list_inputs(url, RunInputs(sources=(str(images),), labels="folder"))
        ingest.check_inputs(url, listing.name, (0, listing.unchecked), listing.sequence, ProgressReporter(url))
        summary = schedule.collect_dataset(
            url, listing.name, RunInputs(sources=(str(images),), labels="folder"), study, 16, 1
        )
        new = learn_representation.select_untrained(study.representations)
        assert list(new) == ["words"]
        address = learn_representation.learn_representation(url, summary.name, new["words"], ProgressReporter(url))
        assert (
            learn_representation.learn_representation(url, summary.name, new["words"], ProgressReporter(url)) == address
        )
        learned = replace_representations(study, {"words": new["words"].with_weights(address)})
        assert not learn_representation.select_untrained(learned.representations)
        outcomes_by_place.append(without_times(run_study(tmp_path / place / "archive", images, learned)[1]))
    assert outcomes_by_place[0] == outcomes_by_place[1]


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (Study(experiments={"d": DiscoveryExperiment(trials={"x": ClassSample()})}), "only 0 of the 6"),
        (Study(experiments={"d": DiscoveryExperiment(novel=("unheard of",))}), "'unheard of'"),
        (Study(experiments={"d": DiscoveryExperiment(trials={"x": AllImages(where="sol > 3")})}), "sol"),
    ],
)
def test_a_study_that_does_not_fit_the_images_is_refused_before_extraction(
    images: Path, tmp_path: Path, study: Study, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        prepare_dataset(tmp_path / "archive", images, study)
    assert not Location.parse(tmp_path / "archive").list_names("features")


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
def test_a_study_with_wrong_settings_is_refused(value: Any) -> None:
    with pytest.raises(PlanError):
        studies.parse_study(value)


def test_a_study_is_read_back_equal_and_shipped_studies_can_be_read() -> None:
    assert studies.parse_study(json.loads(json.dumps(studies.study_to_json(STUDY)))) == STUDY
    titles = list(studies.parse_study(json.loads(studies.encode_study(STUDY))).experiments)
    assert titles == list(STUDY.experiments), "tables are in the order of the study"
    shipped = sorted((Path(__file__).parents[2] / "deploy" / "studies").glob("*.json"))
    assert shipped
    for path in shipped:
        assert studies.read_study(str(path)).experiments


def test_the_order_of_rows_changes_only_ties(images: Path, tmp_path: Path) -> None:
    """DEMUD without ties has the same nAUC in every order of the rows."""
    study = Study(
        experiments={
            "d": DiscoveryExperiment(
                representations={"pixels": SMALL},
                selectors={"DEMUD": Demud(rank=3)},
                t=20,
                trials={"orders": ShuffledOrder(draws=4)},
            )
        }
    )
    outcomes = run_study(tmp_path / "archive", images, study)[1]
    assert len({outcome["nauc"] for outcome in outcomes}) == 1
    assert len({tuple(outcome["picks"]) for outcome in outcomes}) == 1
