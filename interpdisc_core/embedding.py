"""Images to features, a batch at a time. Reading, decoding and the network overlap; memory is bounded."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import Unreadable
from interpdisc_core.images import Pixels

BATCH = 32
"""Images that go through the network at a time."""
_AHEAD = 3 * BATCH
_WEIGHT = 256 << 20
_DECODERS = 2

Given = TypeVar("Given")
Made = TypeVar("Made")
Vector = npt.NDArray[np.float32]


def ahead(
    function: Callable[[Given], Made], items: Iterable[Given], weight: Callable[[Given], int] = lambda item: 0
) -> Iterator[Made]:
    """`function` of each item, in order, worked out by threads a few batches at most before it is used.

    weight: bytes that an item holds; items of more than 256 MB in all (or one) never wait.
    """
    waiting: deque[tuple[Future[Made], int]] = deque()
    with ThreadPoolExecutor(_DECODERS) as pool:
        for item in items:
            heavy = weight(item)
            while waiting and heavy + sum(other for future, other in waiting if not future.done()) > _WEIGHT:
                yield waiting.popleft()[0].result()
            waiting.append((pool.submit(function, item), heavy))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()[0].result()
        while waiting:
            yield waiting.popleft()[0].result()


def vectors(
    embed: Callable[[Pixels], npt.NDArray[np.float32]], images: Iterable[Pixels | Unreadable]
) -> Iterator[Vector | Unreadable]:
    """The features (d,) float32 of images as the representation takes them, in order; what is unreadable stays so."""
    waiting = iter(images)
    while group := list(islice(waiting, BATCH)):
        good = [image for image in group if not isinstance(image, Unreadable)]
        features: Iterator[Any] = iter(embed(np.stack(good)) if good else ())
        for image in group:
            yield image if isinstance(image, Unreadable) else next(features)


def dimension(representation: Any, embed: Callable[[Pixels], npt.NDArray[np.float32]]) -> int:
    """How many features an image has, where there is none to tell it by."""
    side = representation.side
    return int(embed(np.zeros((1, side, side, 3), dtype=np.uint8)).shape[1])
