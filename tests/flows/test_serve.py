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
from interpdisc_core.archive import catalog, feedback
from interpdisc_core.archive.layout import open_or_create_archive
from interpdisc_core.reporting import site
from interpdisc_core.sources import SourceEntry
from interpdisc_core.storage.location import Location
from tests.flows.conftest import CHECKOUT, COMMAND

DAY = "/days/sol-00812/"
SECRET = "not to be served"


@dataclass
class Browser:
    """Sends requests to a server as a browser does, and keeps cookies."""

    port: int
    cookies: dict[str, str]

    def request(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Cookie": cookies} if self.cookies else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        data = response.read()
        for name, value in response.getheaders():
            if name.lower() == "set-cookie":
                cookie, _, attributes = value.partition(";")
                assert "httponly" in attributes.lower()
                assert "samesite=lax" in attributes.lower()
                self.cookies.update([cookie.split("=", 1)])
        connection.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, data

    def mark(self, token: str, origin: str | None = None, **fields: str) -> tuple[int, dict[str, str], bytes]:
        form = urlencode({"by": "Ann", "token": token} | fields)
        headers = {"Content_Type": "application/x-www-form-urlencoded"} | ({"Origin": origin} if origin else {})
        return self.request("POST", "/mark", form, **headers)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self) -> str:
        page = self.request("GET", DAY)[2].decode()
        [token] = set(re.findall(r'name="token" value="([0-9a-f]{32})"', page))
        return token


def make_entry(id: str) -> catalog.CatalogEntry:
    return catalog.CatalogEntry.from_source_entry(
        SourceEntry(id=id, uri=f"file:///{id}", size=1, stamp="1", skip_reason="", label=None, record={})
    )


@contextmanager
def serve_archive(archive: Path | str, *options: str, **env: str) -> Iterator[tuple[Browser, "subprocess.Popen[str]"]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", str(archive), "--port", "0", *options],
        cwd=CHECKOUT,
        text=True,
        env=dict(os.environ) | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"at http://(?:127\.0\.0\.1|0\.0\.0\.0):(\d+)/", line)
        assert address, (line, process.stderr and process.stderr.read())
        yield Browser(int(address[1]), {}), process
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Location:
    """An archive with one published day of two picks, and secrets around its site."""
    location = open_or_create_archive(str(tmp_path_factory.mktemp("served") / "archive"))
    entries = [make_entry("one.jpg"), make_entry("<b>other</b>.jpg")]
    catalog.write_part(location, 0, "list", entries)
    picks = [
        {"rank": rank, "id": entry.id, "key": entry.key, "score": 1.0} for rank, entry in enumerate(entries, start=1)
    ]
    location.write_json("days/sol-00812/day.json", {"day": "sol-00812", "sol": 812, "picks": picks})
    site.publish_day(location, "sol-00812")
    location.write_checked_json("archive.json", location.read_json("archive.json") | {"secret": SECRET})
    for name in ("site/.hidden.json", "site/notes.txt", "outside.json"):
        location.write(name, SECRET.encode())
    Path(location.url, "site", "link.json").symlink_to(Path(location.url, "outside.json"))
    return location


@pytest.fixture(scope="module")
def port(archive: Location) -> Iterator[int]:
    with serve_archive(archive.url) as (browser, _):
        yield browser.port


@pytest.fixture
def browser(port: int) -> Browser:
    return Browser(port, {})


def test_only_thumbnails_may_be_shown_by_other_pages(browser: Browser, archive: Location) -> None:
    """Such as Prefect's UI; nothing else may."""
    thumb = "0123456789abcdef.jpg"
    archive.write(f"site/days/sol-00812/thumbs/{thumb}", b"\xff\xd8\xff\xe0")
    for path, policy in (
        (f"{DAY}thumbs/{thumb}", "cross-origin"),
        (f"{DAY}picks.csv", "same-origin"),
        (f"{DAY}thumbs/", "same-origin"),
    ):
        assert browser.request("GET", path)[1]["cross-origin-resource-policy"] == policy


