"""Generators: the networks that turn features into a picture. A generator is its settings; `build` makes the network.

`paper` is the one of Dosovitskiy & Brox 2016 ("Inverting Visual Representations with Convolutional Networks") that
Wagstaff & Lee 2018 used; `light` is a smaller one for the default backbone, of the same kind.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from interpdisc_core.errors import PlanError


@dataclass(frozen=True, kw_only=True)
class PaperGenerator:
    """Layer by layer the generator for vectors: three fully connected layers to 256 x 4 x 4, nine convolutions.

    Pictures of 256 x 256. 56,097,891 parameters for d = 4096 (fc6, fc7), 43,416,675 for d = 1000 (fc8). It takes any
    vector; the paper's are activations before the ReLU.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["paper"] = "paper"

    @property
    def size(self) -> int:
        """Pixels a side of its pictures."""
        return 256

    def build(self, dimension: int) -> Any:
        """An untrained network, float (n, dimension) -> (n, 3, 256, 256); pictures around 0…1."""
        from interpdisc_core.inverters import _layers

        return _layers.paper(dimension)


@dataclass(frozen=True, kw_only=True)
class LightGenerator:
    """A generator of a few million parameters. cells: 1 for a vector, g for a grid of g x g cells (cell by cell).

    size: pixels a side of the pictures. A grid keeps where things are, so it is turned into a picture without a fully
    connected layer; a vector goes through two.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["light"] = "light"
    cells: int = 1
    size: Literal[64, 128, 256] = 128

    def __post_init__(self) -> None:
        if not 1 <= self.cells <= 16:
            raise PlanError(f"light generator: cells must be 1 to 16 a side, not {self.cells}.")
        if self.size not in (64, 128, 256):
            raise PlanError(f"light generator: size must be 64, 128 or 256, not {self.size}.")

    def build(self, dimension: int) -> Any:
        """An untrained network, float (n, dimension) -> (n, 3, size, size); pictures around 0…1.

        Raises PlanError where vectors of that dimension are not a grid of these cells.
        """
        if dimension % self.cells**2:
            raise PlanError(
                f"light generator: {dimension} features are no grid of {self.cells} x {self.cells} cells; "
                "set its cells to those of the representation, or to 1."
            )
        from interpdisc_core.inverters import _layers

        return _layers.light(dimension, self.cells, self.size)


Generator = Annotated[PaperGenerator | LightGenerator, Field(discriminator="kind")]
