"""The report page: nothing hostile gets through, nothing is fetched, everything is there."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from interpdisc_core.explanations import CARD_PICKS
from interpdisc_core.metrics.definitions import METRIC_DEFINITIONS, TRUST_METRIC
from interpdisc_core.metrics.discovery import evaluate_discovery
from interpdisc_core.progress import format_duration
from interpdisc_core.reporting import cards, charts, html, run_report
from interpdisc_core.reporting.pick_view import NearView, PickView
from interpdisc_core.reporting.run_report import RunReportView, render_run_report

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style><svg onload=alert(1)>",
    "a\nb\r\tc\x00d",
    "photo\u202egpj.exe\u2066",
    "lone \udce9 surrogate",
    "{{ 7 * 7 }}{% raw %}",
    "Ångström 火星 مريخ 👩‍🚀",
    "x" * 5000,
)
TAGS = frozenset(
    re.findall(
        r"\w+",
        "html head meta title style body header main footer section article nav div span p h1 h2 h3 h4 dl dt "
        "dd ul li a b i bdi small strong figure figcaption img table thead tbody tfoot tr th td details "
        "summary pre svg g path defs use text clippath rect tspan fieldset legend label input",
    )
)


RENDERINGS = ("control", "expected", "new", "difference")
DELETION = np.array([[0.0, 0.25, 0.5], [1.0, 0.5, 0.25], [1.0, 0.875, 0.75]])


def make_noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_pick(rank: int = 1, **changes: object) -> PickView:
    attribution_map = np.random.default_rng(rank).normal(1.0, 1.0, (3, 3))
    view = PickView(
        rank=rank,
        id=f"sol-{rank:04d}.jpg",
        uri=f"s3://archive/sol-{rank:04d}.jpg",
        score=float(attribution_map.sum()),
        near_ties=0,
        label=f"class {rank % 4}",
        record={"sol": str(rank)},
        picture=make_noise(rank, 24, 32),
        problem="",
        window=(0.125, 0.0, 0.875, 1.0),
        attribution_map=attribution_map,
        renderings={name: make_noise(10 * rank + i, 16, 16) for i, name in enumerate(RENDERINGS) if rank <= 4},
        measures={
            "image_error": 0.25,
            "rank": 3.0,
            "among": 40.0,
            TRUST_METRIC: 0.5,
            "cosine_new": 0.25,
            "cosine_random": 0.0,
        },
        nearest=(NearView(id="known.jpg", distance=1.5, role="background", picture=make_noise(3, 8, 8)),),
    )
    return replace(view, **changes)


def make_view(pick_count: int = 3, **changes: object) -> RunReportView:
    view = RunReportView(
        title="A run",
        run="r1",
        finished="1 January 2030",
        sources=("s3://archive",),
        background=(),
        plan={"selector": {"kind": "demud", "method": "full", "rank": 5, "start": "svd"}, "explain": 12},
        environment={"python": "3.11", "cpus": 2},
        status_counts={"ready": 90, "duplicate-of": 7, "quarantined": 3},
        candidate_count=90,
        known_count=0,
        requested_picks=pick_count,
        exhausted=False,
        quarantined=(("bad.jpg", "empty file"),),
        timings={"features": 75.0, "selection": 0.5},
        picks=tuple(make_pick(rank) for rank in range(1, pick_count + 1)),
        discovery=None,
    )
    return replace(view, **changes)


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def make_view_named(name: str) -> RunReportView:
    """A run in which everything that is named is named `name`."""
    near = NearView(id=name, distance=1.0, role=name, picture=make_noise(1, 8, 8))
    strange = make_pick(
        1,
        id=name,
        uri=name,
        label=name,
        record={name: name},
        problem=name,
        measures={name: 1.0},
        nearest=(near,),
        deletion=DELETION,
    )
    return make_view(
        title=name,
        run=name,
        finished=name,
        sources=(name,),
        background=(name,),
        plan={name: name, "selector": name},
        environment={name: name},
        status_counts={name: 1},
        quarantined=((name, name),),
        timings={name: 1.0},
        picks=(strange, *(make_pick(rank, id=name, label=name) for rank in range(2, 53))),
        discovery=evaluate_discovery([name, "other", None], [0, 1], 2),
        renderer_description=name,
        model_card={
            name: {name: [name, {name: name}, [name]]},
            "deep": {"a": {"b": {"c": {"d": {"e": {"f": {name: [name]}}}}}}},
        },
    )


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(name: str) -> None:
    text = render_run_report(make_view_named(name))
    page = Page(text)
    text.encode("utf-8")
    assert set(page.tags) <= TAGS
    assert page.tags.count("title") == page.tags.count("style") == 1
    assert not [attribute for attribute in page.attributes if attribute[1].startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert page.tags == Page(render_run_report(make_view_named("plain"))).tags, (
        "a name decides nothing about the page's structure"
    )


def test_reordering_characters_are_shown_by_number() -> None:
    assert html.escape_invisible("a\u202eb") == "a⟨U+202E⟩b"
    assert html.escape_invisible("مريخ 👩‍🚀") == "مريخ 👩‍🚀"


def test_metadata_is_verbatim() -> None:
    page = Page(render_run_report(make_view(picks=(make_pick(record={"note": "one\n\ttwo <b>"}),))))
    assert "one\n\ttwo <b>" in page.text


def test_the_page_fetches_and_runs_nothing() -> None:
    text = render_run_report(make_view(52, discovery=evaluate_discovery(["a", "b", None], [0, 1, 2], 3)))
    page = Page(text)
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.all("src"))
    assert all(value.startswith("#") for value in page.all("href"))
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "http" not in re.sub("http-equiv", "", text)
    assert [value for value in page.all("content") if value.startswith("default-src 'none'; img-src data:")]
    assert not re.search(r"url\((?!#)|@import", text)


def test_links_have_targets_and_identifiers_are_unique() -> None:
    page = Page(render_run_report(make_view(52, discovery=evaluate_discovery(["a", "b", None], [0, 1, 2], 3))))
    identifiers = page.all("id")
    assert len(identifiers) == len(set(identifiers))
    assert {value[1:] for value in page.all("href")} <= set(identifiers)
    assert set(page.all("aria-labelledby")) <= set(identifiers)


def test_every_picture_has_a_text_and_a_size() -> None:
    page = Page(render_run_report(make_view()))
    pictures = page.tags.count("img")
    texts = [value for tag, name, value in page.attributes if tag == "img" and name == "alt"]
    assert len(texts) == pictures
    assert all(texts)
    assert sum(1 for tag, name, _ in page.attributes if (tag, name) == ("img", "width")) == pictures


@pytest.mark.parametrize("picks", [0, 1, 3, CARD_PICKS, CARD_PICKS + 1, CARD_PICKS + 9])
def test_every_pick_is_on_the_page(picks: int) -> None:
    page = Page(render_run_report(make_view(picks)))
    assert {f"pick-{rank}" for rank in range(1, picks + 1)} <= set(page.all("id"))
    assert page.tags.count("article") == min(picks, CARD_PICKS)
    assert all(f"sol-{rank:04d}.jpg" in page.text for rank in range(1, picks + 1))


@pytest.mark.parametrize("present", [RENDERINGS, RENDERINGS[:3], ("difference", "control"), ("new",)], ids=len)
def test_panels_come_in_one_order(present: tuple[str, ...]) -> None:
    """Whatever was made, and in whatever order, the places are the same; what is missing has its own."""
    renderings = {name: make_noise(i, 16, 16) for i, name in enumerate(present)}
    for picture in (make_noise(9, 24, 32), None):
        text = render_run_report(make_view(picks=(make_pick(renderings=renderings, picture=picture),)))
        assert re.findall(r"<figcaption><strong>(\w+)\.</strong>", text) == [
            "Image",
            "Control",
            "Expected",
            "New",
            "Difference",
        ]
        assert text.count("not made for this pick") == 4 - len(present)
        assert text.count('<div class="absent">image not readable</div>') == (picture is None)


def test_every_picture_is_embedded_once() -> None:
    """Shown small, large and against each other, yet in the file only once."""
    view = make_pick(1, picture=make_noise(7, 300, 400), deletion=DELETION)
    text = render_run_report(make_view(picks=(view,)))
    for name in RENDERINGS:
        encoded = html.EmbeddedPhoto.encode(cards.enlarge_coarse(view.renderings[name]), cards.MAX_PANEL_BYTES).uri
        assert text.count(encoded) == 1, name
    pictures = re.findall(r"data:image/jpeg;base64,[\w+/=]+", text)
    assert len(pictures) == len(set(pictures)) == 4 + 5, "photo, map, thumbnail, one near; image and four renderings"


def test_renderings_are_all_on_one_scale() -> None:
    """A flat grey and a faint difference stay what they are: nothing is stretched, and enlarging adds no light."""
    faint = np.full((16, 16, 3), 128, dtype=np.uint8)
    faint[:, 8:] = 131
    encoded = cards.enlarge_coarse(faint)
    assert max(encoded.shape) == 256
    assert 126 <= encoded.min() <= encoded.max() <= 133
    large = make_noise(1, 224, 224)
    assert cards.enlarge_coarse(large) is large


def test_a_picture_opens_large_and_closes_without_script() -> None:
    """Each has a box that enlarges it, named for those who cannot see it, and a label that closes it."""
    page = Page(render_run_report(make_view(1)))
    boxes = [value for value in page.all("id") if value.startswith("zoom-")]
    assert boxes == [f"zoom-1-{name}" for name in ("photo", "where", "image", *RENDERINGS)]
    assert boxes == [value for tag, name, value in page.attributes if (tag, name) == ("label", "for")]
    assert page.all("type").count("checkbox") == len(boxes)
    assert sum(1 for tag, name, _ in page.attributes if (tag, name) == ("input", "autocomplete")) == len(boxes) + 3


def test_control_and_expected_can_be_compared_if_both_exist() -> None:
    both, half = make_pick(1), make_pick(2, renderings={"control": make_noise(1, 16, 16), "new": make_noise(2, 16, 16)})
    page = Page(render_run_report(make_view(picks=(both, half))))
    assert page.all("type").count("radio") == 3
    assert set(page.all("name")) >= {"mode-1"}
    assert "mode-2" not in page.all("name")
    text = render_run_report(make_view(picks=(both,)))
    assert "prefers-reduced-motion" in text
    assert 'tabindex="0"' in text


@pytest.mark.parametrize(
    ("changes", "message", "absent_message"),
    [
        (
            {"is_trusted": False, "threshold": 0.75},
            "Faithfulness (cosine, difference) is 0.500, below the threshold of 0.750",
            "pass the",
        ),
        ({"is_trusted": False, "measures": {}}, "Faithfulness (cosine, difference) is not available", "below the"),
        ({"is_trusted": True, "threshold": 0.25}, "renderings pass the faithfulness check", "Do not read much"),
        ({"is_trusted": None}, "not calibrated", "Do not read much"),
        ({"is_trusted": None, "renderings": {}}, "No renderings of control", "not calibrated"),
    ],
)
def test_the_badge_says_how_far_to_trust_renderings(
    changes: dict[str, object], message: str, absent_message: str
) -> None:
    text = Page(render_run_report(make_view(picks=(make_pick(**changes),)))).text
    card = text[
        text.index("The outline is") : text.index("How faithful the renderings are", text.index("The outline is"))
    ]
    assert message in card
    assert absent_message not in card
    assert ("Do not read much into these pictures" in card) == (changes["is_trusted"] is False)


def test_every_measure_has_a_group_a_title_and_a_meaning() -> None:
    """Every measure has its place, its title and its meaning; one that nobody knows is shown as it is named."""
    assert {key for _, keys in cards.MEASURE_GROUPS for key in keys} | {"among"} == set(METRIC_DEFINITIONS)
    numbers = {key: 0.5 for key in METRIC_DEFINITIONS} | {
        "rank": 2.0,
        "among": 64.0,
        "psnr": float("nan"),
        "odd <b>": 1.0,
    }
    text = render_run_report(make_view(picks=(make_pick(measures=numbers),)))
    page = Page(text)
    for key, measure in METRIC_DEFINITIONS.items():
        if key != "among":
            assert page.text.count(measure.title) >= 2, "at the pick and over the run"
            assert measure.meaning in page.all("title")
            assert measure.meaning in page.text
    assert "2 of 64" in page.text
    assert "odd <b>" in page.text
    assert "not available" in page.text


def test_the_summary_counts_picks_without_cards() -> None:
    """The distribution is the run's, not that of the picks that are shown at large."""
    few, more = (
        tuple(make_pick(r, is_trusted=True, threshold=0.25) for r in range(1, n + 1))
        for n in (CARD_PICKS, CARD_PICKS + 9)
    )
    assert f"of {CARD_PICKS} checked" in render_run_report(make_view(picks=few))
    assert f"of {CARD_PICKS + 9} checked" in render_run_report(make_view(picks=more))


