"""An optimiser's state as named tensors, so that it can be kept without pickling."""

import torch
from torch import Tensor


def flat(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of each parameter as tensors `number.name`."""
    state = optimiser.state_dict()["state"]
    return {
        f"{place}.{name}": torch.as_tensor(value) for place, values in state.items() for name, value in values.items()
    }


def restore(optimiser: torch.optim.Optimizer, held: dict[str, Tensor]) -> None:
    """Put what `flat` gave back."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in held.items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
