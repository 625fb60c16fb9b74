"""The report page: nothing hostile gets through, nothing is fetched, everything is there."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from interpdisc_core import cards, charts, pages, report
from interpdisc_core.cards import NearView, PickView
from interpdisc_core.evaluation import discovery
from interpdisc_core.measures import MEASURES, TRUST
from interpdisc_core.report import RunView, render

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


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pick(rank: int = 1, **changes: object) -> PickView:
    where = np.random.default_rng(rank).normal(1.0, 1.0, (3, 3))
    made = PickView(
        rank=rank, id=f"sol-{rank:04d}.jpg", uri=f"s3://archive/sol-{rank:04d}.jpg", score=float(where.sum()), near_ties=0,
        label=f"class {rank % 4}", record={"sol": str(rank)}, picture=noise(rank, 24, 32), problem="",
        window=(0.125, 0.0, 0.875, 1.0), where=where,
        renderings={name: noise(10 * rank + i, 16, 16) for i, name in enumerate(RENDERINGS) if rank <= 4},
        numbers={"image_error": 0.25, "rank": 3.0, "among": 40.0, TRUST: 0.5, "cosine_new": 0.25, "cosine_random": 0.0},
        nearest=(NearView(id="known.jpg", distance=1.5, role="background", picture=noise(3, 8, 8)),),
    )  # fmt: skip
    return replace(made, **changes)


def run(many: int = 3, **changes: object) -> RunView:
    made = RunView(
        title="A run", run="r1", finished="1 January 2030", sources=("s3://archive",), background=(),
        plan={"selector": {"kind": "demud", "method": "full", "rank": 5, "start": "svd"}, "explain": 12},
        environment={"python": "3.11", "cpus": 2}, counts={"ready": 90, "duplicate-of": 7, "quarantined": 3},
        candidates=90, known=0, asked=many, exhausted=False, quarantined=(("bad.jpg", "empty file"),),
        timings={"features": 75.0, "selection": 0.5}, picks=tuple(pick(rank) for rank in range(1, many + 1)),
        discovery=None,
    )  # fmt: skip
    return replace(made, **changes)


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


def named(name: str) -> RunView:
    """A run in which everything that is named is named `name`."""
    near = NearView(id=name, distance=1.0, role=name, picture=noise(1, 8, 8))
    strange = pick(
        1, id=name, uri=name, label=name, record={name: name}, problem=name, numbers={name: 1.0}, nearest=(near,),
        deletion=DELETION,
    )  # fmt: skip
    return run(
        title=name, run=name, finished=name, sources=(name,), background=(name,), plan={name: name, "selector": name},
        environment={name: name}, counts={name: 1}, quarantined=((name, name),), timings={name: 1.0},
        picks=(strange, *(pick(rank, id=name, label=name) for rank in range(2, 53))),
        discovery=discovery([name, "other", None], [0, 1], 2), rendered_by=name,
        card={name: {name: [name, {name: name}, [name]]}, "deep": {"a": {"b": {"c": {"d": {"e": {"f": {name: [name]}}}}}}}},
    )  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_stay_text(name: str) -> None:
    text = render(named(name))
    page = Page(text)
    text.encode("utf-8")
    assert set(page.tags) <= TAGS
    assert page.tags.count("title") == page.tags.count("style") == 1
    assert not [one for one in page.attributes if one[1].startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert page.tags == Page(render(named("plain"))).tags, "a name decides nothing about the page's structure"


def test_reordering_characters_are_shown_by_number() -> None:
    assert pages.visible("a\u202eb") == "a⟨U+202E⟩b"
    assert pages.visible("مريخ 👩‍🚀") == "مريخ 👩‍🚀"


def test_metadata_is_verbatim() -> None:
    page = Page(render(run(picks=(pick(record={"note": "one\n\ttwo <b>"}),))))
    assert "one\n\ttwo <b>" in page.text


def test_nothing_is_fetched_or_run() -> None:
    text = render(run(52, discovery=discovery(["a", "b", None], [0, 1, 2], 3)))
    page = Page(text)
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.all("src"))
    assert all(value.startswith("#") for value in page.all("href"))
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "http" not in re.sub("http-equiv", "", text)
    assert [value for value in page.all("content") if value.startswith("default-src 'none'; img-src data:")]
    assert not re.search(r"url\((?!#)|@import", text)


def test_links_lead_somewhere_and_identifiers_are_single() -> None:
    page = Page(render(run(52, discovery=discovery(["a", "b", None], [0, 1, 2], 3))))
    identifiers = page.all("id")
    assert len(identifiers) == len(set(identifiers))
    assert {value[1:] for value in page.all("href")} <= set(identifiers)
    assert set(page.all("aria-labelledby")) <= set(identifiers)


def test_every_picture_has_a_text_and_a_size() -> None:
    page = Page(render(run()))
    pictures = page.tags.count("img")
    texts = [value for tag, name, value in page.attributes if tag == "img" and name == "alt"]
    assert len(texts) == pictures
    assert all(texts)
    assert sum(1 for tag, name, _ in page.attributes if (tag, name) == ("img", "width")) == pictures


@pytest.mark.parametrize("picks", [0, 1, 3, report.CARDS, report.CARDS + 1, report.CARDS + 9])
def test_every_pick_is_there(picks: int) -> None:
    page = Page(render(run(picks)))
    assert {f"pick-{rank}" for rank in range(1, picks + 1)} <= set(page.all("id"))
    assert page.tags.count("article") == min(picks, report.CARDS)
    assert all(f"sol-{rank:04d}.jpg" in page.text for rank in range(1, picks + 1))


@pytest.mark.parametrize("there", [RENDERINGS, RENDERINGS[:3], ("difference", "control"), ("new",)], ids=len)
def test_panels_come_in_one_order(there: tuple[str, ...]) -> None:
    """Whatever was made, and in whatever order, the places are the same; what is missing has its own."""
    made = {name: noise(i, 16, 16) for i, name in enumerate(there)}
    for picture in (noise(9, 24, 32), None):
        text = render(run(picks=(pick(renderings=made, picture=picture),)))
        assert re.findall(r"<figcaption><strong>(\w+)\.</strong>", text) == [
            "Image", "Control", "Expected", "New", "Difference"
        ]  # fmt: skip
        assert text.count("not made for this pick") == 4 - len(there)
        assert text.count('<div class="absent">no longer there</div>') == (picture is None)


def test_every_picture_is_there_once() -> None:
    """Shown small, large and against each other, yet in the file only once."""
    one = pick(1, picture=noise(7, 300, 400), deletion=DELETION)
    text = render(run(picks=(one,)))
    for name in RENDERINGS:
        shown = pages.Photo.of(cards.enlarged(one.renderings[name]), cards.PANEL).uri
        assert text.count(shown) == 1, name
    pictures = re.findall(r"data:image/jpeg;base64,[\w+/=]+", text)
    assert len(pictures) == len(set(pictures)) == 4 + 5, "photo, map, thumbnail, one near; image and four renderings"


def test_renderings_are_all_on_one_scale() -> None:
    """A flat grey and a faint difference stay what they are: nothing is stretched, and enlarging adds no light."""
    faint = np.full((16, 16, 3), 128, dtype=np.uint8)
    faint[:, 8:] = 131
    shown = cards.enlarged(faint)
    assert max(shown.shape) == 256
    assert 126 <= shown.min() <= shown.max() <= 133
    large = noise(1, 224, 224)
    assert cards.enlarged(large) is large


def test_a_picture_opens_large_and_closes_without_script() -> None:
    """Each has a box that enlarges it, named for those who cannot see it, and a label that closes it."""
    page = Page(render(run(1)))
    boxes = [value for value in page.all("id") if value.startswith("zoom-")]
    assert boxes == [f"zoom-1-{name}" for name in ("photo", "where", "image", *RENDERINGS)]
    assert boxes == [value for tag, name, value in page.attributes if (tag, name) == ("label", "for")]
    assert page.all("type").count("checkbox") == len(boxes)
    assert sum(1 for tag, name, _ in page.attributes if (tag, name) == ("input", "autocomplete")) == len(boxes) + 3


def test_control_and_expected_are_compared_where_both_are_there() -> None:
    both, half = pick(1), pick(2, renderings={"control": noise(1, 16, 16), "new": noise(2, 16, 16)})
    page = Page(render(run(picks=(both, half))))
    assert page.all("type").count("radio") == 3
    assert set(page.all("name")) >= {"mode-1"}
    assert "mode-2" not in page.all("name")
    text = render(run(picks=(both,)))
    assert "prefers-reduced-motion" in text
    assert 'tabindex="0"' in text


@pytest.mark.parametrize(("changes", "said", "not_said"), [
    ({"trusted": False, "threshold": 0.75}, "Faithfulness (cosine, difference) is 0.500, below the threshold of 0.750", "pass the"),
    ({"trusted": False, "numbers": {}}, "Faithfulness (cosine, difference) is not available", "below"),
    ({"trusted": True, "threshold": 0.25}, "renderings pass the faithfulness check", "Do not read much"),
    ({"trusted": None}, "not calibrated", "Do not read much"),
    ({"trusted": None, "renderings": {}}, "No renderings of control", "not calibrated"),
])  # fmt: skip
def test_badge(changes: dict[str, object], said: str, not_said: str) -> None:
    text = Page(render(run(picks=(pick(**changes),)))).text
    card = text[
        text.index("The outline is") : text.index("How faithful the renderings are", text.index("The outline is"))
    ]
    assert said in card
    assert not_said not in card
    assert ("Do not read much into these pictures" in card) == (changes["trusted"] is False)


def test_numbers_are_grouped_and_told() -> None:
    """Every measure has its place, its title and its meaning; one that nobody knows is shown as it is named."""
    assert {key for _, keys in cards.GROUPS for key in keys} | {"among"} == set(MEASURES)
    numbers = {key: 0.5 for key in MEASURES} | {"rank": 2.0, "among": 64.0, "psnr": float("nan"), "odd <b>": 1.0}
    text = render(run(picks=(pick(numbers=numbers),)))
    page = Page(text)
    for key, measure in MEASURES.items():
        if key != "among":
            assert page.text.count(measure.title) >= 2, "at the pick and over the run"
            assert measure.meaning in page.all("title")
            assert measure.meaning in page.text
    assert "2 of 64" in page.text
    assert "odd <b>" in page.text
    assert "not available" in page.text


def test_picks_beyond_the_cards_count_too() -> None:
    """The distribution is the run's, not that of the picks that are shown at large."""
    few, many = (
        tuple(pick(r, trusted=True, threshold=0.25) for r in range(1, n + 1)) for n in (report.CARDS, report.CARDS + 9)
    )
    assert f"of {report.CARDS} checked" in render(run(picks=few))
    assert f"of {report.CARDS + 9} checked" in render(run(picks=many))


