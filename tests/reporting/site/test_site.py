"""A day's website: names are escaped everywhere, counts are the day's, the same day gives the same bytes."""

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

from interpdisc_core import digest
from interpdisc_core.archive.day_result import DayPick, DayResult, Recurrence
from interpdisc_core.archive.pick_vectors import create_vectors, write_vectors
from interpdisc_core.archive.run import Explanation, Run, RunInputs
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.plan import Plan
from interpdisc_core.reporting import site
from interpdisc_core.reporting.site import atom, day_page, exports, index, phrases
from interpdisc_core.reporting.site.publish import SITE_FOLDER
from interpdisc_core.reporting.site.thumbnails import PictureLoader
from interpdisc_core.representations import PixelValues
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import rows_to_csv, rows_to_parquet
from tests.reporting.test_run_report import HOSTILE

ATOM = "{http://www.w3.org/2005/Atom}"
STATUS_COUNTS = {"ready": 7, "duplicate-of": 2, "quarantined": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """(address, SHA-256) of a few small photos."""
    folder, photos = tmp_path_factory.mktemp("photos"), []
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        path = folder / f"{seed}.png"
        Image.fromarray(pixels).save(path)
        photos.append((path.as_uri(), digest.digest_bytes(path.read_bytes())))
    return photos


def make_key(number: int) -> str:
    return f"{number:016x}"


def pick_json(rank: int, photo: tuple[str, str], name: str = "", **fields: Any) -> dict[str, Any]:
    id = name or f"image-{rank}.jpg"
    return {
        "rank": rank,
        "id": id,
        "key": make_key(rank),
        "uri": photo[0],
        "sha256": photo[1],
        "label": name or "rock",
        "observation": f"{name}{rank}",
        "members": [id, "other.jpg"],
        "instrument": name or f"CAM_{rank % 2}",
        "filter": name or "0",
        "sol": 812,
        "taken": name or "2026-01-01T10:00:00Z",
        "received": name,
        "lmst": name or "14:02:11",
        "site": 6,
        "drive": 120,
        "mast_az": 120.5,
        "mast_el": -12.25,
        "link": name or "https://example.org/raw/1?a=1&b=2",
        "radiometry": name or "display8 colour",
        "score": 10.0 / rank,
        "prior_score": 9.0,
        "novelty_rank": 0.00025 * rank,
        "alarms_a_day": 0.2 * rank,
        "tile": None,
        "frame": [32, 24],
        "nearest": [{"id": name or "near.jpg", "day": name or "sol-00800", "distance": 1.5}],
        "new": True,
        "seen_again": {"count": 2, "days": [name or "sol-00815"]},
        "trusted": None,
        "numbers": {"cosine_difference": 0.5},
        "verdict": {
            "verdict": name or "interesting",
            "by": name or "Ann",
            "at": name or "2026-01-02T03:04:05.000000+00:00",
        },
        "record": {name or "title": name or "A rock", "nested": {name or "a": [1, None, name or "b"]}},
        **fields,
    }


def day_json(
    photos: list[tuple[str, str]], sol: int = 812, picks: int = 3, name: str = "", **fields: Any
) -> dict[str, Any]:
    """The value of a day.json, as version 0.1.0 wrote it. With `name`, every text is that."""
    lane_image = {"id": name or "lane.jpg", "key": make_key(900), "uri": photos[0][0], "sha256": photos[0][1]}
    return {
        "day": f"sol-{sol:05d}",
        "sol": sol,
        "mission": name or "MSL",
        "revision": 1,
        "run": name or "none",
        "finished": name or f"2026-01-{1 + sol % 28:02d}T06:00:00+00:00",
        "plan_digest": name or "abc",
        "ledger": STATUS_COUNTS,
        "inputs": 10,
        "received": 8,
        "late": 1,
        "superseded": 2,
        "coverage": 0.9,
        "instruments": {name or "CAM_0": 5, "CAM_1": 3},
        "radiometry": {name or "display8 colour": 8},
        "horizon": {"days": [f"sol-{s:05d}" for s in range(sol - 30, sol)], "images": 900},
        "timings": {name or "extract": 12.5},
        "picks": [pick_json(rank, photos[rank % 4], name) for rank in range(1, picks + 1)],
        "strata": [
            {
                "name": name or "CAM_0",
                "radiometry": [name or "display8"],
                "images": 5,
                "horizon_images": 500,
                "spike": True,
                "alarms": 14,
                "expected_alarms": 2.1,
                "picks": [
                    {"rank": 1, "id": name or "image-1.jpg", "key": make_key(1), "score": 3.0, "novelty_rank": 0.01}
                ],
            }
        ],
        "tracked": [{**lane_image, "like": name or "liked.jpg", "like_day": name or "sol-00700", "distance": 2.0}],
        "absorbed": [{**lane_image, "like": name or "dull.jpg"}],
        "known": [name or "known.jpg"],
        "beyond_budget": [{**lane_image, "instrument": name or "CAM_1", "score": 3.0}],
        "artefacts": [{**lane_image, "reasons": [name or "black"], "by": name or "rule"}],
        "quarantined": [{"id": name or "bad.jpg", "why": name or "empty file", "key": make_key(901)}],
        "diff": {
            "before": f"sol-{sol - 1:05d}",
            "instruments": {name or "CAM_0": [4, 5]},
            "images": [6, 8],
            "picks_like_before": 1,
        },
        "discoveries": [
            {
                "id": name or "old.jpg",
                "key": make_key(902),
                "day": name or "sol-00790",
                "seen_again": 3,
                "by": [name or "image-1.jpg"],
            }
        ],
        **fields,
    }


@pytest.fixture
def archive(tmp_path: Path) -> Location:
    return Location.parse(tmp_path / "archive")


def publish(archive: Location, day: dict[str, Any]) -> site.PublishedDay:
    archive.write_json(f"days/{day['day']}/day.json", day)
    return site.publish_day(archive, day["day"])


class Page(HTMLParser):
    """Tags, attributes, text and comments, as a browser parses them."""

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

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def read_site(archive: Location) -> dict[str, bytes]:
    """Every file of the site but checksums."""
    root = Path(archive.url, SITE_FOLDER)
    paths = (path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".sha256")
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def read_page(archive: Location, day: str = "sol-00812") -> str:
    return archive.read(f"{SITE_FOLDER}/days/{day}/index.html").decode()


@pytest.mark.parametrize(
    "name", [*HOSTILE, "<!--slot:banner-->", "javascript:alert(1)", "]]></feed>"], ids=range(len(HOSTILE) + 3)
)
def test_hostile_names_are_escaped_everywhere(archive: Location, photos: list[tuple[str, str]], name: str) -> None:
    """Page, index, search and feed have the same structure as with plain names."""
    plain = Location.parse(f"{archive.url}-plain")
    publish(plain, day_json(photos, name="plain"))
    publish(archive, day_json(photos, name=name))
    for path in ("days/sol-00812/index.html", "index.html", "index/sols-000750.html"):
        text, plain_text = (location.read(f"{SITE_FOLDER}/{path}").decode() for location in (archive, plain))
        page, plain_page = Page(text), Page(plain_text)
        assert page.tags == plain_page.tags
        assert page.comments == plain_page.comments
        assert not [name for _, name, _ in page.attributes if name.startswith("on")]
        assert not [
            value
            for value in page.values("href") + page.values("src")
            if re.match(r"\s*(javascript|vbscript|data:text)", value, re.IGNORECASE)
        ]
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    script = archive.read(f"{SITE_FOLDER}/index/sols-000750.js").decode("ascii")
    assert "<" not in script
    [part, days] = json.loads(script.removeprefix("interpdiscDays(").removesuffix(");\n"))
    assert (part, len(days[0][4])) == ("sols-000750", 3)
    feed = ElementTree.fromstring(archive.read(f"{SITE_FOLDER}/feed.atom"))
    assert [child.tag for child in feed.iter()] == [
        child.tag for child in ElementTree.fromstring(plain.read(f"{SITE_FOLDER}/feed.atom")).iter()
    ]
    for path in read_site(archive):
        assert re.fullmatch(r"[A-Za-z0-9._/-]+", path), path
        assert ".." not in path


def test_the_page_loads_no_other_file_and_runs_no_script(archive: Location, photos: list[tuple[str, str]]) -> None:
    publish(archive, day_json(photos))
    text = read_page(archive)
    page = Page(text)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("src"))
    assert not re.search(r"url\((?!#)|@import", text)
    assert [value for value in page.values("content") if value.startswith("default-src 'none'; img-src data:")]
    assert set(page.values("href")) - {value for value in page.values("href") if value.startswith("#")} == {
        "../../index.html",
        "https://example.org/raw/1?a=1&b=2",
        "picks.csv",
        "picks.parquet",
        "picks.json",
        "day.json",
    }
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    assert {value[1:] for value in page.values("href") if value.startswith("#")} <= set(identifiers)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("https://mars.nasa.gov/raw/1?x=1&y=2", True),
        ("http://example.org", True),
        ("javascript:alert(1)", False),
        ("//example.org/x", False),
        ("https://user@example.org/", False),
        ("https://example.org/a b", False),
        ("", False),
        ("https:/\\example.org", False),
        ("data:text/html,x", False),
        ("HTTPS://example.org/", False),
        ("https://e.org/\u202e", False),
    ],
)
def test_only_web_addresses_become_links(
    archive: Location, photos: list[tuple[str, str]], link: str, shown: bool
) -> None:
    publish(archive, day_json(photos, picks=1) | {"picks": [pick_json(1, photos[0], link=link)]})
    page = Page(read_page(archive))
    relations = [value for tag, name, value in page.attributes if (tag, name) == ("a", "rel")]
    assert (link in page.values("href")) == shown
    assert bool(relations) == shown
    assert all("noreferrer" in value for value in relations)


