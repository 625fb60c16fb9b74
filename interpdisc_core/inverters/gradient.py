"""Inversion by optimization: change an image until its features are the given ones.

Mahendran & Vedaldi, CVPR 2015 and IJCV 2016, on the picture's spectrum instead of its pixels and with decorrelated colors
(Olah, Mordvintsev & Schubert 2017), which gives large shapes first and noise last. Works for any differentiable
representation without training; slow on a CPU.

The loss of one picture p in 0…1, where t is the vector and φ the representation (divided by its length for `l2`):

    |φ(p) − t|² / |t|²  +  alpha · mean (|2 p − 1| / NATURAL_RANGE)⁶  +  variation · mean (|∇p| / NATURAL_SLOPE)^beta

The first term is their loss with their normalization (2015, §2 and “balancing the different terms”). The second is the
α-norm of the distance from gray at their α = 6, of a pixel's color as a whole and relative to the range of natural images,
as in 2016 (R_α over H W B^α). The third is TV^β (2015: Σ ((x_{i,j+1} − x_{ij})² + (x_{i+1,j} − x_{ij})²)^{β/2}), over V^β
as in 2016. Their hard bound on the range is a sigmoid here; their jitter of 2016 wraps around and decreases to none. ∇ is
the difference per pixel of a picture 1 wide and high, so that weights mean the same at every size.

Losses of a minibatch are summed, the optimizer works coefficient by coefficient, and noise comes from the vector alone:
pictures do not depend on each other, except for rounding.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from interpdisc_core._types import Float32Array, FloatArray, PixelArray
from interpdisc_core.errors import PlanError
from interpdisc_core.settings import settings

OPTIMIZER_MINIBATCH = 16
"""Pictures optimized at a time: EfficientNet-lite0 takes about 60 MB for each at 224 pixels."""
COLOR_AXES = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""Columns: the principal axes of color in natural images, by their spread: gray, red to blue, green to magenta."""
COLOR_WEIGHTS = (1.0, 0.6, 0.5)
"""Additional weights of the three axes: features contain little color, and what they leave open stays near gray."""
SPECTRUM_EXPONENT, SPECTRUM_AMPLITUDE, START_NOISE = 2.0, 1.5, 0.01
"""Weight of a coefficient of frequency f (cycles per picture): SPECTRUM_AMPLITUDE / f^SPECTRUM_EXPONENT.

START_NOISE: standard deviation of the initial coefficients.
"""
LEARNING_RATE, FINAL_RATE_SHARE, ADAM_BETAS = 0.05, 0.1, (0.8, 0.95)
"""Adam's learning rate, the share of it that is left at the end, and its decay rates: short ones, for few steps."""
REFINE_EXPONENT, REFINE_AMPLITUDE = 1.25, 0.2
"""SPECTRUM_EXPONENT and SPECTRUM_AMPLITUDE for refining a given picture: large shapes move less, fine ones relatively more.

A given picture is mostly right in the large and lacks detail; with the weights for noise, its colors would drift before it
sharpens.
"""
LOGIT_MARGIN = 0.01
"""A given picture is clipped to LOGIT_MARGIN … 1 − LOGIT_MARGIN, since the sigmoid reaches neither 0 nor 1."""
NATURAL_RANGE, NATURAL_SLOPE = 0.63, 11.0
"""|2 p − 1| (root mean square over the colors) and |∇p| in natural images.

B = 80 levels of 127.5, and V = B / 6.5 levels of 255 per pixel at 227 pixels a side (2016). At 128 pixels, Mars and
Caltech-101 have 0.41 and 0.60 for the first in the root mean square, 8 and 16 for the second in the mean.
"""
REPORT_SECONDS = 0.3
"""Minimum time between two reports of progress."""


