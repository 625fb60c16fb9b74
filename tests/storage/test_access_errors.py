"""What stores say if they give no access: each has its sentence, which names what to set."""

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import botocore.exceptions as client_errors
import pytest
from s3fs.errors import translate_boto_error

from interpdisc_core.errors import AccessError, Unreadable
from interpdisc_core.sources import fetch
from interpdisc_core.storage.access_errors import classify_access_error, classify_store_error, translate_access_errors


def make_s3_error(code: str, message: str = "The store's own words.") -> BaseException:
    """The error of an answer of S3, as s3fs raises it."""
    error: BaseException = translate_boto_error(
        client_errors.ClientError({"Error": {"Code": code, "Message": message}}, "GetObject")
    )
    return error


@pytest.mark.parametrize(
    ("code", "remedy", "is_store_wide"),
    [
        ("ExpiredToken", "AWS_SESSION_TOKEN", True),
        ("InvalidToken", "AWS_SESSION_TOKEN", True),
        ("RequestTimeTooSkewed", "clock", True),
        ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID", True),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY", True),
        ("NoSuchBucket", "AWS_ENDPOINT_URL", True),
        ("PermanentRedirect", "AWS_DEFAULT_REGION", True),
        ("SlowDown", "--workers", True),
        ("AccessDenied", "s3:GetObject", False),
        ("InvalidObjectState", "restore", False),
        ("InternalError", "", False),
        ("ACodeOfTomorrow", "", False),
    ],
)
def test_each_code_of_s3_has_the_stores_words_and_a_remedy(code: str, remedy: str, is_store_wide: bool) -> None:
    fault = classify_store_error(make_s3_error(code))
    assert fault is not None
    assert fault.is_store_wide == is_store_wide
    assert code in fault.reason
    assert "The store's own words" in fault.reason
    assert remedy in fault.reason
    assert "\n" not in fault.reason


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (client_errors.NoCredentialsError(), "AWS_ACCESS_KEY_ID"),
        (
            client_errors.PartialCredentialsError(provider="env", cred_var="aws_secret_access_key"),
            "AWS_SECRET_ACCESS_KEY",
        ),
        (client_errors.ProfileNotFound(profile="rover"), "AWS_PROFILE"),
        (client_errors.EndpointConnectionError(endpoint_url="http://nowhere.invalid"), "AWS_ENDPOINT_URL"),
        (client_errors.ReadTimeoutError(endpoint_url="http://x"), "AWS_ENDPOINT_URL"),
        (client_errors.SSLError(endpoint_url="https://x", error="bad certificate"), "AWS_ENDPOINT_URL"),
        (ValueError("Invalid endpoint: minio:9000"), "AWS_ENDPOINT_URL"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_client_that_gets_no_answer_names_what_to_set(error: BaseException, remedy: str) -> None:
    """Also where it is the cause of another error."""
    outer = RuntimeError("while listing")
    outer.__cause__ = error
    for raised in (error, outer):
        fault = classify_store_error(raised)
        assert fault is not None
        assert fault.is_store_wide
        assert remedy in fault.reason


def test_what_is_no_matter_of_access_has_no_sentence() -> None:
    for error in (ValueError("other"), KeyError("x"), make_s3_error("NoSuchKey"), make_s3_error("404")):
        assert classify_access_error(error) is None
        with pytest.raises(type(error)), translate_access_errors("s3://rover", lambda: None):
            raise error


def test_an_access_error_reaches_another_process_whole() -> None:
    error = AccessError("s3://rover: the keys have expired.")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (AccessError, str(error))


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "no permission"), (errno.ENOENT, "vanished"), (errno.EIO, "Input/output error")],
)
def test_a_local_file_that_cannot_be_got_at_is_retryable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """One file never stands for its whole disk: whatever the system says, only this file is outstanding."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(Unreadable, match=words) as caught:
        fetch.fetch_bytes(path.as_uri())
    assert caught.value.retryable