def test_the_page_shows_the_counts_of_the_day(archive: Location, photos: list[tuple[str, str]]) -> None:
    day = day_json(photos, picks=5)
    publish(archive, day)
    text = read_page(archive)
    page = Page(text)
    assert page.tags.count("article") == 5
    assert re.search(r'id="all-inputs">10<', text)
    assert "does not add up" not in text
    for expected in (
        "8 images, 5 observations picked",
        "4 of them are rarer than one a day",
        "Novelty spike on CAM_0",
        "14 images are beyond the threshold, where 2.1 are usual",
        "the last 30 sols, 900 images",
        "90 %",
        "bad.jpg",
        "empty file",
        "Compared with Sol 811",
        "1 pick is nearest to a pick of that day",
        "known.jpg",
        "old.jpg",
        "3 images today",
        "Seen again since: 2 images, Sol 815",
        "site 6, drive 120",
        "120.5°, −12.2°",
    ):
        assert expected in re.sub(r"\s+", " ", page.text), expected
    publish(archive, day | {"inputs": 11})
    assert "does not add up" in read_page(archive)


def test_an_empty_day_and_a_day_without_calibration_are_pages_too(
    archive: Location, photos: list[tuple[str, str]]
) -> None:
    publish(archive, {"day": "sol-00900", "sol": 900})
    assert "No images came in" in read_page(archive, "sol-00900")
    first = day_json(photos)
    first["horizon"] = {"days": [], "images": 0}
    first["picks"] = [pick | {"novelty_rank": None, "alarms_a_day": None} for pick in first["picks"]]
    publish(archive, first)
    assert read_page(archive).count("no calibration yet") == 1 + 3
    assert "too few earlier scores for a calibration" in read_page(archive)


