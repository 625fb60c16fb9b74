"""The pages of replays and label errors: names are escaped, nothing is fetched, all numbers are there."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from interpdisc_core.evaluation import label_errors_page, replay_page
from interpdisc_core.evaluation.label_errors_page import (
    JUDGMENT_OPTIONS,
    DetectionView,
    LabelErrorsView,
    NeighborView,
    SuspectView,
)
from interpdisc_core.evaluation.replay import DayKey, find_debuts, replay_chronological, replay_days
from interpdisc_core.evaluation.replay_metrics import expected_needed_budget
from interpdisc_core.evaluation.replay_page import (
    ChanceView,
    ClassView,
    MethodView,
    ReplayView,
    build_oracle_view,
    format_expected_count,
)
from interpdisc_core.selectors import Demud, Shuffle
from tests.reporting.test_run_report import HOSTILE, TAGS, Page, make_noise

BUDGETS = (1, 2, 5)


def make_replay_view(names: Callable[[int], str] = "class {}".format, many: int = 3, **changes: Any) -> ReplayView:
    """Forty images of six classes on eight days."""
    rng = np.random.default_rng(3)
    days: list[DayKey | None] = [int(day) for day in rng.integers(3, 11, 40)]
    labels: list[str | None] = [names(int(label)) for label in rng.integers(0, 6, 40)]
    values, base = rng.normal(size=(40, 4)), replay_chronological(days)
    replays = [replay_days(values, days, labels, Demud(rank=2)), base]
    replays += [replay_days(values, days, labels, Shuffle(seed=seed)) for seed in range(many - 2)]
    best, oracles = build_oracle_view(days, labels, BUDGETS)
    view = ReplayView(
        title="A replay",
        description="Forty images.",
        days=(base.days[0], base.days[-1]),
        images=40,
        undated_count=2,
        budgets=BUDGETS,
        methods=tuple(
            MethodView.from_replay(f"method {i}", replay, labels, BUDGETS) for i, replay in enumerate(replays[:many])
        ),
        chance=ChanceView.from_days(days, labels, BUDGETS),
        best_possible=best,
        oracle_curves=oracles,
        classes=tuple(
            ClassView(
                label=debut.label,
                day=debut.day,
                images=len(debut.rows),
                day_images=debut.day_images,
                expected_needed_budget=expected_needed_budget(debut),
                id=f"image-{debut.rows[0]}.jpg",
                picture=make_noise(debut.day_number, 24, 32) if debut.day_number % 2 == 0 else None,
            )
            for debut in find_debuts(base, labels)
        ),
    )
    return replace(view, **changes)


def make_suspect(rank: int = 1, **changes: Any) -> SuspectView:
    neighbors = tuple(
        NeighborView(
            id=f"near-{rank}-{i}.jpg", label=f"class {i}", picture=make_noise(10 * rank + i, 16, 16) if i else None
        )
        for i in range(3)
    )
    suspect = SuspectView(
        rank=rank,
        id=f"image-{rank:03d}.jpg",
        current_label=f"class {rank % 3}",
        suggested_label=f"class {rank % 2}",
        score=1 / rank,
        picture=make_noise(rank, 24, 32),
        neighbors=neighbors,
    )
    return replace(suspect, **changes)


def make_detection(method: str = "DEMUD", rate: float = 0.05, precision: float = 0.5, **changes: Any) -> DetectionView:
    detection = DetectionView(
        method=method, rate=rate, error_count=20, precision=precision, precision_sd=0.125, average_precision=0.375
    )
    return replace(detection, **changes)


def make_labels_view(many: int = 5, **changes: Any) -> LabelErrorsView:
    view = LabelErrorsView(
        title="Labels",
        description="What it was.",
        method="DEMUD",
        images=90,
        classes=4,
        ranked_count=80,
        suspects=tuple(make_suspect(rank) for rank in range(1, many + 1)),
        detections=(make_detection(), make_detection("kNN", precision=0.625)),
        table_file="suspects.csv",
    )
    return replace(view, **changes)


def hostile_replay(name: str) -> str:
    view = make_replay_view(lambda label: name + str(label))
    hostile_view = replace(
        view,
        title=name,
        description=name,
        days=(name, name),
        methods=tuple(replace(m, name=name) for m in view.methods),
        classes=tuple(replace(class_view, id=name, day=name) for class_view in view.classes),
    )
    return replay_page.render_replay_page(hostile_view)


def hostile_labels(name: str) -> str:
    other = name + "2"
    neighbors = (
        NeighborView(id=name, label=name, picture=make_noise(1, 8, 8)),
        NeighborView(id=name, label=other, picture=None),
    )
    hostile_suspect = make_suspect(id=name, current_label=name, suggested_label=other, neighbors=neighbors)
    hostile_view = make_labels_view(
        title=name,
        description=name,
        method=name,
        table_file=name,
        detections=(make_detection(name),),
        suspects=(hostile_suspect, replace(hostile_suspect, rank=2, suggested_label=None)),
    )
    return label_errors_page.render_label_errors_page(hostile_view)


PAGES = {"replay": hostile_replay, "labels": hostile_labels}


@cache
def plain(page: str) -> str:
    return PAGES[page]("plain")


ALLOWED = TAGS | {"path", "ol", "em"}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(page: str, name: str) -> None:
    text = PAGES[page](name)
    parsed = Page(text)
    text.encode("utf-8")
    assert set(parsed.tags) <= ALLOWED
    assert parsed.tags.count("title") == parsed.tags.count("style") == 1
    assert not [attribute for attribute in parsed.attributes if attribute[1].startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert parsed.tags == Page(plain(page)).tags, "a name must not change the page's structure"


@pytest.mark.parametrize(
    "text",
    [
        replay_page.render_replay_page(make_replay_view()),
        label_errors_page.render_label_errors_page(make_labels_view()),
    ],
    ids=PAGES,
)
def test_pages_fetch_and_run_nothing(text: str) -> None:
    page = Page(text)
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.all("src"))
    assert all(value.startswith("#") for value in page.all("href"))
    assert not {"script", "link", "iframe", "form", "base"} & set(page.tags)
    assert "http" not in re.sub("http-equiv", "", text)
    assert [value for value in page.all("content") if value.startswith("default-src 'none'; img-src data:")]
    assert not re.search(r"url\((?!#)|@import", text)
    identifiers = page.all("id")
    assert len(identifiers) == len(set(identifiers))
    assert {value[1:] for value in page.all("href")} <= set(identifiers)
    alts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(alts) == page.tags.count("img")
    assert all(alts)


@pytest.mark.parametrize(
    "make",
    [
        lambda: replay_page.render_replay_page(make_replay_view()),
        lambda: label_errors_page.render_label_errors_page(make_labels_view()),
    ],
)
def test_the_same_view_gives_the_same_page(make: Callable[[], str]) -> None:
    assert make() == make()


# ------------------------------------------------------------------------------------------------------ replay


def rows(text: str, start: str, end: str) -> list[list[str]]:
    """The texts of the cells of the table rows between two positions of a page."""
    part = text[text.index(start) : text.index(end, text.index(start))]
    return [
        [" ".join(Page(cell).text.split()) for cell in re.findall(r"<t[hd][ >].*?</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr.*?</tr>", part, re.DOTALL)
    ]


def test_every_class_has_its_numbers() -> None:
    view = make_replay_view()
    text = replay_page.render_replay_page(view)
    table = rows(text, '<section id="classes">', "</section>")[2:]
    assert len(table) == len(view.classes) == 6
    for class_view, cells in zip(view.classes, table, strict=True):
        delays = view.methods[0].delays[class_view.label]
        assert cells == [
            "" if class_view.picture is not None else "no picture",
            f"{class_view.label}{class_view.id}",
            str(class_view.day),
            f"{class_view.images} of {class_view.day_images}",
            str(view.methods[0].needed_budgets[class_view.label]),
            format_expected_count(class_view.expected_needed_budget),
            *("never" if days is None else "same day" if days == 0 else f"+{days}" for days in delays),
        ]
    assert text.count('role="img" aria-label="method 0: rank') == 6


def test_every_method_is_listed_at_every_budget() -> None:
    view = make_replay_view(many=8)
    text = replay_page.render_replay_page(view)
    table = rows(text, '<section id="methods">', "</section>")[1:]
    assert len(table) == len(BUDGETS) * (1 + 8 + 2)
    middle_budget = table[11 : 2 * 11]
    assert middle_budget[0] == ["2 pictures a day, of 6 classes"]
    assert [cells[0] for cells in middle_budget[1:]] == [
        *(f"method {i}" for i in range(8)),
        "random order, expected",
        "the best possible",
    ]
    metrics = view.methods[1].metrics[1]
    assert middle_budget[2][1:] == [
        format_expected_count(metrics.first_day),
        format_expected_count(metrics.found),
        format_expected_count(metrics.delay),
        f"{metrics.attainable:.1f}",
        f"{metrics.prequential:.1f}",
        f"{metrics.nauc:.1f}",
        str(metrics.pictures),
    ]
    assert "2 more methods are in the table only." in text
    assert Page(text).tags.count("figure") == 0
    assert text.count('class="chart"') == len(BUDGETS)
    for budget, curve in zip(BUDGETS, view.methods[0].curves, strict=True):
        assert f"At {budget} pictures a day: {int(curve[-1])} of 6 classes" in text


def test_the_lead_is_about_the_middle_budget() -> None:
    view = make_replay_view()
    page_text = " ".join(Page(replay_page.render_replay_page(view)).text.split())
    first = view.methods[0].metrics[1].first_day
    assert (
        f"looks at 2 pictures a day in the order of method 0 sees {format_expected_count(first)} of 6 classes on their first day"
        in page_text
    )
    assert f"would show {format_expected_count(view.chance.metrics[1].first_day)} on average" in page_text
    assert f"the best possible is {format_expected_count(view.best_possible[1].first_day)}" in page_text
    assert "2 without a day are left out" in page_text


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (3.0, "3"), (14.376, "14.4"), (0.5625, "0.56"), (1200.0, "1,200")]
)
def test_expected_counts_have_few_digits(value: float, text: str) -> None:
    assert format_expected_count(value) == text


def test_a_replay_without_labels_is_rendered() -> None:
    days: list[DayKey | None] = [1, 2, 2]
    labels: list[str | None] = [None] * 3
    best, oracles = build_oracle_view(days, labels, (1,))
    view = make_replay_view(
        budgets=(1,),
        classes=(),
        best_possible=best,
        oracle_curves=oracles,
        chance=ChanceView.from_days(days, labels, (1,)),
        methods=(MethodView.from_replay("m", replay_chronological(days), labels, (1,)),),
    )
    assert "0 of 0 classes" in " ".join(Page(replay_page.render_replay_page(view)).text.split())


# ------------------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize("many", [0, 1, 40])
def test_every_suspect_is_listed_in_order(many: int) -> None:
    page = Page(label_errors_page.render_label_errors_page(make_labels_view(many)))
    assert [value for value in page.all("id") if value.startswith("suspect-")] == [
        f"suspect-{r}" for r in range(1, many + 1)
    ]
    positions = [page.text.index(f"image-{rank:03d}.jpg") for rank in range(1, many + 1)]
    assert positions == sorted(positions)
    assert all(f"near-{rank}-{i}.jpg" in page.text for rank in range(1, many + 1) for i in range(3))
    assert page.tags.count("img") == 3 * many, "the image and two of its neighbours; the third is gone"
    assert page.tags.count("fieldset") == many
    assert f"of {many}; wrong" in page.text


def test_each_suspect_has_one_judgment() -> None:
    """The suggested label can be chosen only if it is another one."""
    suspects = (
        make_suspect(1, current_label="a", suggested_label="b"),
        make_suspect(2, current_label="a", suggested_label="a"),
        make_suspect(3, current_label="a", suggested_label=None),
    )
    page = Page(label_errors_page.render_label_errors_page(make_labels_view(suspects=suspects)))
    names = page.all("name")
    words = [word for word, _ in JUDGMENT_OPTIONS]
    assert page.all("type") == ["radio"] * (4 + 3 + 3)
    assert [names.count(f"judgement-{rank}") for rank in (1, 2, 3)] == [4, 3, 3]
    assert page.all("value") == words + 2 * [word for word in words if word != "suggested"]
    assert page.text.count("no other") == 2 + 1, "and the page that needs no other file"
    assert "For 1 of them" in " ".join(page.text.split())
    assert ", ".join(words) in page.text, "as they are written in the table"
    assert "suspects.csv" in page.text
    assert (
        "into the column" not in Page(label_errors_page.render_label_errors_page(make_labels_view(table_file=""))).text
    )


def test_suspects_are_listed_by_class() -> None:
    text = label_errors_page.render_label_errors_page(make_labels_view(5))
    part = text[text.index('<section id="by-class">') : text.index('<section id="suspects">')]
    assert [" ".join(Page(item).text.split()) for item in re.findall("<li>.*?</li>", part, re.DOTALL)] == [
        "class 0 3",
        "class 1 1 4",
        "class 2 2 5",
    ]


def test_precision_is_shown_by_rate_with_the_best_method_marked() -> None:
    """Unknown values are `not available`; without planted labels there is no such section."""
    view = make_labels_view(
        detections=(
            make_detection("a", 0.1, 0.5),
            make_detection("b", 0.1, 0.75, precision_sd=None, error_count=20.5),
            make_detection("a", 0.02, float("nan")),
        )
    )
    text = label_errors_page.render_label_errors_page(view)
    assert rows(text, '<section id="planted">', "</section>")[1:] == [
        ["2 % of the labels made wrong"],
        ["a", "not available ± 12.5", "37.5 %", "20"],
        ["random order, expected", "2.0 %", "", ""],
        ["10 % of the labels made wrong"],
        ["a", "50.0 % ± 12.5", "37.5 %", "20"],
        ["b", "75.0 %", "37.5 %", "20.50"],
        ["random order, expected", "10.0 %", "", ""],
    ]
    assert len(re.findall(r'<tr class="top"><th scope="row"><bdi>b<', text)) == 1
    assert text.count('class="top"') == 2, "the header and the best"
    assert 'id="planted"' not in label_errors_page.render_label_errors_page(make_labels_view(detections=()))