def test_the_faithfulness_section_summarizes_the_picks() -> None:
    picks = [
        make_pick(
            i,
            measures={TRUST_METRIC: i / 8, "cosine_new": 0.125, "cosine_random": -0.1},
            threshold=0.25,
            is_trusted=i >= 2,
        )
        for i in (1, 2, 3)
    ]
    page = Page(render_run_report(make_view(picks=tuple(picks), renderer_description="A network made them.")))
    text = " ".join(page.text.split())
    assert "A network made them." in text
    assert "the difference has the higher median cosine: 0.250 against 0.125 of the residual" in text
    assert "over the 3 picks that have both" in text
    assert "2 of 3 picks pass the check: a cosine (difference) of at least 0.250. The others carry a warning." in text
    assert [
        value
        for value in page.all("aria-label")
        if value.startswith("Cosines over the picks, medians: cosine, difference 0.25")
    ]
    none = make_pick(1, renderings={}, measures={})
    assert 'id="faithful"' not in render_run_report(make_view(picks=(none,)))
    assert "No pick has renderings" in render_run_report(make_view(picks=(none,), renderer_description="Nothing."))
    odd = make_pick(
        1, measures={TRUST_METRIC: float("nan"), "cosine_new": 0.5}, threshold=float("nan"), is_trusted=None
    )
    assert "higher median" not in render_run_report(make_view(picks=(odd,)))


