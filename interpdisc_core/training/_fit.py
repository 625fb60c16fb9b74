"""The fit: one epoch at a time, from a saved state to the next.

The loss of a batch, each part about 1 for a generator that always shows the mean image:

    image · |G(c) − y|² / Var(y)  +  feature · ( |φ(G(c)) − c*|² / Var(c)  +  mean over stages |s(G(c)) − s(y)|² / Var(s) )

y is the target picture, c the code fed, c* the features that were asked for, φ the representation and s its inner
stages where it has any (Dosovitskiy & Brox 2016, "Generating Images with Perceptual Similarity Metrics"). The feature
part costs several times the generator, so a share of each batch is encoded again. With `adversarial` a discriminator
of patches is trained along (hinge loss).

Everything random comes from (seed, epoch): a training that was killed and goes on ends in the state that it would
have had.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from interpdisc_core._optimiser import flat, restore
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.inverters import checkpoint
from interpdisc_core.inverters._layers import Standardised, painted
from interpdisc_core.inverters.upconv import BATCH
from interpdisc_core.progress import Watch
from interpdisc_core.training._codes import Examples, vary
from interpdisc_core.training.epochs import Epoch, given_up, halvings
from interpdisc_core.training.examples import Sample, Training
from interpdisc_core.training.recipe import Recipe
from interpdisc_core.training.scoring import encoded

_AVERAGE = 0.998
"""Of the weights' moving average, which is what is validated and shipped."""
_POOL = 512
"""Codes kept back from earlier batches, of which models are made."""


