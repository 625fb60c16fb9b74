"""How a feed is asked: rates, patience and limits."""

from dataclasses import dataclass
from typing import ClassVar

from interpdisc_core.errors import PlanError


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How a feed's server is treated, and what is believed of it.

    pause_s: least seconds between the starts of two requests. together: downloads at the same time.
    timeout_s: seconds without a byte before a try is given up; one try lasts at most 20 times that.
    tries: of a page or an image in one poll. backoff_s: the wait before the second try, doubled before each further
    one, with jitter. longest_wait_s: no wait is longer; a server that asks for more (Retry-After) is left alone until
    the next poll. largest_image, largest_page: bytes; above, an answer is refused.
    hosts: besides the feed's own host, where images may come from and redirections go to: these and their subdomains.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    pause_s: float = 0.25
    together: int = 4
    timeout_s: float = 30.0
    tries: int = 5
    backoff_s: float = 1.0
    longest_wait_s: float = 120.0
    largest_image: int = 200_000_000
    largest_page: int = 64_000_000
    hosts: tuple[str, ...] = ("nasa.gov",)

    def __post_init__(self) -> None:
        for name in ("together", "tries", "largest_image", "largest_page"):
            if getattr(self, name) < 1:
                raise PlanError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("pause_s", "backoff_s", "longest_wait_s"):
            if not 0 <= getattr(self, name) < 1e6:
                raise PlanError(f"{name} is {getattr(self, name)}; it is a number of seconds, 0 or more.")
        if not 0 < self.timeout_s < 1e6:
            raise PlanError(f"timeout_s is {self.timeout_s}; it is a number of seconds above 0.")
