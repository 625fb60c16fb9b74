"""The page of an evaluation: names are escaped, nothing is fetched, every method is there, the best first."""

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

from interpdisc_core.evaluation import charts
from interpdisc_core.evaluation.aggregate import MethodSummary, rank_summaries
from interpdisc_core.evaluation.headline import MethodRoles, build_headline
from interpdisc_core.evaluation.study_page import StudyView, TrialsView, render_study_page
from interpdisc_core.metrics.confidence import bootstrap_nauc_interval, estimate_mean_interval
from interpdisc_core.metrics.discovery import (
    REPORTED_PICKS,
    evaluate_discovery,
    expected_random_curve,
    oracle_curve,
    random_curve_sd,
)
from tests.reporting.test_run_report import HOSTILE, TAGS, Page

LABELS = [f"class {i}" for i in range(12) for _ in range(1 + i)]
NAN = float("nan")
SETTINGS = {
    "experiments": {
        "discovery": {
            "selectors": {
                "ours": {"kind": "demud", "method": "full"},
                "SVD": {"kind": "demud", "method": "static"},
                "far": {"kind": "farthest-first"},
                "best": {"kind": "oracle"},
                "chance": {"kind": "random"},
            }
        }
    }
}


def make_summary(method: str = "ours", seed: int = 0, draws: int = 1, t: int = 40, **changes: Any) -> MethodSummary:
    """A summary whose numbers fit together: of random orders."""
    rngs = [np.random.default_rng([seed, draw]) for draw in range(draws)]
    results = [evaluate_discovery(LABELS, list(rng.permutation(len(LABELS))[:t]), t) for rng in rngs]
    scores, classes = [result.nauc for result in results], results[0].classes
    summary = MethodSummary(
        "discovery",
        f"features {seed}",
        "raw",
        method,
        "all",
        draws,
        t,
        float(len(LABELS)),
        float(classes),
        estimate_mean_interval(scores),
        estimate_mean_interval([result.nauc_whi2018 for result in results if result.nauc_whi2018 is not None] or [NAN]),
        results[0].random_nauc,
        bootstrap_nauc_interval(results[0].first_picks, classes, t, resamples=50),
        {
            at: float(np.mean([sum(first <= at for first in result.first_picks.values()) for result in results]))
            for at in REPORTED_PICKS
            if at <= t
        },
        np.mean([result.curve for result in results], axis=0),
        {"redundancy": 0.125, "covered": 0.25, "relative_radius": 0.75},
        {},
        1.5,
        0,
        0,
        "",
        tuple(scores),
    )
    return replace(summary, **changes)


SUMMARY = make_summary()


def make_failed_summary(problem: str = "too few rows", **changes: Any) -> MethodSummary:
    """A summary of a method none of whose draws could be computed."""
    missing: dict[str, Any] = {
        "draws": 0,
        "t": 0,
        "images": NAN,
        "classes": NAN,
        "nauc": estimate_mean_interval([]),
        "whi2018": None,
        "random_nauc": NAN,
        "class_interval": (NAN, NAN),
        "classes_found": {},
        "curve": np.empty(0),
        "diversity": {},
        "cpu_seconds": NAN,
        "draw_scores": (),
    }
    return replace(make_summary("RX", seed=99), problem=problem, **missing | changes)


def make_trials(summaries: Sequence[MethodSummary], t: int = 40, **changes: Any) -> TrialsView:
    view = TrialsView(
        experiment="discovery",
        name="all",
        description="all images",
        summaries=list(summaries),
        random_curve=expected_random_curve(LABELS, t),
        random_sd=random_curve_sd(LABELS, t),
        oracle_curve=oracle_curve(12, t).astype(np.float64),
    )
    return replace(view, **changes)


def make_study(*sections: TrialsView, **changes: Any) -> StudyView:
    view = StudyView(
        title="A study",
        images=78,
        labeled=78,
        classes=12,
        trials=sections,
        other_pages=(),
        settings=SETTINGS,
        environment={"python": "3.11"},
        timings={"measure": 2.0},
        command="interpdisc evaluate photos",
        problems=(),
    )
    return replace(view, **changes)


@cache
def make_many_summaries() -> tuple[MethodSummary, ...]:
    """Sixty summaries of one draw."""
    return tuple(
        make_summary(method, 3 * i + j, representation=f"features {i}")
        for i in range(20)
        for j, method in enumerate(("ours", "SVD", "far"))
    )


