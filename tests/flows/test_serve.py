"""`interpdisc serve` as a real process: pages, verdicts by form, and everything that must be refused."""

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from click.testing import Result
from typer.testing import CliRunner

from deploy.cli import app
from interpdisc_core import catalog, feedback, site
from interpdisc_core.ingest import ready_archive
from interpdisc_core.sources import Listed
from interpdisc_core.storage import Place
from tests.flows.conftest import CHECKOUT, COMMAND

DAY = "/days/sol-00812/"
SECRET = b"not to be served"


@dataclass
class Browser:
    """Speaks HTTP to a server as a browser does, with a memory for cookies."""

    port: int
    cookies: dict[str, str]

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        data = answer.read()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                cookie, _, attributes = value.partition(";")
                assert "httponly" in attributes.lower()
                assert "samesite=lax" in attributes.lower()
                self.cookies.update([cookie.split("=", 1)])
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data

    def mark(self, token: str, origin: str | None = None, **told: str) -> tuple[int, dict[str, str], bytes]:
        form = urlencode({"by": "Ann", "token": token} | told)
        sent = {"Content_Type": "application/x-www-form-urlencoded"} | ({"Origin": origin} if origin else {})
        return self.ask("POST", "/mark", form, **sent)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self) -> str:
        page = self.ask("GET", DAY)[2].decode()
        [token] = set(re.findall(r'name="token" value="([0-9a-f]{32})"', page))
        return token


def entry(id: str) -> catalog.Entry:
    return catalog.Entry.of(Listed(id=id, uri=f"file:///{id}", size=1, stamp="1", skipped="", label=None, record={}))


@contextmanager
def serving(archive: Path | str, *more: str, **env: str) -> Iterator[tuple[Browser, "subprocess.Popen[str]"]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", str(archive), "--port", "0", *more], cwd=CHECKOUT, text=True, env=dict(os.environ) | env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"at http://(?:127\.0\.0\.1|0\.0\.0\.0):(\d+)/", line)
        assert found, (line, process.stderr and process.stderr.read())
        yield Browser(int(found[1]), {}), process
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An archive with one published day of two picks, and secrets around its site."""
    place = Place.of(tmp_path_factory.mktemp("served") / "archive")
    one, other = entry("one.jpg"), entry("<b>other</b>.jpg")
    catalog.write_part(place, 0, "list", [one, other])
    picks = [{"rank": rank, "id": of.id, "key": of.key, "score": 1.0} for rank, of in ((1, one), (2, other))]
    place.write_json("days/sol-00812/day.json", {"day": "sol-00812", "sol": 812, "picks": picks})
    site.publish(place, "sol-00812")
    for name in ("archive.json", "site/.hidden.json", "site/notes.txt", "outside.json"):
        place.write(name, SECRET)
    Path(place.url, "site", "link.json").symlink_to(Path(place.url, "outside.json"))
    return place


@pytest.fixture(scope="module")
def running(archive: Place) -> Iterator[int]:
    with serving(archive.url) as (browser, _):
        yield browser.port


@pytest.fixture
def browser(running: int) -> Browser:
    return Browser(running, {})


def test_only_small_pictures_may_be_shown_by_other_pages(browser: Browser, archive: Place) -> None:
    """As Prefect's UI does; nothing else may."""
    thumb = "0123456789abcdef.jpg"
    archive.write(f"site/days/sol-00812/thumbs/{thumb}", b"\xff\xd8\xff\xe0")
    for path, policy in (
        (f"{DAY}thumbs/{thumb}", "cross-origin"),
        (f"{DAY}picks.csv", "same-origin"),
        (f"{DAY}thumbs/", "same-origin"),
    ):
        assert browser.ask("GET", path)[1]["cross-origin-resource-policy"] == policy


def test_the_published_files_are_served_as_they_are(browser: Browser, archive: Place) -> None:
    for path, name, kind in (
        ("/", "index.html", "text/html"), ("/index.html", "index.html", "text/html"), ("/index.js", "index.js", "text/javascript"),
        ("/feed.atom", "feed.atom", "application/atom+xml"), (f"{DAY}picks.csv", "days/sol-00812/picks.csv", "text/csv"),
        (f"{DAY}day.json", "days/sol-00812/day.json", "application/json"), ("/days.json", "days.json", "application/json"),
        (f"{DAY}picks.parquet", "days/sol-00812/picks.parquet", "application/vnd.apache.parquet"),
    ):  # fmt: skip
        status, headers, data = browser.ask("GET", path)
        assert (status, data) == (200, archive.read(f"site/{name}")), path
        assert headers["content-type"].startswith(kind)
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in re.search(r"script-src [^;]*", headers["content-security-policy"])[0]
        again = browser.ask("GET", path, If_None_Match=headers["etag"])
        assert (again[0], again[2]) == (304, b"")
        head = browser.ask("HEAD", path)
        assert (head[0], head[2], head[1]["content-length"], head[1]["etag"]) == (
            200,
            b"",
            str(len(data)),
            headers["etag"],
        )
    assert browser.ask("GET", "/healthz")[2] == b"ok\n"
    assert browser.ask("GET", DAY.rstrip("/"))[1]["location"] == DAY


@pytest.mark.parametrize(
    "path",
    [
        "/../archive.json", "/%2e%2e/archive.json", "/days/%2e%2e/%2e%2e/archive.json", "/..%2farchive.json", "/days/..%5c..%5carchive.json",
        "//archive.json", "/./index.html", "/.hidden.json", "/notes.txt", "/link.json", "/days/", "/days", "/index/", "/days/sol-00812/thumbs/",
        "/days/sol-00812/index.html%00.jpg", "/%00", "/nowhere.html", "/" + "a" * 5000 + ".html", "/days/sol-00812/index.html/x.html",
        "/archive.json%0d%0aX:y",
    ],
)  # fmt: skip
def test_nothing_else_is_served(browser: Browser, path: str) -> None:
    status, _, data = browser.ask("GET", path)
    assert status in (404, 308, 400), path
    assert SECRET not in data


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "10.0.0.1", "[::2]", "a@127.0.0.1.x"],
)
def test_another_name_for_this_machine_is_refused(browser: Browser, host: str) -> None:
    for method, path in (("GET", "/"), ("GET", DAY), ("POST", "/mark")):
        status, _, data = browser.ask(method, path, Host=host)
        assert status in (400, 421)
        assert b"Sol 812" not in data
    assert browser.ask("GET", "/healthz", Host=host)[0] in (200, 400), "a probe names a machine as it likes"


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1", "[::1]:80", "127.8.9.1"])
def test_names_of_loopback_are_taken(browser: Browser, host: str) -> None:
    assert browser.ask("GET", "/", Host=host)[0] == 200