def test_how_faithful_the_run_is() -> None:
    made = [
        pick(i, numbers={TRUST: i / 8, "cosine_new": 0.125, "cosine_random": -0.1}, threshold=0.25, trusted=i >= 2)
        for i in (1, 2, 3)
    ]
    page = Page(render(run(picks=tuple(made), rendered_by="A network made them.")))
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
    none = pick(1, renderings={}, numbers={})
    assert 'id="faithful"' not in render(run(picks=(none,)))
    assert "No pick has renderings" in render(run(picks=(none,), rendered_by="Nothing."))
    odd = pick(1, numbers={TRUST: float("nan"), "cosine_new": 0.5}, threshold=float("nan"), trusted=None)
    assert "higher median" not in render(run(picks=(odd,)))


def test_a_model_card_is_shown_whatever_is_in_it() -> None:
    card = {
        "scores": {"mars": {"psnr": 14.25}}, "licence": "", "shipped": True, "losses": [1.0, 0.5], "epochs": [{"n": 1}, {"n": 2}],
        "many": list(range(500)), "none": {}, "odd": {1: None}, "nan": float("nan"), "<b>": "<script>",
    }  # fmt: skip
    page = Page(render(run(card=card)))
    for said in ("14.25", "not given", "yes", "1, 0.5", "and 440 more", "<script>", "<b>", "nan"):
        assert said in page.text, said
    assert "script" not in page.tags