def test_published_files_are_served_unchanged(browser: Browser, archive: Location) -> None:
    for path, name, kind in (
        ("/", "index.html", "text/html"),
        ("/index.html", "index.html", "text/html"),
        ("/index.js", "index.js", "text/javascript"),
        ("/feed.atom", "feed.atom", "application/atom+xml"),
        (f"{DAY}picks.csv", "days/sol-00812/picks.csv", "text/csv"),
        (f"{DAY}day.json", "days/sol-00812/day.json", "application/json"),
        ("/days.json", "days.json", "application/json"),
        (f"{DAY}picks.parquet", "days/sol-00812/picks.parquet", "application/vnd.apache.parquet"),
    ):
        status, headers, data = browser.request("GET", path)
        assert (status, data) == (200, archive.read(f"site/{name}")), path
        assert headers["content-type"].startswith(kind)
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in re.search(r"script-src [^;]*", headers["content-security-policy"])[0]
        again = browser.request("GET", path, If_None_Match=headers["etag"])
        assert (again[0], again[2]) == (304, b"")
        head = browser.request("HEAD", path)
        assert (head[0], head[2], head[1]["content-length"], head[1]["etag"]) == (
            200,
            b"",
            str(len(data)),
            headers["etag"],
        )
    assert browser.request("GET", "/healthz")[2] == b"ok\n"
    assert browser.request("GET", DAY.rstrip("/"))[1]["location"] == DAY


@pytest.mark.parametrize(
    "path",
    [
        "/../archive.json",
        "/%2e%2e/archive.json",
        "/days/%2e%2e/%2e%2e/archive.json",
        "/..%2farchive.json",
        "/days/..%5c..%5carchive.json",
        "//archive.json",
        "/./index.html",
        "/.hidden.json",
        "/notes.txt",
        "/link.json",
        "/days/",
        "/days",
        "/index/",
        "/days/sol-00812/thumbs/",
        "/days/sol-00812/index.html%00.jpg",
        "/%00",
        "/nowhere.html",
        "/" + "a" * 5000 + ".html",
        "/days/sol-00812/index.html/x.html",
        "/archive.json%0d%0aX:y",
    ],
)
def test_nothing_else_is_served(browser: Browser, path: str) -> None:
    status, _, data = browser.request("GET", path)
    assert status in (404, 308, 400), path
    assert SECRET.encode() not in data


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "10.0.0.1", "[::2]", "a@127.0.0.1.x"],
)
def test_requests_that_name_another_host_are_refused(browser: Browser, host: str) -> None:
    for method, path in (("GET", "/"), ("GET", DAY), ("POST", "/mark")):
        status, _, data = browser.request(method, path, Host=host)
        assert status in (400, 421)
        assert b"Sol 812" not in data
    assert browser.request("GET", "/healthz", Host=host)[0] in (200, 400), "a probe names a machine as it likes"


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1", "[::1]:80", "127.8.9.1"])
def test_requests_that_name_loopback_are_answered(browser: Browser, host: str) -> None:
    assert browser.request("GET", "/", Host=host)[0] == 200


def test_host_names_are_checked_behind_a_published_port(archive: Location) -> None:
    with serve_archive(archive.url, "--host", "0.0.0.0", "--local-names") as (browser, _):
        assert browser.request("GET", "/", Host="evil.example")[0] == 421
        assert browser.request("GET", "/", Host="localhost:8000")[0] == 200


def test_a_verdict_by_button_is_stored_shown_and_taken_back(browser: Browser, archive: Location) -> None:
    key = next(entry.key for entry in catalog.load_entries(archive).values() if entry.id.startswith("<b>"))
    token = browser.token()
    back = f"{DAY}#pick-2"
    status, headers, _ = browser.mark(
        token, browser.origin, id=key, verdict="interesting", note="<script>x</script>", back=back
    )
    assert (status, headers["location"]) == (303, back)
    [event] = feedback.read_current_verdicts(archive).values()
    assert (event.key, event.verdict, event.by, event.note) == (key, "interesting", "Ann", "<script>x</script>")
    page = browser.request("GET", DAY)[2].decode()
    assert "Marked as <strong><bdi>interesting</bdi></strong> by <bdi>Ann</bdi>" in page
    assert "<script>" not in page
    assert 'name="by" value="Ann"' in page, "who marked last in this browser is remembered"
    assert browser.request("GET", f"{DAY}index.html")[1]["etag"] != browser.request("GET", "/")[1]["etag"]
    browser.mark(token, browser.origin, id=key, verdict="none", back=back)
    assert feedback.read_current_verdicts(archive) == {}
    assert [event.verdict for event in feedback.read_verdict_history(archive)] == ["interesting", "none"]
    assert "<form" not in archive.read("site/days/sol-00812/index.html").decode(), "the file itself has no form"


