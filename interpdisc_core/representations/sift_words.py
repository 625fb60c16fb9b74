"""A bag of visual words: which local patches an image has, wherever they are. Its vocabulary is learned."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from interpdisc_core import digest
from interpdisc_core.errors import PlanError, WeightsError
from interpdisc_core.images import Pixels, square, window
from interpdisc_core.representations.handmade import grey, one_by_one
from interpdisc_core.representations.weights import not_learned, read_weights
from interpdisc_core.storage import Place

_LENGTH = 128
_BEATS = 50
"""How many images there are between two reports."""


@dataclass(frozen=True, kw_only=True)
class SiftWords:
    """How often each visual word occurs among an image's SIFT descriptors (Csurka et al. 2004; Lowe 2004).

    Grey, central square, `side` x `side` pixels. The `keypoints` strongest key points are described by SIFT, each
    descriptor counts for the nearest of `words` visual words, and the counts are divided by their sum: d = `words`, all
    zero for an image without key points. root: the square roots of the descriptors' shares are compared instead, which
    is Hellinger's distance (RootSIFT, Arandjelović & Zisserman 2012).

    vocabulary: the address of the words, which `learn` makes: the centres of k-means (`seed`) over `descriptors`
    descriptors at most, from `sample` images at most.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["sift-words"] = "sift-words"
    words: int = 1000
    root: bool = False
    side: int = 256
    keypoints: int = 500
    vocabulary: str = ""
    sample: int = 5000
    descriptors: int = 200_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 32 <= self.side <= 1024:
            raise PlanError(f"sift-words: side must be 32 to 1024 pixels, not {self.side}.")
        if self.keypoints < 1 or self.sample < 1:
            raise PlanError(f"sift-words: keypoints ({self.keypoints}) and sample ({self.sample}) must be 1 or more.")
        if not 2 <= self.words <= self.descriptors:
            raise PlanError(
                f"sift-words: words must be 2 to {self.descriptors}, the descriptors that they are learned from, "
                f"not {self.words}."
            )
        if not 0 <= self.seed < 2**32:
            raise PlanError(f"sift-words: seed must be 0 to 4294967295, not {self.seed}.")

    @property
    def learned(self) -> str:
        """See `Learns.learned`."""
        return self.vocabulary

    def having(self, address: str) -> Self:
        """See `Learns.having`."""
        return replace(self, vocabulary=address)

    def prepare(self, image: Pixels) -> Pixels:
        """See `Represents.prepare`."""
        return square(image, crop=self.side, of=self.side)

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """See `Represents.window`."""
        return window(width, height, crop=self.side, of=self.side)

    def load(self, device: str = "auto") -> Any:
        """See `Represents.load`. It runs on the CPU whatever the device.

        Raises WeightsError where the vocabulary has not been learned, or is one of other settings.
        """
        words, describe = vocabulary_of(self), self.describer()

        def histogram(image: Pixels) -> npt.NDArray[np.float32]:
            found = nearest(self.compared(describe(image)), words)
            counts = np.bincount(found, minlength=len(words)).astype(np.float32)
            return counts / np.float32(max(len(found), 1))

        return one_by_one(histogram)

    def network(self) -> None:
        """None: counting has no gradient."""
        return

    @property
    def manner(self) -> None:
        """See `Represents.manner`."""
        return

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> None:
        """None: a word's places are many, and those of a word that is missing are nowhere."""
        return

    def describer(self) -> Callable[[Pixels], Pixels]:
        """The function from one prepared image to its SIFT descriptors, (k, 128) uint8, k at most `keypoints`."""
        import cv2

        # It keeps more than it is asked for where responses are equal, so the last cut is ours.
        sift = cv2.SIFT.create(nfeatures=self.keypoints)

        def describe(image: Pixels) -> Pixels:
            points, found = sift.detectAndCompute(grey(image), None)
            if found is None or not len(points):
                return np.empty((0, _LENGTH), np.uint8)
            ranks = np.array([(p.angle, p.size, p.pt[1], p.pt[0], -p.response) for p in points])
            kept: Pixels = found[np.lexsort(ranks.T)[: self.keypoints]].astype(np.uint8)
            return kept

        return describe

    def compared(self, descriptors: Pixels) -> npt.NDArray[np.float32]:
        """Descriptors (k, 128) uint8 as they are compared, float32: as they are, or RootSIFT."""
        found = descriptors.astype(np.float32)
        if not self.root:
            return found
        return np.sqrt(found / np.maximum(found.sum(axis=1, keepdims=True), np.float32(1)))

    def learn(self, images: Pixels, place: Place, report: Callable[[float], None]) -> bytes:
        """See `Learns.learn`. The descriptors are what takes long, and what is kept in `place`.

        On one thread of one machine the bytes are always the same. Raises PlanError where the images have fewer
        descriptors than there are to be words, or are not of `side`.
        """
        from safetensors.numpy import load, save

        if images.shape[1:] != (self.side, self.side, 3):
            raise PlanError(f"sift-words: images must be prepared to {self.side} pixels, not {images.shape[1:]}.")
        if len(images) > self.sample:
            chosen = np.random.default_rng(self.seed).choice(len(images), self.sample, replace=False)
            images = images[np.sort(chosen)]
        content = digest.of_array(images)
        name = f"descriptors-{digest.of_json([digest.of_settings(self.having('')), content])}.safetensors"
        if place.exists(name):
            gathered: Pixels = load(place.read(name))["descriptors"]
        else:
            gathered = self._gathered(images, report)
            place.write(name, save({"descriptors": gathered}))
        report(0.7)
        if len(gathered) < self.words:
            raise PlanError(
                f"sift-words: the {len(images)} images have {len(gathered)} descriptors, fewer than the {self.words} "
                f"words that are to be learned: set words to {max(len(gathered) // 10, 2)} or give more images."
            )
        words = self._centres(self.compared(gathered))
        report(1.0)
        return save({"words": words}, metadata={"interpdisc": json.dumps(self._said(), sort_keys=True)})

    def _gathered(self, images: Pixels, report: Callable[[float], None]) -> Pixels:
        """At most `descriptors` of the images, equally many of each that has them, drawn by the seed."""
        describe, most = self.describer(), max(self.descriptors // len(images), 1)

        def drawn() -> Iterator[Pixels]:
            for number, image in enumerate(images):
                found = describe(image)
                rng = np.random.default_rng((self.seed, number))
                yield found[np.sort(rng.permutation(len(found))[:most])]
                if number % _BEATS == 0:
                    report(0.7 * number / len(images))

        return np.concatenate(list(drawn()))[: self.descriptors]

    def _centres(self, descriptors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        from sklearn.cluster import MiniBatchKMeans

        means = MiniBatchKMeans(
            n_clusters=self.words, random_state=self.seed, batch_size=4096, n_init=1, max_iter=20, compute_labels=False
        )
        centres: npt.NDArray[np.float32] = means.fit(descriptors).cluster_centers_.astype(np.float32)
        return centres

    def _said(self) -> dict[str, Any]:
        """What of the settings a vocabulary holds for; the file says it."""
        return {"kind": self.kind, "words": self.words, "root": self.root}


def nearest(descriptors: npt.NDArray[np.float32], words: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """The nearest word (Euclidean) to each descriptor, (k, 128) and (words, 128) -> (k,); of equal ones the first."""
    squares = np.einsum("ij,ij->i", words, words)
    return (squares - 2 * (descriptors @ words.T)).argmin(axis=1)


def vocabulary_of(spec: SiftWords) -> npt.NDArray[np.float32]:
    """The words (words, 128) float32 that settings name. Raises WeightsError where they are not, or do not fit."""
    if not spec.vocabulary:
        raise not_learned(spec.kind)
    return _words(spec.vocabulary, read_weights(spec.vocabulary), json.dumps(spec._said(), sort_keys=True))


@lru_cache(maxsize=2)
def _words(address: str, data: bytes, said: str) -> npt.NDArray[np.float32]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        theirs = str(header["__metadata__"]["interpdisc"])
        words: npt.NDArray[np.float32] = load(data)["words"]
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{address} is not a vocabulary of sift-words: `interpdisc learn` makes them.") from error
    expected = (json.loads(said)["words"], _LENGTH)
    if theirs != said or words.shape != expected or words.dtype != np.float32 or not np.isfinite(words).all():
        raise WeightsError(
            f"{address} is a vocabulary of other settings ({theirs}) than the plan's ({said}): learn it anew with "
            "`interpdisc learn SOURCE --plan plan.json`, or set them alike."
        )
    return words