def method_names(text: str) -> list[str]:
    """Method and features of the rows of the tables, in their order."""
    return [
        re.sub("<[^>]+>", "", match)
        for match in re.findall(r'<span class="method">(.*?</small>)</span></div></th>', text)
    ]


def make_hostile_study(name: str) -> StudyView:
    """A study in which everything with a name is named `name`."""
    names = {"experiment": name, "representation": name, "treatment": name, "method": name, "trials": name}
    summaries = [make_summary(seed=i, draws=draws, **names) for i, draws in ((0, 1), (1, 3))]
    summaries.append(make_failed_summary(**names, problem=name))
    return make_study(
        make_trials(summaries, experiment=name, name=name, description=name),
        title=name,
        other_pages=((name, name, name),),
        settings={name: [name]},
        environment={name: name, "more": {name: name}},
        timings={name: 1.0},
        command=name,
        problems=((name, name),),
    )


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(name: str) -> None:
    text = render_study_page(make_hostile_study(name))
    page = Page(text)
    text.encode("utf-8")
    assert set(page.tags) <= TAGS | {"ol", "sub", "caption"}
    assert page.tags.count("title") == page.tags.count("style") == 1
    assert not [attribute for attribute in page.attributes if attribute[1].startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert page.tags == Page(render_study_page(make_hostile_study("plain"))).tags, (
        "a name must not change the page's structure"
    )


@pytest.mark.parametrize(
    "file", ["javascript:alert(1)", "//evil.example/x", "http://evil.example", "../up.html", 'a"b c.html']
)
def test_links_to_other_pages_stay_in_the_folder(file: str) -> None:
    page = Page(render_study_page(make_study(make_trials([make_summary()]), other_pages=(("replay", file, "said"),))))
    (address,) = [value for value in page.all("href") if not value.startswith("#")]
    assert re.fullmatch(r"\./[\w.%-]+", address)


def test_the_page_fetches_and_runs_nothing() -> None:
    text = render_study_page(
        make_study(
            make_trials(make_many_summaries()),
            make_trials([make_summary(draws=3)]),
            other_pages=(("replay", "replay.html", "said"),),
        )
    )
    page = Page(text)
    assert not page.all("src")
    assert [value for value in page.all("href") if not value.startswith("#")] == ["./replay.html"]
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "http" not in re.sub("http-equiv", "", text)
    assert [value for value in page.all("content") if value.startswith("default-src 'none'; style-src")]
    assert not re.search(r"url\((?!#)|@import", text)


def test_links_have_targets_and_identifiers_are_unique() -> None:
    page = Page(
        render_study_page(
            make_study(make_trials(make_many_summaries()), make_trials([make_summary()]), problems=(("a", "b"),))
        )
    )
    identifiers = page.all("id")
    assert len(identifiers) == len(set(identifiers))
    assert {value[1:] for value in page.all("href")} <= set(identifiers)
    assert set(page.all("aria-labelledby")) <= set(identifiers)


def test_every_method_is_in_the_table_once_the_best_first() -> None:
    summaries = [make_failed_summary(), *make_many_summaries()]
    text = render_study_page(make_study(make_trials(summaries)))
    in_order = sorted(make_many_summaries(), key=lambda summary: -summary.nauc.mean)
    assert method_names(text) == [
        f"{summary.method}{summary.representation}, {summary.treatment}" for summary in [*in_order, summaries[0]]
    ]
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    assert re.findall(r'<td class="n mean">([\d.]+)</td>', table) == [
        f"{summary.nauc.mean:.2f}" for summary in in_order
    ]
    ranking = text[text.index('<ol class="ranking"') : text.index("</ol>")]
    assert re.findall(r"<b>([\d.]+)</b>", ranking) == [f"{summary.nauc.mean:.2f}" for summary in in_order]


def test_all_rows_of_the_table_span_the_same_columns() -> None:
    """With and without several draws, outliers, the form of 2018 and failures."""
    novel = {"precision": 0.5, "precision_random": 0.125, "mdr": 0.25, "roc_auc": 0.75, "novel": 4.0}
    for summaries in (
        [make_summary(), make_failed_summary()],
        [make_summary(draws=3), make_failed_summary()],
        [make_summary(outlier_scores=novel), make_summary(seed=1)],
        [make_summary(whi2018=None)],
        [make_summary(t=5), make_failed_summary()],
    ):
        text = render_study_page(make_study(make_trials(summaries, t=summaries[0].t)))
        table = text[text.index('<div class="wide"') : text.index("</table>")]
        head, *rows = re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL)

        def count_columns(row: str) -> int:
            cells = re.findall(r"<t[hd]([^>]*)>", row)
            return sum(int(match[1]) if (match := re.search(r'colspan="(\d+)"', cell)) else 1 for cell in cells)

        assert {count_columns(row) for row in rows[1:]} == {count_columns(head)}, "all but the second row of the head"