def test_any_model_card_is_shown() -> None:
    card = {
        "scores": {"mars": {"psnr": 14.25}},
        "licence": "",
        "shipped": True,
        "losses": [1.0, 0.5],
        "epochs": [{"n": 1}, {"n": 2}],
        "many": list(range(500)),
        "none": {},
        "odd": {1: None},
        "nan": float("nan"),
        "<b>": "<script>",
    }
    page = Page(render_run_report(make_view(model_card=card)))
    for message in ("14.25", "not given", "yes", "1, 0.5", "and 440 more", "<script>", "<b>", "nan"):
        assert message in page.text, message
    assert "script" not in page.tags


@pytest.mark.parametrize(
    ("kind", "message", "absent_message"),
    [
        ("split", "cells that add up to 8.000, the score", "painted over"),
        (
            "energy",
            "The residual’s energy in 2 × 2 cells, never negative, that add up to 8.000, the score",
            "painted over",
        ),
        ("occlusion", "The shares do not add up to the score. The strongest takes 5.00", "even split"),
    ],
)
def test_a_map_says_what_it_shows(kind: str, message: str, absent_message: str) -> None:
    attribution_map = np.array([[5.0, 1.0], [1.0, 1.0]])
    text = " ".join(
        Page(
            render_run_report(
                make_view(picks=(make_pick(attribution_map=attribution_map, score=8.0, attribution_kind=kind),))
            )
        ).text.split()
    )
    assert message in text
    assert absent_message not in text
    assert cards.ATTRIBUTION_MEANINGS[kind] in text


