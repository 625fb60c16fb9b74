"""How a feed's server is treated; and the addresses of its pages and images."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode, urljoin, urlsplit

from pydantic import Field

from interpdisc_core.settings import settings

_Seconds = Annotated[float, Field(ge=0, lt=1e6)]
_Count = Annotated[int, Field(ge=1)]


@settings
class HttpPolicy:
    """Rate limits, retries and limits of size for one server.

    Args:
        pause_s: Least seconds between the starts of two requests.
        max_connections: Downloads at the same time.
        timeout_s: Seconds without a byte after which an attempt fails; an attempt lasts at most 20 times as long.
        tries: Attempts for a page or an image in one poll.
        backoff_s: Seconds before the second attempt, doubled before each further one, with jitter.
        max_wait_s: Longest wait in seconds; a server that asks for a longer one (Retry-After) is left alone until the
            next poll.
        max_image_bytes: A larger image is refused.
        max_page_bytes: A larger page is refused.
        hosts: Further hosts, with their subdomains, from which images and redirections are accepted besides the feed's.
    """

    pause_s: _Seconds = 0.25
    max_connections: _Count = 4
    timeout_s: Annotated[float, Field(gt=0, lt=1e6)] = 30.0
    tries: _Count = 5
    backoff_s: _Seconds = 1.0
    max_wait_s: _Seconds = 120.0
    max_image_bytes: _Count = 200_000_000
    max_page_bytes: _Count = 64_000_000
    hosts: tuple[str, ...] = ("nasa.gov",)


def add_query(url: str, parameters: Mapping[str, Any]) -> str:
    """A URL with further parameters.

    Example:
        >>> add_query("https://host/api?a=1", {"page": 2})
        'https://host/api?a=1&page=2'
    """
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(parameters)}"


def resolve_image_url(text: str, feed_url: str) -> str:
    """The absolute URL of an image in a record.

    Args:
        text: As in the record; may be relative to the feed's.
        feed_url: The feed's. If it is https, so is the image's: older records have http.
    """
    try:
        absolute_url = urljoin(feed_url, text) if text else ""
    except ValueError:
        return text  # the HTTP client reports what is wrong with it
    if feed_url.startswith("https:") and absolute_url.startswith("http:"):
        return "https:" + absolute_url.removeprefix("http:")
    return absolute_url
