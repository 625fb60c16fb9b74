"""Views of images, by which a network learns what does not matter: where the frame is, and the light.

Each image of a batch has a crop and colours of its own, all done at once on tensors; torchvision's transforms give a
batch one and the same. Everything random comes from the generator that is given.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as transforms

_GREY = (0.299, 0.587, 0.114)


def cropped(images: Tensor, least: float, random: torch.Generator) -> Tensor:
    """A rectangle of each image (n, 3, s, s), enlarged to (n, 3, s, s), half of them mirrored.

    The rectangle has a share of the area from `least` to 1 and a ratio of its sides from 3/4 to 4/3, as the crops of
    Szegedy et al. 2015; it lies within the image.
    """
    n = len(images)
    area, ratio, x, y, mirrored = torch.rand((5, n), generator=random)
    share = least + (1 - least) * area
    stretch = torch.exp((2 * ratio - 1) * torch.log(torch.tensor(4 / 3)) / 2)
    wide, high = (share.sqrt() * stretch).clamp(max=1), (share.sqrt() / stretch).clamp(max=1)
    theta = torch.zeros((n, 2, 3))
    theta[:, 0, 0] = torch.where(mirrored < 0.5, wide, -wide)
    theta[:, 0, 2] = (1 - wide) * (2 * x - 1)
    theta[:, 1, 1] = high
    theta[:, 1, 2] = (1 - high) * (2 * y - 1)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    made = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return made.contiguous(memory_format=torch.channels_last)


def recoloured(images: Tensor, random: torch.Generator) -> Tensor:
    """Images (n, 3, s, s) in 0…1 in another light: brightness, contrast, saturation, the balance of the colours.

    Four in five are changed, one in five is grey.
    """
    n = len(images)
    drawn = torch.rand((8, n), generator=random).to(images.device)
    changed = drawn[0] < 0.8
    saturation, contrast, brightness = (torch.where(changed, 1 + 0.4 * (2 * part - 1), 1.0) for part in drawn[1:4])
    balance = torch.where(changed, 1 + 0.1 * (2 * drawn[4:7] - 1), 1.0).T[:, :, None, None]
    saturation = torch.where(drawn[7] < 0.2, 0.0, saturation)
    grey = (images * torch.tensor(_GREY, device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    made = torch.lerp(grey, images * balance, saturation.view(-1, 1, 1, 1))
    middle = grey.mean((1, 2, 3), keepdim=True)
    made = middle + (made - middle) * contrast.view(-1, 1, 1, 1)
    return (made * brightness.view(-1, 1, 1, 1)).clamp(0, 1)


def view(images: Tensor, random: torch.Generator) -> Tensor:
    """A view of each image (n, 3, s, s) in 0…1, of the same shape and range: crop, mirror, colours, for some a blur."""
    made = recoloured(cropped(images, 0.2, random), random)
    blurred = torch.rand(len(images), generator=random) < 0.5
    width = (0.1 + 1.9 * float(torch.rand((), generator=random))) * images.shape[-1] / 224
    size = 2 * max(round(2 * width), 1) + 1
    if blurred.any():
        made[blurred] = transforms.gaussian_blur(made[blurred], [size, size], [width, width]).clamp(0, 1)
    return made
