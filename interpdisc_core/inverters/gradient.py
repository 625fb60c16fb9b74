"""Inversion by optimisation: change an image until its features are the ones asked for.

Mahendran & Vedaldi, CVPR 2015 and IJCV 2016, on the picture's spectrum rather than on its pixels and with decorrelated
colours (Olah, Mordvintsev & Schubert 2017), which gives large forms first and noise last. Any differentiable
representation, no training; slow on a CPU.

The loss of one picture p in 0…1, where t is the vector and φ the representation (divided by its length for `l2`):

    |φ(p) − t|² / |t|²  +  alpha · mean (|2 p − 1| / RANGE)⁶  +  variation · mean (|∇p| / SLOPE)^beta

The first is their loss with their normaliser (2015, §2 and “balancing the different terms”). The second is the α-norm
at their α = 6, of the distance from grey; of a pixel's colour as a whole and over the range of natural images, as in
2016 (R_α over H W B^α). The third is TV^β (2015: Σ ((x_{i,j+1} − x_{ij})² + (x_{i+1,j} − x_{ij})²)^{β/2}), over V^β as
in 2016. Their hard bound on the range is a sigmoid here, and their jitter of 2016 wraps around and ends with the steps.
∇ is in differences per pixel of a picture 1 wide and high, so that weights mean the same at every size.

Losses of a batch are summed, the optimiser works coefficient by coefficient, and noise comes from the vector alone:
pictures do not depend on their neighbours but for rounding.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels

Floats = npt.NDArray[np.float64]

BATCH = 16
"""Pictures optimised at once: EfficientNet-lite0 keeps about 60 MB for each at 224 pixels."""
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""Columns: the principal axes of colour in natural images, by their spread: grey, red to blue, green to magenta."""
CHROMA = (1.0, 0.6, 0.5)
"""Further weights of the three axes: features say little of colour, and what they leave open is to stay near grey."""
FALL, AMPLITUDE, NOISE = 2.0, 1.5, 0.01
"""Coefficients of frequency f (cycles a picture) weigh AMPLITUDE / f^FALL; the start has this standard deviation."""
RATE, LAST_RATE, MOMENTS = 0.05, 0.1, (0.8, 0.95)
"""Adam's step, the share of it that is left at the end, and its decay rates: short ones, for few steps."""
REFINE_FALL, REFINE_AMPLITUDE = 1.25, 0.2
"""FALL and AMPLITUDE where a picture is given to start from: large forms are to move less, and fine ones relatively more.

A start is mostly right in the large and lacks detail; with the weights for noise, its colours drift before it sharpens.
"""
EDGE = 0.01
"""A picture to start from is drawn into EDGE…1 − EDGE of the range, since the sigmoid reaches no end of it."""
RANGE, SLOPE = 0.63, 11.0
"""What |2 p − 1| (root mean square of the colours) and |∇p| are in natural images.

B = 80 levels of 127.5, and V = B / 6.5 levels of 255 per pixel at 227 pixels a side (2016). At 128 pixels, Mars and
Caltech-101 have 0.41 and 0.60 for the first in the root mean square, 8 and 16 for the second in the mean.
"""
SECONDS = 0.3
"""Between two reports of progress."""


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """size: pixels a side of the picture. steps: of the optimiser. alpha, variation, beta: see the module's equation.

    jitter: the picture is rolled by up to this share of its side before each look, by less and less towards the end.

    The picture starts as noise that depends on the vector alone, so that the same vector gives the same picture
    wherever and in whatever batch it is rendered. More steps sharpen it; the time is proportional to them.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["gradient"] = "gradient"
    size: int = 128
    steps: int = 80
    alpha: float = 0.00125
    variation: float = 0.11
    beta: float = 1.0
    jitter: float = 0.06

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 512 or self.steps < 1:
            raise PlanError(
                f"gradient: size must be 16 to 512 (is {self.size}) and steps at least 1 (is {self.steps})."
            )
        for name in ("alpha", "variation"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise PlanError(f"gradient: {name} must be a number of at least 0 (is {getattr(self, name)}).")
        if not 1 <= self.beta <= 4 or not 0 <= self.jitter <= 0.5:
            raise PlanError(
                f"gradient: beta must be 1 to 4 (is {self.beta}) and jitter must be 0 to 0.5 (is {self.jitter})."
            )

    def identity(self, representation: Any) -> str:
        """See `Inverts.identity`."""
        return ""

    def load(self, representation: Any, normalise: str, report: Callable[[float], None] | None = None) -> "Inversion":
        """See `Inverts.load`. The function also takes pictures to start from: see `Inversion`."""
        network = representation.network()
        if network is None:
            raise PlanError(f"gradient: the representation {representation.kind} has no gradient.")
        from interpdisc_core.inverters._frozen import quicken

        side = int(representation.side)
        device = _device(network)
        look = quicken(network, _examples(side, device))

        def features(images: Any) -> Any:
            found = look(images)
            return found / found.norm(dim=1, keepdim=True).clamp(min=1e-12) if normalise == "l2" else found

        return Inversion(self, features, side, device, report)

    def refiner(
        self, representation: Any, normalise: str, report: Callable[[float], None] | None = None
    ) -> Callable[[Floats, Pixels], Pixels]:
        """The function from vectors (n, d) and rough pictures of them (n, s, s, 3) uint8 to refined pictures.

        Another inverter's pictures are brought nearer to the vectors in `steps` small steps; see `Inversion`.
        """
        return self.load(representation, normalise, report)


class Inversion:
    """The function that `Gradient.load` gives: vectors (n, d) to pictures (n, size, size, 3).

    start: pictures (n, s, s, 3) uint8 of any s, one for each vector, to start from in place of noise. Steps are
    smaller then, those of large forms most, so that what the features leave open stays as it is given. A picture
    depends on its own vector and its own start alone.
    """

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

    def __call__(self, vectors: Floats, start: Pixels | None = None) -> Pixels:
        """Pictures of vectors; see the class."""
        if start is not None and (len(start) != len(vectors) or start.ndim != 4 or start.shape[3] != 3):
            raise ValueError(f"start {start.shape} is not one picture for each of {len(vectors)} vectors.")
        size = self._settings.size
        pictures = np.empty((len(vectors), size, size, 3), dtype=np.uint8)
        progress = _Progress(self._report, self._settings.steps * -(-len(vectors) // BATCH))
        for first in range(0, len(vectors), BATCH):
            some = slice(first, first + BATCH)
            given = None if start is None else start[some]
            pictures[some] = self._optimised(vectors[some], given, progress.step)
        progress.end()
        return pictures

    def _optimised(self, vectors: Floats, start: Pixels | None, step: Callable[[], None]) -> Pixels:
        """Pictures (n, size, size, 3) of vectors (n, d)."""
        import torch

        settings, device = self._settings, self._device
        targets = torch.from_numpy(np.asarray(vectors, dtype=np.float32)).to(device)
        lengths = (targets**2).sum(1)
        lengths = torch.where(lengths > 0, lengths, torch.ones_like(lengths))
        if start is None:
            paint = Paint(settings.size, device, FALL, AMPLITUDE)
            spectrum = torch.from_numpy(_noise(vectors, settings.size)).to(device)
        else:
            paint = Paint(settings.size, device, REFINE_FALL, REFINE_AMPLITUDE)
            spectrum = paint.spectra(_resized(start, settings.size))
        spectrum.requires_grad_(True)
        resize = _resizer(settings.size, self._side, device)
        optimiser = torch.optim.Adam([spectrum], betas=MOMENTS)
        for rate, jitter in _schedule(settings.steps, settings.jitter * self._side):
            optimiser.param_groups[0]["lr"] = rate
            picture = paint.draw(spectrum)
            shown = torch.roll(resize @ picture @ resize.T, jitter, (2, 3)) * 255
            error = ((self._features(shown) - targets) ** 2).sum(1) / lengths
            prior = settings.alpha * _alpha_norm(picture) + settings.variation * _variation(picture, settings.beta)
            # A sum, not a mean: the gradient in one picture has nothing of the others.
            (spectrum.grad,) = torch.autograd.grad((error + prior).sum(), spectrum)
            optimiser.step()
            step()
        with torch.no_grad():
            drawn = (paint.draw(spectrum) * 255).round().to(torch.uint8)
        pictures: Pixels = drawn.permute(0, 2, 3, 1).cpu().numpy()
        return pictures


class _Progress:
    """Counts steps, and tells the share done a few times a second at most."""

    def __init__(self, report: Callable[[float], None] | None, steps: int) -> None:
        self.report, self.steps, self.taken, self.told = report, steps, 0, time.monotonic()

    def step(self) -> None:
        self.taken += 1
        if self.report is not None and time.monotonic() - self.told >= SECONDS and self.taken < self.steps:
            self.told = time.monotonic()
            self.report(self.taken / self.steps)

    def end(self) -> None:
        if self.report is not None:
            self.report(1.0)


def _device(network: Any) -> Any:
    """Where the network is: encoding may have put it on a GPU."""
    import torch

    held = next(iter(network.parameters()), None)
    return torch.device("cpu") if held is None else held.device


def _examples(side: int, device: Any) -> Any:
    """Two images of noise, (2, 3, side, side) in 0…255, the same every time."""
    import torch

    noise = np.random.default_rng(0).uniform(0, 255, (2, 3, side, side))
    return torch.from_numpy(noise.astype(np.float32)).to(device)


def _noise(vectors: Floats, size: int) -> npt.NDArray[np.float32]:
    """The spectra to start from, (n, 3, size, size // 2 + 1, 2), each from its vector's float32 bytes alone."""
    spectra = np.empty((len(vectors), 3, size, size // 2 + 1, 2), dtype=np.float32)
    for spectrum, vector in zip(spectra, vectors, strict=True):
        seed = int.from_bytes(hashlib.sha256(vector.astype("<f4").tobytes()).digest(), "little")
        spectrum[:] = NOISE * np.random.default_rng(seed).standard_normal(spectrum.shape, dtype=np.float32)
    return spectra


class Paint:
    """Spectra (n, 3, size, size // 2 + 1, 2) to pictures, and back.

    Coefficients of frequency f (cycles a picture) weigh amplitude / f^fall, and so do the optimiser's steps in them.
    """

    def __init__(self, size: int, device: Any, fall: float, amplitude: float) -> None:
        import torch

        self.size, self.device = size, device
        across, down = torch.fft.rfftfreq(size, 1 / size), torch.fft.fftfreq(size, 1 / size)
        frequency = torch.hypot(down[:, None], across[None, :]).clamp(min=1.0)
        self.weights = (amplitude * size**2 * frequency**-fall).to(device)  # size²: the inverse transform divides by it
        colours = torch.tensor(COLOURS)
        colours = colours / colours.norm(dim=0).max() * torch.tensor(CHROMA)
        self.colours, self.axes = colours.to(device), torch.linalg.inv(colours).to(device)

    def draw(self, spectra: Any) -> Any:
        """The pictures (n, 3, size, size) in 0…1."""
        import torch

        planes = torch.fft.irfft2(torch.view_as_complex(spectra) * self.weights, s=(self.size, self.size))
        return torch.sigmoid(torch.einsum("nahw,ca->nchw", planes, self.colours))

    def spectra(self, pictures: Pixels) -> Any:
        """The spectra that are drawn as these pictures (n, size, size, 3), but for EDGE."""
        import torch

        shares = torch.from_numpy(pictures.astype(np.float32) / 255).to(self.device)
        levels = torch.logit(shares.clamp(EDGE, 1 - EDGE))
        planes = torch.einsum("nhwc,ac->nahw", levels, self.axes)
        return torch.view_as_real(torch.fft.rfft2(planes) / self.weights).contiguous()


def _resized(pictures: Pixels, size: int) -> Pixels:
    """Pictures (n, s, s, 3) as (n, size, size, 3), smoothed where they become smaller."""
    if pictures.shape[1:3] == (size, size):
        return pictures
    made = [Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC) for picture in pictures]
    return np.stack([np.asarray(image) for image in made])


def _schedule(steps: int, jitter: float) -> Iterator[tuple[float, tuple[int, int]]]:
    """For each step its rate and its jitter (down, across; pixels of the network's input), the same for all pictures.

    jitter: the largest, in those pixels; it falls to none.
    """
    random = np.random.default_rng(0)
    for left in np.linspace(1, 0, steps):
        most = round(jitter * left)
        down, across = random.integers(-most, most + 1, 2)
        yield RATE * (LAST_RATE + (1 - LAST_RATE) * left), (int(down), int(across))


def _resizer(size: int, side: int, device: Any) -> Any:
    """The matrix (side, size) of bicubic resizing along one axis; as a product it is far cheaper to differentiate."""
    import torch
    from torch.nn import functional as F

    unit = torch.eye(size)[None, None]
    return F.interpolate(unit, (side, size), mode="bicubic", antialias=side < size)[0, 0].to(device)


def _variation(pictures: Any, beta: float) -> Any:
    """TV^β of pictures (n,), over that of a natural image: the mean of (|∇| / SLOPE)^β, the side taken as 1."""
    down = pictures[:, :, 1:, :-1] - pictures[:, :, :-1, :-1]
    across = pictures[:, :, :-1, 1:] - pictures[:, :, :-1, :-1]
    # 1e-6: a root has no gradient at 0.
    lengths = ((down**2 + across**2).sum(1) + 1e-6).pow(beta / 2).mean((1, 2))
    return (pictures.shape[-1] / SLOPE) ** beta * lengths


def _alpha_norm(pictures: Any) -> Any:
    """The α-norm of pictures (n,), over that of a natural image: the mean of (|2 p − 1| / RANGE)⁶."""
    return ((2 * pictures - 1) ** 2).mean(1).div(RANGE**2).pow(3).mean((1, 2))
