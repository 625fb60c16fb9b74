"""What a store or a file system says if it does not give access, and what to do: the one place that classifies it.

A fault concerns one object (no right to read this key, a damaged sector), or the whole store (expired keys, a wrong
clock, no such bucket, an endpoint that does not answer): then nothing else of it can be got at either.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from interpdisc_core.errors import AccessError, one_line


class AccessFault(NamedTuple):
    """Why something could not be got at.

    Attributes:
        reason: The store's own words, and what to set or do; one phrase.
        is_store_wide: Whether nothing else of the store can be got at either.
    """

    reason: str
    is_store_wide: bool


_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_ANONYMOUS = """FSSPEC_S3='{"anon": true}'"""
_RENEW_KEYS = f"renew them: {_KEYS} with AWS_SESSION_TOKEN, or the login of AWS_PROFILE"
_CHECK_ENDPOINT = "check AWS_ENDPOINT_URL and the network"
_CHECK_REGION = "check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL"
_SLOW_DOWN = "it is asked too often: use fewer --workers, or run the same command again later"

_STORE_WIDE_CODES = {
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), f"the keys have expired: {_RENEW_KEYS}"
    ),
    **dict.fromkeys(
        ("InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException"),
        f"the keys are not valid (any more): {_RENEW_KEYS}",
    ),
    **dict.fromkeys(
        ("RequestTimeTooSkewed", "RequestExpired"), "the clock of this machine is wrong: set it, e.g. by NTP"
    ),
    "InvalidAccessKeyId": "the store does not know this key: check AWS_ACCESS_KEY_ID, and AWS_ENDPOINT_URL for a store that is not Amazon's",
    "SignatureDoesNotMatch": "the secret does not fit the key: check AWS_SECRET_ACCESS_KEY",
    "NoSuchBucket": "there is no such bucket: check its name, and AWS_ENDPOINT_URL for a store that is not Amazon's",
    **dict.fromkeys(
        ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "301", "307"),
        f"the bucket is in another region: {_CHECK_REGION}",
    ),
    **dict.fromkeys(
        ("AllAccessDisabled", "AccountProblem", "NotSignedUp"),
        "the account of the bucket is closed or not paid: ask its owner",
    ),
    **dict.fromkeys(
        ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "429"),
        _SLOW_DOWN,
    ),
}
"""What to do about a code of S3 that concerns every object, by code."""

_OBJECT_CODES = {
    **dict.fromkeys(
        ("AccessDenied", "403", "Forbidden"),
        "the keys have no right to it: give it to their owner (s3:GetObject, s3:PutObject, s3:ListBucket), or use other keys (AWS_ACCESS_KEY_ID, AWS_PROFILE); in a bucket where the requester pays, "
        """FSSPEC_S3='{"requester_pays": true}'""",
    ),
    "InvalidObjectState": "it is in cold storage: restore it first",
}
"""The same of codes that may concern one object only."""

_STORE_WIDE_CLASSES = {
    **dict.fromkeys(
        ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
        f"set {_KEYS}, or AWS_PROFILE (and AWS_ENDPOINT_URL for a store that is not Amazon's); for a public bucket, "
        f"{_ANONYMOUS}",
    ),
    **dict.fromkeys(
        ("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "SSOError"),
        "log in again, or set another AWS_PROFILE",
    ),
    "ProfileNotFound": "check AWS_PROFILE",
    "NoRegionError": "set AWS_DEFAULT_REGION",
    **dict.fromkeys(
        (
            "EndpointConnectionError",
            "ConnectTimeoutError",
            "ConnectionClosedError",
            "ReadTimeoutError",
            "ProxyConnectionError",
            "SSLError",
            "HTTPClientError",
            "ClientConnectorError",
            "ClientConnectorDNSError",
            "ServerDisconnectedError",
            "FSTimeoutError",
        ),
        f"the store does not answer: {_CHECK_ENDPOINT}",
    ),
    **dict.fromkeys(("DefaultCredentialsError", "RefreshError"), "set GOOGLE_APPLICATION_CREDENTIALS"),
    "ClientAuthenticationError": "check AZURE_STORAGE_ACCOUNT_NAME and its key",
    **dict.fromkeys(
        ("ServiceRequestError", "ServiceResponseError"), "the store does not answer: check its address and the network"
    ),
}
"""What to do about an error of a client of a store that concerns every object, by the name of its class: so no client
need be loaded."""

_UNKNOWN_HEAD_CODES = ("400", "403", "Forbidden", "Bad Request")
"""All that a store says to a request for the status of an object, which has no body: not why."""


def classify_access_error(error: BaseException) -> AccessFault | None:
    """Why an object, a file or a store cannot be got at; None for one that does not exist and for other errors.

    Args:
        error: What was raised. What caused it counts too.
    """
    if fault := classify_store_error(error):
        return fault
    if isinstance(error, FileNotFoundError):
        return None
    if isinstance(error, PermissionError):
        return AccessFault("no permission to read it", False)
    if isinstance(error, OSError):
        return AccessFault(f"cannot be read: {error.strerror or one_line(error)}", False)
    return None


def classify_store_error(error: BaseException) -> AccessFault | None:
    """As `classify_access_error`, but only what a client of an object store raised."""
    for cause in _iter_causes(error):
        names = [base.__name__ for base in type(cause).__mro__]
        if code := read_error_code(cause):
            return _classify_code(code, cause)
        for name in names:
            if name in _STORE_WIDE_CLASSES:
                return AccessFault(f"{one_line(cause)}: {_STORE_WIDE_CLASSES[name]}", True)
        if isinstance(cause, ValueError) and str(cause).startswith("Invalid endpoint"):
            return AccessFault(f"{one_line(cause)}: {_CHECK_ENDPOINT}", True)
    return None


def _classify_code(code: str, error: BaseException) -> AccessFault | None:
    if code in ("NoSuchKey", "404", "NoSuchVersion"):
        return None
    message = _read_error_field(error, "Message")
    words = f"the store says {code}" + (f" ({one_line(ValueError(message))})" if message and message != code else "")
    if advice := _STORE_WIDE_CODES.get(code):
        return AccessFault(f"{words}: {advice}", True)
    advice = _OBJECT_CODES.get(code, "")
    return AccessFault(f"{words}: {advice}" if advice else words, False)


def read_error_code(error: BaseException) -> str:
    """The code of an error of S3, such as AccessDenied; empty if it is none, or if only what caused it has one."""
    return _read_error_field(error, "Code")


def _read_error_field(error: BaseException, name: str) -> str:
    response: Any = getattr(error, "response", None)
    fields = response.get("Error") if isinstance(response, dict) else None
    return str(fields.get(name) or "") if isinstance(fields, dict) else ""


def ask_for_reason(error: Exception, read: Callable[[], object]) -> Exception:
    """An error that has the store's own words, if the request that failed was one for the status of an object.

    Args:
        error: What was raised.
        read: Reads something of the same object; called only if `error` has no words.
    """
    codes = [code for cause in _iter_causes(error) if (code := read_error_code(cause))]
    if not codes or codes[0] not in _UNKNOWN_HEAD_CODES:
        return error
    try:
        read()
    except FileNotFoundError:
        return error
    except Exception as reasoned:  # noqa: BLE001 - whatever it is, it says more
        return reasoned
    return error


@contextmanager
def translate_access_errors(url: str, read: Callable[[], object]) -> Iterator[None]:
    """Turn what a store raised into an `AccessError` that names `url`, says why, and what to do.

    FileNotFoundError and errors that are none of access pass, and so do those of the core.

    Args:
        url: What was to be got at.
        read: See `ask_for_reason`.
    """
    try:
        yield
    except AccessError:
        raise
    except Exception as error:
        if fault := classify_access_error(ask_for_reason(error, read)):
            raise AccessError(f"{url}: {fault.reason}.") from error
        raise


def _iter_causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
