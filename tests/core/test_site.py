"""What is published of a day: nothing hostile gets through, counts are the day's, the same day gives the same bytes."""

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from interpdisc_core import digest, site
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.plan import Plan
from interpdisc_core.representations import PixelValues
from interpdisc_core.runs import Explanation, Inputs, Run
from interpdisc_core.site import atom, day_page, index, tables, words
from interpdisc_core.site.day import Day
from interpdisc_core.site.publish import FOLDER
from interpdisc_core.storage import Place
from tests.core.test_report import HOSTILE

ATOM = "{http://www.w3.org/2005/Atom}"
LEDGER = {"ready": 7, "duplicate-of": 2, "quarantined": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """(address, SHA-256) of a few small photos."""
    folder, made = tmp_path_factory.mktemp("photos"), []
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        path = folder / f"{seed}.png"
        Image.fromarray(pixels).save(path)
        made.append((path.as_uri(), digest.of_bytes(path.read_bytes())))
    return made


def key(number: int) -> str:
    return f"{number:016x}"


def picked(rank: int, photo: tuple[str, str], name: str = "", **more: Any) -> dict[str, Any]:
    id = name or f"image-{rank}.jpg"
    return {
        "rank": rank, "id": id, "key": key(rank), "uri": photo[0], "sha256": photo[1], "label": name or "rock",
        "observation": f"{name}{rank}", "members": [id, "other.jpg"], "instrument": name or f"CAM_{rank % 2}", "filter": name or "0",
        "sol": 812, "taken": name or "2026-01-01T10:00:00Z", "received": name, "lmst": name or "14:02:11", "site": 6, "drive": 120,
        "mast_az": 120.5, "mast_el": -12.25, "link": name or "https://example.org/raw/1?a=1&b=2", "radiometry": name or "display8 colour",
        "score": 10.0 / rank, "prior_score": 9.0, "novelty_rank": 0.00025 * rank, "alarms_a_day": 0.2 * rank, "tile": None,
        "frame": [32, 24], "nearest": [{"id": name or "near.jpg", "day": name or "sol-00800", "distance": 1.5}], "new": True,
        "seen_again": {"count": 2, "days": [name or "sol-00815"]}, "trusted": None, "numbers": {"cosine_difference": 0.5},
        "verdict": {"verdict": name or "interesting", "by": name or "Ann", "at": name or "2026-01-02T03:04:05.000000+00:00"},
        "record": {name or "title": name or "A rock", "nested": {name or "a": [1, None, name or "b"]}}, **more,
    }  # fmt: skip


def told(photos: list[tuple[str, str]], sol: int = 812, picks: int = 3, name: str = "", **more: Any) -> dict[str, Any]:
    """A day in which everything that is named is named `name`, where one is given."""
    laned = {"id": name or "lane.jpg", "key": key(900), "uri": photos[0][0], "sha256": photos[0][1]}
    return {
        "day": f"sol-{sol:05d}", "sol": sol, "mission": name or "MSL", "revision": 1, "run": name or "none",
        "finished": name or f"2026-01-{1 + sol % 28:02d}T06:00:00+00:00", "plan_digest": name or "abc", "ledger": LEDGER, "inputs": 10,
        "received": 8, "late": 1, "superseded": 2, "coverage": 0.9, "instruments": {name or "CAM_0": 5, "CAM_1": 3},
        "radiometry": {name or "display8 colour": 8}, "horizon": {"days": [f"sol-{s:05d}" for s in range(sol - 30, sol)], "images": 900},
        "timings": {name or "extract": 12.5}, "picks": [picked(rank, photos[rank % 4], name) for rank in range(1, picks + 1)],
        "strata": [{"name": name or "CAM_0", "radiometry": [name or "display8"], "images": 5, "horizon_images": 500, "spike": True,
                    "alarms": 14, "expected_alarms": 2.1,
                    "picks": [{"rank": 1, "id": name or "image-1.jpg", "key": key(1), "score": 3.0, "novelty_rank": 0.01}]}],
        "tracked": [{**laned, "like": name or "liked.jpg", "like_day": name or "sol-00700", "distance": 2.0}],
        "absorbed": [{**laned, "like": name or "dull.jpg"}], "known": [name or "known.jpg"],
        "beyond_budget": [{**laned, "instrument": name or "CAM_1", "score": 3.0}],
        "artefacts": [{**laned, "reasons": [name or "black"], "by": name or "rule"}],
        "quarantined": [{"id": name or "bad.jpg", "why": name or "empty file", "key": key(901)}],
        "diff": {"before": f"sol-{sol - 1:05d}", "instruments": {name or "CAM_0": [4, 5]}, "images": [6, 8], "picks_like_before": 1},
        "discoveries": [{"id": name or "old.jpg", "key": key(902), "day": name or "sol-00790", "seen_again": 3, "by": [name or "image-1.jpg"]}],
        **more,
    }  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> Place:
    return Place.of(tmp_path / "archive")


def put(archive: Place, day: dict[str, Any]) -> site.Published:
    archive.write_json(f"days/{day['day']}/day.json", day)
    return site.publish(archive, day["day"])


class Page(HTMLParser):
    """Tags, attributes, text and comments, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.comments: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def all(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def everything(archive: Place) -> dict[str, bytes]:
    root = Path(archive.url, FOLDER)
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def page_of(archive: Place, day: str = "sol-00812") -> str:
    return archive.read(f"{FOLDER}/days/{day}/index.html").decode()


@pytest.mark.parametrize(
    "name", [*HOSTILE, "<!--slot:banner-->", "javascript:alert(1)", "]]></feed>"], ids=range(len(HOSTILE) + 3)
)
def test_names_stay_text_everywhere(archive: Place, photos: list[tuple[str, str]], name: str) -> None:
    """Page, index, search and feed have the structure that plain names give them, whatever the names are."""
    plain = Place.of(f"{archive.url}-plain")
    put(plain, told(photos, name="plain"))
    put(archive, told(photos, name=name))
    for path in ("days/sol-00812/index.html", "index.html", "index/sols-000750.html"):
        text, usual = (place.read(f"{FOLDER}/{path}").decode() for place in (archive, plain))
        page, as_usual = Page(text), Page(usual)
        assert page.tags == as_usual.tags
        assert page.comments == as_usual.comments
        assert not [one for one in page.attributes if one[1].startswith("on")]
        assert not [
            value
            for value in page.all("href") + page.all("src")
            if re.match(r"\s*(javascript|vbscript|data:text)", value, re.IGNORECASE)
        ]
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    script = archive.read(f"{FOLDER}/index/sols-000750.js").decode("ascii")
    assert "<" not in script
    [part, days] = json.loads(script.removeprefix("interpdiscDays(").removesuffix(");\n"))
    assert (part, len(days[0][4])) == ("sols-000750", 3)
    feed = ElementTree.fromstring(archive.read(f"{FOLDER}/feed.atom"))
    assert [child.tag for child in feed.iter()] == [
        child.tag for child in ElementTree.fromstring(plain.read(f"{FOLDER}/feed.atom")).iter()
    ]
    for path in everything(archive):
        assert re.fullmatch(r"[A-Za-z0-9._/-]+", path), path
        assert ".." not in path


def test_the_page_needs_nothing_and_runs_nothing(archive: Place, photos: list[tuple[str, str]]) -> None:
    put(archive, told(photos))
    text = page_of(archive)
    page = Page(text)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.all("src"))
    assert not re.search(r"url\((?!#)|@import", text)
    assert [value for value in page.all("content") if value.startswith("default-src 'none'; img-src data:")]
    assert set(page.all("href")) - {value for value in page.all("href") if value.startswith("#")} == {
        "../../index.html", "https://example.org/raw/1?a=1&b=2", "picks.csv", "picks.parquet", "picks.json", "day.json",
    }  # fmt: skip
    identifiers = page.all("id")
    assert len(identifiers) == len(set(identifiers))
    assert {value[1:] for value in page.all("href") if value.startswith("#")} <= set(identifiers)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("https://mars.nasa.gov/raw/1?x=1&y=2", True), ("http://example.org", True), ("javascript:alert(1)", False),
        ("//example.org/x", False), ("https://user@example.org/", False), ("https://example.org/a b", False), ("", False),
        ("https:/\\example.org", False), ("data:text/html,x", False), ("HTTPS://example.org/", False), ("https://e.org/\u202e", False),
    ],
)  # fmt: skip
def test_only_web_addresses_become_links(archive: Place, photos: list[tuple[str, str]], link: str, shown: bool) -> None:
    put(archive, told(photos, picks=1) | {"picks": [picked(1, photos[0], link=link)]})
    page = Page(page_of(archive))
    found = [value for tag, name, value in page.attributes if (tag, name) == ("a", "rel")]
    assert (link in page.all("href")) == shown
    assert bool(found) == shown
    assert all("noreferrer" in value for value in found)


def test_counts_are_the_days(archive: Place, photos: list[tuple[str, str]]) -> None:
    day = told(photos, picks=5)
    put(archive, day)
    text = page_of(archive)
    page = Page(text)
    assert page.tags.count("article") == 5
    assert re.search(r'id="all-inputs">10<', text)
    assert "does not add up" not in text
    for expected in ("8 images, 5 observations picked", "4 of them are rarer than one a day", "Novelty spike on CAM_0",
                     "14 images are beyond the threshold, where 2.1 are usual", "the last 30 sols, 900 images", "90 %",
                     "bad.jpg", "empty file", "Against Sol 811", "1 pick is nearest to a pick of that day", "known.jpg",
                     "old.jpg", "3 images today", "Seen again since: 2 images, Sol 815", "site 6, drive 120", "120.5°, −12.2°"):  # fmt: skip
        assert expected in re.sub(r"\s+", " ", page.text), expected
    put(archive, day | {"inputs": 11})
    assert "does not add up" in page_of(archive)


def test_an_empty_day_and_a_day_without_calibration_are_pages_too(
    archive: Place, photos: list[tuple[str, str]]
) -> None:
    put(archive, {"day": "sol-00900", "sol": 900})
    assert "Nothing to look at came in" in page_of(archive, "sol-00900")
    first = told(photos)
    first["horizon"] = {"days": [], "images": 0}
    first["picks"] = [one | {"novelty_rank": None, "alarms_a_day": None} for one in first["picks"]]
    put(archive, first)
    assert page_of(archive).count("no calibration yet") == 1 + 3
    assert "nothing is calibrated" in page_of(archive)


def test_a_picture_that_is_gone_costs_only_itself(archive: Place, photos: list[tuple[str, str]]) -> None:
    gone = picked(2, ("file:///nowhere/x.png", "0" * 64))
    changed = picked(3, (photos[0][0], "1" * 64))
    made = put(archive, told(photos) | {"picks": [picked(1, photos[1]), gone, changed]})
    assert list(made.thumbs) == [key(1)]
    text = page_of(archive)
    assert text.count("no longer there") == 2
    assert "changed since it was listed" in text
    assert archive.names(f"{FOLDER}/days/sol-00812/thumbs") == [f"{key(1)}.jpg"]


def test_the_same_day_gives_the_same_bytes(archive: Place, photos: list[tuple[str, str]]) -> None:
    first = put(archive, told(photos))
    before = everything(archive)
    assert put(archive, told(photos)) == first
    assert everything(archive) == before


def test_days_may_come_in_any_order(archive: Place, photos: list[tuple[str, str]]) -> None:
    """Index, search and feed are the same, also when a day is done again; and no day touches another's folder."""
    days = [told(photos, sol, picks=1) for sol in (499, 500, 812, 813)]
    days.append(told(photos, 3, picks=1) | {"day": "date-2026-01-05", "sol": None})
    orders = [days, days[::-1], [days[2], days[0], days[4], days[2], days[3], days[1]]]
    found = []
    for number, order in enumerate(orders):
        place = Place.of(f"{archive.url}-{number}")
        for day in order:
            others = {path: data for path, data in everything(place).items() if path.startswith("days/")}
            put(place, day)
            after = everything(place)
            assert all(after[path] == data for path, data in others.items() if day["day"] not in path)
        found.append(
            {path: data for path, data in everything(place).items() if path != "feed.atom"}
        )  # it names its archive
    assert found[0] == found[1] == found[2]
    assert archive.names(FOLDER) == []


def test_reindexing_changes_nothing_that_is_right(archive: Place, photos: list[tuple[str, str]]) -> None:
    for sol in (499, 812):
        put(archive, told(photos, sol))
    before = everything(archive)
    archive.remove(f"{FOLDER}/days.json")
    archive.write(f"{FOLDER}/index/sols-999999.json", b"{}")
    archive.remove(f"{FOLDER}/index/sols-000750.json")
    assert site.reindex(archive) == 2
    assert everything(archive) == before


def test_tables_agree_and_are_keyed_by_id(archive: Place, photos: list[tuple[str, str]]) -> None:
    day = told(photos)
    day["picks"][1]["id"] = 'a "quoted", name\nof two lines'
    put(archive, day)
    place = archive / f"{FOLDER}/days/sol-00812"
    parquet = {row["id"]: row for row in pq.read_table(io.BytesIO(place.read("picks.parquet"))).to_pylist()}
    comma = {row["id"]: row for row in csv.DictReader(io.StringIO(place.read("picks.csv").decode(), newline=""))}
    keyed = place.read_json("picks.json")["picks"]
    assert [*parquet] == [*comma] == [*keyed] == [pick["id"] for pick in day["picks"]]
    for id, row in parquet.items():
        assert list(row) == tables.SCHEMA.names == list(comma[id])
        assert keyed[id] | {"members": row["members"], "record": row["record"]} == row
        assert json.loads(row["record"]) == keyed[id]["record"]
        assert float(comma[id]["score"]) == row["score"]
        assert (row["sol"], row["nearest_id"], row["verdict"], row["mast_el"]) == (
            812,
            "near.jpg",
            "interesting",
            -12.25,
        )
    assert json.loads(place.read("day.json")) == day


def test_two_picks_of_one_id_are_both_kept(archive: Place, photos: list[tuple[str, str]]) -> None:
    put(archive, told(photos) | {"picks": [picked(1, photos[0], id="same"), picked(2, photos[1], id="same")]})
    kept = archive.read_json(f"{FOLDER}/days/sol-00812/picks.json")["picks"]
    assert list(kept) == ["same", f"same {key(2)}"]


def entries(archive: Place) -> list[ElementTree.Element]:
    return ElementTree.fromstring(archive.read(f"{FOLDER}/feed.atom")).findall(f"{ATOM}entry")


def valid(data: bytes) -> None:
    """What RFC 4287 asks of a feed."""
    feed = ElementTree.fromstring(data)
    assert feed.tag == f"{ATOM}feed"
    for one in [feed, *feed.findall(f"{ATOM}entry")]:
        for name in ("id", "title", "updated"):
            assert len(one.findall(f"{ATOM}{name}")) == 1
        assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", one.findtext(f"{ATOM}id") or "")
        for name in ("updated", "published"):
            for moment in one.findall(f"{ATOM}{name}"):
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", moment.text or "")
        assert len([link for link in one.findall(f"{ATOM}link") if link.get("rel") == "alternate"]) == 1
        assert all(re.fullmatch(r"[\x21-\x7e]+", link.get("href", "")) for link in one.findall(f"{ATOM}link"))
    assert feed.findtext(f"{ATOM}author/{ATOM}name")
    identifiers = [one.findtext(f"{ATOM}id") for one in feed.findall(f"{ATOM}entry")]
    assert len(identifiers) == len(set(identifiers))


def test_entries_keep_their_ids_over_revisions(archive: Place, photos: list[tuple[str, str]]) -> None:
    day = told(photos, finished="2026-01-05T06:00:00+00:00")
    put(archive, day)
    valid(archive.read(f"{FOLDER}/feed.atom"))
    first = {one.findtext(f"{ATOM}id"): one for one in entries(archive)}
    again = told(photos, picks=4, revision=2, finished="2026-01-06T06:00:00+00:00")
    better = again["picks"][1] | {"id": "image-2-full.jpg", "key": key(77)}
    again["picks"] = [again["picks"][0] | {"new": False}, better | {"new": False}, *again["picks"][2:]]
    put(archive, again)
    valid(archive.read(f"{FOLDER}/feed.atom"))
    second = {one.findtext(f"{ATOM}id"): one for one in entries(archive)}
    assert len(second) == 4
    assert set(first) < set(second)
    times = [(one.findtext(f"{ATOM}published"), one.findtext(f"{ATOM}updated")) for one in entries(archive)]
    then, now = "2026-01-05T06:00:00Z", "2026-01-06T06:00:00Z"
    assert times == [(then, then), (then, now), (then, then), (now, now)], "only what came or changed is new"
    before = archive.read(f"{FOLDER}/feed.atom")
    put(archive, again)
    assert archive.read(f"{FOLDER}/feed.atom") == before


def test_the_feed_has_the_last_days_newest_first(archive: Place, photos: list[tuple[str, str]]) -> None:
    for sol in range(700, 735):
        put(archive, {"day": f"sol-{sol:05d}", "sol": sol, "finished": "2026-01-05T06:00:00Z",
                      "picks": [{"rank": 1, "id": f"{sol}.jpg", "key": key(sol)}]})  # fmt: skip
    titles = [one.findtext(f"{ATOM}title") for one in entries(archive)]
    assert titles == [f"Sol {sol}: {sol}.jpg" for sol in range(734, 734 - atom.DAYS, -1)]
    with_base = site.publish(archive, "sol-00734", base="https://rover.example/new")
    assert with_base.thumbs == {}
    assert b'href="https://rover.example/new/days/sol-00734/index.html#pick-1"' in archive.read(f"{FOLDER}/feed.atom")


def test_taking_a_day_back_is_said_everywhere_and_lifted_by_another_result(
    archive: Place, photos: list[tuple[str, str]]
) -> None:
    day, name = told(photos), HOSTILE[0]
    put(archive, day)
    put(archive, told(photos, 813))
    before = everything(archive)
    for _ in range(2):
        assert site.withdraw(archive, "sol-00812", by=name, why=name, at="2026-02-01T00:00:00Z") is not None
        page = Page(page_of(archive))
        assert page.text.count("Taken back.") == 1
        assert page.tags.count("article") == 3
        assert "script" not in page.tags
        assert "Taken back: " in Page(archive.read(f"{FOLDER}/index.html").decode()).text
        valid(archive.read(f"{FOLDER}/feed.atom"))
        assert [one.findtext(f"{ATOM}title") for one in entries(archive)][3:] == [
            "Sol 812 was taken back", *(f"Taken back: Sol 812: image-{rank}.jpg" for rank in (1, 2, 3))
        ]  # fmt: skip
    put(archive, day)
    assert "Taken back." in page_of(archive), "the same result published again is still taken back"
    put(archive, told(photos, revision=2))
    assert "Taken back" not in page_of(archive)
    assert "Taken back" not in archive.read(f"{FOLDER}/feed.atom").decode()
    assert everything(archive)["days/sol-00813/index.html"] == before["days/sol-00813/index.html"]
    assert site.withdraw(archive, "sol-00001", by="Ann", why="never there", at="2026-02-01T00:00:00Z") is None


def test_explanations_come_from_the_run(archive: Place, photos: list[tuple[str, str]]) -> None:
    """By the image, not by the rank: the day's ranks and the run's may differ."""
    run, plan = Run(archive, "r"), Plan(representation=PixelValues(side=8), explain=1)
    run.begin(plan, Inputs(sources=("x",)), [], {})
    kept = {"rank": 1, "id": "image-2.jpg", "key": key(2), "uri": photos[2][0], "sha256": photos[2][1], "score": 5.0, "near_ties": 0,
            "label": None, "record": "{}", "length": 1.0,
            "nearest": [{"id": "near.jpg", "uri": photos[3][0], "sha256": photos[3][1], "role": "background", "distance": 1.0}]}  # fmt: skip
    run.place.write_json("picks.json", {"picks": [kept], "exhausted": False})
    run.create_vectors(1, 4)
    run.write_vectors(0, np.ones((1, 3, 4)))
    grey = np.full((16, 16, 3), 99, dtype=np.uint8)
    run.explanations().write(1, Explanation(np.full((2, 2), 1.25), {"control": grey, "expected": grey}, {"psnr": 12.0}))
    put(archive, told(photos, run="r"))
    text = page_of(archive)
    cards = re.split(r"<article ", text)[1:]
    assert ["Control</strong>" in card for card in cards] == [False, True, False]
    assert ["Where it is new" in card for card in cards] == [False, True, False]
    assert "12.0 dB" in cards[1]
    assert cards[1].count('alt="Already seen: near.jpg"') == 1


def test_a_tile_is_shown_in_its_frame(archive: Place, photos: list[tuple[str, str]]) -> None:
    from interpdisc_core import tiles

    box = (8, 6, 16, 12)
    uri, sha256 = tiles.address(photos[0][0], box), tiles.content(photos[0][1], box)
    put(archive, told(photos) | {"picks": [picked(1, (uri, sha256), tile=list(box), frame=[32, 24])]})
    text = page_of(archive)
    assert "left:25.000%;top:25.000%;width:50.000%;height:50.000%" in text
    assert "16 × 12 pixels at 8, 6 of 32 × 24" in text
    rows = pq.read_table(io.BytesIO(archive.read(f"{FOLDER}/days/sol-00812/picks.parquet"))).to_pylist()
    assert (rows[0]["tile_x"], rows[0]["tile_height"], rows[0]["width"]) == (8, 12, 32)


def test_a_page_stays_below_its_limit(
    archive: Place, photos: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less room there are fewer cards; every pick is still on the page."""
    day = told(photos, picks=12)
    put(archive, day)
    whole = len(archive.read(f"{FOLDER}/days/sol-00812/index.html"))
    monkeypatch.setattr(day_page, "LARGEST", whole // 2)
    put(archive, day)
    page = Page(page_of(archive))
    assert len(page_of(archive).encode()) < whole // 2
    assert page.tags.count("article") < 12
    assert {f"pick-{rank}" for rank in range(1, 13)} <= set(page.all("id"))


@pytest.mark.parametrize("day", ["..", "a/b", "", ".hidden", "x\n", "sol 1"])
def test_names_that_no_day_has_are_refused(archive: Place, day: str) -> None:
    with pytest.raises(PlanError, match="is no name of a day"):
        site.publish(archive, day)


def test_a_day_that_is_not_there_or_is_damaged_is_one_sentence(archive: Place) -> None:
    with pytest.raises(StoreError, match="has no result of sol-00001"):
        site.publish(archive, "sol-00001")
    for data in (b"", b"[]", b'{"day": "sol-00002"}'):
        archive.write("days/sol-00001/day.json", data)
        with pytest.raises(StoreError, match=r"days/sol-00001/day\.json is damaged"):
            site.publish(archive, "sol-00001")
    assert archive.names(FOLDER) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8,
)  # fmt: skip
FIELDS = [*sorted(Day.__dataclass_fields__), "horizon", "diff"]


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON), st.dictionaries(st.sampled_from(sorted(picked(1, ("", "")))), JSON)
)
def test_any_day_can_be_read_and_shown(more: dict[str, Any], pick: dict[str, Any]) -> None:
    """Whatever is in a field, also of the wrong kind: a page and tables come out."""
    day = Day.of({"picks": [pick], **more})
    rows = tables.rows(day)
    assert len(rows) == len(day.picks)
    tables.comma_separated(rows), tables.parquet(rows), tables.by_id(rows, day)
    assert words.title(day.day, day.sol) is not None
    index.summary(day, ())
    day_page.render(day_page.DayView(day, (), {}, {}))


@given(st.floats(0, 1), st.floats(0, 1))
def test_rarer_is_never_said_to_be_more_common(one: float, other: float) -> None:
    """The words keep the order of the numbers, up to their rounding."""
    day = Day.of({"horizon": {"days": ["sol-00001", "sol-00002"], "images": 10}})

    def share(text: str) -> float:
        if found := re.match(r"1 in ([\d,]+) ", text):
            return 1 / int(found[1].replace(",", ""))
        return float(text.split(" ")[0]) / 100 if "%" in text else 0.0

    low, high = sorted((one, other))
    assert share(words.rarity(low, day)) <= share(words.rarity(high, day))


@pytest.mark.parametrize(
    ("said", "by"),
    [
        (lambda: words.title("sol-00812", None), "Sol 812"), (lambda: words.title("date-2026-11-04", None), "4 November 2026"),
        (lambda: words.title("undated", None), "Undated images"), (lambda: words.percent(0.99999), "99.9 %"),
        (lambda: words.percent(1.0), "100 %"), (lambda: words.expected(0.2), "one in 5 days is expected"),
        (lambda: words.expected(2.34), "about 2.3 a day are expected"), (lambda: words.expected(None), ""),
        (lambda: words.signed(-3), "−3"), (lambda: words.stamp("2026-01-02T03:04:05.678901+00:00"), "2026-01-02 03:04 UTC"),
        (lambda: words.stamp("yesterday"), "yesterday"),
    ],
)  # fmt: skip
def test_words(said: Callable[[], str], by: str) -> None:
    assert said() == by