def test_the_page_has_all_numbers_of_a_method() -> None:
    summary = make_summary(
        draws=3,
        near_ties=2,
        exhausted_draws=1,
        cpu_seconds=12.25,
        outlier_scores={"precision": 0.5, "precision_random": 0.0625, "roc_auc": 0.875},
    )
    page = Page(render_study_page(make_study(make_trials([summary], random_sd=None))))
    text = " ".join(page.text.split())
    assert summary.whi2018 is not None
    assert summary.nauc.high > 100, "Student's interval, of three draws"
    for text_part in (
        f"{summary.nauc.mean:.2f}",
        f"± {summary.nauc.sd:.2f}",
        f"{summary.whi2018.mean:.2f}",
        f"{summary.nauc.low:.1f} to 100.0",
        f"{summary.nauc.mean - summary.random_nauc:+.1f}".replace("-", "−"),
        "0.125",
        "0.250",
        "0.750",
        "12.25",
        "0.500",
        "0.062",
        "0.875",
        "2 near ties",
        "stopped early: nothing was new any more, in 1 of 3 draws",
        "interpdisc evaluate photos",
        "3.11",
    ):
        assert text_part in text, text_part
    assert f"{expected_random_curve(LABELS, 40)[9]:.1f}" in text, "chance after 10 picks"
    assert "two standard deviations" not in text
    assert "two standard deviations" in Page(render_study_page(make_study(make_trials([make_summary()])))).text


def test_problems_are_shown_in_the_table_and_in_a_list() -> None:
    reason = "lite0 needs 3 channels"
    page = Page(
        render_study_page(
            make_study(
                make_trials([make_summary(), make_failed_summary(reason)]),
                problems=(("lite0, raw, RX, all, draw 1", reason),),
            )
        )
    )
    assert "lite0, raw, RX, all, draw 1" in page.text
    assert page.text.count(reason) == 2, "in the table and in the list"
    assert "1 result is missing" in page.text
    assert "is missing" not in Page(render_study_page(make_study(make_trials([make_summary()])))).text


@pytest.mark.parametrize(
    "summaries",
    [
        [],
        [make_failed_summary()],
        [make_summary(t=1)],
        [make_summary(t=1), make_failed_summary()],
        [make_summary(t=1, class_interval=(NAN, NAN))],
        [make_summary(nauc=estimate_mean_interval([NAN]))],
        [make_summary(curve=np.full(40, NAN))],
        [make_summary(draws=2), make_summary(seed=1)],
        [make_summary(cpu_seconds=float("inf"), diversity={}, classes_found={})],
        [make_summary(draws=40)],
    ],
    ids=range(10),
)
def test_the_page_can_be_rendered_with_any_numbers_missing(summaries: list[MethodSummary]) -> None:
    for t in (1, 40):
        page = Page(render_study_page(make_study(make_trials(summaries, t=t))))
        assert "nan" not in re.findall(r"\w+", page.text)
        assert "inf" not in re.findall(r"\w+", page.text)
        assert not [value for value in page.all("style") if "nan" in value or "inf" in value]
    assert render_study_page(
        make_study(make_trials(summaries, random_curve=np.empty(0), random_sd=None, oracle_curve=np.empty(0)))
    )


def test_a_study_without_discovery() -> None:
    page = Page(
        render_study_page(make_study(other_pages=(("replay", "replay.html", "Three pictures a day are enough."),)))
    )
    assert "Three pictures a day are enough." in page.text
    assert "nAUC" not in page.text


def test_the_same_view_gives_the_same_page() -> None:
    view = make_study(
        make_trials(make_many_summaries()), make_trials([make_summary(draws=3), make_summary("far", draws=3)])
    )
    assert render_study_page(view) == render_study_page(view)