@settings
class Gradient:
    """Inversion by optimization; see the module for the loss.

    The picture starts as noise that depends on the vector alone, so that a vector gives the same picture wherever and in
    whatever minibatch it is rendered. More steps sharpen it; the time is proportional to them.

    Attributes:
        size: Pixels a side of the picture.
        steps: Of the optimizer.
        alpha: Weight of the α-norm.
        variation: Weight of the total variation.
        beta: Exponent of the total variation.
        jitter: Before each step the picture is rolled by up to this share of its side, by less and less towards the end.
    """

    kind: Literal["gradient"] = "gradient"
    size: Annotated[int, Field(ge=16, le=512)] = 128
    steps: Annotated[int, Field(ge=1)] = 80
    alpha: Annotated[float, Field(ge=0, lt=math.inf)] = 0.00125
    variation: Annotated[float, Field(ge=0, lt=math.inf)] = 0.11
    beta: Annotated[float, Field(ge=1, le=4)] = 1.0
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.06

    def digest_weights(self, representation: Any) -> str:
        """See `InverterLike.digest_weights`."""
        return ""

    def load(
        self, representation: Any, normalize: str, report: Callable[[float], None] | None = None
    ) -> "GradientInversion":
        """See `InverterLike.load`. The function also takes pictures to start from: see `GradientInversion`."""
        network = representation.build_network()
        if network is None:
            raise PlanError(f"gradient: the representation {representation.kind} has no gradient.")
        from interpdisc_core.inverters._fused_network import fuse_network

        side = int(representation.side)
        device = _device_of(network)
        fused_network = fuse_network(network, _make_examples(side, device))

        def compute_features(images: Any) -> Any:
            vectors = fused_network(images)
            return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12) if normalize == "l2" else vectors

        return GradientInversion(self, compute_features, side, device, report)

    def load_refiner(
        self, representation: Any, normalize: str, report: Callable[[float], None] | None = None
    ) -> Callable[[FloatArray, PixelArray], PixelArray]:
        """The function from vectors (n, d) and rough pictures of them (n, s, s, 3) uint8 to refined pictures.

        Brings the pictures of another inverter nearer to the vectors in `steps` small steps; see `GradientInversion`.
        Arguments and errors are those of `load`.
        """
        return self.load(representation, normalize, report)


