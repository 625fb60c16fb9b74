"""Training an inverter: one epoch at a time, from a saved state to the next.

The loss of a batch, each part about 1 for a generator that always shows the mean image:

    image · |G(c) − y|² / Var(y)  +  feature · ( |φ(G(c)) − c*|² / Var(c)  +  mean over stages |s(G(c)) − s(y)|² / Var(s) )

y is the target picture, c the input code, c* the target features, φ the representation and s its inner stages, if it
has any (Dosovitskiy & Brox 2016, "Generating Images with Perceptual Similarity Metrics based on Deep Networks"). The
feature part costs several times the generator, so only a share of each batch is encoded. With `adversarial`, a
discriminator of patches is trained too (hinge loss).

Everything random comes from (seed, epoch): a training that was killed and resumed ends in the same state as one that
was not.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from interpdisc_core.errors import DamageError, PlanError, StoreError, one_line
from interpdisc_core.explanations.render import encode_pictures
from interpdisc_core.inverters import checkpoint
from interpdisc_core.inverters._layers import StandardizedGenerator, render_pictures
from interpdisc_core.inverters.upconv import UPCONV_MINIBATCH
from interpdisc_core.progress import ProgressReporter, Stopwatch
from interpdisc_core.representations._optimizer_state import flatten_state, restore_state
from interpdisc_core.training._feature_mixing import AugmentedBatch, augment_codes
from interpdisc_core.training.dataset import ExampleArrays, TrainingRun
from interpdisc_core.training.history import EpochRecord, count_halvings, has_plateaued
from interpdisc_core.training.recipe import Recipe

log = logging.getLogger(__name__)

_AVERAGE_DECAY = 0.998
"""Of the moving average of the weights; the average is validated and exported."""
POOL_CODES = 512
"""Codes of earlier batches that models are fitted to."""
_STANDARDIZATION_EXAMPLES = 4096
"""Examples by which codes are standardized and losses are normalized."""
_VALIDATION_IMAGES = 512


class InverterTrainer:
    """The state of a training: the generator and its moving average, the optimizer, the history.

    Args:
        training: Whose state is loaded, if there is one.
        pool_codes: Codes of earlier batches that models are fitted to.

    Raises:
        StoreError: If the saved state is damaged.
        WeightsError: If the recipe's `start` is for other features.
        PlanError: If the recipe's `start` holds another generator.
    """

    def __init__(self, training: TrainingRun, pool_codes: int = POOL_CODES) -> None:
        self.training, self.recipe, self.pool_codes = training, training.recipe, pool_codes
        recipe = self.recipe
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        examples = training.read_first("train-", _STANDARDIZATION_EXAMPLES)
        codes = torch.from_numpy(examples.codes)
        deviation = codes.std(0)
        overall = float(codes.var(0).mean().sqrt())
        self.feature_std = deviation.clamp(min=0.1 * overall if overall > 0 else 1.0)
        self.code_variance = max(float(codes.var(0).sum()), 1e-12)
        self.mean_picture, variance = _picture_moments(torch.from_numpy(examples.pictures))
        self.picture_variance = max(variance, 1e-6)
        torch.manual_seed(recipe.seed)
        dimension = examples.codes.shape[1]
        self.network = StandardizedGenerator(recipe.generator.build(dimension), codes.mean(0), self.feature_std)
        self.average_network = StandardizedGenerator(recipe.generator.build(dimension), codes.mean(0), self.feature_std)
        if recipe.start:
            self.network.load_state_dict(_load_start_weights(recipe))
        self.average_network.load_state_dict(self.network.state_dict())
        self.critic = _build_critic() if recipe.adversarial else None
        for module in (self.network, self.average_network, self.critic):
            if module is not None:
                module.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=recipe.rate, betas=(0.9, 0.99))
        self.critic_optimizer = (
            None if self.critic is None else torch.optim.Adam(self.critic.parameters(), lr=recipe.rate / 2)
        )
        self.history: list[EpochRecord] = []
        self._stage_encoder: Callable[[Tensor], tuple[Tensor, list[Tensor]]] | None = None
        self._load()

    # State on disk

    def _load(self) -> None:
        location = self.training.location
        try:
            data, epochs = location.read_checked("state.safetensors"), location.read_checked_json("history.json")
        except FileNotFoundError:
            return
        except DamageError as error:
            if location.exists("state.safetensors"):
                raise
            log.warning("%s The training starts again.", error)
            return
        try:
            tensors = load(data)
            # The state has the number of its epoch: a kill between the two writes leaves a history that is ahead.
            self.history = [EpochRecord(**epoch) for epoch in epochs][: int(tensors.pop("epoch"))]
            for name, component in self._state_parts().items():
                component_state = {
                    key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
                }
                if isinstance(component, torch.optim.Optimizer):
                    restore_state(component, component_state)
                else:
                    component.load_state_dict(component_state)
        except Exception as error:
            raise StoreError(
                f"{location.url}/state.safetensors is damaged ({one_line(error)}); remove it to start the training again."
            ) from error

    def save(self) -> None:
        """Write the state, so that the next call resumes from here."""
        location = self.training.location
        location.write_checked_json("history.json", [asdict(epoch) for epoch in self.history])
        tensors = {"epoch": torch.tensor(len(self.history))}
        for name, component in self._state_parts().items():
            state = flatten_state(component) if isinstance(component, torch.optim.Optimizer) else component.state_dict()
            tensors |= {f"{name}.{key}": value.detach().cpu().contiguous().clone() for key, value in state.items()}
        location.write_checked("state.safetensors", save(tensors))

    def _state_parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "average": self.average_network, "optimiser": self.optimizer}
        if self.critic is not None:
            parts |= {"critic": self.critic, "opponent": self.critic_optimizer}
        return parts

    # What to do next

    @property
    def best_score(self) -> float:
        """The lowest validation score so far."""
        return min((epoch.score for epoch in self.history), default=math.inf)

    @property
    def learning_rate(self) -> float:
        """Of the next epoch: halved whenever `patience` epochs in a row were not better."""
        return self.recipe.rate * 0.5 ** count_halvings(self.history, self.recipe.patience)

    @property
    def is_finished(self) -> bool:
        """Whether more epochs would not help."""
        return has_plateaued(self.history, self.recipe.patience)

    # Training

    def run_epoch(self, watch: ProgressReporter) -> EpochRecord:
        """Train one epoch, validate, and save.

        Raises:
            StoreError: If the loss is not finite.
        """
        recipe, number, clock = self.recipe, len(self.history) + 1, Stopwatch()
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + number)
        rate = self.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        meter = watch.open_meter("train", f"{number:04d}")
        losses: list[float] = []
        pool = torch.empty(0)
        self.network.train()
        for batch in self.training.iter_batches(recipe.batch, (recipe.seed, number)):
            codes = torch.from_numpy(batch.codes)
            pictures = torch.from_numpy(batch.pictures).permute(0, 3, 1, 2).float().div(255)
            pool = torch.cat([codes, pool[: max(self.pool_codes - len(codes), 0)]]) if len(pool) else codes
            losses.append(
                self._train_step(augment_codes(codes, pictures, pool, self.feature_std, generator), generator)
            )
            meter.add(len(codes))
            if len(losses) * recipe.batch >= recipe.epoch:
                break
        self.average_network.eval()
        loss = float(np.mean(losses))
        if not math.isfinite(loss):
            raise StoreError(
                f"training {self.training.name}: the loss of epoch {number} is {loss}; lower the recipe's rate."
            )
        scores = self.validate()
        score = recipe.image * scores["image_error"] + recipe.feature * scores["feature_error"]
        record = EpochRecord(number, loss, score, **scores, rate=rate, seconds=clock.elapsed)
        improved = score < self.best_score
        self.history.append(record)
        if improved:
            self.training.location.write_checked("best.safetensors", self.encode_weights())
        self.save()
        meter.flush()
        return record

    def _train_step(self, examples: AugmentedBatch, generator: torch.Generator) -> float:
        recipe = self.recipe
        inputs, targets, target_features = (
            part.to(self.device) for part in (examples.inputs, examples.targets, examples.target_features)
        )
        with self._mixed_precision():
            pictures = self._data_parallel_network()(inputs).float()
        loss = recipe.image * (pictures - targets).square().mean() / self.picture_variance
        has_feature_loss = recipe.feature > 0 and len(self.history) + 1 >= recipe.feature_from
        count = round(recipe.share * len(pictures)) if has_feature_loss else 0
        rows = torch.randperm(len(pictures), generator=generator)[:count]
        if count:
            loss = loss + recipe.feature * self._feature_loss(
                pictures[rows], targets[rows], target_features[rows], examples, rows
            )
        if self.critic is not None and self.critic_optimizer is not None:
            with self._mixed_precision():
                # The critic is trained on the same pictures, without gradients of the generator.
                verdicts = self.critic(torch.cat([targets, pictures.detach().clamp(0, 1)])).float()
            real, fake = verdicts[: len(targets)], verdicts[len(targets) :]
            hinge = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
            self.critic_optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(hinge)
            self.critic_optimizer.step()
            self.critic.requires_grad_(False)
            with self._mixed_precision():
                loss = loss - recipe.adversarial * self.critic(pictures).float().mean()
            self.critic.requires_grad_(True)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self._update_average()
        return float(loss.detach())

    def _feature_loss(
        self, pictures: Tensor, targets: Tensor, target_features: Tensor, examples: AugmentedBatch, rows: Tensor
    ) -> Tensor:
        features, stages = self._encode_with_stages(pictures)
        has_target = examples.has_target_features[rows].to(self.device)
        loss = pictures.new_zeros(())
        if has_target.any():
            loss = (
                loss + (features[has_target] - target_features[has_target]).square().sum(1).mean() / self.code_variance
            )
        is_picture_of_code = examples.is_picture_of_code[rows].to(self.device)
        if stages and is_picture_of_code.any():
            with torch.no_grad():
                _, target_stages = self._encode_with_stages(targets[is_picture_of_code])
            gaps = [
                (ours[is_picture_of_code] - theirs).square().mean() / theirs.var().clamp(min=1e-6)
                for ours, theirs in zip(stages, target_stages, strict=True)
            ]
            loss = loss + torch.stack(gaps).mean()
        return loss

    def _encode_with_stages(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features (n, d) and inner stages of pictures (n, 3, s, s) in 0…1."""
        if self._stage_encoder is None:
            network = self.recipe.representation.build_network()
            if network is None:
                raise StoreError(f"{self.recipe.representation.kind} has no gradient: set the recipe's feature to 0.")
            network.to(self.device, memory_format=torch.channels_last)
            with_stages = getattr(network, "forward_with_stages", None)
            self._stage_encoder = with_stages or (lambda images: (network(images), []))
        side = self.recipe.representation.side
        images = F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=False) * 255
        with self._mixed_precision():
            features, stages = self._stage_encoder(images.contiguous(memory_format=torch.channels_last))
        return features.float(), [stage.float() for stage in stages]

    def _mixed_precision(self) -> Any:
        precision = self.recipe.precision
        kind = self.device.type
        has_bfloat16 = kind == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast(
            kind, torch.bfloat16, enabled=precision == "bfloat16" or (precision == "auto" and has_bfloat16)
        )

    def _data_parallel_network(self) -> nn.Module:
        has_several_gpus = self.device.type == "cuda" and torch.cuda.device_count() > 1
        return nn.DataParallel(self.network) if has_several_gpus else self.network

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the weights; faster at first, when it lags most."""
        steps = len(self.history) * math.ceil(self.recipe.epoch / self.recipe.batch) + 1
        decay = min(_AVERAGE_DECAY, 1 - 10 / (10 + steps))
        for ours, theirs in zip(
            self.average_network.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if ours.is_floating_point():
                ours.lerp_(theirs, 1 - decay)
            else:
                ours.copy_(theirs)

    @torch.no_grad()
    def render_codes(self, codes: np.ndarray) -> np.ndarray:
        """Pictures (n, s, s, 3) uint8 of codes (n, d), by the averaged weights."""
        self.average_network.eval()
        return render_pictures(self.average_network, codes, UPCONV_MINIBATCH)

    def load_validation(self) -> ExampleArrays:
        """The images that each epoch is scored on."""
        return self.training.read_first("validation", _VALIDATION_IMAGES)

    def validate(self) -> dict[str, float]:
        """PSNR, image error and feature error on the validation images; see `EpochRecord`."""
        examples = self.load_validation()
        pictures = self.render_codes(examples.codes)
        errors = ((pictures.astype(np.float32) - examples.pictures) / 255) ** 2
        features = encode_pictures(self.recipe.representation, pictures)
        return {
            "psnr": float((-10 * np.log10(errors.mean((1, 2, 3)) + 1e-12)).mean()),
            "image_error": float(errors.mean()) / self.picture_variance,
            "feature_error": float(((features - examples.codes) ** 2).sum(1).mean()) / self.code_variance,
        }

    def encode_weights(self) -> bytes:
        """The averaged weights as the content of a safetensors file, matrices in half precision."""
        state = self.average_network.state_dict()
        return save(
            {
                name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).cpu().contiguous()
                for name, value in state.items()
            }
        )


def _picture_moments(pictures: Tensor) -> tuple[Tensor, float]:
    """The mean picture (3, s, s), in 0…1, of pictures (n, s, s, 3) uint8, and the variance of their values about it.

    A part at a time: as floats, all pictures take gigabytes, which a worker may not have.
    """
    parts = torch.split(pictures, 64)
    total = sum(part.double().sum(0) for part in parts)
    squares = sum(float(part.double().square().sum()) for part in parts)
    assert isinstance(total, Tensor)
    mean = total / (255 * len(pictures))
    variance = squares / (255**2 * pictures.numel()) - float(mean.square().mean())
    return mean.float().permute(2, 0, 1), variance


def _load_start_weights(recipe: Recipe) -> dict[str, Tensor]:
    """The weights of the checkpoint that a training starts from, and the numbers its codes were standardized by.

    Raises:
        WeightsError: If it is for other features.
        PlanError: If it holds another generator.
    """
    data, card = checkpoint.load_matching_checkpoint(recipe.start, recipe.representation)
    if card.generator != recipe.generator:
        raise PlanError(f"recipe: {recipe.start} holds the generator {card.generator}, not {recipe.generator}.")
    state: dict[str, Tensor] = checkpoint.load_generator(data, card, recipe.start).state_dict()
    return state


def _build_critic() -> nn.Module:
    """A discriminator of patches: pictures (n, 3, s, s) to one score for each of s/16 x s/16 patches."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128), (128, 192)):
        layers += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(192, 1, 1))