def test_charts_are_deterministic_and_share_no_identifier() -> None:
    view = make_trials(make_many_summaries())
    drawn = [
        charts.draw_curves(
            view.summaries,
            view.random_curve,
            view.random_sd,
            view.oracle_curve,
            is_highlighted=lambda summary: summary.method == "ours",
            name=name,
        )
        for name in ("one", "one", "other")
    ]
    assert drawn[0] == drawn[1]
    first, other = (set(Page(chart.chart).all("id")) for chart in (drawn[0], drawn[2]))
    assert not first & other
    assert "#0" not in drawn[0].chart, "every colour is the page's"


def test_names_are_not_in_the_charts() -> None:
    view = make_trials([make_summary("$x^{$", representation="font: 9px")])
    chart = charts.draw_curves(
        view.summaries, view.random_curve, view.random_sd, view.oracle_curve, is_highlighted=lambda _: True
    ).chart
    assert "$" not in chart
    assert "font" not in chart


def test_the_best_of_each_method_and_of_each_kind_of_features_have_curves() -> None:
    few = charts.select_curves(make_many_summaries(), limit=4)
    assert len(few) == 4
    assert {summary.method for summary in few} == {"ours", "SVD", "far"}
    assert [id(summary) for summary in few] == [id(summary) for summary in rank_summaries(few)]
    for method in ("ours", "SVD", "far"):
        best = max(
            (summary for summary in make_many_summaries() if summary.method == method),
            key=lambda summary: summary.nauc.mean,
        )
        assert any(best is summary for summary in few)
    (only,) = charts.select_curves([make_failed_summary(), SUMMARY, make_summary(curve=np.full(40, NAN))])
    assert only is SUMMARY


def test_a_chart_ends_when_no_curve_rises() -> None:
    early, late = np.minimum(np.arange(1.0, 41), 12), np.linspace(0, 12, 40)
    summaries = [make_summary(curve=early)]
    drawn = [
        charts.draw_curves(summaries, random, None, early, is_highlighted=lambda _: True).last_pick
        for random in (np.minimum(early * 2, 12), late)
    ]
    assert drawn == [20, 40]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=14), st.floats(0.01, 1.0))
def test_numbers_at_the_ends_of_curves_are_apart(places: list[float], least: float) -> None:
    separated = charts._separate_positions(places, least, 20.0)
    order = sorted(range(len(places)), key=lambda i: (-places[i], i))
    assert all(separated[a] - separated[b] >= least - 1e-9 for a, b in pairwise(order)), "in the order of the ends"
    assert max(separated) <= 20.0 + 1e-9
    if all(abs(a - b) >= least for i, a in enumerate(places) for b in places[:i]):
        assert np.allclose(separated, places)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20), st.integers(1, 4)), min_size=1, max_size=8),
    st.floats(0, 100),
)
def test_positions_in_a_ranking_grow_with_scores_and_stay_in_the_chart(
    scores: list[tuple[float, float, int]], random: float
) -> None:
    """And an interval contains its mean."""
    summaries = []
    for mean, half, draws in scores:
        values = tuple(np.clip(mean + half * np.linspace(-1, 1, draws), 0, 100)) if draws > 1 else (mean,)
        own = (max(mean - half, 0.0), min(mean + half, 100.0))
        summaries.append(
            replace(
                SUMMARY,
                nauc=estimate_mean_interval(values),
                draws=draws,
                draw_scores=values,
                class_interval=own,
                random_nauc=random,
            )
        )
    ranking = charts.build_ranking(summaries, is_highlighted=lambda _: False)
    assert Counter(id(row.summary) for row in ranking.rows) == Counter(id(summary) for summary in summaries)
    assert [row.number for row in ranking.rows] == list(range(1, len(summaries) + 1))
    places = [row.position for row in ranking.rows]
    assert places == sorted(places, reverse=True)
    assert ranking.random_position is not None
    for row in ranking.rows:
        assert row.low is not None
        assert row.high is not None
        assert 0 <= row.low <= row.position + 0.011
        assert row.position - 0.011 <= row.high <= 100
        assert all(0 <= place <= 100 for place in (*row.draw_positions, row.position, ranking.random_position))
    assert all(0 <= place <= 100 for place, _ in ranking.ticks)