@pytest.mark.parametrize(
    "deletion",
    [
        None,
        np.zeros((3, 0)),
        np.zeros((3, 1)),
        np.full((3, 4), np.nan),
        np.zeros(3),
        np.zeros((2, 5)),
        DELETION,
        DELETION * -1,
    ],
)
def test_the_deletion_chart_needs_a_finite_curve(deletion: np.ndarray | None) -> None:
    text = render_run_report(make_view(picks=(make_pick(deletion=deletion),)))
    assert ("Novelty left when cells are painted over" in text) == (
        deletion is DELETION or (deletion is not None and deletion.shape == (3, 3))
    )


def test_the_page_says_what_is_missing() -> None:
    gone = make_pick(
        1, picture=None, problem="the file was deleted", attribution_map=None, renderings={}, measures={}, nearest=()
    )
    half = make_pick(2, renderings={"control": make_noise(1, 16, 16)})
    late = make_pick(13, renderings={}, nearest=(NearView(id="n", distance=1.0, role="pick 1", picture=None),))
    page = Page(render_run_report(make_view(picks=(gone, half, late))))
    assert "the file was deleted" in page.text
    assert "The image cannot be shown" in page.text
    assert "No map of where it is new" in page.text
    assert page.text.count("not made for this pick") == 3
    assert "this plan renders the first 12 picks" in page.text
    assert "#pick-1" in page.all("href")


