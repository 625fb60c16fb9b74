"""The page of an evaluation: nothing hostile gets through, nothing is fetched, every method is there, best first."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.evaluation import AT, discovery, expected_random_curve, oracle_curve, random_band
from interpdisc_core.intervals import of_classes, of_draws
from interpdisc_core.lab import charts
from interpdisc_core.lab.headline import Roles, headline
from interpdisc_core.lab.page import StudyView, TrialsView, render
from interpdisc_core.lab.results import Line
from tests.core.test_report import HOSTILE, TAGS, Page

LABELS = [f"class {i}" for i in range(12) for _ in range(1 + i)]
NAN = float("nan")
SETTINGS = {
    "experiments": {
        "discovery": {
            "selectors": {
                "ours": {"kind": "demud", "method": "full"}, "SVD": {"kind": "demud", "method": "static"},
                "far": {"kind": "farthest-first"}, "best": {"kind": "oracle"}, "chance": {"kind": "random"},
            }
        }
    }
}  # fmt: skip


def line(method: str = "ours", seed: int = 0, draws: int = 1, t: int = 40, **changes: Any) -> Line:
    """A line whose numbers fit together: of so many random orders."""
    rngs = [np.random.default_rng([seed, draw]) for draw in range(draws)]
    found = [discovery(LABELS, list(rng.permutation(len(LABELS))[:t]), t) for rng in rngs]
    scores, classes = [one.exact for one in found], found[0].classes
    made = Line(
        "discovery", f"features {seed}", "raw", method, "all", draws, t, float(len(LABELS)), float(classes),
        of_draws(scores), of_draws([one.whi2018 for one in found if one.whi2018 is not None] or [NAN]), found[0].exact_random,
        of_classes(found[0].firsts, classes, t, resamples=50),
        {at: float(np.mean([sum(first <= at for first in one.firsts.values()) for one in found])) for at in AT if at <= t},
        np.mean([one.curve for one in found], axis=0), {"redundancy": 0.125, "covered": 0.25, "relative_radius": 0.75},
        {}, 1.5, 0, 0, "", tuple(scores),
    )  # fmt: skip
    return replace(made, **changes)


ONE = line()


def failed(problem: str = "too few rows", **changes: Any) -> Line:
    """A line none of whose draws could be computed."""
    lost: dict[str, Any] = {
        "draws": 0, "t": 0, "images": NAN, "classes": NAN, "nauc": of_draws([]), "whi2018": None, "random": NAN,
        "over_classes": (NAN, NAN), "found": {}, "curve": np.empty(0), "spread": {}, "cpu": NAN, "values": (),
    }  # fmt: skip
    return replace(line("RX", seed=99), problem=problem, **lost | changes)


def trials(lines: Sequence[Line], t: int = 40, **changes: Any) -> TrialsView:
    made = TrialsView(
        experiment="discovery", name="all", description="all images", lines=list(lines),
        random=expected_random_curve(LABELS, t), band=random_band(LABELS, t), oracle=oracle_curve(12, t).astype(np.float64),
    )  # fmt: skip
    return replace(made, **changes)


def study(*sections: TrialsView, **changes: Any) -> StudyView:
    made = StudyView(
        title="A study", images=78, labelled=78, classes=12, trials=sections, others=(), settings=SETTINGS,
        environment={"python": "3.11"}, timings={"measure": 2.0}, command="interpdisc evaluate photos", problems=(),
    )  # fmt: skip
    return replace(made, **changes)


@cache
def plenty() -> tuple[Line, ...]:
    """Sixty lines of one draw."""
    return tuple(
        line(method, 3 * i + j, representation=f"features {i}") for i in range(20) for j, method in enumerate(("ours", "SVD", "far"))
    )  # fmt: skip


def names_of(text: str) -> list[str]:
    """Of the rows of the tables, in their order: method and features."""
    return [
        re.sub("<[^>]+>", "", found) for found in re.findall(r'<span class="method">(.*?</small>)</span></div></th>', text)
    ]  # fmt: skip


def hostile(name: str) -> StudyView:
    """A study in which everything that is named is named `name`."""
    named = {"experiment": name, "representation": name, "treatment": name, "method": name, "trials": name}
    lines = [line(seed=i, draws=draws, **named) for i, draws in ((0, 1), (1, 3))]
    lines.append(failed(**named, problem=name))
    return study(
        trials(lines, experiment=name, name=name, description=name), title=name, others=((name, name, name),),
        settings={name: [name]}, environment={name: name, "more": {name: name}}, timings={name: 1.0}, command=name,
        problems=((name, name),),
    )  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_stay_text(name: str) -> None:
    text = render(hostile(name))
    page = Page(text)
    text.encode("utf-8")
    assert set(page.tags) <= TAGS | {"ol", "sub", "caption"}
    assert page.tags.count("title") == page.tags.count("style") == 1
    assert not [one for one in page.attributes if one[1].startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert page.tags == Page(render(hostile("plain"))).tags, "a name decides nothing about the page's structure"


@pytest.mark.parametrize(
    "file", ["javascript:alert(1)", "//evil.example/x", "http://evil.example", "../up.html", 'a"b c.html']
)
def test_other_pages_lie_beside_it(file: str) -> None:
    page = Page(render(study(trials([line()]), others=(("replay", file, "said"),))))
    (address,) = [value for value in page.all("href") if not value.startswith("#")]
    assert re.fullmatch(r"\./[\w.%-]+", address)


def test_nothing_is_fetched_or_run() -> None:
    text = render(study(trials(plenty()), trials([line(draws=3)]), others=(("replay", "replay.html", "said"),)))
    page = Page(text)
    assert not page.all("src")
    assert [value for value in page.all("href") if not value.startswith("#")] == ["./replay.html"]
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "http" not in re.sub("http-equiv", "", text)
    assert [value for value in page.all("content") if value.startswith("default-src 'none'; style-src")]
    assert not re.search(r"url\((?!#)|@import", text)


def test_links_lead_somewhere_and_identifiers_are_single() -> None:
    page = Page(render(study(trials(plenty()), trials([line()]), problems=(("a", "b"),))))
    identifiers = page.all("id")
    assert len(identifiers) == len(set(identifiers))
    assert {value[1:] for value in page.all("href")} <= set(identifiers)
    assert set(page.all("aria-labelledby")) <= set(identifiers)


def test_every_line_is_in_the_table_once_best_first() -> None:
    lines = [failed(), *plenty()]
    text = render(study(trials(lines)))
    in_order = sorted(plenty(), key=lambda one: -one.nauc.mean)
    assert names_of(text) == [f"{one.method}{one.representation}, {one.treatment}" for one in [*in_order, lines[0]]]
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    assert re.findall(r'<td class="n mean">([\d.]+)</td>', table) == [f"{one.nauc.mean:.2f}" for one in in_order]
    ranking = text[text.index('<ol class="ranking"') : text.index("</ol>")]
    assert re.findall(r"<b>([\d.]+)</b>", ranking) == [f"{one.nauc.mean:.2f}" for one in in_order]


def test_rows_have_as_many_cells_as_there_are_columns() -> None:
    """With and without draws, outliers, the form of 2018 and failures."""
    novel = {"precision": 0.5, "precision_random": 0.125, "mdr": 0.25, "roc_auc": 0.75, "novel": 4.0}
    for lines in (
        [line(), failed()], [line(draws=3), failed()], [line(outliers=novel), line(seed=1)], [line(whi2018=None)],
        [line(t=5), failed()],
    ):  # fmt: skip
        text = render(study(trials(lines, t=lines[0].t)))
        table = text[text.index('<div class="wide"') : text.index("</table>")]
        head, *rows = re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL)

        def across(row: str) -> int:
            cells = re.findall(r"<t[hd]([^>]*)>", row)
            return sum(int(found[1]) if (found := re.search(r'colspan="(\d+)"', cell)) else 1 for cell in cells)

        assert {across(row) for row in rows[1:]} == {across(head)}, "all but the second row of the head"


def test_numbers_are_there() -> None:
    one = line(
        draws=3, near_ties=2, exhausted=1, cpu=12.25, outliers={"precision": 0.5, "precision_random": 0.0625, "roc_auc": 0.875}
    )  # fmt: skip
    page = Page(render(study(trials([one], band=None))))
    text = " ".join(page.text.split())
    assert one.whi2018 is not None
    assert one.nauc.high > 100, "Student's interval, of three draws"
    for said in (
        f"{one.nauc.mean:.2f}", f"± {one.nauc.sd:.2f}", f"{one.whi2018.mean:.2f}", f"{one.nauc.low:.1f} to 100.0",
        f"{one.nauc.mean - one.random:+.1f}".replace("-", "−"), "0.125", "0.250", "0.750", "12.25", "0.500", "0.062", "0.875",
        "2 near ties", "stopped early: nothing was new any more, in 1 of 3 draws", "interpdisc evaluate photos", "3.11",
    ):  # fmt: skip
        assert said in text, said
    assert f"{expected_random_curve(LABELS, 40)[9]:.1f}" in text, "chance after 10 picks"
    assert "two standard deviations" not in text
    assert "two standard deviations" in Page(render(study(trials([line()])))).text


def test_problems_are_shown() -> None:
    why = "lite0 needs 3 channels"
    page = Page(render(study(trials([line(), failed(why)]), problems=(("lite0, raw, RX, all, draw 1", why),))))
    assert "lite0, raw, RX, all, draw 1" in page.text
    assert page.text.count(why) == 2, "in the table and in the list"
    assert "1 result is missing" in page.text
    assert "is missing" not in Page(render(study(trials([line()])))).text


@pytest.mark.parametrize("lines", [
    [], [failed()], [line(t=1)], [line(t=1), failed()], [line(t=1, over_classes=(NAN, NAN))], [line(nauc=of_draws([NAN]))],
    [line(curve=np.full(40, NAN))], [line(draws=2), line(seed=1)], [line(cpu=float("inf"), spread={}, found={})],
    [line(draws=40)],
], ids=range(10))  # fmt: skip
def test_whatever_there_is(lines: list[Line]) -> None:
    for t in (1, 40):
        page = Page(render(study(trials(lines, t=t))))
        assert "nan" not in re.findall(r"\w+", page.text)
        assert "inf" not in re.findall(r"\w+", page.text)
        assert not [value for value in page.all("style") if "nan" in value or "inf" in value]
    assert render(study(trials(lines, random=np.empty(0), band=None, oracle=np.empty(0))))


def test_a_study_without_discovery() -> None:
    page = Page(render(study(others=(("replay", "replay.html", "Three pictures a day are enough."),))))
    assert "Three pictures a day are enough." in page.text
    assert "nAUC" not in page.text


def test_the_same_view_gives_the_same_page() -> None:
    view = study(trials(plenty()), trials([line(draws=3), line("far", draws=3)]))
    assert render(view) == render(view)


def test_charts_are_deterministic_and_share_no_identifier() -> None:
    view = trials(plenty())
    made = [
        charts.curves(view.lines, view.random, view.band, view.oracle, marked=lambda one: one.method == "ours", name=name)
        for name in ("one", "one", "other")
    ]  # fmt: skip
    assert made[0] == made[1]
    first, other = (set(Page(chart.chart).all("id")) for chart in (made[0], made[2]))
    assert not first & other
    assert "#0" not in made[0].chart, "every colour is the page's"


def test_names_stay_out_of_the_pictures() -> None:
    view = trials([line("$x^{$", representation="font: 9px")])
    chart = charts.curves(view.lines, view.random, view.band, view.oracle, marked=lambda _: True).chart
    assert "$" not in chart
    assert "font" not in chart


def test_whose_curves_are_shown() -> None:
    """The best of each method and of each kind of features come before better ones of the same; never more than fit."""
    few = charts.shown(plenty(), most=4)
    assert len(few) == 4
    assert {one.method for one in few} == {"ours", "SVD", "far"}
    assert [id(one) for one in few] == [id(one) for one in charts.ranked(few)]
    for method in ("ours", "SVD", "far"):
        best = max((one for one in plenty() if one.method == method), key=lambda one: one.nauc.mean)
        assert any(best is one for one in few)
    (only,) = charts.shown([failed(), ONE, line(curve=np.full(40, NAN))])
    assert only is ONE


def test_a_chart_ends_where_nothing_rises_any_more() -> None:
    early, late = np.minimum(np.arange(1.0, 41), 12), np.linspace(0, 12, 40)
    lines = [line(curve=early)]
    drawn = [
        charts.curves(lines, random, None, early, marked=lambda _: True).last for random in (np.minimum(early * 2, 12), late)
    ]  # fmt: skip
    assert drawn == [20, 40]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=14), st.floats(0.01, 1.0))
def test_numbers_at_the_ends_of_curves_lie_apart(places: list[float], least: float) -> None:
    moved = charts._apart(places, least, 20.0)
    order = sorted(range(len(places)), key=lambda i: (-places[i], i))
    assert all(moved[a] - moved[b] >= least - 1e-9 for a, b in pairwise(order)), "in the order of the ends"
    assert max(moved) <= 20.0 + 1e-9
    if all(abs(a - b) >= least for i, a in enumerate(places) for b in places[:i]):
        assert np.allclose(moved, places)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20), st.integers(1, 4)), min_size=1, max_size=8),
    st.floats(0, 100),
)
def test_a_ranking_keeps_within_its_chart(scores: list[tuple[float, float, int]], random: float) -> None:
    """Places grow with scores; an interval is about its mean; nothing lies outside."""
    lines = []
    for mean, half, draws in scores:
        values = tuple(np.clip(mean + half * np.linspace(-1, 1, draws), 0, 100)) if draws > 1 else (mean,)
        own = (max(mean - half, 0.0), min(mean + half, 100.0))
        lines.append(replace(ONE, nauc=of_draws(values), draws=draws, values=values, over_classes=own, random=random))
    made = charts.ranking(lines, marked=lambda _: False)
    assert Counter(id(row.line) for row in made.rows) == Counter(id(one) for one in lines)
    assert [row.number for row in made.rows] == list(range(1, len(lines) + 1))
    places = [row.place for row in made.rows]
    assert places == sorted(places, reverse=True)
    assert made.random is not None
    for row in made.rows:
        assert row.low is not None
        assert row.high is not None
        assert 0 <= row.low <= row.place + 0.011
        assert row.place - 0.011 <= row.high <= 100
        assert all(0 <= place <= 100 for place in (*row.draws, row.place, made.random))
    assert all(0 <= place <= 100 for place, _ in made.ticks)


def test_the_shade_is_the_share_of_classes() -> None:
    one = line(found={10: 6.0, 25: 9.5}, classes=12.0)
    assert charts.found(one, (10, 25)) == (charts.Count(10, "6", 0.5), charts.Count(25, "9.5", 0.792))
    assert charts.found(one, (41,)) == (charts.Count(41, "–", 0.0),), "beyond t"
    assert charts.found_along(np.array([1.0, 1.75]), 2.0, (2, 3)) == (
        charts.Count(2, "1.8", 0.875),
        charts.Count(3, "–", 0.0),
    )


ROLES = Roles(SETTINGS)


def scored(method: str, *values: float, span: tuple[float, float] = (0.0, 0.0), **changes: Any) -> Line:
    return replace(
        ONE, method=method, nauc=of_draws(values), draws=len(values), values=values, over_classes=span, random=40.0, **changes
    )  # fmt: skip


def said(*lines: Line) -> str:
    return re.sub("<[^>]+>", "", " ".join(headline(lines, ROLES)))


def test_what_the_headline_says_of_one_draw() -> None:
    best, rival = scored("ours", 70.0, span=(65.0, 75.0)), scored("far", 66.0, span=(60.0, 72.0))
    text = said(rival, best)
    assert text.startswith("ours on features 0, raw finds classes soonest here: nAUC40 is 70.0")
    assert "(95 % interval over classes 65.0 to 75.0), 30.0 more than the 40.0 that a random order" in text
    assert "The best other method is far on features 0, raw with 66.0; their intervals overlap" in text
    assert "luck" not in text
    assert "do not overlap" in said(best, scored("far", 50.0, span=(45.0, 55.0)))
    assert "no better than chance" in said(scored("ours", 41.0, span=(35.0, 47.0)))
    assert "5.0 less than the 40.0" in said(scored("ours", 35.0, span=(30.0, 38.0)))
    assert "no interval says" in said(best, scored("far", 50.0, span=(NAN, NAN)))


def test_draws_are_compared_in_pairs() -> None:
    """A small lead in every draw is sure where the two rise and fall together, though their own intervals overlap."""
    lows = (50.0, 60.0, 70.0, 80.0)
    text = said(scored("ours", *(low + 1 for low in lows)), scored("far", *lows))
    assert (
        "on the same 4 draws the first is ahead by 1.0 on average (95 % interval 1.0 to 1.0) and in 100 % of them"
        in text
    )
    assert "which draws alone hardly explain" in text
    assert "does not tell the two apart" in said(scored("ours", 50.0, 75.0), scored("far", 60.0, 60.0))
    unequal = said(scored("ours", *(low + 1 for low in lows)), scored("far", *lows[:3], problem="a draw failed"))
    assert "on the same" not in unequal


def test_chance_and_oracles_do_not_compete() -> None:
    text = said(scored("best", 100.0), scored("chance", 90.0), scored("ours", 50.0, span=(45.0, 55.0)))
    assert text.startswith("The only method here, ours on")
    assert said(scored("chance", 90.0)) == "No method has a score here."
    assert said(failed()) == said() == "No method has a score here."


def test_where_demud_comes_is_said() -> None:
    """Even where it is neither the best nor the best rival; the batch form is a rival."""
    text = said(
        scored("far", 80.0), scored("SVD", 75.0), scored("SVD", 74.0), scored("ours", 60.0), scored("ours", 50.0)
    )
    assert "The best other method is SVD" in text
    assert "ours on features 0, raw is number 4 of 5, with 60.0." in text
    assert "The best of 5 is best partly by luck." in text
    assert [Roles({}).of(scored(name, 1.0)) for name in ("DEMUD, k = 5", "Random, 2", "SVD")] == [
        "demud",
        "random",
        "rival",
    ]
    assert [ROLES.of(scored(name, 1.0)) for name in ("ours", "SVD", "best", "chance")] == [
        "demud",
        "rival",
        "oracle",
        "random",
    ]
