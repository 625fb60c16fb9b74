"""The state of an optimizer as named tensors, so that it can be stored without pickling."""

import torch
from torch import Tensor


def flatten_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of each parameter as tensors named `number.name`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{parameter_number}.{name}": torch.as_tensor(value)
        for parameter_number, values in state.items()
        for name, value in values.items()
    }


def restore_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load the tensors of `flatten_state`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        parameter_number, _, name = key.partition(".")
        state.setdefault(int(parameter_number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
