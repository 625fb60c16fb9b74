"""The pages of replay and label errors: nothing hostile gets through, nothing is fetched, everything is there."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from interpdisc_core.lab import label_page, replay_page
from interpdisc_core.lab.label_page import JUDGEMENTS, LabelView, NeighbourView, PlantedView, SuspectView
from interpdisc_core.lab.replay import Day, chronological, debuts, needed_by_chance, replayed
from interpdisc_core.lab.replay_page import ChanceView, ClassView, MethodView, ReplayView, few, oracle_view
from interpdisc_core.selectors import Demud, Shuffle
from tests.core.test_report import HOSTILE, TAGS, Page, noise

BUDGETS = (1, 2, 5)


def replay_view(names: Callable[[int], str] = "class {}".format, many: int = 3, **changes: Any) -> ReplayView:
    """Forty images of six classes on eight days."""
    rng = np.random.default_rng(3)
    days: list[Day | None] = [int(day) for day in rng.integers(3, 11, 40)]
    labels: list[str | None] = [names(int(label)) for label in rng.integers(0, 6, 40)]
    values, base = rng.normal(size=(40, 4)), chronological(days)
    ways = [replayed(values, days, labels, Demud(rank=2)), base]
    ways += [replayed(values, days, labels, Shuffle(seed=seed)) for seed in range(many - 2)]
    best, oracles = oracle_view(days, labels, BUDGETS)
    made = ReplayView(
        title="A replay", about="Forty images.", days=(base.days[0], base.days[-1]), images=40, dayless=2, budgets=BUDGETS,
        methods=tuple(MethodView.of(f"method {i}", way, labels, BUDGETS) for i, way in enumerate(ways[:many])),
        chance=ChanceView.of(days, labels, BUDGETS), best=best, oracles=oracles,
        classes=tuple(
            ClassView(
                label=one.label, day=one.day, images=len(one.rows), of=one.images, by_chance=needed_by_chance(one),
                id=f"image-{one.rows[0]}.jpg", picture=noise(one.number, 24, 32) if one.number % 2 == 0 else None,
            )
            for one in debuts(base, labels)
        ),
    )  # fmt: skip
    return replace(made, **changes)


def suspect(rank: int = 1, **changes: Any) -> SuspectView:
    near = tuple(
        NeighbourView(
            id=f"near-{rank}-{i}.jpg", label=f"class {i}", picture=noise(10 * rank + i, 16, 16) if i else None
        )
        for i in range(3)
    )
    made = SuspectView(
        rank=rank, id=f"image-{rank:03d}.jpg", given=f"class {rank % 3}", suggested=f"class {rank % 2}", score=1 / rank,
        picture=noise(rank, 24, 32), near=near,
    )  # fmt: skip
    return replace(made, **changes)


def planted(method: str = "DEMUD", rate: float = 0.05, precision: float = 0.5, **changes: Any) -> PlantedView:
    made = PlantedView(
        method=method, rate=rate, planted=20, precision=precision, spread=0.125, average_precision=0.375
    )  # fmt: skip
    return replace(made, **changes)


def label_view(many: int = 5, **changes: Any) -> LabelView:
    made = LabelView(
        title="Labels", about="What it was.", method="DEMUD", images=90, classes=4, judged=80,
        suspects=tuple(suspect(rank) for rank in range(1, many + 1)), planted=(planted(), planted("kNN", precision=0.625)),
        table="suspects.csv",
    )  # fmt: skip
    return replace(made, **changes)


def hostile_replay(name: str) -> str:
    view = replay_view(lambda label: name + str(label))
    named = replace(
        view, title=name, about=name, days=(name, name), methods=tuple(replace(m, name=name) for m in view.methods),
        classes=tuple(replace(one, id=name, day=name) for one in view.classes),
    )  # fmt: skip
    return replay_page.render(named)


def hostile_labels(name: str) -> str:
    other = name + "2"
    near = NeighbourView(id=name, label=name, picture=noise(1, 8, 8)), NeighbourView(id=name, label=other, picture=None)
    strange = suspect(id=name, given=name, suggested=other, near=near)
    named = label_view(
        title=name, about=name, method=name, table=name, planted=(planted(name),),
        suspects=(strange, replace(strange, rank=2, suggested=None)),
    )  # fmt: skip
    return label_page.render(named)


PAGES = {"replay": hostile_replay, "labels": hostile_labels}


@cache
def plain(page: str) -> str:
    return PAGES[page]("plain")


ALLOWED = TAGS | {"path", "ol", "em"}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_stay_text(page: str, name: str) -> None:
    text = PAGES[page](name)
    found = Page(text)
    text.encode("utf-8")
    assert set(found.tags) <= ALLOWED
    assert found.tags.count("title") == found.tags.count("style") == 1
    assert not [one for one in found.attributes if one[1].startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert found.tags == Page(plain(page)).tags, "a name decides nothing about the page's structure"


@pytest.mark.parametrize("text", [replay_page.render(replay_view()), label_page.render(label_view())], ids=PAGES)
def test_nothing_is_fetched_or_run(text: str) -> None:
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


@pytest.mark.parametrize("make", [lambda: replay_page.render(replay_view()), lambda: label_page.render(label_view())])
def test_the_same_view_gives_the_same_page(make: Callable[[], str]) -> None:
    assert make() == make()


# ------------------------------------------------------------------------------------------------------ replay


def rows(text: str, start: str, end: str) -> list[list[str]]:
    """The cells' texts of the table rows between two places of a page."""
    part = text[text.index(start) : text.index(end, text.index(start))]
    return [
        [" ".join(Page(cell).text.split()) for cell in re.findall(r"<t[hd][ >].*?</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr.*?</tr>", part, re.DOTALL)
    ]


def test_every_class_is_there_with_its_numbers() -> None:
    view = replay_view()
    text = replay_page.render(view)
    found = rows(text, '<section id="classes">', "</section>")[2:]
    assert len(found) == len(view.classes) == 6
    for one, cells in zip(view.classes, found, strict=True):
        waits = view.methods[0].delays[one.label]
        assert cells == [
            "" if one.picture is not None else "no picture", f"{one.label}{one.id}", str(one.day),
            f"{one.images} of {one.of}", str(view.methods[0].needed[one.label]), few(one.by_chance),
            *("never" if days is None else "same day" if days == 0 else f"+{days}" for days in waits),
        ]  # fmt: skip
    assert text.count('role="img" aria-label="method 0: place') == 6


def test_every_method_is_there_at_every_budget() -> None:
    view = replay_view(many=8)
    text = replay_page.render(view)
    found = rows(text, '<section id="methods">', "</section>")[1:]
    assert len(found) == len(BUDGETS) * (1 + 8 + 2)
    at = found[11 : 2 * 11]
    assert at[0] == ["2 pictures a day, of 6 classes"]
    assert [cells[0] for cells in at[1:]] == [
        *(f"method {i}" for i in range(8)),
        "random order, expected",
        "the best possible",
    ]
    tally = view.methods[1].tallies[1]
    assert at[2][1:] == [
        few(tally.first_day), few(tally.found), few(tally.delay), f"{tally.attainable:.1f}", f"{tally.prequential:.1f}",
        f"{tally.nauc:.1f}", str(tally.pictures),
    ]  # fmt: skip
    assert "2 more methods are in the table only." in text
    assert Page(text).tags.count("figure") == 0
    assert text.count('class="chart"') == len(BUDGETS)
    for budget, curve in zip(BUDGETS, view.methods[0].curves, strict=True):
        assert f"At {budget} pictures a day: {int(curve[-1])} of 6 classes" in text


def test_the_headline_is_of_the_middle_budget() -> None:
    view = replay_view()
    said = " ".join(Page(replay_page.render(view)).text.split())
    first = view.methods[0].tallies[1].first_day
    assert (
        f"looks at 2 pictures a day in the order of method 0 sees {few(first)} of 6 classes on their first day" in said
    )
    assert f"would show {few(view.chance.tallies[1].first_day)} on average" in said
    assert f"the best that is possible is {few(view.best[1].first_day)}" in said
    assert "2 without a day are left out" in said


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (3.0, "3"), (14.376, "14.4"), (0.5625, "0.56"), (1200.0, "1,200")]
)
def test_few(value: float, text: str) -> None:
    assert few(value) == text


