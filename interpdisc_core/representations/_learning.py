"""How a network learns from a collection: epoch by epoch, each from a saved state to the next.

Everything random comes from (seed, epoch, step): a training that was killed and goes on ends in the same weights.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from interpdisc_core import _optimiser, digest
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.images import Pixels
from interpdisc_core.representations import _learned_network as networks
from interpdisc_core.representations import _views
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

_STATE, _HISTORY = "state.safetensors", "epochs.json"
_WARM = 0.05
_DECAY = 0.01
_NOISE = 0.08
"""Standard deviation of what a picture is spoilt by before it is reconstructed, pictures in 0…1."""
_LEAST = 0.6
"""Share of a picture that is reconstructed, at least."""
_MEASURED = 256
"""Images by which the variance of the pixels is measured."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch came to.

    loss: the mean over its batches; of `reconstruct` 1 where only the mean picture is painted. spread: of the features
    within a batch, their standard deviation over their root mean square; towards 0 they are the same for all images.
    """

    epoch: int
    loss: float
    spread: float
    seconds: float


def learned(spec: Any, images: Pixels, place: Place, report: Callable[[float], None]) -> bytes:
    """The content of the weights' file of a `LearnedNetwork`, learned from its prepared images (n, side, side, 3)."""
    of_images = digest.of_array(images)
    learning = _Learning(spec, images, place / digest.of_json([digest.of_settings(spec), of_images]))
    while len(learning.history) < spec.epochs:
        done = learning.epoch(report)
        log.info(
            "learned-network: epoch %d of %d: loss %.3f, spread of the features %.2f, %.0f s",
            done.epoch, spec.epochs, done.loss, done.spread, done.seconds,
        )  # fmt: skip
    report(1.0)
    # Without the seconds, so that the same weights are the same bytes.
    course = [{"loss": done.loss, "spread": done.spread} for done in learning.history]
    return networks.packed(learning.encoder, spec, {"images": len(images), "epochs": course})