def test_verdicts_that_do_not_come_from_our_pages_are_refused(browser: Browser, archive: Location) -> None:
    key, before = next(iter(catalog.load_entries(archive))), feedback.read_verdict_history(archive)
    token = browser.token()
    fields = {"id": key, "verdict": "known"}
    refused = [
        browser.mark(token, "http://evil.example", **fields),
        browser.mark(token, "null", **fields),
        browser.mark(token, None, **fields),
        browser.mark(token, f"http://localhost:{browser.port}", **fields),
        browser.mark("0" * 32, browser.origin, **fields),
        browser.mark("", browser.origin, **fields),
        Browser(browser.port, {}).mark(token, browser.origin, **fields),
        Browser(browser.port, {"interpdisc-token": ""}).mark("", browser.origin, **fields),
        browser.request(
            "POST",
            "/mark",
            urlencode(fields | {"token": token}),
            Origin=browser.origin,
            Content_Type="application/x-www-form-urlencoded",
            Sec_Fetch_Site="cross-site",
        ),
    ]
    assert {status for status, _, _ in refused} == {403}
    form = "application/x-www-form-urlencoded"
    for body, kind in (
        ("x" * 20_000, form),
        (json.dumps(fields | {"token": token}), "application/json"),
        ("a=1&" * 100, form),
        ("id=%ff", form),
        ("id=ä".encode().decode("latin-1"), form),
    ):
        assert browser.request("POST", "/mark", body, Origin=browser.origin, Content_Type=kind)[0] in (403, 413)
    for wrong in (
        fields | {"verdict": "odd"},
        fields | {"id": "nowhere"},
        fields | {"by": ""},
        fields | {"by": "x" * 99},
    ):
        assert browser.mark(token, browser.origin, **wrong)[0] == 400
    assert browser.request("GET", "/mark")[0] in (404, 405)
    assert browser.request("PUT", "/index.html", "x")[0] == 405
    assert feedback.read_verdict_history(archive) == before


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
def test_redirects_stay_within_the_site(browser: Browser, archive: Location, back: str) -> None:
    key = next(iter(catalog.load_entries(archive)))
    status, headers, _ = browser.mark(browser.token(), browser.origin, id=key, verdict="none", back=back)
    assert (status, headers["location"]) == (303, "/")
    assert "x" not in headers


def test_a_damaged_verdict_does_not_hide_the_pages(tmp_path: Path, archive: Location) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(archive.url, copy, symlinks=True)
    Location.parse(copy).write("feedback/20260101T000000.000000Z-0a0b0c0d.json", b"damaged")
    with serve_archive(copy) as (browser, _):
        status, _, data = browser.request("GET", DAY)
        assert status == 200
        assert b"Sol 812" in data


def test_mark_and_marks_print_what_they_did(tmp_path: Path) -> None:
    """Control characters are escaped; an invalid argument is one sentence and exit code 2."""
    location = open_or_create_archive(str(tmp_path / "archive"))
    catalog.write_part(location, 0, "list", [make_entry("one.jpg"), make_entry("esc\x1b[31m.jpg")])

    def call(*args: str) -> Result:
        return CliRunner().invoke(app, args)

    assert call("marks", location.url).output == "there are no verdicts yet\n"
    done = call("mark", location.url, "one.jpg", "boring", "--by", "Ann", "--note", "dust")
    assert (done.exit_code, done.output.split(":")[1].strip()) == (0, "boring, by Ann")
    feedback.record_verdict(location, "esc\x1b[31m.jpg", "known", "Bob")
    assert [
        (event["id"], event["verdict"], event["counts"])
        for event in json.loads(call("marks", location.url, "--json").output)
    ] == [("one.jpg", "boring", True), ("esc\x1b[31m.jpg", "known", True)]
    listed = call("marks", location.url)
    assert listed.exit_code == 0
    assert "\x1b[31m" not in listed.output
    assert "dust" in listed.output
    for arguments in (
        ("mark", location.url, "nowhere.jpg", "boring", "--by", "Ann"),
        ("mark", location.url, "one.jpg", "odd", "--by", "Ann"),
        ("marks", str(tmp_path / "nothing")),
        ("serve", str(tmp_path / "nothing")),
        ("serve", location.url, "--host", "192.0.2.1"),
    ):
        assert call(*arguments).exit_code == 2, arguments


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_a_browser_searches_the_files_and_the_served_pages(archive: Location, browser: Browser, tmp_path: Path) -> None:
    """The search runs from a file as from the server; the policies let everything through that the page needs."""
    for address in (Path(archive.url, "site", "index.html").as_uri(), f"{browser.origin}/"):
        for query, picks in (("one.jpg", 1), ("sol%20812", 2), ("nothing-like-it", 0)):
            done = subprocess.run(
                [
                    "chromium",
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--no-first-run",
                    "--disable-sync",
                    "--disable-background-networking",
                    "--disable-component-update",
                    f"--user-data-dir={tmp_path / 'profile'}",
                    "--virtual-time-budget=5000",
                    "--dump-dom",
                    f"{address}#q={query}",
                ],
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            )
            assert f'data-results="{picks}"' in done.stdout, (address, query)
            assert done.stdout.count("<li><a href=") == picks