def test_a_missing_picture_leaves_the_others(archive: Location, photos: list[tuple[str, str]]) -> None:
    gone = pick_json(2, ("file:///nowhere/x.png", "0" * 64))
    changed = pick_json(3, (photos[0][0], "1" * 64))
    published = publish(archive, day_json(photos) | {"picks": [pick_json(1, photos[1]), gone, changed]})
    assert list(published.thumbs) == [make_key(1)]
    text = read_page(archive)
    assert text.count("no longer there") == 2
    assert "changed since it was listed" in text
    assert archive.list_names(f"{SITE_FOLDER}/days/sol-00812/thumbs") == [f"{make_key(1)}.jpg"]


def test_the_same_day_gives_the_same_bytes(archive: Location, photos: list[tuple[str, str]]) -> None:
    first = publish(archive, day_json(photos))
    before = read_site(archive)
    assert publish(archive, day_json(photos)) == first
    assert read_site(archive) == before


def test_days_may_be_published_in_any_order(archive: Location, photos: list[tuple[str, str]]) -> None:
    """Index and search are the same, also if a day is published again; no day changes the folder of another."""
    days = [day_json(photos, sol, picks=1) for sol in (499, 500, 812, 813)]
    days.append(day_json(photos, 3, picks=1) | {"day": "date-2026-01-05", "sol": None})
    orders = [days, days[::-1], [days[2], days[0], days[4], days[2], days[3], days[1]]]
    sites = []
    for number, order in enumerate(orders):
        location = Location.parse(f"{archive.url}-{number}")
        for day in order:
            others = {path: data for path, data in read_site(location).items() if path.startswith("days/")}
            publish(location, day)
            after = read_site(location)
            assert all(after[path] == data for path, data in others.items() if day["day"] not in path)
        sites.append(
            {path: data for path, data in read_site(location).items() if path != "feed.atom"}
        )  # it names its archive
    assert sites[0] == sites[1] == sites[2]
    assert archive.list_names(SITE_FOLDER) == []


