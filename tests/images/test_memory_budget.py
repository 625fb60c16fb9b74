"""The memory of decoding: estimated from the header, shared by processes, and enough for what decoders really take."""

import io
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from interpdisc_core.errors import Unreadable
from interpdisc_core.images import decode, memory_budget
from interpdisc_core.images.memory_budget import MEMORY_VARIABLE, UNRESERVED_BYTES, has_room_now, reserve_memory

MB = 10**6


def encode(mode: str, size: tuple[int, int], format: str, **options: object) -> bytes:
    """A plain image, in a file that is small."""
    sink = io.BytesIO()
    Image.new(mode, size, 7 if mode in ("L", "P", "I;16") else None).save(sink, format, **options)
    return sink.getvalue()


def test_what_exceeds_the_budget_is_refused_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names the memory and the setting; with the setting raised it is decoded."""
    data = encode("RGBA", (4000, 3000), "PNG")
    monkeypatch.setenv(MEMORY_VARIABLE, "60")
    monkeypatch.setattr(Image.Image, "crop", None)
    with pytest.raises(
        Unreadable, match=r"takes 118 MB, and the budget is 60 MB.*set INTERPDISC_DECODE_MEMORY"
    ) as caught:
        decode.decode(data)
    assert not caught.value.retryable
    assert not has_room_now(str(caught.value))
    assert not has_room_now("truncated: takes 1 MB")
    monkeypatch.undo()
    monkeypatch.setenv(MEMORY_VARIABLE, "118")
    assert has_room_now(str(caught.value))
    assert decode.decode(data).shape == (3000, 4000, 3)


def test_a_header_is_read_without_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a PNG without EXIF, and of one whose EXIF follows the pixels, which is found."""
    exif = Image.Exif()
    exif[0x112] = 6
    data = encode("RGB", (30, 20), "PNG", exif=exif)
    start = data.index(b"eXIf") - 4
    chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
    late = data.replace(chunk, b"")
    late = late.replace(late[-12:], chunk + late[-12:])
    assert late.index(b"eXIf") > late.index(b"IDAT")
    assert decode.decode(late).shape == (30, 20, 3)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert decode.identify(encode("RGBA", (400, 300), "PNG")).header == "{}"
    assert decode.identify(late).header == decode.identify(data).header


_HOLD = """
import sys, time
from pathlib import Path
from interpdisc_core.images.memory_budget import reserve_memory
with reserve_memory(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_gives_its_memory_back(tmp_path: Path) -> None:
    """Another process holds 12 of 16 parts: 4 are to be had, 5 only after kill -9."""
    budget = 1600 * MB
    command = [sys.executable, "-c", _HOLD, str(1200 * MB), str(budget), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with reserve_memory(400 * MB, budget, tmp_path):
            pass
        got: list[int] = []

        def take() -> None:
            with reserve_memory(500 * MB, budget, tmp_path):
                got.append(1)

        taker = Thread(target=take)
        taker.start()
        taker.join(0.3)
        assert not got
        with reserve_memory(UNRESERVED_BYTES - 1, budget, tmp_path):  # small images never wait
            pass
        holder.send_signal(signal.SIGKILL)
        taker.join(30)
        assert got


def test_strips_are_seamless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels in strips of a few lines as in one strip: colors, transparency, 16 bits, mosaics, orientations."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x112] = 5
    images = (
        Image.fromarray(rng.integers(0, 256, (61, 37, 4), dtype=np.uint8)),
        Image.fromarray(rng.integers(0, 60000, (61, 37)).astype(np.uint16)),
        Image.fromarray(rng.integers(0, 256, (61, 37), dtype=np.uint8)),
    )
    for image in images:
        sink = io.BytesIO()
        image.save(sink, "PNG", exif=exif)
        for pattern in ("", "GRBG"):
            whole = decode.decode(sink.getvalue(), bayer_pattern=pattern)
            with monkeypatch.context() as patch:
                patch.setattr(decode, "_STRIP_PIXELS", 37 * 7)
                np.testing.assert_array_equal(decode.decode(sink.getvalue(), bayer_pattern=pattern), whole)


def test_large_images_are_reduced_where_less_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As means of squares of pixels, at least twice as large as asked for, whatever the strips; never at full scale."""
    monkeypatch.setattr(decode, "LARGE_PIXELS", 90 * 60)
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, (95, 122, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(values).save(sink, "PNG")
    expected = np.asarray(Image.fromarray(values).reduce(4))
    for strip_pixels in (1, 1000, 10**6):
        monkeypatch.setattr(decode, "_STRIP_PIXELS", strip_pixels)
        np.testing.assert_array_equal(decode.decode(sink.getvalue(), at_least=10), expected)
    np.testing.assert_array_equal(decode.decode(sink.getvalue()), values)


_PEAK = """
import re, sys
from interpdisc_core.images import decode, memory_budget, science_formats
def peak(pid="self"):
    return int(re.search(r"VmHWM:\\s+(\\d+)", open(f"/proc/{pid}/status").read())[1]) * 1024
estimates = []
check = memory_budget.check_budget
memory_budget.check_budget = lambda needed, budget: (estimates.append(needed), check(needed, budget))
data, before = open(sys.argv[1], "rb").read(), peak()
decode.decode(data, at_least=int(sys.argv[2]) or None)
print((peak() - before) / estimates[0])
"""


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        ("RGBA", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        ("RGB", "TIFF", {"compression": "tiff_deflate"}),
        ("RGB", "WEBP", {"quality": 1, "method": 0}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
    ],
)
def test_no_decoder_takes_more_than_the_estimate(
    tmp_path: Path, mode: str, format: str, options: dict[str, object]
) -> None:
    """The peak of a real process, at full scale, for 20 million pixels; and the estimate is not three times too high."""
    path = tmp_path / "image"
    path.write_bytes(encode(mode, (5000, 4000), format, **options))
    run = subprocess.run(
        [sys.executable, "-c", _PEAK, str(path), "0"], capture_output=True, text=True, check=True, timeout=60
    )
    assert 0.33 < float(run.stdout) < 1.05


def test_the_budget_is_a_third_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is set; a number that makes no sense is ignored."""
    monkeypatch.setattr(memory_budget, "find_machine_bytes", lambda: 6 << 30)
    for value, expected in (("", 2 << 30), ("many", 2 << 30), ("0", 2 << 30), ("512", 512 * MB)):
        monkeypatch.setenv(MEMORY_VARIABLE, value)
        assert memory_budget.get_decode_budget() == expected
