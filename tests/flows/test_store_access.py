"""Stores that refuse in mid-run: a real S3 server behind a proxy that answers with the errors of S3."""

from collections.abc import Callable
from pathlib import Path

import pytest

from interpdisc_core.storage.remote_files import get_s3_filesystem
from tests.flows.conftest import CliRunner
from tests.helpers.s3_proxy import DENIED, EXPIRED, AnswerRule, S3Answer, open_s3_proxy

IMAGES = 12


@pytest.fixture(scope="module")
def images(s3: dict[str, str], tiles: tuple[Path, Path]) -> str:
    """The address of twelve images in S3."""
    for number, tile in enumerate(sorted(tiles[0].iterdir())[:IMAGES]):
        get_s3_filesystem().pipe_file(f"rover/plain/{number:03d}.png", tile.read_bytes())
    return "s3://rover/plain"


def answer_after(count: int, answer: S3Answer, *, methods: tuple[str, ...] = ("GET",)) -> AnswerRule:
    """Answers every request for an image after the first `count` with an error."""
    seen = [0]

    def rule(method: str, path: str) -> S3Answer | None:
        if method not in methods or "/plain/" not in path or not path.endswith(".png"):
            return None
        seen[0] += 1
        return answer if seen[0] > count else None

    return rule


@pytest.mark.parametrize(
    ("count", "answer", "methods", "remedy"),
    [
        # The first 12 images are checked, 4 are extracted.
        (16, EXPIRED, ("GET",), "AWS_SESSION_TOKEN"),
        # The status of an object is asked for first, and a store does not say then why it refuses.
        (3, EXPIRED, ("GET", "HEAD"), "AWS_SESSION_TOKEN"),
        pytest.param(5, DENIED, ("GET",), "s3:GetObject", marks=pytest.mark.slow),
    ],
)
def test_a_store_that_refuses_in_mid_run_fails_it_with_its_words(
    interpdisc: CliRunner,
    images: str,
    s3: dict[str, str],
    pixel_plan: Path,
    tmp_path: Path,
    count: int,
    answer: S3Answer,
    methods: tuple[str, ...],
    remedy: str,
) -> None:
    """No picks of what is left, nothing quarantined; the same command ends the run once the store lets it."""
    command = ("discover", images, "--archive", tmp_path / "archive", "--plan", pixel_plan, "--workers", "1")
    with open_s3_proxy(s3["AWS_ENDPOINT_URL"], answer_after(count, answer, methods=methods)) as proxy:
        _, err = interpdisc(*command, expect=1, **s3 | {"AWS_ENDPOINT_URL": proxy})
    assert answer.code in err
    assert answer.message.rstrip(".") in err
    assert remedy in err
    assert "Traceback" not in err
    result = interpdisc.run_discover(*command[1:], **s3)
    assert {status: number for status, number in result["counts"].items() if number} == {"ready": IMAGES}


@pytest.mark.slow
def test_one_key_that_nobody_may_read_stops_nothing(
    interpdisc: CliRunner, images: str, s3: dict[str, str], pixel_plan: Path, tmp_path: Path
) -> None:
    """It is outstanding, which the terminal says, and daily runs go on without it too."""

    def rule(method: str, path: str) -> S3Answer | None:
        return DENIED if path.endswith("/plain/007.png") and method == "GET" else None

    with open_s3_proxy(s3["AWS_ENDPOINT_URL"], rule) as proxy:
        env = s3 | {"AWS_ENDPOINT_URL": proxy}
        out, _ = interpdisc(
            "discover", images, "--archive", tmp_path / "archive", "--plan", pixel_plan, "--workers", "1", **env
        )
    assert "1 outstanding, 11 ready" in out
    assert "AccessDenied" in out


@pytest.mark.slow
def test_a_daily_run_and_a_backfill_stop_too(
    interpdisc: CliRunner, images: str, s3: dict[str, str], tiles: tuple[Path, Path], pixel_plan: Path, tmp_path: Path
) -> None:
    import tarfile

    shard = tmp_path / "a.tar"
    with tarfile.open(shard, "w") as tar:
        for tile in sorted(tiles[0].iterdir())[:5]:
            tar.add(tile, tile.name)
    get_s3_filesystem().pipe_file("rover/shards/a.tar", shard.read_bytes())

    def refuse_data(method: str, path: str) -> S3Answer | None:
        return EXPIRED if method == "GET" and path.endswith((".png", ".tar")) else None

    settings = tmp_path / "daily.json"
    settings.write_text(
        '{"source": {"kind": "s3", "url": "s3://rover/plain"}, '
        '"plan": {"representation": {"kind": "pixels", "side": 8}, "picks": 3, "explain": 0}}'
    )
    commands: list[tuple[str | Path, ...]] = [
        ("daily", "--settings", settings, "--archive", tmp_path / "daily", "--workers", "1"),
        ("backfill", "s3://rover/shards", "--archive", tmp_path / "b", "--plan", pixel_plan, "--workers", "1"),
    ]
    for command in commands:
        with open_s3_proxy(s3["AWS_ENDPOINT_URL"], refuse_data) as proxy:
            _, err = interpdisc(*command, expect=1, **s3 | {"AWS_ENDPOINT_URL": proxy})
        assert "ExpiredToken" in err
        assert "AWS_SESSION_TOKEN" in err
        interpdisc(*command, **s3)


@pytest.mark.parametrize(
    ("env", "remedy"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"},
            "AWS_ACCESS_KEY_ID",
        ),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "AWS_ENDPOINT_URL"),
        ({"AWS_ENDPOINT_URL": "http://nowhere.invalid"}, "AWS_ENDPOINT_URL"),
        ({"AWS_ENDPOINT_URL": "minio:9000"}, "AWS_ENDPOINT_URL"),
        ({"AWS_PROFILE": "nobody"}, "AWS_PROFILE"),
    ],
)
def test_what_is_wrong_before_the_first_request_is_one_sentence(
    interpdisc: CliRunner, images: str, s3: dict[str, str], tmp_path: Path, env: dict[str, str], remedy: str
) -> None:
    """Said before anything is started, and nothing is left behind."""
    _, err = interpdisc("discover", images, "--archive", tmp_path / "archive", expect=1, **s3 | env)
    assert remedy in err
    assert len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize(
    "code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "RequestTimeTooSkewed"]
)
def test_a_listing_that_is_refused_is_one_sentence(
    interpdisc: CliRunner, images: str, s3: dict[str, str], tmp_path: Path, code: str
) -> None:
    """Also where a store refuses from the first request on, for the source and for an archive in S3."""
    refuse: Callable[[str, str], S3Answer] = lambda _method, _path: S3Answer(403, code, "Words of the store")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(get_s3_filesystem().cat_file("rover/plain/000.png"))
    with open_s3_proxy(s3["AWS_ENDPOINT_URL"], refuse) as proxy:
        for source, archive in ((images, str(tmp_path / "archive")), (str(folder), "s3://rover/new")):
            _, err = interpdisc("discover", source, "--archive", archive, expect=1, **s3 | {"AWS_ENDPOINT_URL": proxy})
            assert f"the store says {code} (Words of the store)" in err
            assert len(err.strip().splitlines()) == 1, err