@pytest.mark.parametrize(("manner", "said", "not_said"), [
    ("split", "cells that add up to 8.000, the score", "painted over"),
    ("energy", "The residual’s energy in 2 × 2 cells, never negative, that add up to 8.000, the score", "painted over"),
    ("occlusion", "The shares do not add up to the score. The strongest takes 5.00", "even split"),
])  # fmt: skip
def test_a_map_says_what_it_shows(manner: str, said: str, not_said: str) -> None:
    where = np.array([[5.0, 1.0], [1.0, 1.0]])
    text = " ".join(Page(render(run(picks=(pick(where=where, score=8.0, manner=manner),)))).text.split())
    assert said in text
    assert not_said not in text
    assert cards.MANNERS[manner] in text


@pytest.mark.parametrize("deletion", [
    None, np.zeros((3, 0)), np.zeros((3, 1)), np.full((3, 4), np.nan), np.zeros(3), np.zeros((2, 5)), DELETION, DELETION * -1,
])  # fmt: skip
def test_deletion_is_drawn_where_there_is_a_curve(deletion: np.ndarray | None) -> None:
    text = render(run(picks=(pick(deletion=deletion),)))
    assert ("Novelty left when cells are painted over" in text) == (
        deletion is DELETION or (deletion is not None and deletion.shape == (3, 3))
    )


