"""Inversion by optimisation: change an image until its features are the ones asked for.

Mahendran & Vedaldi 2015, with their priors (α-norm, total variation, jitter), on the picture's spectrum rather than
on its pixels and with decorrelated colours (Olah, Mordvintsev & Schubert 2017), which gives large forms first and
noise last. Any differentiable representation, no training; slow on a CPU.

The loss of one picture, where t is the vector and φ the representation (divided by its length for `l2`):

    |φ(picture) − t|² / |t|²  +  variation · mean |∇|  +  ALPHA · mean |2 picture − 1|⁶        (picture in 0…1)

∇ in differences per pixel of a picture 1 wide and high. Losses of a batch are summed, the optimiser works coefficient
by coefficient, and noise comes from the vector alone: pictures do not depend on their neighbours but for rounding.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

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
JITTER = 0.06
"""The picture is rolled by up to this share of its side before each look, and by less and less towards the end."""
ALPHA = 0.02
"""Weight of the α-norm (α = 6)."""
SECONDS = 0.3
"""Between two reports of progress."""


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """size: pixels a side of the picture. steps: of the optimiser. variation: weight of the total-variation prior.

    The picture starts as noise that depends on the vector alone, so that the same vector gives the same picture
    wherever and in whatever batch it is rendered. More steps sharpen it; the time is proportional to them.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["gradient"] = "gradient"
    size: int = 128
    steps: int = 80
    variation: float = 0.01

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 512 or self.steps < 1:
            raise PlanError(
                f"gradient: size must be 16 to 512 (is {self.size}) and steps at least 1 (is {self.steps})."
            )
        if not 0 <= self.variation < float("inf"):
            raise PlanError(f"gradient: variation must be a number of at least 0 (is {self.variation}).")

    def load(self, representation: Any, normalise: str, report: Callable[[float], None] | None = None) -> Any:
        """See `Inverts.load`."""
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

        def invert(vectors: Floats) -> Pixels:
            pictures = np.empty((len(vectors), self.size, self.size, 3), dtype=np.uint8)
            progress = _Progress(report, self.steps * -(-len(vectors) // BATCH))
            for first in range(0, len(vectors), BATCH):
                some = slice(first, first + BATCH)
                pictures[some] = _optimised(self, features, side, device, vectors[some], progress.step)
            progress.end()
            return pictures

        return invert


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


def _optimised(
    settings: Gradient,
    features: Callable[[Any], Any],
    side: int,
    device: Any,
    vectors: Floats,
    step: Callable[[], None],
) -> Pixels:
    """Pictures (n, size, size, 3) of vectors (n, d)."""
    import torch

    targets = torch.from_numpy(np.asarray(vectors, dtype=np.float32)).to(device)
    lengths = (targets**2).sum(1)
    lengths = torch.where(lengths > 0, lengths, torch.ones_like(lengths))
    spectrum = torch.from_numpy(_noise(vectors, settings.size)).to(device).requires_grad_(True)
    draw, resize = _painter(settings.size, device), _resizer(settings.size, side, device)
    optimiser = torch.optim.Adam([spectrum], betas=MOMENTS)
    for rate, jitter in _schedule(settings.steps, side):
        optimiser.param_groups[0]["lr"] = rate
        picture = draw(spectrum)
        shown = torch.roll(resize @ picture @ resize.T, jitter, (2, 3)) * 255
        error = ((features(shown) - targets) ** 2).sum(1) / lengths
        # A sum, not a mean: the gradient in one picture has nothing of the others.
        loss = (error + settings.variation * _variation(picture) + ALPHA * _alpha_norm(picture)).sum()
        (spectrum.grad,) = torch.autograd.grad(loss, spectrum)
        optimiser.step()
        step()
    with torch.no_grad():
        pictures: Pixels = (draw(spectrum) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pictures


def _noise(vectors: Floats, size: int) -> npt.NDArray[np.float32]:
    """The spectra to start from, (n, 3, size, size // 2 + 1, 2), each from its vector's float32 bytes alone."""
    spectra = np.empty((len(vectors), 3, size, size // 2 + 1, 2), dtype=np.float32)
    for spectrum, vector in zip(spectra, vectors, strict=True):
        seed = int.from_bytes(hashlib.sha256(vector.astype("<f4").tobytes()).digest(), "little")
        spectrum[:] = NOISE * np.random.default_rng(seed).standard_normal(spectrum.shape, dtype=np.float32)
    return spectra


def _painter(size: int, device: Any) -> Callable[[Any], Any]:
    """The function from spectra (n, 3, size, size // 2 + 1, 2) to pictures (n, 3, size, size) in 0…1."""
    import torch

    across, down = torch.fft.rfftfreq(size, 1 / size), torch.fft.fftfreq(size, 1 / size)
    frequency = torch.hypot(down[:, None], across[None, :]).clamp(min=1.0)
    weights = (AMPLITUDE * size**2 * frequency**-FALL).to(device)  # size²: the inverse transform divides by it
    colours = torch.tensor(COLOURS, device=device)
    colours = colours / colours.norm(dim=0).max() * torch.tensor(CHROMA, device=device)

    def draw(spectra: Any) -> Any:
        planes = torch.fft.irfft2(torch.view_as_complex(spectra) * weights, s=(size, size))
        return torch.sigmoid(torch.einsum("nahw,ca->nchw", planes, colours))

    return draw


def _schedule(steps: int, side: int) -> Iterator[tuple[float, tuple[int, int]]]:
    """For each step its rate and its jitter (down, across; pixels of the network's input), the same for all pictures."""
    random = np.random.default_rng(0)
    for left in np.linspace(1, 0, steps):
        most = round(JITTER * side * left)
        down, across = random.integers(-most, most + 1, 2)
        yield RATE * (LAST_RATE + (1 - LAST_RATE) * left), (int(down), int(across))


def _resizer(size: int, side: int, device: Any) -> Any:
    """The matrix (side, size) of bicubic resizing along one axis; as a product it is far cheaper to differentiate."""
    import torch
    from torch.nn import functional as F

    unit = torch.eye(size)[None, None]
    return F.interpolate(unit, (side, size), mode="bicubic", antialias=side < size)[0, 0].to(device)


def _variation(pictures: Any) -> Any:
    """Mean length of the gradient of each picture (n,), its side taken as 1."""
    down = pictures[:, :, 1:, :-1] - pictures[:, :, :-1, :-1]
    across = pictures[:, :, :-1, 1:] - pictures[:, :, :-1, :-1]
    # 1e-6: a root has no gradient at 0.
    return pictures.shape[-1] * ((down**2 + across**2).sum(1) + 1e-6).sqrt().mean((1, 2))


def _alpha_norm(pictures: Any) -> Any:
    """Mean sixth power of the distance from grey (n,); at most 1."""
    return (2 * pictures - 1).pow(6).mean((1, 2, 3))
