"""A folder of hostile files between good ones: the run ends well, and every file is accounted for."""

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from interpdisc_core.archive import catalog
from interpdisc_core.storage.location import Location
from tests.campaign.table import CampaignRow
from tests.flows.conftest import CliRunner
from tests.helpers.science_files import make_png_chunk

_GOOD = 24


def attack_by_files(interpdisc: CliRunner, folder: Path, tries: int, seed: int) -> list[CampaignRow]:
    """`tries` hostile files of all kinds in one folder, and `discover` on it."""
    images, draws = folder / "hostile", random.Random(seed)
    images.mkdir(parents=True, exist_ok=True)
    originals = _make_originals()
    kinds: dict[str, str] = {}
    for number in range(_GOOD):
        (images / f"good-{number:02d}.png").write_bytes(_encode("PNG", 9000 + number))
    for number in range(tries):
        kind = sorted(_ATTACKS)[number % len(_ATTACKS)]
        suffix, data = draws.choice(originals)
        name = f"{number:04d}-{kind}{draws.choice([suffix, '.jpg', '.png', '.tif'])}"
        (images / name).write_bytes(_ATTACKS[kind](data, draws))
        kinds[name] = kind
    plan = folder / "pixels.json"
    plan.write_text(json.dumps({"representation": {"kind": "pixels", "side": 8}, "picks": 12, "explain": 0}))
    rows = {kind: CampaignRow("hostile files", kind) for kind in sorted(_ATTACKS)}
    run = CampaignRow("hostile files", "the run")
    archive = folder / "archive"
    code, _out, err = interpdisc.start("discover", images, "--archive", archive, "--plan", plan, "--json").wait(3000)
    run.record(f"exit code {code}: {err[-300:]}" if code or "Traceback" in err else "")
    if not code:
        entries = {entry.id: entry for entry in catalog.load_entries(Location.parse(archive)).values()}
        for name, kind in kinds.items():
            entry = entries.get(name)
            fault = "" if entry and (entry.status == "ready" or entry.reason) else f"{name} is not accounted for"
            rows[kind].record(fault, entry.status if entry else "missing")
        missing = [f"good-{number:02d}.png" for number in range(_GOOD)]
        missing = [name for name in missing if name not in entries or entries[name].status != "ready"]
        run.record(f"good images are not taken: {missing}" if missing else "")
        check, told, said = interpdisc.start("verify", archive).wait(600)
        run.record(f"verify: exit code {check}: {(told + said)[-300:]}" if check else "")
    return [*rows.values(), run]