def test_what_is_missing_is_said() -> None:
    gone = pick(1, picture=None, problem="the file was deleted", where=None, renderings={}, numbers={}, nearest=())
    half = pick(2, renderings={"control": noise(1, 16, 16)})
    late = pick(13, renderings={}, nearest=(NearView(id="n", distance=1.0, role="pick 1", picture=None),))
    page = Page(render(run(picks=(gone, half, late))))
    assert "the file was deleted" in page.text
    assert "The image cannot be shown" in page.text
    assert "No map of where it is new" in page.text
    assert page.text.count("not made for this pick") == 3
    assert "this plan renders the first 12 picks" in page.text
    assert "#pick-1" in page.all("href")


def test_strange_pictures_and_numbers() -> None:
    strip = pick(1, picture=noise(1, 1, 600), window=(-1.0, 0.0, float(2), 1.0))
    empty = pick(2, window=(0.5, 0.5, 0.5, 0.5), where=np.zeros((2, 2)), score=0.0)
    wild = pick(3, score=float("nan"), where=np.full((2, 2), np.nan), numbers={"a": float("inf"), "b": -1e-12})
    text = render(run(picks=(strip, empty, wild)))
    assert "not available" in text
    assert "not finite" in text


def test_the_same_view_gives_the_same_page() -> None:
    labelled = {"discovery": discovery(["a", "b", "a"], [0, 1, 2], 3)}
    assert render(run(52, **labelled)) == render(run(52, **labelled))


def test_without_labels_there_is_no_discovery() -> None:
    without, with_labels = render(run()), render(run(discovery=discovery(["a", "b", "c"], [0, 1], 2)))
    assert "nAUC" not in without
    assert 'id="discovery"' not in without
    page = Page(with_labels)
    assert "nAUC at t = 2" in page.text
    assert "2 of 3 classes found" in page.text
    assert "not defined" in page.text, "whi2018 at t below the number of classes"
    assert "Not found within 2 picks" in page.text


def test_counts_add_up() -> None:
    text = render(run(counts={"ready": 1200, "skipped": 30, "duplicate-of": 4}))
    assert '<td class="n" id="all-inputs">1,234</td>' in text
    rows = re.findall(r'<tr><th scope="row">([\w-]+)</th><td>[^<]*</td><td class="n">([\d,]+)</td></tr>', text)
    assert rows == [("ready", "1,200"), ("duplicate-of", "4"), ("skipped", "30")]