class GradientInversion:
    """The function that `Gradient.load` returns: vectors (n, d) to pictures (n, size, size, 3) uint8."""

    def __init__(
        self,
        settings: Gradient,
        features: Callable[[Any], Any],
        side: int,
        device: Any,
        report: Callable[[float], None] | None,
    ) -> None:
        self._settings, self._features, self._side, self._report = settings, features, side, report
        self._device = device

    def __call__(self, vectors: FloatArray, start: PixelArray | None = None) -> PixelArray:
        """Pictures (n, size, size, 3) of vectors (n, d).

        Args:
            vectors: Features.
            start: Pictures (n, s, s, 3) uint8 of any s, one for each vector, to start from instead of noise. Steps are
                smaller then, those of large shapes most, so that what the features leave open stays as given. A
                picture depends on its own vector and start only.

        Raises:
            ValueError: If there is not one start for each vector.
        """
        if start is not None and (len(start) != len(vectors) or start.ndim != 4 or start.shape[3] != 3):
            raise ValueError(f"start {start.shape} is not one picture for each of {len(vectors)} vectors.")
        size = self._settings.size
        pictures = np.empty((len(vectors), size, size, 3), dtype=np.uint8)
        progress = _ProgressReporter(self._report, self._settings.steps * -(-len(vectors) // OPTIMIZER_MINIBATCH))
        for first in range(0, len(vectors), OPTIMIZER_MINIBATCH):
            minibatch = slice(first, first + OPTIMIZER_MINIBATCH)
            minibatch_start = None if start is None else start[minibatch]
            pictures[minibatch] = self._optimize(vectors[minibatch], minibatch_start, progress.count_step)
        progress.finish()
        return pictures

    def _optimize(self, vectors: FloatArray, start: PixelArray | None, on_step: Callable[[], None]) -> PixelArray:
        """Pictures (n, size, size, 3) of vectors (n, d)."""
        import torch

        settings, device = self._settings, self._device
        targets = torch.from_numpy(np.asarray(vectors, dtype=np.float32)).to(device)
        lengths = (targets**2).sum(1)
        lengths = torch.where(lengths > 0, lengths, torch.ones_like(lengths))
        if start is None:
            codec = SpectrumCodec(settings.size, device, SPECTRUM_EXPONENT, SPECTRUM_AMPLITUDE)
            spectrum = torch.from_numpy(_make_noise_spectra(vectors, settings.size)).to(device)
        else:
            codec = SpectrumCodec(settings.size, device, REFINE_EXPONENT, REFINE_AMPLITUDE)
            spectrum = codec.encode(_resize_pictures(start, settings.size))
        spectrum.requires_grad_(True)
        resize = _build_resize_matrix(settings.size, self._side, device)
        optimizer = torch.optim.Adam([spectrum], betas=ADAM_BETAS)
        for rate, jitter in _iter_schedule(settings.steps, settings.jitter * self._side):
            optimizer.param_groups[0]["lr"] = rate
            picture = codec.decode(spectrum)
            network_input = torch.roll(resize @ picture @ resize.T, jitter, (2, 3)) * 255
            error = ((self._features(network_input) - targets) ** 2).sum(1) / lengths
            prior = settings.alpha * _compute_alpha_norm(picture) + settings.variation * _compute_total_variation(
                picture, settings.beta
            )
            # A sum, not a mean: the gradient in one picture does not depend on the others.
            (spectrum.grad,) = torch.autograd.grad((error + prior).sum(), spectrum)
            optimizer.step()
            on_step()
        with torch.no_grad():
            pixels = (codec.decode(spectrum) * 255).round().to(torch.uint8)
        pictures: PixelArray = pixels.permute(0, 2, 3, 1).cpu().numpy()
        return pictures


class _ProgressReporter:
    """Counts steps and reports the share done, at most every REPORT_SECONDS."""

    def __init__(self, report: Callable[[float], None] | None, steps: int) -> None:
        self.report, self.steps, self.steps_done, self.last_report = report, steps, 0, time.monotonic()

    def count_step(self) -> None:
        self.steps_done += 1
        if (
            self.report is not None
            and time.monotonic() - self.last_report >= REPORT_SECONDS
            and self.steps_done < self.steps
        ):
            self.last_report = time.monotonic()
            self.report(self.steps_done / self.steps)

    def finish(self) -> None:
        if self.report is not None:
            self.report(1.0)


def _device_of(network: Any) -> Any:
    """The device of a network: encoding may have moved it to a GPU."""
    import torch

    parameter = next(iter(network.parameters()), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _make_examples(side: int, device: Any) -> Any:
    """Two images of noise, (2, 3, side, side) in 0…255, always the same."""
    import torch

    noise = np.random.default_rng(0).uniform(0, 255, (2, 3, side, side))
    return torch.from_numpy(noise.astype(np.float32)).to(device)


def _make_noise_spectra(vectors: FloatArray, size: int) -> Float32Array:
    """Initial spectra (n, 3, size, size // 2 + 1, 2), each drawn from its vector's float32 bytes alone."""
    spectra = np.empty((len(vectors), 3, size, size // 2 + 1, 2), dtype=np.float32)
    for spectrum, vector in zip(spectra, vectors, strict=True):
        seed = int.from_bytes(hashlib.sha256(vector.astype("<f4").tobytes()).digest(), "little")
        spectrum[:] = START_NOISE * np.random.default_rng(seed).standard_normal(spectrum.shape, dtype=np.float32)
    return spectra


class SpectrumCodec:
    """Spectra (n, 3, size, size // 2 + 1, 2) to pictures, and back.

    A coefficient of frequency f (cycles per picture) has the weight amplitude / f^exponent, and so have the optimizer's
    steps in it.
    """

    def __init__(self, size: int, device: Any, exponent: float, amplitude: float) -> None:
        import torch

        self.size, self.device = size, device
        across, down = torch.fft.rfftfreq(size, 1 / size), torch.fft.fftfreq(size, 1 / size)
        frequency = torch.hypot(down[:, None], across[None, :]).clamp(min=1.0)
        # size²: the inverse transform divides by it.
        self.weights = (amplitude * size**2 * frequency**-exponent).to(device)
        colors = torch.tensor(COLOR_AXES)
        colors = colors / colors.norm(dim=0).max() * torch.tensor(COLOR_WEIGHTS)
        self.color_matrix, self.inverse_color_matrix = colors.to(device), torch.linalg.inv(colors).to(device)

    def decode(self, spectra: Any) -> Any:
        """The pictures (n, 3, size, size) in 0…1."""
        import torch

        planes = torch.fft.irfft2(torch.view_as_complex(spectra) * self.weights, s=(self.size, self.size))
        return torch.sigmoid(torch.einsum("nahw,ca->nchw", planes, self.color_matrix))

    def encode(self, pictures: PixelArray) -> Any:
        """The spectra that decode to pictures (n, size, size, 3), clipped by LOGIT_MARGIN."""
        import torch

        shares = torch.from_numpy(pictures.astype(np.float32) / 255).to(self.device)
        levels = torch.logit(shares.clamp(LOGIT_MARGIN, 1 - LOGIT_MARGIN))
        planes = torch.einsum("nhwc,ac->nahw", levels, self.inverse_color_matrix)
        return torch.view_as_real(torch.fft.rfft2(planes) / self.weights).contiguous()


def _resize_pictures(pictures: PixelArray, size: int) -> PixelArray:
    """Pictures (n, s, s, 3) as (n, size, size, 3), bicubic, antialiased if they become smaller."""
    if pictures.shape[1:3] == (size, size):
        return pictures
    images = [Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC) for picture in pictures]
    return np.stack([np.asarray(image) for image in images])


def _iter_schedule(steps: int, jitter: float) -> Iterator[tuple[float, tuple[int, int]]]:
    """Rate and jitter (down, across) of each step, the same for all pictures.

    jitter: the largest, in pixels of the network's input; it falls to 0.
    """
    random = np.random.default_rng(0)
    for share_left in np.linspace(1, 0, steps):
        max_shift = round(jitter * share_left)
        down, across = random.integers(-max_shift, max_shift + 1, 2)
        yield LEARNING_RATE * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * share_left), (int(down), int(across))


def _build_resize_matrix(size: int, side: int, device: Any) -> Any:
    """The matrix (side, size) of bicubic resizing along one axis; a product is far cheaper to differentiate."""
    import torch
    from torch.nn import functional as F

    unit = torch.eye(size)[None, None]
    return F.interpolate(unit, (side, size), mode="bicubic", antialias=side < size)[0, 0].to(device)


def _compute_total_variation(pictures: Any, beta: float) -> Any:
    """TV^β (n,) of pictures relative to a natural image: the mean of (|∇| / NATURAL_SLOPE)^β, for a side of length 1."""
    down = pictures[:, :, 1:, :-1] - pictures[:, :, :-1, :-1]
    across = pictures[:, :, :-1, 1:] - pictures[:, :, :-1, :-1]
    # 1e-6, since a root has no gradient at 0.
    lengths = ((down**2 + across**2).sum(1) + 1e-6).pow(beta / 2).mean((1, 2))
    return (pictures.shape[-1] / NATURAL_SLOPE) ** beta * lengths


def _compute_alpha_norm(pictures: Any) -> Any:
    """The α-norm (n,) of pictures relative to a natural image: the mean of (|2 p − 1| / NATURAL_RANGE)⁶."""
    return ((2 * pictures - 1) ** 2).mean(1).div(NATURAL_RANGE**2).pow(3).mean((1, 2))