def test_a_card_without_a_map_says_the_true_reason() -> None:
    bare = {"attribution_map": None, "renderings": {"control": make_noise(1, 16, 16)}}
    view = make_view(
        picks=(
            make_pick(1, novelty_note="nothing was seen before this pick", **bare),
            make_pick(2, explanation_problem="the file was deleted", **bare),
            make_pick(3, **bare),
        )
    )
    text = " ".join(Page(render_run_report(view)).text.split())
    assert "No map of where it is new: nothing was seen before this pick." in text
    assert "not made for this pick: nothing was seen before this pick" in text
    assert (
        "No map of where it is new: the image could not be read when it was explained (the file was deleted)." in text
    )
    assert "No map of where it is new was made for this pick." in text


def test_a_run_without_requested_renderings_says_so_once() -> None:
    picks = tuple(make_pick(rank, renderings={}, measures={}) for rank in (1, 2, 3))
    plan = {"selector": {"kind": "demud"}, "explain": 0}
    text = " ".join(Page(render_run_report(make_view(picks=picks, plan=plan))).text.split())
    assert text.count("since none were requested (--explain 0)") == 1
    assert "No renderings of control" not in text
    assert "How faithful" not in text


def test_notes_are_shown_and_the_environment_is_a_list() -> None:
    environment = {"machine": "Linux x86_64", "packages": {"numpy": "2.1", "torch": "not installed"}}
    notes = ("3 images of the source are in the background too.", "labels.csv: <b>")
    page = Page(render_run_report(make_view(notes=notes, environment=environment)))
    assert all(note in page.text for note in notes)
    assert "not installed" in page.text
    assert "{" not in page.text[page.text.index("Environment") :]


def test_extreme_pictures_and_numbers_are_shown() -> None:
    strip = make_pick(1, picture=make_noise(1, 1, 600), window=(-1.0, 0.0, float(2), 1.0))
    empty = make_pick(2, window=(0.5, 0.5, 0.5, 0.5), attribution_map=np.zeros((2, 2)), score=0.0)
    wild = make_pick(
        3, score=float("nan"), attribution_map=np.full((2, 2), np.nan), measures={"a": float("inf"), "b": -1e-12}
    )
    text = render_run_report(make_view(picks=(strip, empty, wild)))
    assert "not available" in text
    assert "not finite" in text


def test_the_same_view_gives_the_same_page() -> None:
    labelled = {"discovery": evaluate_discovery(["a", "b", "a"], [0, 1, 2], 3)}
    assert render_run_report(make_view(52, **labelled)) == render_run_report(make_view(52, **labelled))


def test_discovery_is_shown_only_with_labels() -> None:
    without, with_labels = (
        render_run_report(make_view()),
        render_run_report(make_view(discovery=evaluate_discovery(["a", "b", "c"], [0, 1], 2))),
    )
    assert "nAUC" not in without
    assert 'id="discovery"' not in without
    page = Page(with_labels)
    assert "nAUC at t = 2" in page.text
    assert "2 of 3 classes found" in page.text
    assert "not defined" in page.text, "whi2018 at t below the number of classes"
    assert "Not found within 2 picks" in page.text


def test_the_ledger_adds_up() -> None:
    text = render_run_report(make_view(status_counts={"ready": 1200, "skipped": 30, "duplicate-of": 4}))
    assert '<td class="n" id="all-inputs">1,234</td>' in text
    rows = re.findall(r'<tr><th scope="row">([\w-]+)</th><td>[^<]*</td><td class="n">([\d,]+)</td></tr>', text)
    assert rows == [("ready", "1,200"), ("duplicate-of", "4"), ("skipped", "30")]


def test_quarantine_is_listed_then_counted() -> None:
    quarantined = tuple((f"bad-{i}.jpg", "empty file") for i in range(run_report.MAX_QUARANTINED + 20))
    page = Page(render_run_report(make_view(quarantined=quarantined)))
    assert f"bad-{run_report.MAX_QUARANTINED - 1}.jpg" in page.text
    assert f"bad-{run_report.MAX_QUARANTINED}.jpg" not in page.text
    assert "And 20 more" in page.text