def test_quarantine_is_listed_then_counted() -> None:
    many = tuple((f"bad-{i}.jpg", "empty file") for i in range(report.QUARANTINED + 20))
    page = Page(render(run(quarantined=many)))
    assert f"bad-{report.QUARANTINED - 1}.jpg" in page.text
    assert f"bad-{report.QUARANTINED}.jpg" not in page.text
    assert "And 20 more" in page.text


def test_what_was_done_is_said() -> None:
    assert "It stopped at 3 of the 9 asked for" in " ".join(Page(render(run(asked=9, exhausted=True))).text.split())
    assert "The hollow point is pick 1" in render(run())
    assert "The hollow point is pick 1" not in render(run(known=5))
    assert "this run is a baseline" in render(run(plan={"selector": {"kind": "random"}}))


def worst_cards(many: int) -> tuple[PickView, ...]:
    """Picks with all panels and numbers, of noise, which does not compress."""
    worst, small, near = noise(1, 640, 640), noise(2, 256, 256), noise(3, 640, 480)
    nearest = tuple(NearView(id=f"n{i}", distance=1.0, role="background", picture=near) for i in range(5))
    told = {"renderings": dict.fromkeys(RENDERINGS, small), "numbers": dict.fromkeys(MEASURES, 0.123), "trusted": False}
    deletion = np.linspace(0, 1, 90).reshape(3, 30)
    return tuple(pick(rank, picture=worst, nearest=nearest, deletion=deletion, **told) for rank in range(1, many + 1))


def test_size_of_a_card_is_bounded() -> None:
    """What one more card and one more thumbnail cost, of the worst pictures: 50 and 250 of them are under 20 MB."""
    one, two = (len(render(run(picks=worst_cards(many)))) for many in (1, 2))
    thumb = len(report._Thumb.of(worst_cards(1)[0]).photo.uri) + 1000
    assert 50 * (two - one) + 250 * thumb + one < 20_000_000


def test_size_is_bounded_whatever_the_pictures() -> None:
    """By the budgets of the pictures, all used up, and the text around them."""
    bare = [len(re.sub(r"base64,[\w+/=]+", "", render(run(picks=worst_cards(many))))) for many in (1, 2)]
    card = cards.PHOTO + cards.HEATED + len(cards.PANELS) * cards.PANEL + 6 * cards.THUMB
    thumb = cards.THUMB * 4 // 3 + 1000
    assert 50 * (card * 4 // 3 + bare[1] - bare[0]) + 250 * thumb + bare[0] < 20_000_000


@pytest.mark.slow
def test_size_of_a_page_is_bounded() -> None:
    rest = [pick(rank, picture=noise(1, 640, 640)) for rank in range(51, 301)]
    assert len(render(run(picks=(*worst_cards(50), *rest))).encode()) < 20_000_000


def test_overlay_keeps_to_its_window_and_tells_signs_apart() -> None:
    grey = np.full((40, 80, 3), 120, dtype=np.uint8)
    where = np.array([[4.0, -4.0], [4.0, -4.0]])
    shown = charts.overlay(grey, where, (0.25, 0.0, 0.75, 1.0)).astype(int)
    red, blue = shown[..., 0], shown[..., 2]
    assert (red[:, :20] == blue[:, :20]).all()
    assert (red[:, 60:] == blue[:, 60:]).all()
    assert (red[:, 22] > blue[:, 22]).all()
    assert (red[:, 57] < blue[:, 57]).all()
    assert charts.heat(np.zeros((1, 1)), 1.0)[0, 0, 3] == 0


@pytest.mark.parametrize(("value", "text"), [
    (0.0, "0"), (735.86, "735.9"), (6712.4, "6,712"), (1234567.0, "1,234,567"), (0.3141592, "0.3142"), (-2.5, "−2.500"),
    (1e-9, "1.00 × 10^−9"), (3.2e12, "3.20 × 10^12"), (-5e-324, "−4.94 × 10^−324"), (float("nan"), "not available"),
])  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert pages.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.031, "0.03 s"), (12.4, "12.4 s"), (192, "3 min 12 s"), (7500, "2 h 05 min")]
)
def test_durations(value: float, text: str) -> None:
    assert pages.seconds(value) == text
