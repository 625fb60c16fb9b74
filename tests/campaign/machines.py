"""What a machine can do to a run: two runs at once, a full disk, no more files, little memory."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import pack

from tests.campaign.commands import AttackInputs
from tests.campaign.table import CampaignRow
from tests.flows.conftest import COMMAND, CliRunner, list_picks
from tests.helpers.science_files import make_png_chunk

_MEMORY_BYTES = 2 << 30


def attack_by_two_runs(interpdisc: CliRunner, inputs: AttackInputs, folder: Path, tries: int) -> list[CampaignRow]:
    """Two commands at once, without a configured Prefect server: on two archives both end well, on one the second waits out."""
    apart, together = CampaignRow("two runs at once", "two archives"), CampaignRow("two runs at once", "one archive")
    command: list[str | Path] = [
        "discover",
        inputs.folder / "few",
        "--plan",
        inputs.folder / "plan.json",
        "--explain",
        "0",
        "--workers",
        "1",
    ]
    own_server = {"PREFECT_API_URL": ""}
    for count in range(tries):
        state = {"XDG_STATE_HOME": str(folder / f"state-{count}")} | own_server
        jobs = [interpdisc.start(*command, "--archive", folder / f"{name}-{count}", "--json", **state) for name in "ab"]
        ended = [job.wait(900) for job in jobs]
        bad = [f"exit code {code}: {err[-300:]}" for code, _, err in ended if code or "Traceback" in err]
        picks = [list_picks(json.loads(out)) for code, out, _ in ended if not code]
        apart.record(bad[0] if bad else "" if picks[0] == picks[1] else "the two runs picked differently")
        shared = folder / f"shared-{count}"
        jobs = [interpdisc.start(*command, "--archive", shared, "--json", **state) for _ in "ab"]
        ended = [job.wait(900) for job in jobs]
        codes = sorted(code for code, _, _ in ended)
        refused = [err for code, _, err in ended if code]
        fault = (
            ""
            if codes in ([0, 0], [0, 1], [0, 2])
            else f"exit codes {codes}: {ended[0][2][-200:]} {ended[1][2][-200:]}"
        )
        if refused and "another run is writing to this archive" not in refused[0]:
            fault = f"refused without the reason: {refused[0][-300:]}"
        together.record(fault)
        together.record("" if interpdisc.start("verify", shared).wait(300)[0] == 0 else "verify finds faults")
    return [apart, together]


@contextmanager
def _mount_small_disk(folder: Path, options: str) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        yield mounted.stderr.strip() if mounted.returncode else ""
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "-l", folder], check=False)


def attack_by_full_disk(interpdisc: CliRunner, inputs: AttackInputs, folder: Path) -> list[CampaignRow]:
    """No space or no inodes left, at growing sizes; with room again, the same command ends with the same picks."""
    rows = []
    plan: list[str | Path] = ["--plan", inputs.folder / "plan.json", "--explain", "4", "--workers", "2", "--block", "8"]
    source = inputs.folder / "images"
    expected = list_picks(interpdisc.run_discover(source, "--archive", folder / "straight", *plan))
    for kind, sizes in (("size", ("64k", "300k", "1m", "2m")), ("nr_inodes", ("20", "60", "150", "300"))):
        row = CampaignRow("full disk", "no space" if kind == "size" else "no inodes")
        rows.append(row)
        if os.geteuid():
            row.skip_reason = "mounting a small disk needs root"
            continue
        for size in sizes:
            disk = folder / f"disk-{kind}-{size}"
            with _mount_small_disk(disk, f"{kind}={size}" + (",size=200m" if kind != "size" else "")) as refusal:
                if refusal:
                    row.skip_reason = refusal
                    break
                command: list[str | Path] = ["discover", source, "--archive", disk / "archive", *plan, "--json"]
                code, out, err = interpdisc.start(*command).wait(900)
                fault = ""
                if code and ("Traceback" in err or "full" not in err):
                    fault = f"{size}: exit code {code} without the reason: {err[-300:]}"
                elif code:
                    grown = "remount,size=200m,nr_inodes=100000"
                    subprocess.run(["mount", "-o", grown, disk], check=True)
                    code, out, err = interpdisc.start(*command).wait(900)
                    fault = f"{size}: with room again, exit code {code}: {err[-300:]}" if code else ""
                if not fault and list_picks(json.loads(out)) != expected:
                    fault = f"{size}: other picks"
                row.record(fault)
    return rows


def attack_by_little_memory(interpdisc: CliRunner, inputs: AttackInputs, folder: Path) -> list[CampaignRow]:
    """Four small PNGs that decode to gigabytes, in a control group of 2 GiB without swap."""
    row = CampaignRow("little memory", "four PNGs of 13,300 x 13,300 RGBA in 2 GiB")
    images = folder / "large"
    images.mkdir(parents=True)
    for image in sorted((inputs.folder / "few").iterdir()):
        os.link(image, images / image.name)
    for number in range(4):
        (images / f"large-{number}.png").write_bytes(_make_large_png(13_300, number))
    with _open_control_group(_MEMORY_BYTES) as (enter, refusal):
        if refusal:
            row.skip_reason = refusal
            return [row]
        wrapped = [sys.executable, "-c", enter, *COMMAND]
        command = [*wrapped, "discover", str(images), "--archive", str(folder / "archive"), "--workers", "2", "--json"]
        command += ["--plan", str(inputs.folder / "plan.json"), "--explain", "0"]
        environment = interpdisc.env | {"PREFECT_API_URL": "", "XDG_STATE_HOME": str(folder / "state")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    row.record(
        ""
        if done.returncode == 0 and "Traceback" not in done.stderr
        else f"exit code {done.returncode}: {done.stderr[-400:]}"
    )
    if not done.returncode:
        counts = json.loads(done.stdout)["counts"]
        row.notes.update({str(name): int(count) for name, count in counts.items() if isinstance(count, int)})
    shutil.rmtree(images, ignore_errors=True)
    return [row]


@contextmanager
def _open_control_group(limit_bytes: int) -> Iterator[tuple[str, str]]:
    """Code that moves its process into a control group with this limit and runs its arguments; or why there is none."""
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root = v1 if (v1 / "memory.limit_in_bytes").exists() else v2
    group = root / f"interpdisc-campaign-{os.getpid()}"
    limit = "memory.limit_in_bytes" if root == v1 else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(limit_bytes))
    except OSError as error:
        yield "", f"no control group can be made here ({error})"
        return
    code = (
        "import os, sys; "
        f"open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    try:
        yield code, ""
    finally:
        with suppress(OSError):
            group.rmdir()


def _make_large_png(side: int, seed: int) -> bytes:
    """A valid PNG of `side` x `side`, RGBA, of a few hundred kilobytes."""
    compressor, rows = zlib.compressobj(9), []
    for number in range(side):
        shade = (number * 7 + seed) % 256
        rows.append(compressor.compress(b"\0" + bytes([shade, 255 - shade, seed, 255]) * side))
    header = pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    pixels = b"".join(rows) + compressor.flush()
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(make_png_chunk(*chunk) for chunk in chunks)
