"""Training of a `LearnedNetwork`, epoch by epoch; the state is saved after each.

All random numbers come from (seed, epoch, step), so that an interrupted training resumes to the same weights.
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

from interpdisc_core import digest
from interpdisc_core._types import PixelArray
from interpdisc_core.errors import DamageError, PlanError, StoreError, one_line
from interpdisc_core.representations import _augmentations, _optimizer_state
from interpdisc_core.representations import _encoders as networks
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)

_STATE, _HISTORY = "state.safetensors", "epochs.json"
_WARMUP_SHARE = 0.05
_WEIGHT_DECAY = 0.01
_NOISE = 0.08
"""Standard deviation of the noise added to a picture in 0…1 before it is reconstructed."""
_MIN_CROP_AREA = 0.6
"""Minimum share of a picture that is reconstructed."""
_VARIANCE_SAMPLE = 256
"""Images on which the variance of the pixels is measured."""


@dataclass(frozen=True, slots=True)
class EncoderEpoch:
    """The results of an epoch, as they are stored in `epochs.json`.

    Attributes:
        epoch: Number, from 1.
        loss: Mean over the minibatches; of `reconstruct` it is 1 if only the mean picture is painted.
        spread: Standard deviation of the features within a minibatch over their root mean square; near 0, all images have
            the same features (a collapse).
        seconds: Wall-clock time.
    """

    epoch: int
    loss: float
    spread: float
    seconds: float


def train_encoder(spec: Any, images: PixelArray, location: Location, report: Callable[[float], None]) -> bytes:
    """The content of the file of weights of a `LearnedNetwork`, learned from prepared images (n, side, side, 3)."""
    images_digest = digest.digest_array(images)
    trainer = _EncoderTrainer(
        spec, images, location / digest.digest_json([digest.digest_settings(spec), images_digest])
    )
    while len(trainer.history) < spec.epochs:
        epoch = trainer.run_epoch(report)
        log.info(
            "learned-network: epoch %d of %d: loss %.3f, spread of features %.2f, %.0f s",
            epoch.epoch,
            spec.epochs,
            epoch.loss,
            epoch.spread,
            epoch.seconds,
        )
    report(1.0)
    # Without the seconds, so that the same weights are the same bytes.
    epoch_history = [{"loss": epoch.loss, "spread": epoch.spread} for epoch in trainer.history]
    return networks.pack_encoder(trainer.encoder, spec, {"images": len(images), "epochs": epoch_history})


class _EncoderTrainer:
    """The state of a training: encoder, head (projector or decoder), optimizer, history."""

    head: torch.nn.Module

    def __init__(self, spec: Any, images: PixelArray, location: Location) -> None:
        self.spec, self.images, self.location = spec, images, location
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.minibatch_size = min(spec.batch, len(images))
        self.steps = len(images) // self.minibatch_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            self.encoder = networks.build_encoder(spec.start, spec.dimensions)
            if spec.objective == "contrast":
                self.head = networks.build_projector(self.encoder.dimensions)
            else:
                self.head = networks.build_decoder(self.encoder.dimensions, spec.side)
        for module in (self.encoder, self.head):
            module.to(self.device).to(memory_format=torch.channels_last)
        # A pretrained encoder changes slowly, so that an untrained head does not destroy it.
        rates = (spec.rate * (0.1 if spec.start == "lite0" else 1.0), spec.rate)
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": [p for p in module.parameters() if (p.ndim > 1) == matrices],
                    "highest": rate,
                    "weight_decay": _WEIGHT_DECAY if matrices else 0.0,
                }
                for module, rate in zip((self.encoder, self.head), rates, strict=True)
                for matrices in (True, False)
            ]
        )
        sample = np.random.default_rng(spec.seed).permutation(len(images))[:_VARIANCE_SAMPLE]
        sample_pixels = images[np.sort(sample)].astype(np.float32) / 255
        self.variance = max(float(sample_pixels.var(axis=0).mean()), 1e-6)
        self.history: list[EncoderEpoch] = []
        self._load()

    def _load(self) -> None:
        try:
            data, epochs = self.location.read_checked(_STATE), self.location.read_checked_json(_HISTORY)
        except FileNotFoundError:
            return
        except DamageError as error:
            if self.location.exists(_STATE):
                raise
            log.warning("%s Learning starts again.", error)
            return
        try:
            tensors = load(data)
            # The weights know their epoch: a kill between the two writes leaves a history that is one epoch ahead.
            self.history = [EncoderEpoch(**epoch) for epoch in epochs][: int(tensors.pop("epoch"))]
            parts = {
                name: {
                    key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
                }
                for name in ("encoder", "head", "optimiser")
            }
            self.encoder.load_state_dict(parts["encoder"])
            self.head.load_state_dict(parts["head"])
            _optimizer_state.restore_state(self.optimizer, parts["optimiser"])
        except Exception as error:
            raise StoreError(
                f"{self.location.url}/{_STATE} is damaged ({one_line(error)}); remove it to restart learning from the beginning."
            ) from error

    def _save(self) -> None:
        self.location.write_checked_json(_HISTORY, [asdict(epoch) for epoch in self.history])
        states = {
            "encoder": self.encoder.state_dict(),
            "head": self.head.state_dict(),
            "optimiser": _optimizer_state.flatten_state(self.optimizer),
        }
        tensors = {"epoch": torch.tensor(len(self.history))}
        for name, state in states.items():
            tensors |= {f"{name}.{key}": value.detach().cpu().contiguous().clone() for key, value in state.items()}
        self.location.write_checked(_STATE, save(tensors))

    def run_epoch(self, report: Callable[[float], None]) -> EncoderEpoch:
        """Train for one epoch and save the state. Images beyond whole minibatches are left out of this epoch."""
        number, start_time = len(self.history) + 1, time.monotonic()
        order = np.random.default_rng([self.spec.seed, number]).permutation(len(self.images))
        self.encoder.train()
        self.head.train()
        losses, spreads = [], []
        for step in range(self.steps):
            steps_done = (number - 1) * self.steps + step
            report(steps_done / (self.spec.epochs * self.steps))
            for param_group in self.optimizer.param_groups:
                param_group["lr"] = param_group["highest"] * _rate_factor(steps_done / (self.spec.epochs * self.steps))
            rows = np.sort(order[step * self.minibatch_size : (step + 1) * self.minibatch_size])
            pictures = torch.from_numpy(self.images[rows]).to(self.device).permute(0, 3, 1, 2).float().div(255)
            loss, features = self._compute_loss(pictures, _make_generator(self.spec.seed, number, step))
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimizer.step()
            losses.append(float(loss.detach()))
            spreads.append(_relative_deviation(features.detach()))
        mean = float(np.mean(losses))
        if not math.isfinite(mean):
            raise PlanError(
                f"learned-network: the loss of epoch {number} is {mean}; lower the rate ({self.spec.rate})."
            )
        epoch_record = EncoderEpoch(number, mean, float(np.mean(spreads)), round(time.monotonic() - start_time, 1))
        self.history.append(epoch_record)
        self._save()
        return epoch_record

    def _compute_loss(self, pictures: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """The loss of pictures (n, 3, s, s) in 0…1, and their features (n, d)."""
        if self.spec.objective == "contrast":
            views = torch.cat(
                [_augmentations.augment_images(pictures, random), _augmentations.augment_images(pictures, random)]
            )
            features, projections = self._forward(views)
            half = len(pictures)
            return networks.compute_vicreg_loss(projections[:half], projections[half:]), features[:half]
        target = _augmentations.crop_randomly(pictures, _MIN_CROP_AREA, random)
        noise = torch.randn(target.shape, generator=random).to(self.device)
        features, reconstruction = self._forward(target + _NOISE * noise)
        return (reconstruction - target).square().mean() / self.variance, features

    def _forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        kind = self.device.type
        # On a CPU, lite0's convolutions of single channels are slower in half precision.
        use_bfloat16 = kind == "cuda" or (self.spec.start == "scratch" and torch.ops.mkldnn._is_mkldnn_bf16_supported())
        with torch.autocast(kind, torch.bfloat16, enabled=use_bfloat16):
            cells = self.encoder((255 * pictures).contiguous(memory_format=torch.channels_last))
            features = cells.float().mean((2, 3))
            output = self.head(features)
        return features, output.float()


def _rate_factor(share: float) -> float:
    """Factor of the rate at a share of the steps in 0…1: a linear rise, then half a cosine down."""
    if share < _WARMUP_SHARE:
        return (share + 1e-3) / (_WARMUP_SHARE + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (share - _WARMUP_SHARE) / (1 - _WARMUP_SHARE)))


def _make_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    derived_seed = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(derived_seed))


def _relative_deviation(features: Tensor) -> float:
    return float(features.std(0).square().mean().sqrt() / features.square().mean().sqrt().clamp(min=1e-12))