def test_rebuilding_the_index_restores_it(archive: Location, photos: list[tuple[str, str]]) -> None:
    for sol in (499, 812):
        publish(archive, day_json(photos, sol))
    before = read_site(archive)
    archive.remove(f"{SITE_FOLDER}/days.json")
    archive.write(f"{SITE_FOLDER}/index/sols-999999.json", b"{}")
    archive.remove(f"{SITE_FOLDER}/index/sols-000750.json")
    assert site.rebuild_index(archive) == 2
    assert read_site(archive) == before


def test_the_tables_have_the_same_rows_by_id(archive: Location, photos: list[tuple[str, str]]) -> None:
    day = day_json(photos)
    day["picks"][1]["id"] = 'a "quoted", name\nof two lines'
    publish(archive, day)
    folder = archive / f"{SITE_FOLDER}/days/sol-00812"
    parquet_rows = {row["id"]: row for row in pq.read_table(io.BytesIO(folder.read("picks.parquet"))).to_pylist()}
    csv_text = folder.read("picks.csv").decode()
    csv_rows = {row["id"]: row for row in csv.DictReader(io.StringIO(csv_text, newline=""))}
    json_rows = folder.read_json("picks.json")["picks"]
    assert [*parquet_rows] == [*csv_rows] == [*json_rows] == [pick["id"] for pick in day["picks"]]
    for id, row in parquet_rows.items():
        assert list(row) == exports.PICKS_SCHEMA.names == list(csv_rows[id])
        assert json_rows[id] | {"members": row["members"], "record": row["record"]} == row
        assert json.loads(row["record"]) == json_rows[id]["record"]
        assert float(csv_rows[id]["score"]) == row["score"]
        assert [row[name] for name in ("sol", "nearest_id", "verdict", "mast_el", "seen_again")] == [
            812,
            "near.jpg",
            "interesting",
            -12.25,
            2,
        ]
        assert row["tail_probability"] == 0.00025 * row["rank"]
    assert json.loads(folder.read("day.json")) == day


def test_two_picks_of_one_id_are_both_kept(archive: Location, photos: list[tuple[str, str]]) -> None:
    publish(
        archive, day_json(photos) | {"picks": [pick_json(1, photos[0], id="same"), pick_json(2, photos[1], id="same")]}
    )
    rows = archive.read_json(f"{SITE_FOLDER}/days/sol-00812/picks.json")["picks"]
    assert list(rows) == ["same", f"same {make_key(2)}"]


def atom_entries(archive: Location) -> list[ElementTree.Element]:
    return ElementTree.fromstring(archive.read(f"{SITE_FOLDER}/feed.atom")).findall(f"{ATOM}entry")