def _encode(kind: str, seed: int, mode: str = "RGB", **options: object) -> bytes:
    draws = np.random.default_rng(seed)
    coarse = Image.fromarray(draws.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((96, 80))
    sink = io.BytesIO()
    coarse.convert(mode).save(sink, kind, **options)
    return sink.getvalue()


def _make_originals() -> list[tuple[str, bytes]]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    originals = [
        (".jpg", _encode("JPEG", 1, quality=90, exif=exif)),
        (".jpg", _encode("JPEG", 2, "CMYK")),
        (".jpg", _encode("JPEG", 3, progressive=True)),
        (".png", _encode("PNG", 4)),
        (".png", _encode("PNG", 5, "P")),
        (".png", _encode("PNG", 6, "RGBA")),
        (".tif", _encode("TIFF", 7)),
        (".tif", _encode("TIFF", 8, compression="tiff_lzw")),
        (".webp", _encode("WEBP", 9)),
        (".gif", _encode("GIF", 10, "P")),
        (".bmp", _encode("BMP", 11)),
    ]
    label = b"PDS_VERSION_ID = PDS3\r\nRECORD_TYPE = FIXED_LENGTH\r\nRECORD_BYTES = 512\r\nLABEL_RECORDS = 1\r\n^IMAGE = 2\r\n"
    label += b"OBJECT = IMAGE\r\n LINES = 32\r\n LINE_SAMPLES = 512\r\n SAMPLE_BITS = 8\r\n SAMPLE_TYPE = UNSIGNED_INTEGER\r\n"
    label += b"END_OBJECT = IMAGE\r\nEND\r\n"
    pixels = np.random.default_rng(12).integers(0, 256, 32 * 512, dtype=np.uint8).tobytes()
    originals.append((".img", label.ljust(512) + pixels))
    return originals


def _flip_bytes(data: bytes, draws: random.Random) -> bytes:
    mutable = bytearray(data)
    for _ in range(draws.choice([1, 4, 64])):
        mutable[draws.randrange(len(mutable))] = draws.randrange(256)
    return bytes(mutable)


def _damage_head(data: bytes, draws: random.Random) -> bytes:
    mutable = bytearray(data)
    for _ in range(draws.choice([1, 3, 8])):
        mutable[draws.randrange(min(96, len(mutable)))] = draws.choice([0, 1, 127, 128, 255])
    return bytes(mutable)


def _truncate(data: bytes, draws: random.Random) -> bytes:
    return data[: draws.randrange(len(data))]


def _splice(data: bytes, draws: random.Random) -> bytes:
    start, stop = sorted(draws.sample(range(len(data)), 2))
    return data[:start] + data[start:stop] * draws.choice([0, 2, 3]) + data[stop:]


def _pad(data: bytes, draws: random.Random) -> bytes:
    padding = draws.choice([b"\0" * 4096, draws.randbytes(999), data, b"<html>"])
    return data + padding if draws.random() < 0.7 else padding + data


def _make_noise(data: bytes, draws: random.Random) -> bytes:
    return data[:16] + draws.randbytes(draws.randrange(1, 4000))


def _make_png_bomb(data: bytes, draws: random.Random) -> bytes:
    """A PNG whose header promises far more than its data hold."""
    side = draws.choice([0, 1, 30_000, 100_000, 2**31 - 1, 2**32 - 1])
    header = struct.pack(
        ">IIBBBBB", side, draws.choice([1, side]), draws.choice([8, 16]), draws.choice([0, 2, 6]), 0, 0, 0
    )
    rows = zlib.compress(b"\0" * draws.choice([0, 1000, 3_000_000]))
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(make_png_chunk(*chunk) for chunk in chunks)


def _make_label(data: bytes, draws: random.Random) -> bytes:
    """A planetary label with hostile numbers."""
    number = draws.choice(["0", "-1", "1", "99999999999", "1e99", '"x"', "(1,2", "16#ZZ#", "", "NaN"])
    keys = ["LINES", "LINE_SAMPLES", "SAMPLE_BITS", "RECORD_BYTES", "LABEL_RECORDS", "^IMAGE", "BANDS"]
    values = dict.fromkeys(keys, "32") | {"SAMPLE_BITS": "8", "^IMAGE": "2", draws.choice(keys): number}
    text = "PDS_VERSION_ID = PDS3\r\n" + "".join(f"{key} = {value}\r\n" for key, value in values.items()) + "END\r\n"
    return text.encode().ljust(512) + data


def _make_text(data: bytes, draws: random.Random) -> bytes:
    return draws.choice(
        [
            b"<!DOCTYPE html><html>404</html>",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
            b"\x1f\x8b\x08\0" + data,
            b"%PDF-1.7\n",
            b"\0" * 5000,
            b"",
            b"SIMPLE  =                    T",
            b'{"error": "denied"}',
            b"\0\0\0\x20ftypheic" + data[:99],
        ]
    )


_ATTACKS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped-bytes": _flip_bytes,
    "damaged-head": _damage_head,
    "truncated": _truncate,
    "spliced": _splice,
    "padded": _pad,
    "noise": _make_noise,
    "png-bomb": _make_png_bomb,
    "label": _make_label,
    "other-content": _make_text,
}