class _Learning:
    """The state of a training: encoder, what it learns by (projector or decoder), optimiser, history."""

    head: torch.nn.Module

    def __init__(self, spec: Any, images: Pixels, place: Place) -> None:
        self.spec, self.images, self.place = spec, images, place
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.batch = min(spec.batch, len(images))
        self.steps = len(images) // self.batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            self.encoder = networks.fresh(spec.start, spec.dimensions)
            if spec.objective == "contrast":
                self.head = networks.projector(self.encoder.dimensions)
            else:
                self.head = networks.decoder(self.encoder.dimensions, spec.side)
        for module in (self.encoder, self.head):
            module.to(self.device).to(memory_format=torch.channels_last)
        # What already sees is not to be overturned by a head that does not see yet.
        rates = (spec.rate * (0.1 if spec.start == "lite0" else 1.0), spec.rate)
        self.optimiser = torch.optim.AdamW([
            {"params": [p for p in module.parameters() if (p.ndim > 1) == matrices], "highest": rate,
             "weight_decay": _DECAY if matrices else 0.0}
            for module, rate in zip((self.encoder, self.head), rates, strict=True)
            for matrices in (True, False)
        ])  # fmt: skip
        drawn = np.random.default_rng(spec.seed).permutation(len(images))[:_MEASURED]
        some = images[np.sort(drawn)].astype(np.float32) / 255
        self.variance = max(float(some.var(axis=0).mean()), 1e-6)
        self.history: list[Epoch] = []
        self._load()

    # State on disk

    def _load(self) -> None:
        try:
            data, told = self.place.read(_STATE), self.place.read_json(_HISTORY)
        except FileNotFoundError:
            return
        try:
            held = load(data)
            # The weights say which epoch they are of: a kill between the two writes leaves a history that is ahead.
            self.history = [Epoch(**epoch) for epoch in told][: int(held.pop("epoch"))]
            parts = {
                name: {key.removeprefix(f"{name}."): value for key, value in held.items() if key.startswith(f"{name}.")}
                for name in ("encoder", "head", "optimiser")
            }
            self.encoder.load_state_dict(parts["encoder"])
            self.head.load_state_dict(parts["head"])
            _optimiser.restore(self.optimiser, parts["optimiser"])
        except Exception as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise StoreError(
                f"{self.place.url}/{_STATE} is damaged ({why}); remove it, and learning starts anew."
            ) from error

    def _save(self) -> None:
        self.place.write_json(_HISTORY, [asdict(epoch) for epoch in self.history])
        states = {
            "encoder": self.encoder.state_dict(),
            "head": self.head.state_dict(),
            "optimiser": _optimiser.flat(self.optimiser),
        }
        held = {"epoch": torch.tensor(len(self.history))}
        for name, state in states.items():
            held |= {f"{name}.{key}": value.detach().cpu().contiguous().clone() for key, value in state.items()}
        self.place.write(_STATE, save(held))

    # Learning

    def epoch(self, report: Callable[[float], None]) -> Epoch:
        """Learn for one epoch, and keep the state. Images beyond whole batches wait for another epoch's order."""
        number, began = len(self.history) + 1, time.monotonic()
        order = np.random.default_rng([self.spec.seed, number]).permutation(len(self.images))
        self.encoder.train()
        self.head.train()
        losses, spreads = [], []
        for step in range(self.steps):
            done = (number - 1) * self.steps + step
            report(done / (self.spec.epochs * self.steps))
            for group in self.optimiser.param_groups:
                group["lr"] = group["highest"] * _height(done / (self.spec.epochs * self.steps))
            rows = np.sort(order[step * self.batch : (step + 1) * self.batch])
            pictures = torch.from_numpy(self.images[rows]).to(self.device).permute(0, 3, 1, 2).float().div(255)
            loss, features = self._loss(pictures, _random(self.spec.seed, number, step))
            self.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimiser.step()
            losses.append(float(loss.detach()))
            spreads.append(_spread(features.detach()))
        mean = float(np.mean(losses))
        if not math.isfinite(mean):
            raise PlanError(
                f"learned-network: the loss of epoch {number} is {mean}; lower the rate ({self.spec.rate})."
            )
        outcome = Epoch(number, mean, float(np.mean(spreads)), round(time.monotonic() - began, 1))
        self.history.append(outcome)
        self._save()
        return outcome

    def _loss(self, pictures: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """The loss of pictures (n, 3, s, s) in 0…1, and their features (n, d)."""
        if self.spec.objective == "contrast":
            both = torch.cat([_views.view(pictures, random), _views.view(pictures, random)])
            features, projected = self._through(both)
            half = len(pictures)
            return networks.vicreg(projected[:half], projected[half:]), features[:half]
        target = _views.cropped(pictures, _LEAST, random)
        noise = torch.randn(target.shape, generator=random).to(self.device)
        features, painted = self._through(target + _NOISE * noise)
        return (painted - target).square().mean() / self.variance, features

    def _through(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        kind = self.device.type
        # On a CPU, lite0's convolutions of single channels are slower in half precision.
        fast = kind == "cuda" or (self.spec.start == "scratch" and torch.ops.mkldnn._is_mkldnn_bf16_supported())
        with torch.autocast(kind, torch.bfloat16, enabled=fast):
            cells = self.encoder((255 * pictures).contiguous(memory_format=torch.channels_last))
            features = cells.float().mean((2, 3))
            made = self.head(features)
        return features, made.float()


def _height(share: float) -> float:
    """Of the rate at a share of the steps, in 0…1: a straight rise, then half a cosine down."""
    if share < _WARM:
        return (share + 1e-3) / (_WARM + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (share - _WARM) / (1 - _WARM)))


def _random(seed: int, epoch: int, step: int) -> torch.Generator:
    drawn = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(drawn))


def _spread(features: Tensor) -> float:
    return float(features.std(0).square().mean().sqrt() / features.square().mean().sqrt().clamp(min=1e-12))
