"""The stages as functions of arrays: load, embed, select, explain. `interpdisc_core` exports them.

They need no archive and keep nothing on disk. Runs of the command line compute the same features, picks and
explanations, and keep them so that a run can be resumed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from interpdisc_core._types import AnyArray, Float32Array, FloatArray, PixelArray
from interpdisc_core.errors import Unreadable
from interpdisc_core.explanations.faithfulness import compute_occlusion_map
from interpdisc_core.explanations.render import build_render_vectors, render_difference
from interpdisc_core.images.decode import decode
from interpdisc_core.plan import Plan
from interpdisc_core.representations.batching import embed_minibatches
from interpdisc_core.selectors import Choice, Demud, Prior, Rows


@dataclass(frozen=True)
class ChoiceExplanation:
    """Why a pick is novel, in the image.

    Attributes:
        attribution_map: (gy, gx) float64: how the score divides over the cells of a grid; None if the selector has no
            expectation.
        attribution_kind: What the cells mean. ``split``: signed shares of the score. ``energy``: energy of the
            residual, never negative. ``occlusion``: share of the residual that painting the cell over removes.
        pictures: By name (``control``, ``expected``, ``new``, ``difference``) (size, size, 3) uint8; empty without an
            inverter.
    """

    attribution_map: FloatArray | None
    attribution_kind: Literal["split", "energy", "occlusion"]
    pictures: dict[str, PixelArray] = field(default_factory=dict)


def load_image(path: str | Path) -> PixelArray:
    """Read an image file of any supported format.

    Args:
        path: A JPEG, PNG, TIFF, WebP, BMP or GIF file, or (with the extra `rover`) a product of a planetary archive
            whose label is attached.

    Returns:
        (h, w, 3) uint8, RGB, turned as its EXIF orientation says.

    Raises:
        Unreadable: If the file cannot be read or is not an image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    return decode(data)


def embed_images(images: Iterable[PixelArray], representation: Any, device: str = "auto") -> Float32Array:
    """Features of images.

    Args:
        images: (h, w, 3) uint8 each, of any sizes. They are read one minibatch at a time.
        representation: One of the classes in `interpdisc_core.representations`, such as `EfficientNetLite0()`.
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.

    Returns:
        (n, d) float32, in the order of the images.

    Raises:
        WeightsError: If the weights of the network are missing.

    Example:
        >>> import numpy as np
        >>> from interpdisc_core import PixelValues, embed_images
        >>> embed_images([np.zeros((40, 60, 3), np.uint8)] * 2, PixelValues(side=8)).shape
        (2, 192)
    """
    embed = representation.load(device)
    rows = list(embed_minibatches(embed, (representation.prepare(image) for image in images)))
    if not rows:
        side = representation.side
        return np.empty((0, embed(np.zeros((1, side, side, 3), np.uint8)).shape[1]), np.float32)
    return np.stack([row for row in rows if not isinstance(row, Unreadable)])


def select(
    features: AnyArray | Rows,
    picks: int,
    selector: Any = None,
    prior: FloatArray | Prior | None = None,
    labels: Sequence[str | None] | None = None,
) -> Iterator[Choice]:
    """Pick the most novel rows, one after the other; each pick is learned before the next.

    Args:
        features: (N, d), a float dtype, all values finite; or `Rows` larger than memory.
        picks: How many, at most. Fewer come if nothing is novel any more.
        selector: One of the classes in `interpdisc_core.selectors`; `Demud()` if not given.
        prior: What was seen before: rows (n0, d), or their summary.
        labels: (N,) classes, for selectors that ask for them.

    Yields:
        A `Choice` for each pick: `row`, `score` (higher is more novel), `expected` and `residual` (d,).

    Raises:
        PlanError: If the features are not finite, or do not fit the prior or the selector.

    Example:
        >>> import numpy as np
        >>> from interpdisc_core import Demud, select
        >>> rows = np.vstack([np.eye(4)] * 5 + [[[9.0, 9.0, 0.0, 0.0]]])
        >>> [choice.row for choice in select(rows, picks=1, selector=Demud(rank=2), prior=np.eye(4))]
        [20]
    """
    if prior is None:
        prior = np.empty((0, features.shape[1]))
    selection = (selector or Demud()).open(features, prior, labels)
    for _ in range(picks):
        choice = selection.peek()
        if choice is None:
            return
        selection.learn(choice.row)
        yield choice


def explain(
    image: PixelArray,
    choice: Choice,
    representation: Any,
    inverter: Any = None,
    *,
    normalize: Literal["none", "l2"] = "none",
    norm: float = 1.0,
) -> ChoiceExplanation:
    """Show where a pick is novel, and what was expected.

    Args:
        image: (h, w, 3) uint8: the picked image.
        choice: What `select` yielded for it.
        representation: That of the features.
        inverter: Turns features into pictures, such as `UpConv()`; none: no pictures.
        normalize: ``l2`` if the rows were divided by their Euclidean norm before they were selected from.
        norm: What the row of this image was divided by.

    Returns:
        The attribution map, and the pictures if an inverter is given.

    Raises:
        PlanError: If the inverter does not fit the representation.
        WeightsError: If weights are missing.
    """
    if choice.expected is None or choice.residual is None or choice.mean is None:
        return ChoiceExplanation(None, "split")
    prepared = representation.prepare(image)
    attribution_map = representation.attribution_map(prepared, choice.residual, choice.mean, norm)
    kind: Literal["split", "energy", "occlusion"] = representation.attribution_kind or "split"
    if attribution_map is None:
        plan, kind = Plan(representation=representation, normalise=normalize), "occlusion"
        attribution_map = compute_occlusion_map(plan, prepared, choice.residual, choice.mean)
    pictures: dict[str, PixelArray] = {}
    if inverter is not None:
        vectors = build_render_vectors(choice.expected + choice.residual, choice.expected)
        shown = {name: vectors[name] for name in ("control", "expected", "new") if name in vectors}
        rendered = inverter.load(representation, normalize)(np.stack(list(shown.values())))
        pictures = dict(zip(shown, rendered, strict=True))
        if "expected" in pictures:
            pictures["difference"] = render_difference(pictures["control"], pictures["expected"])
    return ChoiceExplanation(attribution_map, kind, pictures)
