"""A bag of visual words: which local patches an image has, wherever they are. Its vocabulary is learned."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from interpdisc_core import digest
from interpdisc_core._types import Float32Array, FloatArray, IndexArray, PixelArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.errors import PlanError, WeightsError
from interpdisc_core.representations._center_crop import WholeSquareRepresentation
from interpdisc_core.representations._descriptors import convert_to_gray, embed_each
from interpdisc_core.representations.weights import not_learned_error, read_weights
from interpdisc_core.settings import settings
from interpdisc_core.storage.location import Location

_DESCRIPTOR_LENGTH = 128
_IMAGES_PER_REPORT = 50
"""Images between two reports of progress."""


@settings
class SiftWords(WholeSquareRepresentation):
    """How often each visual word occurs among an image's SIFT descriptors (Csurka et al. 2004; Lowe 2004).

    The strongest key points of the central square in gray are described by SIFT, each descriptor counts for the nearest
    visual word, and the counts are divided by their sum: d = `words`, all zero for an image without key points.

    Attributes:
        words: Number of visual words: the centers of k-means over descriptors of the collection.
        root: Whether to compare the square roots of L1-normalized descriptors, which is Hellinger's distance (RootSIFT,
            Arandjelović & Zisserman 2012).
        side: Pixels of the square.
        keypoints: Maximum number of key points of an image.
        vocabulary: Address of the words that `learn` returned; empty before.
        sample: Maximum number of images to learn from.
        descriptors: Maximum number of descriptors to learn from.
        seed: Of the sample and of k-means.
    """

    kind: Literal["sift-words"] = "sift-words"
    words: Annotated[int, Field(ge=2)] = 1000
    root: bool = False
    side: Annotated[int, Field(ge=32, le=1024)] = 256
    keypoints: Annotated[int, Field(ge=1)] = 500
    vocabulary: str = ""
    sample: Annotated[int, Field(ge=1)] = 5000
    descriptors: int = 200_000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self) -> None:
        if self.words > self.descriptors:
            raise PlanError(
                f"sift-words: words must be at most {self.descriptors}, the descriptors that they are learned from, "
                f"not {self.words}."
            )

    @property
    def learned_weights(self) -> str:
        """See `Trainable.learned_weights`."""
        return self.vocabulary

    def with_weights(self, address: str) -> Self:
        """See `Trainable.with_weights`."""
        return replace(self, vocabulary=address)

    def load(self, device: str = "auto") -> Any:
        """See `RepresentationLike.load`. Runs on the CPU, whatever the device.

        Raises:
            WeightsError: If the vocabulary was not learned yet, cannot be read, or has other settings.
        """
        words, describe = load_vocabulary(self), self.build_describer()

        def compute_histogram(image: PixelArray) -> Float32Array:
            word_numbers = assign_words(self.transform_descriptors(describe(image)), words)
            counts = np.bincount(word_numbers, minlength=len(words)).astype(np.float32)
            return counts / np.float32(max(len(word_numbers), 1))

        return embed_each(compute_histogram)

    def build_network(self) -> None:
        """None: counting has no gradient."""
        return

    @property
    def attribution_kind(self) -> None:
        """See `RepresentationLike.attribution_kind`."""
        return

    def attribution_map(self, image: PixelArray, residual: FloatArray, mean: FloatArray, scale: float) -> None:
        """None: a word occurs at many positions, and a missing word at none."""
        return

    def build_describer(self) -> Callable[[PixelArray], PixelArray]:
        """The function from one prepared image to its SIFT descriptors, (k, 128) uint8, k at most `keypoints`."""
        import cv2

        # OpenCV keeps more than `nfeatures` if responses are equal, so the last cut is made here.
        sift = cv2.SIFT.create(nfeatures=self.keypoints)

        def describe(image: PixelArray) -> PixelArray:
            points, descriptors = sift.detectAndCompute(convert_to_gray(image), None)
            if descriptors is None or not len(points):
                return np.empty((0, _DESCRIPTOR_LENGTH), np.uint8)
            ranks = np.array([(p.angle, p.size, p.pt[1], p.pt[0], -p.response) for p in points])
            strongest: PixelArray = descriptors[np.lexsort(ranks.T)[: self.keypoints]].astype(np.uint8)
            return strongest

        return describe

    def transform_descriptors(self, descriptors: PixelArray) -> Float32Array:
        """Descriptors (k, 128) uint8 as float32, as they are compared: unchanged, or RootSIFT."""
        values = descriptors.astype(np.float32)
        if not self.root:
            return values
        return np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), np.float32(1)))

    def learn(self, images: PixelArray, location: Location, report: Callable[[float], None]) -> bytes:
        """See `Trainable.learn`. The descriptors, which take the most time, are kept in `location`.

        On one thread of one machine the bytes are always the same.

        Raises:
            PlanError: If the images have fewer descriptors than `words`, or are not of `side`.
        """
        from safetensors.numpy import load, save

        if images.shape[1:] != (self.side, self.side, 3):
            raise PlanError(f"sift-words: images must be prepared to {self.side} pixels, not {images.shape[1:]}.")
        if len(images) > self.sample:
            sample = np.random.default_rng(self.seed).choice(len(images), self.sample, replace=False)
            images = images[np.sort(sample)]
        images_digest = digest.digest_array(images)
        name = f"descriptors-{digest.digest_json([digest.digest_settings(self.with_weights('')), images_digest])}.safetensors"
        if location.exists(name):
            descriptors: PixelArray = load(location.read_checked(name))["descriptors"]
        else:
            descriptors = self._collect_descriptors(images, report)
            location.write_checked(name, save({"descriptors": descriptors}))
        report(0.7)
        if len(descriptors) < self.words:
            raise PlanError(
                f"sift-words: the {len(images)} images have {len(descriptors)} descriptors, fewer than the {self.words} "
                f"words to be learned: set words to {max(len(descriptors) // 10, 2)}, or give more images."
            )
        words = self._cluster_descriptors(self.transform_descriptors(descriptors))
        report(1.0)
        return save({"words": words}, metadata={"interpdisc": json.dumps(self._vocabulary_settings(), sort_keys=True)})

    def _collect_descriptors(self, images: PixelArray, report: Callable[[float], None]) -> PixelArray:
        """At most `descriptors` of the images, equally many of each image if it has that many, drawn by the seed."""
        describe, per_image = self.build_describer(), max(self.descriptors // len(images), 1)

        def iter_descriptors() -> Iterator[PixelArray]:
            for number, image in enumerate(images):
                descriptors = describe(image)
                rng = np.random.default_rng((self.seed, number))
                yield descriptors[np.sort(rng.permutation(len(descriptors))[:per_image])]
                if number % _IMAGES_PER_REPORT == 0:
                    report(0.7 * number / len(images))

        return np.concatenate(list(iter_descriptors()))[: self.descriptors]

    def _cluster_descriptors(self, descriptors: Float32Array) -> Float32Array:
        from sklearn.cluster import MiniBatchKMeans

        clustering = MiniBatchKMeans(
            n_clusters=self.words, random_state=self.seed, batch_size=4096, n_init=1, max_iter=20, compute_labels=False
        )
        centers: Float32Array = clustering.fit(descriptors).cluster_centers_.astype(np.float32)
        return centers

    def _vocabulary_settings(self) -> dict[str, Any]:
        """The settings for which a vocabulary is valid; they are written into its file."""
        return {"kind": self.kind, "words": self.words, "root": self.root}


@single_blas_thread
def assign_words(descriptors: Float32Array, words: Float32Array) -> IndexArray:
    """Index (k,) of the nearest word (words, 128) to each descriptor (k, 128), Euclidean; the first of equal ones."""
    squares = np.einsum("ij,ij->i", words, words)
    return (squares - 2 * (descriptors @ words.T)).argmin(axis=1)


def load_vocabulary(spec: SiftWords) -> Float32Array:
    """The words (words, 128) float32 that the settings name. Raises WeightsError if they are missing or do not fit."""
    if not spec.vocabulary:
        raise not_learned_error(spec.kind)
    return _load_words(
        spec.vocabulary, read_weights(spec.vocabulary), json.dumps(spec._vocabulary_settings(), sort_keys=True)
    )


@lru_cache(maxsize=2)
def _load_words(address: str, data: bytes, plan_settings: str) -> Float32Array:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        file_settings = str(header["__metadata__"]["interpdisc"])
        words: Float32Array = load(data)["words"]
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{address} is not a vocabulary of sift-words: `interpdisc learn` writes them.") from error
    expected = (json.loads(plan_settings)["words"], _DESCRIPTOR_LENGTH)
    if (
        file_settings != plan_settings
        or words.shape != expected
        or words.dtype != np.float32
        or not np.isfinite(words).all()
    ):
        raise WeightsError(
            f"{address} is a vocabulary of other settings ({file_settings}) than the plan's ({plan_settings}): learn it again "
            "with `interpdisc learn SOURCE --plan plan.json`, or change the settings."
        )
    return words
