"""Random views of images, from which a network learns what does not matter: the frame and the light.

Each image of a batch gets its own crop and colors, all at once on tensors; torchvision's transforms give a batch one and
the same. All random numbers come from the generator that is passed.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as transforms

_LUMA_WEIGHTS = (0.299, 0.587, 0.114)


def crop_randomly(images: Tensor, min_area: float, random: torch.Generator) -> Tensor:
    """A rectangle of each image (n, 3, s, s), enlarged to (n, 3, s, s), half of them mirrored.

    The rectangle lies within the image. Its share of the area is from `min_area` to 1, and the ratio of its sides from 3/4
    to 4/3, as for the crops of Szegedy et al. 2015.
    """
    n = len(images)
    area, ratio, x, y, flip_draw = torch.rand((5, n), generator=random)
    share = min_area + (1 - min_area) * area
    stretch = torch.exp((2 * ratio - 1) * torch.log(torch.tensor(4 / 3)) / 2)
    wide, high = (share.sqrt() * stretch).clamp(max=1), (share.sqrt() / stretch).clamp(max=1)
    theta = torch.zeros((n, 2, 3))
    theta[:, 0, 0] = torch.where(flip_draw < 0.5, wide, -wide)
    theta[:, 0, 2] = (1 - wide) * (2 * x - 1)
    theta[:, 1, 1] = high
    theta[:, 1, 2] = (1 - high) * (2 * y - 1)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    crops = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return crops.contiguous(memory_format=torch.channels_last)


def jitter_colors(images: Tensor, random: torch.Generator) -> Tensor:
    """Change brightness, contrast, saturation and color balance of images (n, 3, s, s) in 0…1.

    Four in five are changed; one in five becomes gray.
    """
    n = len(images)
    uniforms = torch.rand((8, n), generator=random).to(images.device)
    is_changed = uniforms[0] < 0.8
    saturation, contrast, brightness = (
        torch.where(is_changed, 1 + 0.4 * (2 * part - 1), 1.0) for part in uniforms[1:4]
    )
    balance = torch.where(is_changed, 1 + 0.1 * (2 * uniforms[4:7] - 1), 1.0).T[:, :, None, None]
    saturation = torch.where(uniforms[7] < 0.2, 0.0, saturation)
    gray = (images * torch.tensor(_LUMA_WEIGHTS, device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    result = torch.lerp(gray, images * balance, saturation.view(-1, 1, 1, 1))
    middle = gray.mean((1, 2, 3), keepdim=True)
    result = middle + (result - middle) * contrast.view(-1, 1, 1, 1)
    return (result * brightness.view(-1, 1, 1, 1)).clamp(0, 1)


def augment_images(images: Tensor, random: torch.Generator) -> Tensor:
    """A view of each image (n, 3, s, s) in 0…1, of the same shape and range: crop, mirror, colors, for half a blur."""
    views = jitter_colors(crop_randomly(images, 0.2, random), random)
    is_blurred = torch.rand(len(images), generator=random) < 0.5
    width = (0.1 + 1.9 * float(torch.rand((), generator=random))) * images.shape[-1] / 224
    size = 2 * max(round(2 * width), 1) + 1
    if is_blurred.any():
        views[is_blurred] = transforms.gaussian_blur(views[is_blurred], [size, size], [width, width]).clamp(0, 1)
    return views