def check_atom(data: bytes) -> None:
    """Check what RFC 4287 requires of a feed."""
    feed = ElementTree.fromstring(data)
    assert feed.tag == f"{ATOM}feed"
    for element in [feed, *feed.findall(f"{ATOM}entry")]:
        for name in ("id", "title", "updated"):
            assert len(element.findall(f"{ATOM}{name}")) == 1
        assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", element.findtext(f"{ATOM}id") or "")
        for name in ("updated", "published"):
            for moment in element.findall(f"{ATOM}{name}"):
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", moment.text or "")
        assert len([link for link in element.findall(f"{ATOM}link") if link.get("rel") == "alternate"]) == 1
        assert all(re.fullmatch(r"[\x21-\x7e]+", link.get("href", "")) for link in element.findall(f"{ATOM}link"))
    assert feed.findtext(f"{ATOM}author/{ATOM}name")
    identifiers = [entry.findtext(f"{ATOM}id") for entry in feed.findall(f"{ATOM}entry")]
    assert len(identifiers) == len(set(identifiers))


def test_entries_keep_their_ids_over_revisions(archive: Location, photos: list[tuple[str, str]]) -> None:
    day = day_json(photos, finished="2026-01-05T06:00:00+00:00")
    publish(archive, day)
    check_atom(archive.read(f"{SITE_FOLDER}/feed.atom"))
    first = {entry.findtext(f"{ATOM}id"): entry for entry in atom_entries(archive)}
    again = day_json(photos, picks=4, revision=2, finished="2026-01-06T06:00:00+00:00")
    better = again["picks"][1] | {"id": "image-2-full.jpg", "key": make_key(77)}
    again["picks"] = [again["picks"][0] | {"new": False}, better | {"new": False}, *again["picks"][2:]]
    publish(archive, again)
    check_atom(archive.read(f"{SITE_FOLDER}/feed.atom"))
    second = {entry.findtext(f"{ATOM}id"): entry for entry in atom_entries(archive)}
    assert len(second) == 4
    assert set(first) < set(second)
    times = [(entry.findtext(f"{ATOM}published"), entry.findtext(f"{ATOM}updated")) for entry in atom_entries(archive)]
    old, new = "2026-01-05T06:00:00Z", "2026-01-06T06:00:00Z"
    assert times == [(old, old), (old, new), (old, old), (new, new)], "only new and changed entries have new times"
    before = archive.read(f"{SITE_FOLDER}/feed.atom")
    publish(archive, again)
    assert archive.read(f"{SITE_FOLDER}/feed.atom") == before


def test_the_feed_has_the_last_days_newest_first(archive: Location, photos: list[tuple[str, str]]) -> None:
    for sol in range(700, 735):
        publish(
            archive,
            {
                "day": f"sol-{sol:05d}",
                "sol": sol,
                "finished": "2026-01-05T06:00:00Z",
                "picks": [{"rank": 1, "id": f"{sol}.jpg", "key": make_key(sol)}],
            },
        )
    titles = [entry.findtext(f"{ATOM}title") for entry in atom_entries(archive)]
    assert titles == [f"Sol {sol}: {sol}.jpg" for sol in range(734, 734 - atom.FEED_DAYS, -1)]
    with_base = site.publish_day(archive, "sol-00734", base="https://rover.example/new")
    assert with_base.thumbs == {}
    assert b'href="https://rover.example/new/days/sol-00734/index.html#pick-1"' in archive.read(
        f"{SITE_FOLDER}/feed.atom"
    )


def test_an_undone_day_is_marked_until_another_result_is_published(
    archive: Location, photos: list[tuple[str, str]]
) -> None:
    day, name = day_json(photos), HOSTILE[0]
    publish(archive, day)
    publish(archive, day_json(photos, 813))
    before = read_site(archive)
    for _ in range(2):
        assert site.withdraw_day(archive, "sol-00812", by=name, reason=name, at="2026-02-01T00:00:00Z") is not None
        page = Page(read_page(archive))
        assert page.text.count("Undone.") == 1
        assert page.tags.count("article") == 3
        assert "script" not in page.tags
        assert "Undone: " in Page(archive.read(f"{SITE_FOLDER}/index.html").decode()).text
        check_atom(archive.read(f"{SITE_FOLDER}/feed.atom"))
        assert [entry.findtext(f"{ATOM}title") for entry in atom_entries(archive)][3:] == [
            "Sol 812 was undone",
            *(f"Undone: Sol 812: image-{rank}.jpg" for rank in (1, 2, 3)),
        ]
    publish(archive, day)
    assert "Undone." in read_page(archive), "the same result published again is still undone"
    publish(archive, day_json(photos, revision=2))
    assert "Undone" not in read_page(archive)
    assert "Undone" not in archive.read(f"{SITE_FOLDER}/feed.atom").decode()
    assert read_site(archive)["days/sol-00813/index.html"] == before["days/sol-00813/index.html"]
    assert site.withdraw_day(archive, "sol-00001", by="Ann", reason="not published", at="2026-02-01T00:00:00Z") is None


