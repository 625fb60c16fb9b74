"""Images to features in minibatches. Reading, decoding and the network overlap; memory is bounded."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from interpdisc_core._types import Float32Array, PixelArray
from interpdisc_core.errors import Unreadable
from interpdisc_core.images import load
from interpdisc_core.representations import EmbedFunction, Representation

EMBED_MINIBATCH = 32
"""Images in a minibatch of the network."""
_MAX_WAITING = 3 * EMBED_MINIBATCH
_MAX_WAITING_BYTES = 256 << 20
_THREADS = 2

Item = TypeVar("Item")
Output = TypeVar("Output")


def prefetch_map(
    function: Callable[[Item], Output], items: Iterable[Item], count_bytes: Callable[[Item], int] = lambda item: 0
) -> Iterator[Output]:
    """`function` of each item, in order, computed by threads at most a few minibatches ahead.

    Args:
        function: Is called in a thread.
        items: Read one at a time.
        count_bytes: Memory that an item holds while it waits; waiting items hold at most 256 MB together, or are one.
    """
    pending: deque[tuple[Future[Output], int]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for item in items:
            item_bytes = count_bytes(item)
            while (
                pending
                and item_bytes + sum(other_bytes for future, other_bytes in pending if not future.done())
                > _MAX_WAITING_BYTES
            ):
                yield pending.popleft()[0].result()
            pending.append((pool.submit(function, item), item_bytes))
            if len(pending) > _MAX_WAITING:
                yield pending.popleft()[0].result()
        while pending:
            yield pending.popleft()[0].result()


def embed_minibatches(
    embed: EmbedFunction, images: Iterable[PixelArray | Unreadable]
) -> Iterator[Float32Array | Unreadable]:
    """The features (d,) float32 of each image, in order; an `Unreadable` is passed through.

    Args:
        embed: The function of `RepresentationLike.load`.
        images: Prepared (side, side, 3) uint8, or the error of one that could not be read.
    """
    remaining = iter(images)
    while minibatch := list(islice(remaining, EMBED_MINIBATCH)):
        readable = [image for image in minibatch if not isinstance(image, Unreadable)]
        features: Iterator[Any] = iter(embed(np.stack(readable)) if readable else ())
        for image in minibatch:
            yield image if isinstance(image, Unreadable) else next(features)


def measure_dimension(representation: Any, embed: EmbedFunction) -> int:
    """The number of features d, measured on a black image."""
    side = representation.side
    return int(embed(np.zeros((1, side, side, 3), dtype=np.uint8)).shape[1])


def load_network_input(representation: Representation, uri: str, sha256: str) -> PixelArray:
    """Load and prepare an image as a representation takes it: (side, side, 3) uint8. Raises Unreadable."""
    image: PixelArray = representation.prepare(load.load_input_image(uri, sha256, at_least=representation.side))
    return image