class Fit:
    """The state of a training: generator and its average, optimiser, history."""

    def __init__(self, training: Training) -> None:
        self.training, self.recipe = training, training.recipe
        recipe = self.recipe
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        first = training.all("train-", 4096)
        codes = torch.from_numpy(first.codes)
        spread = codes.std(0)
        overall = float(codes.var(0).mean().sqrt())
        self.spread = spread.clamp(min=0.1 * overall if overall > 0 else 1.0)
        self.code_variance = max(float(codes.var(0).sum()), 1e-12)
        self.mean_picture, variance = _moments(torch.from_numpy(first.pictures))
        self.picture_variance = max(variance, 1e-6)
        torch.manual_seed(recipe.seed)
        dimension = first.codes.shape[1]
        self.network = Standardised(recipe.generator.build(dimension), codes.mean(0), self.spread)
        self.average = Standardised(recipe.generator.build(dimension), codes.mean(0), self.spread)
        if recipe.start:
            self.network.load_state_dict(_started(recipe))
        self.average.load_state_dict(self.network.state_dict())
        self.critic = _critic() if recipe.adversarial else None
        for module in (self.network, self.average, self.critic):
            if module is not None:
                module.to(self.device).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=recipe.rate, betas=(0.9, 0.99))
        self.opponent = None if self.critic is None else torch.optim.Adam(self.critic.parameters(), lr=recipe.rate / 2)
        self.history: list[Epoch] = []
        self._look: Callable[[Tensor], tuple[Tensor, list[Tensor]]] | None = None
        self._load()

    # State on disk

    def _load(self) -> None:
        place = self.training.place
        try:
            data, told = place.read("state.safetensors"), place.read_json("history.json")
        except FileNotFoundError:
            return
        try:
            held = load(data)
            # The weights say which epoch they are of: a kill between the two writes leaves a history that is ahead.
            self.history = [Epoch(**epoch) for epoch in told][: int(held.pop("epoch"))]
            for name, thing in self._parts().items():
                mine = {
                    key.removeprefix(f"{name}."): value for key, value in held.items() if key.startswith(f"{name}.")
                }
                if isinstance(thing, torch.optim.Optimizer):
                    restore(thing, mine)
                else:
                    thing.load_state_dict(mine)
        except Exception as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise StoreError(
                f"{place.url}/state.safetensors is damaged ({why}); remove it, and training starts anew."
            ) from error

    def save(self) -> None:
        """Keep the state, so that the next call goes on from here."""
        place = self.training.place
        place.write_json("history.json", [asdict(epoch) for epoch in self.history])
        held = {"epoch": torch.tensor(len(self.history))}
        for name, thing in self._parts().items():
            state = flat(thing) if isinstance(thing, torch.optim.Optimizer) else thing.state_dict()
            held |= {f"{name}.{key}": value.detach().cpu().contiguous().clone() for key, value in state.items()}
        place.write("state.safetensors", save(held))

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "average": self.average, "optimiser": self.optimiser}
        if self.critic is not None:
            parts |= {"critic": self.critic, "opponent": self.opponent}
        return parts

    # What to do next

    @property
    def best(self) -> float:
        """The lowest validation score so far."""
        return min((epoch.score for epoch in self.history), default=math.inf)

    @property
    def rate(self) -> float:
        """Of the next epoch: halved each time that `patience` epochs brought nothing better."""
        return self.recipe.rate * 0.5 ** halvings(self.history, self.recipe.patience)

    @property
    def finished(self) -> bool:
        """Whether more epochs would not help."""
        return given_up(self.history, self.recipe.patience)

    # Training

    def epoch(self, watch: Watch) -> Epoch:
        """Train one epoch, validate, and save. Returns its outcome."""
        recipe, number, began = self.recipe, len(self.history) + 1, time.monotonic()
        random = torch.Generator().manual_seed(recipe.seed * 100_003 + number)
        rate = self.rate
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        meter = watch.meter("train", f"{number:04d}")
        losses: list[float] = []
        pool = torch.empty(0)
        self.network.train()
        for batch in self.training.stream(recipe.batch, (recipe.seed, number)):
            codes = torch.from_numpy(batch.codes)
            pictures = torch.from_numpy(batch.pictures).permute(0, 3, 1, 2).float().div(255)
            pool = torch.cat([codes, pool[: max(_POOL - len(codes), 0)]]) if len(pool) else codes
            losses.append(self._step(vary(codes, pictures, pool, self.spread, random), random))
            meter.add(len(codes))
            if len(losses) * recipe.batch >= recipe.epoch:
                break
        self.average.eval()
        loss = float(np.mean(losses))
        if not math.isfinite(loss):
            raise StoreError(
                f"training {self.training.name}: the loss of epoch {number} is {loss}; lower the recipe's rate."
            )
        found = self.validate()
        score = recipe.image * found["image_error"] + recipe.feature * found["feature_error"]
        done = Epoch(number, loss, score, **found, rate=rate, seconds=time.monotonic() - began)
        improved = score < self.best
        self.history.append(done)
        if improved:
            self.training.place.write("best.safetensors", self.weights())
        self.save()
        meter.close()
        return done

    def _step(self, examples: Examples, random: torch.Generator) -> float:
        recipe = self.recipe
        fed, target, asked = (part.to(self.device) for part in (examples.codes, examples.pictures, examples.asked))
        with self._mixed():
            made = self._parallel()(fed).float()
        loss = recipe.image * (made - target).square().mean() / self.picture_variance
        entered = recipe.feature > 0 and len(self.history) + 1 >= recipe.feature_from
        count = round(recipe.share * len(made)) if entered else 0
        which = torch.randperm(len(made), generator=random)[:count]
        if count:
            loss = loss + recipe.feature * self._feature_loss(made[which], target[which], asked[which], examples, which)
        if self.critic is not None and self.opponent is not None:
            with self._mixed():
                # The critic learns from the same pictures, without the generator.
                verdicts = self.critic(torch.cat([target, made.detach().clamp(0, 1)])).float()
            real, false = verdicts[: len(target)], verdicts[len(target) :]
            hinge = F.relu(1 - real).mean() + F.relu(1 + false).mean()
            self.opponent.zero_grad(set_to_none=True)
            torch.autograd.backward(hinge)
            self.opponent.step()
            self.critic.requires_grad_(False)
            with self._mixed():
                loss = loss - recipe.adversarial * self.critic(made).float().mean()
            self.critic.requires_grad_(True)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self._follow()
        return float(loss.detach())

    def _feature_loss(self, made: Tensor, target: Tensor, asked: Tensor, examples: Examples, which: Tensor) -> Tensor:
        found, stages = self._looked(made)
        has = examples.has_asked[which].to(self.device)
        loss = made.new_zeros(())
        if has.any():
            loss = loss + (found[has] - asked[has]).square().sum(1).mean() / self.code_variance
        truthful = examples.truthful[which].to(self.device)
        if stages and truthful.any():
            with torch.no_grad():
                _, wanted = self._looked(target[truthful])
            gaps = [
                (ours[truthful] - theirs).square().mean() / theirs.var().clamp(min=1e-6)
                for ours, theirs in zip(stages, wanted, strict=True)
            ]
            loss = loss + torch.stack(gaps).mean()
        return loss

    def _looked(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features and inner stages of pictures in 0…1."""
        if self._look is None:
            network = self.recipe.representation.network()
            if network is None:
                raise StoreError(f"{self.recipe.representation.kind} has no gradient: set the recipe's feature to 0.")
            network.to(self.device, memory_format=torch.channels_last)
            staged = getattr(network, "with_stages", None)
            self._look = staged or (lambda images: (network(images), []))
        side = self.recipe.representation.side
        images = F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=False) * 255
        with self._mixed():
            features, stages = self._look(images.contiguous(memory_format=torch.channels_last))
        return features.float(), [stage.float() for stage in stages]

    def _mixed(self) -> Any:
        wanted = self.recipe.precision
        kind = self.device.type
        fast = kind == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast(kind, torch.bfloat16, enabled=wanted == "bfloat16" or (wanted == "auto" and fast))

    def _parallel(self) -> nn.Module:
        many = self.device.type == "cuda" and torch.cuda.device_count() > 1
        return nn.DataParallel(self.network) if many else self.network

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; faster at first, when it is far behind."""
        steps = len(self.history) * math.ceil(self.recipe.epoch / self.recipe.batch) + 1
        keep = min(_AVERAGE, 1 - 10 / (10 + steps))
        for ours, theirs in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs, 1 - keep)
            else:
                ours.copy_(theirs)

    @torch.no_grad()
    def pictures(self, codes: np.ndarray) -> np.ndarray:
        """The average's pictures (n, s, s, 3) uint8 of codes (n, d)."""
        self.average.eval()
        return painted(self.average, codes, BATCH)

    def validation(self) -> Sample:
        """The images of which each epoch is scored."""
        return self.training.all("validation", 512)

    def validate(self) -> dict[str, float]:
        """PSNR, image error and feature error on the validation images; see `Epoch`."""
        held = self.validation()
        made = self.pictures(held.codes)
        errors = ((made.astype(np.float32) - held.pictures) / 255) ** 2
        found = encoded(self.recipe.representation, made)
        return {
            "psnr": float((-10 * np.log10(errors.mean((1, 2, 3)) + 1e-12)).mean()),
            "image_error": float(errors.mean()) / self.picture_variance,
            "feature_error": float(((found - held.codes) ** 2).sum(1).mean()) / self.code_variance,
        }

    def weights(self) -> bytes:
        """The average's weights as safetensors, the large ones in half precision."""
        state = self.average.state_dict()
        return save({
            name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).cpu().contiguous()
            for name, value in state.items()
        })  # fmt: skip