def test_explanations_come_from_the_run(archive: Location, photos: list[tuple[str, str]]) -> None:
    """Matched by image, not by rank: ranks in the day and in the run may differ."""
    run, plan = Run(archive, "r"), Plan(representation=PixelValues(side=8), explain=1)
    run.begin(plan, RunInputs(sources=("x",)), [], {})
    run_pick = {
        "rank": 1,
        "id": "image-2.jpg",
        "key": make_key(2),
        "uri": photos[2][0],
        "sha256": photos[2][1],
        "score": 5.0,
        "near_ties": 0,
        "label": None,
        "record": "{}",
        "length": 1.0,
        "nearest": [
            {"id": "near.jpg", "uri": photos[3][0], "sha256": photos[3][1], "role": "background", "distance": 1.0}
        ],
    }
    run.location.write_json("picks.json", {"picks": [run_pick], "exhausted": False})
    create_vectors(run.location, 1, 4)
    write_vectors(run.location, 0, np.ones((1, 4, 4)))
    gray = np.full((16, 16, 3), 99, dtype=np.uint8)
    run.open_explanations().write(
        1, Explanation(np.full((2, 2), 1.25), {"control": gray, "expected": gray}, {"psnr": 12.0})
    )
    publish(archive, day_json(photos, run="r"))
    text = read_page(archive)
    cards = re.split(r"<article ", text)[1:]
    assert ["Control</strong>" in card for card in cards] == [False, True, False]
    assert ["Where it is new" in card for card in cards] == [False, True, False]
    assert "12.0 dB" in cards[1]
    assert cards[1].count('alt="Already seen: near.jpg"') == 1


def test_a_tile_is_shown_in_its_frame(archive: Location, photos: list[tuple[str, str]]) -> None:
    from interpdisc_core.images import tiles
    from interpdisc_core.images.uri_fragments import tile_uri

    box = (8, 6, 16, 12)
    uri, sha256 = tile_uri(photos[0][0], box), tiles.digest_tile(photos[0][1], box)
    publish(archive, day_json(photos) | {"picks": [pick_json(1, (uri, sha256), tile=list(box), frame=[32, 24])]})
    text = read_page(archive)
    assert "left:25.000%;top:25.000%;width:50.000%;height:50.000%" in text
    assert "16 × 12 pixels at 8, 6 of 32 × 24" in text
    rows = pq.read_table(io.BytesIO(archive.read(f"{SITE_FOLDER}/days/sol-00812/picks.parquet"))).to_pylist()
    assert (rows[0]["tile_x"], rows[0]["tile_height"], rows[0]["width"]) == (8, 12, 32)


def test_a_page_stays_below_its_size_limit(archive: Location, photos: list[tuple[str, str]]) -> None:
    """With less room there are fewer cards; every pick is still on the page."""
    day = DayResult.from_json(day_json(photos, picks=12))
    loader = PictureLoader.for_day(archive, day)
    view = day_page.DayPageView(day, tuple(loader.load_pick(pick) for pick in day.picks), {}, {})
    size = len(day_page.render_day_page(view).encode())
    text = day_page.render_day_page(view, max_bytes=size)
    page = Page(text)
    assert len(text.encode()) < size
    assert 0 < page.tags.count("article") < 12
    assert {f"pick-{rank}" for rank in range(1, 13)} <= set(page.values("id"))


@pytest.mark.parametrize("day", ["..", "a/b", "", ".hidden", "x\n", "sol 1"])
def test_invalid_names_of_days_are_refused(archive: Location, day: str) -> None:
    with pytest.raises(PlanError, match="is no name of a day"):
        site.publish_day(archive, day)


