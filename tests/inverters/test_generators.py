"""The generators: the paper's layer by layer, and the light one, which keeps where things are."""

from itertools import pairwise
from typing import Any

import pytest

from interpdisc_core.errors import PlanError
from interpdisc_core.inverters.generators import LightGenerator, PaperGenerator

torch = pytest.importorskip("torch")
nn = torch.nn

PLAN = [
    (256, 256, 4, 2),
    (256, 512, 3, 1),
    (512, 256, 4, 2),
    (256, 256, 3, 1),
    (256, 128, 4, 2),
    (128, 128, 3, 1),
    (128, 64, 4, 2),
    (64, 32, 4, 2),
    (32, 3, 4, 2),
]
"""Channels in and out, kernel and stride of the paper's nine up-convolutions."""
CELLS = range(1, 9)
over_cells = pytest.mark.parametrize("cells", CELLS)
over_grids = pytest.mark.parametrize("cells", [cells for cells in CELLS if cells > 1])


def built(generator: Any, dimension: int, seed: int = 0) -> Any:
    """An untrained network, evaluated; the same every time."""
    torch.manual_seed(seed)
    return generator.build(dimension).eval()


def codes_of(count: int, dimension: int, seed: int = 0) -> Any:
    """Random codes (count, dimension)."""
    return torch.randn((count, dimension), generator=torch.Generator().manual_seed(seed))


def bare(dimension: int) -> Any:
    """The paper's network without memory for its weights."""
    with torch.device("meta"):
        return PaperGenerator().build(dimension)


# The paper's


@pytest.mark.parametrize(("dimension", "count"), [(4096, 56_097_891), (1000, 43_416_675)])
def test_the_paper_s_generator_has_its_number_of_weights(dimension: int, count: int) -> None:
    """As its description counts them, for fc6 and fc7, and for fc8; pictures of 256 x 256."""
    network = bare(dimension)
    assert sum(weights.numel() for weights in network.parameters()) == count
    assert network(torch.empty((2, dimension), device="meta")).shape == (2, 3, 256, 256)
    assert PaperGenerator().size == 256


def test_the_paper_s_generator_layer_by_layer() -> None:
    """Three fully connected layers, 256 x 4 x 4, nine up-convolutions; leaky ReLUs of 0.3 between them, none at the end."""
    layers = list(bare(1000))
    full = [layer for layer in layers if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in full] == [(1000, 4096), (4096, 4096), (4096, 4096)]
    convolutions = [layer for layer in layers if isinstance(layer, nn.ConvTranspose2d)]
    shapes = [(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding) for c in convolutions]
    assert shapes == [(i, o, (k, k), (s, s), (1, 1)) for i, o, k, s in PLAN]
    (place,) = [number for number, layer in enumerate(layers) if isinstance(layer, nn.Unflatten)]
    assert layers[place].unflattened_size == (256, 4, 4)
    assert all(layer.bias is not None for layer in (*full, *convolutions))
    slopes = [layer for layer in layers if isinstance(layer, nn.LeakyReLU)]
    assert [slope.negative_slope for slope in slopes] == [0.3] * 11
    assert len(layers) == 12 + 11 + 1
    assert layers[-1] is convolutions[-1]
    for layer, after in pairwise(layers):
        assert isinstance(layer, nn.LeakyReLU | nn.Unflatten) or isinstance(after, nn.LeakyReLU)


def test_the_papers_generator_starts_gray() -> None:
    """The signal neither vanishes nor explodes in a dozen layers: pictures around gray, that differ."""
    network = built(PaperGenerator(), 50)
    with torch.inference_mode():
        pictures = network(codes_of(3, 50))
    assert pictures.mean().item() == pytest.approx(0.5, abs=0.1)
    assert 0.003 < pictures.std().item() < 0.3
    assert 0.001 < (pictures[0] - pictures[1]).std().item() < 0.4


# Light


@over_cells
@pytest.mark.parametrize("size", [64, 128, 256])
def test_light_pictures_have_the_size_of_the_settings(cells: int, size: Any) -> None:
    """(n, d) -> (n, 3, size, size) for every grid, with a few million weights."""
    with torch.device("meta"):
        network = LightGenerator(cells=cells, size=size).build(320 * cells**2)
    assert network(torch.empty((2, 320 * cells**2), device="meta")).shape == (2, 3, size, size)
    assert sum(weights.numel() for weights in network.parameters()) < 8_000_000