def test_a_replay_without_classes() -> None:
    """No image has a label: nothing can be found, and the page says so instead of failing."""
    days: list[Day | None] = [1, 2, 2]
    labels: list[str | None] = [None] * 3
    best, oracles = oracle_view(days, labels, (1,))
    view = replay_view(
        budgets=(1,), classes=(), best=best, oracles=oracles, chance=ChanceView.of(days, labels, (1,)),
        methods=(MethodView.of("m", chronological(days), labels, (1,)),),
    )  # fmt: skip
    assert "0 of 0 classes" in " ".join(Page(replay_page.render(view)).text.split())


# ------------------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize("many", [0, 1, 40])
def test_every_suspect_is_there_in_order(many: int) -> None:
    page = Page(label_page.render(label_view(many)))
    assert [value for value in page.all("id") if value.startswith("suspect-")] == [
        f"suspect-{r}" for r in range(1, many + 1)
    ]
    places = [page.text.index(f"image-{rank:03d}.jpg") for rank in range(1, many + 1)]
    assert places == sorted(places)
    assert all(f"near-{rank}-{i}.jpg" in page.text for rank in range(1, many + 1) for i in range(3))
    assert page.tags.count("img") == 3 * many, "the image and two of its neighbours; the third is gone"
    assert page.tags.count("fieldset") == many
    assert f"of {many}; wrong" in page.text