def test_the_lead_says_how_the_selection_ended() -> None:
    assert "It stopped at 3 of the 9 requested" in " ".join(
        Page(render_run_report(make_view(requested_picks=9, exhausted=True))).text.split()
    )
    assert "The hollow point is pick 1" in render_run_report(make_view())
    assert "The hollow point is pick 1" not in render_run_report(make_view(known_count=5))
    assert "this run is a baseline" in render_run_report(make_view(plan={"selector": {"kind": "random"}}))


def make_worst_cards(pick_count: int) -> tuple[PickView, ...]:
    """Picks with all panels and numbers, of noise, which does not compress."""
    worst, small, near = make_noise(1, 640, 640), make_noise(2, 256, 256), make_noise(3, 640, 480)
    nearest = tuple(NearView(id=f"n{i}", distance=1.0, role="background", picture=near) for i in range(5))
    details = {
        "renderings": dict.fromkeys(RENDERINGS, small),
        "measures": dict.fromkeys(METRIC_DEFINITIONS, 0.123),
        "is_trusted": False,
    }
    deletion = np.linspace(0, 1, 90).reshape(3, 30)
    return tuple(
        make_pick(rank, picture=worst, nearest=nearest, deletion=deletion, **details)
        for rank in range(1, pick_count + 1)
    )


def test_size_of_a_card_is_bounded() -> None:
    """What one more card and one more thumbnail cost, of the worst pictures: 50 and 250 of them are under 20 MB."""
    one_size, two_size = (
        len(render_run_report(make_view(picks=make_worst_cards(pick_count)))) for pick_count in (1, 2)
    )
    thumb = len(cards.encode_thumb(make_worst_cards(1)[0].picture).uri) + 1000
    assert 50 * (two_size - one_size) + 250 * thumb + one_size < 20_000_000


def test_size_is_bounded_whatever_the_pictures() -> None:
    """By the budgets of the pictures, all used up, and the text around them."""
    bare = [
        len(re.sub(r"base64,[\w+/=]+", "", render_run_report(make_view(picks=make_worst_cards(pick_count)))))
        for pick_count in (1, 2)
    ]
    card = (
        cards.MAX_PHOTO_BYTES
        + cards.MAX_OVERLAY_BYTES
        + len(cards.PANEL_TEXTS) * cards.MAX_PANEL_BYTES
        + 6 * cards.MAX_THUMB_BYTES
    )
    thumb = cards.MAX_THUMB_BYTES * 4 // 3 + 1000
    assert 50 * (card * 4 // 3 + bare[1] - bare[0]) + 250 * thumb + bare[0] < 20_000_000


@pytest.mark.slow
def test_size_of_a_page_is_bounded() -> None:
    rest = [make_pick(rank, picture=make_noise(1, 640, 640)) for rank in range(51, 301)]
    assert len(render_run_report(make_view(picks=(*make_worst_cards(50), *rest))).encode()) < 20_000_000


def test_the_overlay_stays_in_its_window_and_colors_signs() -> None:
    grey = np.full((40, 80, 3), 120, dtype=np.uint8)
    attribution_map = np.array([[4.0, -4.0], [4.0, -4.0]])
    overlay = charts.overlay_map(grey, attribution_map, (0.25, 0.0, 0.75, 1.0)).astype(int)
    red, blue = overlay[..., 0], overlay[..., 2]
    assert (red[:, :20] == blue[:, :20]).all()
    assert (red[:, 60:] == blue[:, 60:]).all()
    assert (red[:, 22] > blue[:, 22]).all()
    assert (red[:, 57] < blue[:, 57]).all()
    assert charts.colorize_map(np.zeros((1, 1)), 1.0)[0, 0, 3] == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (735.86, "735.9"),
        (6712.4, "6,712"),
        (1234567.0, "1,234,567"),
        (0.3141592, "0.3142"),
        (-2.5, "−2.500"),
        (1e-9, "1.00 × 10^−9"),
        (3.2e12, "3.20 × 10^12"),
        (-5e-324, "−4.94 × 10^−324"),
        (float("nan"), "not available"),
    ],
)
def test_numbers_are_formatted_with_significant_digits(value: float, text: str) -> None:
    assert html.format_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.031, "0.03 s"), (12.4, "12.4 s"), (192, "3 min 12 s"), (7500, "2 h 05 min")]
)
def test_durations_are_formatted_in_readable_units(value: float, text: str) -> None:
    assert format_duration(value) == text
