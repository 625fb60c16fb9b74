"""A folder of 300 files of which 60 are broken: the run succeeds, and its ledger adds up."""

import csv
import html.parser
import io
import json
import os
import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interpdisc_core.storage.tables import unmark_formula
from tests.flows.conftest import CliRunner

NAMES = [
    "two words.png",
    "line\nbreak.png",
    "quote\"s and 'more'.png",
    "<script>alert(1)</script>.png".replace("/", "∕"),
    "<img src=x onerror=alert(1)>.png",
    "naïve-éß-漢字-🚀.png",
    "comma,semi;colon.png",
    "&amp;&lt;.png",
    "-n.png",
    "back\\slash.png",
    "percent%20.png",
    "hash#question?.png",
    "=cmd|' '!A0.png",
]


def _photo(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def _good(folder: Path) -> int:
    """240 readable images: every format and mode that is promised, and names that are hard on programs."""
    made = 0

    def save(name: str, image: Image.Image, **how: object) -> None:
        nonlocal made
        image.save(folder / name, **how)  # type: ignore[arg-type]
        made += 1

    for number, name in enumerate(NAMES):
        save(name, _photo(number))
    (folder / os.fsdecode(b"latin-\xe9\xff.png")).write_bytes(_bytes(_photo(50), "PNG"))
    made += 1
    save("jpeg.jpg", _photo(100), quality=90)
    save("grey.png", _photo(101).convert("L"))
    save("palette.png", _photo(102).convert("P"))
    save("alpha.png", _photo(103).convert("RGBA"))
    save("16-bit.png", Image.fromarray((np.arange(48 * 40, dtype=np.uint16) * 30).reshape(40, 48)))
    save("16-bit.tif", Image.fromarray((np.arange(48 * 40, dtype=np.uint16) * 31).reshape(40, 48)))
    save("tiff.tiff", _photo(104))
    save("webp.webp", _photo(105))
    save("bmp.bmp", _photo(106))
    save("cmyk.jpg", _photo(107).convert("CMYK"), quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned.jpg", _photo(108), exif=exif)
    save("moving.gif", _photo(109), save_all=True, append_images=[_photo(110)])
    while made < 240:
        save(f"plain-{made:03d}.png", _photo(1000 + made))
    return made


def _bytes(image: Image.Image, kind: str) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind)
    return sink.getvalue()


def _bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def _broken(folder: Path) -> int:
    """60 files in every way in which a file can be broken."""
    rng = np.random.default_rng(7)
    for i in range(10):
        whole = _bytes(_photo(2000 + i, (200, 160)), "JPEG" if i % 2 else "PNG")
        (folder / f"truncated-{i}.{'jpg' if i % 2 else 'png'}").write_bytes(whole[: len(whole) // 2])
        (folder / f"empty-{i}.jpg").write_bytes(b"")
        (folder / f"text-{i}.png").write_text(f"this is no image, it is text {i}")
        (folder / f"noise-{i}.jpg").write_bytes(b"\xff\xd8\xff" + rng.bytes(500))
    for i in range(5):
        (folder / f"bomb-{i}.png").write_bytes(_bomb() + bytes([i]))
        os.symlink(folder / f"gone-{i}.jpg", folder / f"vanished-{i}.jpg")
        os.mkfifo(folder / f"pipe-{i}.jpg")
        whole = _bytes(Image.fromarray(rng.random((20, 20), dtype=np.float32)), "TIFF")
        (folder / f"float-{i}.tif").write_bytes(whole[: len(whole) // 3 + i])
    return 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 files; five good ones are copies, so there are 235 contents."""
    folder = tmp_path_factory.mktemp("mixed") / "images"
    folder.mkdir()
    assert _good(folder) == 240
    for i in range(5):
        shutil.copy(folder / f"plain-{200 + i:03d}.png", folder / f"plain-{100 + i:03d}.png")
    assert _broken(folder) == 60
    assert len(os.listdir(folder)) == 300
    return folder


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_a_broken_fifth_stops_nothing(folder: Path, interpdisc: CliRunner, tmp_path: Path) -> None:
    """Each broken file is quarantined with its reason, or outstanding, each copy is scored once, and nothing is unaccounted for."""
    plan = tmp_path / "plan.json"
    plan.write_text(
        json.dumps(
            {
                "representation": {"kind": "pixels", "side": 8},
                "picks": 235,
                "selector": {"kind": "random"},
                "explain": 0,
            }
        )
    )
    result = interpdisc.run_discover(
        folder, "--archive", tmp_path / "archive", "--plan", plan, "--out", tmp_path / "out"
    )
    assert sum(result["counts"].values()) == 300
    assert result["counts"]["quarantined"] == 50
    assert result["counts"]["outstanding"] == 10, "links to nothing and pipes: tried again"
    assert result["counts"]["duplicate-of"] == 5
    assert result["counts"]["ready"] == 235
    out, _ = interpdisc("verify", tmp_path / "archive")
    assert "300 inputs seen = 235 ready + 5 duplicate-of + 50 quarantined + 10 outstanding" in out
    assert "sound" in out

    from interpdisc_core.archive import catalog
    from interpdisc_core.storage.location import Location

    why = {
        e.id: e.reason
        for e in catalog.load_entries(Location.parse(tmp_path / "archive")).values()
        if e.status in ("quarantined", "outstanding")
    }
    said = {
        "truncated-1.jpg": "truncated",
        "truncated-2.png": "truncated",
        "empty-3.jpg": "zero bytes",
        "text-4.png": "not an image",
        "noise-5.jpg": "",
        "bomb-1.png": "decompression bomb",
        "vanished-2.jpg": "vanished",
        "pipe-3.jpg": "not a regular file",
        "float-4.tif": "truncated",
    }
    for name, word in said.items():
        assert word in why[name]
        assert why[name]

    # Names survive: into the CSV as they are, into the page as text.
    with (tmp_path / "out" / "picks.csv").open(newline="", encoding="utf-8") as file:
        ids = {unmark_formula(row["id"]) for row in csv.DictReader(file)}
    expected = {name.replace("\\", "/") if os.name == "nt" else name for name in NAMES}
    assert expected <= ids
    assert "latin-\\xe9\\xff.png" in ids
    page = _Page()
    page.feed((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert page.tags["script"] == 0
    assert not page.handlers


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine to open the page in")
def test_the_page_in_a_browser(folder: Path, interpdisc: CliRunner, tmp_path: Path) -> None:
    """Opened in headless Chromium, the page shows its picks, runs nothing out of a name, and fits its width."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"representation": {"kind": "pixels", "side": 8}, "picks": 60, "explain": 0}))
    interpdisc.run_discover(folder, "--archive", tmp_path / "archive", "--plan", plan, "--out", tmp_path / "out")
    common = [
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
    ]
    page = (tmp_path / "out" / "report.html").as_uri()
    dom = subprocess.run([*common, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<script>alert" not in dom
    assert "&lt;script&gt;" in dom or "&lt;img src=x" in dom
    shot = tmp_path / "phone.png"
    subprocess.run(
        [*common, "--window-size=500,900", f"--screenshot={shot}", page], capture_output=True, timeout=120, check=True
    )
    picture = np.asarray(Image.open(shot).convert("L"))
    assert picture.std() > 10, "the page is not blank"
    assert len(re.findall(r"data:image/jpeg", dom)) >= 60