def test_each_label_is_judged_once() -> None:
    """One choice of a few for each suspect; the suggested label can be right only where there is another."""
    two = (
        suspect(1, given="a", suggested="b"),
        suspect(2, given="a", suggested="a"),
        suspect(3, given="a", suggested=None),
    )
    page = Page(label_page.render(label_view(suspects=two)))
    names = page.all("name")
    words = [word for word, _ in JUDGEMENTS]
    assert page.all("type") == ["radio"] * (4 + 3 + 3)
    assert [names.count(f"judgement-{rank}") for rank in (1, 2, 3)] == [4, 3, 3]
    assert page.all("value") == words + 2 * [word for word in words if word != "suggested"]
    assert page.text.count("no other") == 2 + 1, "and the page that needs no other file"
    assert "For 1 of them" in " ".join(page.text.split())
    assert ", ".join(words) in page.text, "as they are written in the table"
    assert "suspects.csv" in page.text
    assert "into the column" not in Page(label_page.render(label_view(table=""))).text


def test_suspects_are_found_by_class() -> None:
    text = label_page.render(label_view(5))
    part = text[text.index('<section id="by-class">') : text.index('<section id="suspects">')]
    assert [" ".join(Page(one).text.split()) for one in re.findall("<li>.*?</li>", part, re.DOTALL)] == [
        "class 0 3", "class 1 1 4", "class 2 2 5"
    ]  # fmt: skip


def test_precision_is_shown_by_rate() -> None:
    """The best method of a rate is marked; what is not known is said; without any there is no such section."""
    view = label_view(
        planted=(
            planted("a", 0.1, 0.5), planted("b", 0.1, 0.75, spread=None, planted=20.5), planted("a", 0.02, float("nan")),
        )
    )  # fmt: skip
    text = label_page.render(view)
    assert rows(text, '<section id="planted">', "</section>")[1:] == [
        ["2 % of the labels made wrong"], ["a", "not available ± 12.5", "37.5 %", "20"], ["random order, expected", "2.0 %", "", ""],
        ["10 % of the labels made wrong"], ["a", "50.0 % ± 12.5", "37.5 %", "20"], ["b", "75.0 %", "37.5 %", "20.50"],
        ["random order, expected", "10.0 %", "", ""],
    ]  # fmt: skip
    assert len(re.findall(r'<tr class="top"><th scope="row"><bdi>b<', text)) == 1
    assert text.count('class="top"') == 2, "the header and the best"
    assert 'id="planted"' not in label_page.render(label_view(planted=()))