def test_behind_a_port_published_on_loopback_names_are_checked_too(archive: Place) -> None:
    with serving(archive.url, "--host", "0.0.0.0", "--local-names") as (browser, _):
        assert browser.ask("GET", "/", Host="evil.example")[0] == 421
        assert browser.ask("GET", "/", Host="localhost:8000")[0] == 200


def test_a_verdict_by_button_is_kept_shown_and_taken_back(browser: Browser, archive: Place) -> None:
    key = next(iter(one for one in catalog.load(archive).values() if one.id.startswith("<b>"))).key
    token = browser.token()
    back = f"{DAY}#pick-2"
    status, headers, _ = browser.mark(
        token, browser.origin, id=key, verdict="interesting", note="<script>x</script>", back=back
    )
    assert (status, headers["location"]) == (303, back)
    [said] = feedback.verdicts(archive).values()
    assert (said.key, said.verdict, said.by, said.note) == (key, "interesting", "Ann", "<script>x</script>")
    page = browser.ask("GET", DAY)[2].decode()
    assert "Called <strong><bdi>interesting</bdi></strong> by <bdi>Ann</bdi>" in page
    assert "<script>" not in page
    assert 'name="by" value="Ann"' in page, "who marked last in this browser is remembered"
    assert browser.ask("GET", f"{DAY}index.html")[1]["etag"] != browser.ask("GET", "/")[1]["etag"]
    browser.mark(token, browser.origin, id=key, verdict="none", back=back)
    assert feedback.verdicts(archive) == {}
    assert [one.verdict for one in feedback.trail(archive)] == ["interesting", "none"]
    assert "<form" not in archive.read("site/days/sol-00812/index.html").decode(), "the file itself has no form"


