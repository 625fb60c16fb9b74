"""Generators: the networks that turn features into a picture. A generator is its settings; `build` creates the network.

`paper` is that of Dosovitskiy & Brox 2016 ("Inverting Visual Representations with Convolutional Networks") which Wagstaff
& Lee 2018 used; `light` is a smaller one of the same kind, for the default backbone.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from interpdisc_core.errors import PlanError
from interpdisc_core.settings import settings


@settings
class PaperGenerator:
    """The paper's generator for vectors, layer by layer: three fully connected layers to 256 x 4 x 4, nine convolutions.

    Pictures of 256 x 256. 56,097,891 parameters for d = 4096 (fc6, fc7), 43,416,675 for d = 1000 (fc8). Takes any vector;
    the paper's are activations before the ReLU.
    """

    kind: Literal["paper"] = "paper"

    @property
    def size(self) -> int:
        """Pixels a side of its pictures."""
        return 256

    def build(self, dimension: int) -> Any:
        """An untrained network, float (n, dimension) -> (n, 3, 256, 256); pictures around 0…1."""
        from interpdisc_core.inverters import _layers

        return _layers.build_paper_generator(dimension)


@settings
class LightGenerator:
    """A generator of a few million parameters.

    A grid keeps where things are, so it becomes a picture without a fully connected layer; a vector goes through two.

    Attributes:
        cells: 1 for a vector, g for a grid of g x g cells (features cell by cell).
        size: Pixels a side of the pictures.
    """

    kind: Literal["light"] = "light"
    cells: Annotated[int, Field(ge=1, le=16)] = 1
    size: Literal[64, 128, 256] = 128

    def __post_init__(self) -> None:
        if self.size not in (64, 128, 256):
            raise PlanError(f"light generator: size must be 64, 128 or 256, not {self.size}.")

    def build(self, dimension: int) -> Any:
        """An untrained network, float (n, dimension) -> (n, 3, size, size); pictures around 0…1.

        Raises:
            PlanError: If vectors of that dimension are not a grid of `cells` x `cells` cells.
        """
        if dimension % self.cells**2:
            raise PlanError(
                f"light generator: {dimension} features are not a grid of {self.cells} x {self.cells} cells; "
                "set its cells to those of the representation, or to 1."
            )
        from interpdisc_core.inverters import _layers

        return _layers.build_light_generator(dimension, self.cells, self.size)


Generator = Annotated[PaperGenerator | LightGenerator, Field(discriminator="kind")]