def test_the_shade_of_a_cell_is_the_share_of_classes() -> None:
    summary = make_summary(classes_found={10: 6.0, 25: 9.5}, classes=12.0)
    assert charts.class_counts(summary, (10, 25)) == (
        charts.ClassCount(10, "6", 0.5),
        charts.ClassCount(25, "9.5", 0.792),
    )
    assert charts.class_counts(summary, (41,)) == (charts.ClassCount(41, "–", 0.0),), "beyond t"
    assert charts.class_counts_along(np.array([1.0, 1.75]), 2.0, (2, 3)) == (
        charts.ClassCount(2, "1.8", 0.875),
        charts.ClassCount(3, "–", 0.0),
    )


ROLES = MethodRoles(SETTINGS)


def make_scored(method: str, *values: float, span: tuple[float, float] = (0.0, 0.0), **changes: Any) -> MethodSummary:
    return replace(
        SUMMARY,
        method=method,
        nauc=estimate_mean_interval(values),
        draws=len(values),
        draw_scores=values,
        class_interval=span,
        random_nauc=40.0,
        **changes,
    )


def headline(*summaries: MethodSummary) -> str:
    return re.sub("<[^>]+>", "", " ".join(build_headline(summaries, ROLES)))


def test_the_headline_of_one_draw() -> None:
    best, rival = make_scored("ours", 70.0, span=(65.0, 75.0)), make_scored("far", 66.0, span=(60.0, 72.0))
    text = headline(rival, best)
    assert text.startswith("ours on features 0, raw finds classes soonest here: nAUC40 is 70.0")
    assert "(95 % interval over classes 65.0 to 75.0), 30.0 more than the 40.0 that a random order" in text
    assert "The best other method is far on features 0, raw with 66.0; their intervals overlap" in text
    assert "luck" not in text
    assert "do not overlap" in headline(best, make_scored("far", 50.0, span=(45.0, 55.0)))
    assert "no better than chance" in headline(make_scored("ours", 41.0, span=(35.0, 47.0)))
    assert "5.0 less than the 40.0" in headline(make_scored("ours", 35.0, span=(30.0, 38.0)))
    assert "without an interval" in headline(best, make_scored("far", 50.0, span=(NAN, NAN)))


def test_the_headline_compares_several_draws_in_pairs() -> None:
    """A small lead in every draw is certain, even if the intervals overlap."""
    lows = (50.0, 60.0, 70.0, 80.0)
    text = headline(make_scored("ours", *(low + 1 for low in lows)), make_scored("far", *lows))
    assert (
        "on the same 4 draws the first is ahead by 1.0 on average (95 % interval 1.0 to 1.0) and in 100 % of them"
        in text
    )
    assert "more than draws alone explain" in text
    assert "may be due to the draws alone" in headline(make_scored("ours", 50.0, 75.0), make_scored("far", 60.0, 60.0))
    unequal = headline(
        make_scored("ours", *(low + 1 for low in lows)), make_scored("far", *lows[:3], problem="a draw failed")
    )
    assert "on the same" not in unequal


def test_random_orders_and_oracles_do_not_compete() -> None:
    text = headline(
        make_scored("best", 100.0), make_scored("chance", 90.0), make_scored("ours", 50.0, span=(45.0, 55.0))
    )
    assert text.startswith("The only method here, ours on")
    assert headline(make_scored("chance", 90.0)) == "No method has a score here."
    assert headline(make_failed_summary()) == headline() == "No method has a score here."


def test_the_headline_has_the_rank_of_demud() -> None:
    """Even if it is neither the best nor the best rival; its static form is a rival."""
    text = headline(
        make_scored("far", 80.0),
        make_scored("SVD", 75.0),
        make_scored("SVD", 74.0),
        make_scored("ours", 60.0),
        make_scored("ours", 50.0),
    )
    assert "The best other method is SVD" in text
    assert "ours on features 0, raw is number 4 of 5, with 60.0." in text
    assert "The best of 5 is best partly by luck." in text
    assert [MethodRoles({}).role_of(make_scored(name, 1.0)) for name in ("DEMUD, k = 5", "Random, 2", "SVD")] == [
        "demud",
        "random",
        "rival",
    ]
    assert [ROLES.role_of(make_scored(name, 1.0)) for name in ("ours", "SVD", "best", "chance")] == [
        "demud",
        "rival",
        "oracle",
        "random",
    ]