def _moments(pictures: Tensor) -> tuple[Tensor, float]:
    """The mean picture (3, s, s) of pictures (n, s, s, 3) uint8, in 0…1, and the variance of their values about it.

    A part at a time: as numbers, all of them are gigabytes, and a worker may have no more.
    """
    parts = torch.split(pictures, 64)
    total = sum(part.double().sum(0) for part in parts)
    squares = sum(float(part.double().square().sum()) for part in parts)
    assert isinstance(total, Tensor)
    mean = total / (255 * len(pictures))
    variance = squares / (255**2 * pictures.numel()) - float(mean.square().mean())
    return mean.float().permute(2, 0, 1), variance


def _started(recipe: Recipe) -> dict[str, Tensor]:
    """The weights of the checkpoint that a training starts from, and what its codes were standardised by.

    Raises WeightsError where it is for other features, PlanError where it holds another generator.
    """
    data, card = checkpoint.fitting(recipe.start, recipe.representation)
    if card.generator != recipe.generator:
        raise PlanError(f"recipe: {recipe.start} holds the generator {card.generator}, not {recipe.generator}.")
    state: dict[str, Tensor] = checkpoint.network(data, card, recipe.start).state_dict()
    return state


def _critic() -> nn.Module:
    """A discriminator of patches: pictures (n, 3, s, s) -> a verdict for each of s/16 x s/16 patches."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128), (128, 192)):
        layers += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(192, 1, 1))