def test_what_does_not_come_from_a_page_of_ours_is_refused(browser: Browser, archive: Place) -> None:
    key, before = next(iter(catalog.load(archive))), feedback.trail(archive)
    token = browser.token()
    told = {"id": key, "verdict": "known"}
    refused = [
        browser.mark(token, "http://evil.example", **told),
        browser.mark(token, "null", **told),
        browser.mark(token, None, **told),
        browser.mark(token, f"http://localhost:{browser.port}", **told),
        browser.mark("0" * 32, browser.origin, **told),
        browser.mark("", browser.origin, **told),
        Browser(browser.port, {}).mark(token, browser.origin, **told),
        Browser(browser.port, {"interpdisc-token": ""}).mark("", browser.origin, **told),
        browser.ask("POST", "/mark", urlencode(told | {"token": token}), Origin=browser.origin,
                    Content_Type="application/x-www-form-urlencoded", Sec_Fetch_Site="cross-site"),
    ]  # fmt: skip
    assert {status for status, _, _ in refused} == {403}
    form = "application/x-www-form-urlencoded"
    for body, kind in (
        ("x" * 20_000, form), (json.dumps(told | {"token": token}), "application/json"), ("a=1&" * 100, form), ("id=%ff", form), ("id=ä".encode().decode("latin-1"), form),
    ):  # fmt: skip
        assert browser.ask("POST", "/mark", body, Origin=browser.origin, Content_Type=kind)[0] in (403, 413)
    for wrong in (told | {"verdict": "odd"}, told | {"id": "nowhere"}, told | {"by": ""}, told | {"by": "x" * 99}):
        assert browser.mark(token, browser.origin, **wrong)[0] == 400
    assert browser.ask("GET", "/mark")[0] in (404, 405)
    assert browser.ask("PUT", "/index.html", "x")[0] == 405
    assert feedback.trail(archive) == before


@pytest.mark.parametrize(
    "back",
    [
        "//evil.example/",
        "https://evil.example/",
        "/\\evil.example",
        "/days/../x/",
        "javascript:alert(1)",
        f"{DAY}\r\nX: y",
    ],
)
def test_the_way_back_leads_into_the_site_only(browser: Browser, archive: Place, back: str) -> None:
    key = next(iter(catalog.load(archive)))
    status, headers, _ = browser.mark(browser.token(), browser.origin, id=key, verdict="none", back=back)
    assert (status, headers["location"]) == (303, "/")
    assert "x" not in headers


def test_a_damaged_verdict_does_not_hide_the_pages(tmp_path: Path, archive: Place) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(archive.url, copy, symlinks=True)
    Place.of(copy).write("feedback/20260101T000000.000000Z-0a0b0c0d.json", b"damaged")
    with serving(copy) as (browser, _):
        status, _, data = browser.ask("GET", DAY)
        assert status == 200
        assert b"Sol 812" in data


def test_commands(tmp_path: Path) -> None:
    """`mark` and `marks` say what they did; what cannot be is one sentence and exit code 2."""
    place = ready_archive(str(tmp_path / "archive"))
    catalog.write_part(place, 0, "list", [entry("one.jpg"), entry("esc\x1b[31m.jpg")])

    def call(*args: str) -> Result:
        return CliRunner().invoke(app, args)

    assert call("marks", place.url).output == "nothing was said yet\n"
    done = call("mark", place.url, "one.jpg", "boring", "--by", "Ann", "--note", "dust")
    assert (done.exit_code, done.output.split(":")[1].strip()) == (0, "boring, by Ann")
    feedback.mark(place, "esc\x1b[31m.jpg", "known", "Bob")
    assert [(one["id"], one["verdict"], one["counts"]) for one in json.loads(call("marks", place.url, "--json").output)] == [
        ("one.jpg", "boring", True), ("esc\x1b[31m.jpg", "known", True)
    ]  # fmt: skip
    listed = call("marks", place.url)
    assert listed.exit_code == 0
    assert "\x1b[31m" not in listed.output
    assert "dust" in listed.output
    for wrong in (("mark", place.url, "nowhere.jpg", "boring", "--by", "Ann"), ("mark", place.url, "one.jpg", "odd", "--by", "Ann"),
                  ("marks", str(tmp_path / "nothing")), ("serve", place.url, "--host", "192.0.2.1")):  # fmt: skip
        assert call(*wrong).exit_code == 2, wrong


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_a_browser_searches_the_files_and_the_served_pages(archive: Place, browser: Browser, tmp_path: Path) -> None:
    """The search runs from a file as from the server; the policies let everything through that the page needs."""
    for address in (Path(archive.url, "site", "index.html").as_uri(), f"{browser.origin}/"):
        for query, picks in (("one.jpg", 1), ("sol%20812", 2), ("nothing-like-it", 0)):
            done = subprocess.run(
                ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                 "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
                 "--virtual-time-budget=5000", "--dump-dom", f"{address}#q={query}"],
                capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
            assert f'data-found="{picks}"' in done.stdout, (address, query)
            assert done.stdout.count("<li><a href=") == picks