def test_a_missing_or_damaged_day_is_one_sentence(archive: Location) -> None:
    with pytest.raises(StoreError, match="has no result of sol-00001"):
        site.publish_day(archive, "sol-00001")
    for data in (b"", b"[]", b'{"day": "sol-00002"}'):
        archive.write("days/sol-00001/day.json", data)
        with pytest.raises(StoreError, match=r"days/sol-00001/day\.json is damaged"):
            site.publish_day(archive, "sol-00001")
    assert archive.list_names(SITE_FOLDER) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PICK_FIELDS = sorted({*pick_json(1, ("", "")), *DayPick.__dataclass_fields__})
FIELDS = sorted({*day_json([("", "")], picks=0), *DayResult.__dataclass_fields__})


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.dictionaries(st.sampled_from(PICK_FIELDS), JSON))
def test_any_day_can_be_read_and_shown(fields: dict[str, Any], pick: dict[str, Any]) -> None:
    """Whatever is in a field, also of another kind: a page and tables come out, and what was read is written."""
    day = DayResult.from_json({"picks": [pick], **fields})
    rows = exports.build_pick_rows(day)
    assert len(rows) == len(day.picks)
    rows_to_csv(rows), rows_to_parquet(rows, exports.PICKS_SCHEMA), exports.encode_picks_json(rows, day)
    assert phrases.format_day_title(day.day, day.sol) is not None
    index.summarize_day(day, ())
    day_page.render_day_page(day_page.DayPageView(day, (), {}, {}))
    assert DayResult.from_json(day.to_json()) == day


@given(JSON)
def test_any_json_is_a_day(value: Any) -> None:
    """A file that is no day at all is an empty day."""
    assert DayResult.from_json(value).to_json().keys() >= {"day", "picks", "ledger"}


def test_a_day_of_version_0_1_0_is_read_under_todays_names(photos: list[tuple[str, str]]) -> None:
    """The fields that have another name or form now."""
    day = DayResult.from_json(day_json(photos) | {"of": "0123456789ab"})
    pick, stratum = day.picks[0], day.strata[0]
    assert day.images_digest == "0123456789ab"
    assert (pick.tail_probability, pick.recurrence) == (0.00025, Recurrence(count=2, days=("sol-00815",)))
    assert (stratum.radiometry, stratum.picks[0].tail_probability) == (("display8",), 0.01)
    assert (day.artefacts[0].author, day.quarantined[0].reason) == ("rule", "empty file")
    assert (day.discoveries[0].recurrence_count, day.discoveries[0].recurrence_examples) == (3, ("image-1.jpg",))
    assert (day.diff.previous_day, day.diff.instruments, day.previous_image_count) == (
        "sol-00811",
        {"CAM_0": (4, 5)},
        6,
    )


@given(st.floats(0, 1), st.floats(0, 1))
def test_rarer_images_are_never_described_as_more_common(first: float, second: float) -> None:
    """The phrases keep the order of the numbers, up to rounding."""
    day = DayResult.from_json({"horizon": {"days": ["sol-00001", "sol-00002"], "images": 10}})

    def share(text: str) -> float:
        if match := re.match(r"1 in ([\d,]+) ", text):
            return 1 / int(match[1].replace(",", ""))
        return float(text.split(" ")[0]) / 100 if "%" in text else 0.0

    low, high = sorted((first, second))
    assert share(phrases.describe_rarity(low, day)) <= share(phrases.describe_rarity(high, day))


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        (lambda: phrases.format_day_title("sol-00812", None), "Sol 812"),
        (lambda: phrases.format_day_title("date-2026-11-04", None), "4 November 2026"),
        (lambda: phrases.format_day_title("undated", None), "Undated images"),
        (lambda: phrases.format_percent(0.99999), "99.9 %"),
        (lambda: phrases.format_percent(1.0), "100 %"),
        (lambda: phrases.describe_expected_rate(0.2), "one in 5 days is expected"),
        (lambda: phrases.describe_expected_rate(2.34), "about 2.3 a day are expected"),
        (lambda: phrases.describe_expected_rate(None), ""),
        (lambda: phrases.format_signed(-3), "−3"),
        (lambda: phrases.format_timestamp("2026-01-02T03:04:05.678901+00:00"), "2026-01-02 03:04 UTC"),
        (lambda: phrases.format_timestamp("yesterday"), "yesterday"),
    ],
)
def test_phrases(phrase: Callable[[], str], expected: str) -> None:
    assert phrase() == expected