@over_cells
def test_a_light_picture_does_not_depend_on_the_other_codes(cells: int) -> None:
    """In evaluation mode; no codes give no pictures."""
    network, codes = built(LightGenerator(cells=cells, size=64), 6 * cells**2), codes_of(3, 6 * cells**2)
    with torch.inference_mode():
        together = network(codes)
        for row in range(3):
            torch.testing.assert_close(network(codes[row : row + 1])[0], together[row], atol=1e-5, rtol=0)
        assert network(codes[:0]).shape == (0, 3, 64, 64)
    assert not torch.equal(together[0], together[1])


@over_grids
def test_a_grid_keeps_where_things_are(cells: int) -> None:
    """A feature that moves to another cell moves the change in the picture to that place."""
    channels, size, energy = 5, 64, torch.zeros(())
    network = built(LightGenerator(cells=cells, size=size), channels * cells**2)
    with torch.inference_mode():
        for seed in range(6):
            codes, change = codes_of(1, channels * cells**2, seed), 3 * codes_of(1, channels, 100 + seed)[0]
            changed = codes.repeat(cells**2, 1).view(cells**2, cells**2, channels)
            changed[range(cells**2), range(cells**2)] += change
            energy = energy + (network(changed.flatten(1)) - network(codes)).square().sum(1)  # (cells², size, size)
        windows = nn.functional.avg_pool2d(energy[:, None], size // 8 + 1, 1, size // 16)[:, 0].flatten(1)
    peak = torch.stack([windows.argmax(1) // size, windows.argmax(1) % size], dim=1).double()
    wanted = (torch.cartesian_prod(torch.arange(cells), torch.arange(cells)) + 0.5) * size / cells
    assert (peak - wanted).abs().max() < size / min(cells, 4)
    # All of the change together: further right and further down, the further the cell is.
    places = (torch.arange(size) + 0.5) / size
    down = (energy.sum(2) @ places / energy.sum((1, 2))).view(cells, cells)
    across = (energy.sum(1) @ places / energy.sum((1, 2))).view(cells, cells)
    assert (down.diff(dim=0) > 0).all()
    assert (across.diff(dim=1) > 0).all()


def test_a_feature_of_a_vector_changes_the_whole_picture() -> None:
    network, codes = built(LightGenerator(cells=1, size=64), 20), codes_of(1, 20)
    with torch.inference_mode():
        change = (network(codes + 3 * codes_of(1, 20, seed=1)) - network(codes)).abs().sum((0, 1))
    assert (change.view(4, 16, 4, 16).amax((1, 3)) > 0.1 * change.max()).all()


@pytest.mark.parametrize("cells", [0, -1, 17])
def test_cells_outside_their_range_are_refused(cells: int) -> None:
    with pytest.raises(PlanError, match=f"light: cells must be at least 1 and at most 16, not {cells}"):
        LightGenerator(cells=cells)


@pytest.mark.parametrize("size", [0, 32, 100, 512])
def test_sizes_that_do_not_exist_are_refused(size: Any) -> None:
    with pytest.raises(PlanError, match=f"size must be 64, 128 or 256, not {size}"):
        LightGenerator(size=size)


@pytest.mark.parametrize(("cells", "dimension"), [(2, 321), (4, 1288), (7, 1280)])
def test_features_that_are_not_such_a_grid_are_refused(cells: int, dimension: int) -> None:
    """The error says what to set."""
    with pytest.raises(
        PlanError, match=f"{dimension} features are not a grid of {cells} x {cells} cells; set its cells"
    ):
        LightGenerator(cells=cells).build(dimension)


@pytest.mark.parametrize("generator", [PaperGenerator(), *(LightGenerator(cells=cells) for cells in (1, 4))], ids=repr)
def test_the_same_seed_gives_the_same_network(generator: Any) -> None:
    """To the bit."""
    state, other_state = built(generator, 32).state_dict(), built(generator, 32).state_dict()
    assert all(torch.equal(state[name], other_state[name]) for name in state)
