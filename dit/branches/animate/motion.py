"""The motion in a picture of a face: an encoder that looks at one picture and gives how far it goes along directions.

A picture is halved by residual blocks until 4 rows and columns are left. Weights are scaled in every use by the width
they sum over.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....common.errors import FileFault
from ....common.initial import scaled_normal
from ..branch import Shapes

_COLOURS, _LAST_SIDE = 3, 4
_BLUR = (1.0, 3.0, 3.0, 1.0)
"""Along each side, before rows and columns are left out; files carry it as a constant."""
_SLOPE = 0.2


class MotionSizes(NamedTuple):
    """Of the encoder.

    `widths`: channels of the pictures, the first at full size, each other one at half the size of the one before;
    `style`: numbers that are left of a picture; `linears`: layers from them to how far it goes along each of
    `directions`, which are vectors of the width `features`.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 512, 512, 512, 512)
    style: int = 512
    linears: int = 5
    directions: int = 20
    features: int = 512

    @property
    def side(self) -> int:
        """Rows and columns of the pictures that it takes."""
        return _LAST_SIDE * 2 ** (len(self.widths) - 1)

    @property
    def elements(self) -> int:
        """Numbers in its layers."""
        first = (_COLOURS + 1) * self.widths[0]
        halvings = sum(
            9 * narrow * narrow + narrow + 9 * narrow * wide + wide + narrow * wide
            for narrow, wide in zip(self.widths, self.widths[1:])
        )
        last = self.widths[-1] * self.style * _LAST_SIDE**2
        linears = (self.linears - 1) * (self.style + 1) * self.style + (self.style + 1) * self.directions
        return first + halvings + last + linears + self.features * self.directions

    def working_bytes(self, itemsize: int) -> int:
        """The most that is held while a picture is encoded, which is at full size: input, result, blurred, halved."""
        return 4 * self.widths[0] * self.side**2 * itemsize


def read_motion(tensors: Shapes) -> MotionSizes:
    """The sizes of the encoder in a file of these tensors.

    Raises:
        FileFault: there is none, or it is none.
    """
    stem = "motion_encoder.enc.net_app.convs."
    widths, number = [tensors.size(f"{stem}0.0.weight", 0)], 1
    while tensors.has(f"{stem}{number}.conv1.0.weight"):
        widths.append(tensors.size(f"{stem}{number}.conv2.1.weight", 0))
        number += 1
    linears = tensors.count("motion_encoder.enc.fc.")
    if tensors.size(f"{stem}{number}.weight", 2) != _LAST_SIDE or len(widths) > 12:
        raise FileFault(
            "has an encoder of faces of another form than Wan-Animate's", "use the file of another publisher"
        )
    return MotionSizes(
        tuple(widths),
        tensors.size(f"{stem}{number}.weight", 0),
        linears,
        tensors.size(f"motion_encoder.enc.fc.{linears - 1}.weight", 0),
        tensors.size("motion_encoder.dec.direction.weight", 0),
    )


class MotionEncoder(nn.Module):
    """Pictures of a face -> how each is turned and what it does, as a vector.

    Source: Wan-Video/Wan2.2 wan/modules/animate/motion_encoder.py, Generator.get_motion; Wang et al., "Latent Image
    Animator", arXiv 2203.09043, equation 4.
    """

    def __init__(self, sizes: MotionSizes) -> None:
        super().__init__()
        self.enc = PictureEncoder(sizes)
        self.dec = nn.ModuleDict({"direction": Directions(sizes)})

    def forward(self, pictures: Tensor) -> Tensor:
        """[n, 3, side, side] in -1..1 -> [n, features]."""
        return self.dec["direction"](self.enc(pictures))


class PictureEncoder(nn.Module):
    """A picture -> how far it goes along each direction."""

    def __init__(self, sizes: MotionSizes) -> None:
        super().__init__()
        widths = sizes.widths
        self.net_app = nn.ModuleDict({
            "convs": nn.Sequential(
                nn.Sequential(ScaledConv(_COLOURS, widths[0], 1), BiasedLeak(widths[0])),
                *(HalvingBlock(narrow, wide) for narrow, wide in zip(widths, widths[1:])),
                ScaledConv(widths[-1], sizes.style, _LAST_SIDE),
            )
        })  # fmt: skip
        outputs = (*[sizes.style] * (sizes.linears - 1), sizes.directions)
        self.fc = nn.Sequential(*(ScaledLinear(sizes.style, width) for width in outputs))

    def forward(self, pictures: Tensor) -> Tensor:
        """[n, 3, side, side] -> [n, directions]."""
        return self.fc(self.net_app["convs"](pictures).flatten(1))


class Directions(nn.Module):
    """How far along each of some directions -> the sum of these, made orthogonal to each other."""

    def __init__(self, sizes: MotionSizes) -> None:
        super().__init__()
        self.weight = nn.Parameter(scaled_normal(sizes.features, sizes.directions, width=sizes.features))

    def forward(self, amounts: Tensor) -> Tensor:
        """[n, directions] -> [n, features], in the same dtype, computed in float32."""
        orthogonal, _ = torch.linalg.qr(self.weight.float() + 1e-8)
        return (amounts.float() @ orthogonal.T).to(amounts.dtype)


class HalvingBlock(nn.Module):
    """Two convolutions and a way around them; the picture comes out at half its size."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(ScaledConv(narrow, narrow, 3, padding=1), BiasedLeak(narrow))
        self.conv2 = nn.Sequential(Blur(padding=2), ScaledConv(narrow, wide, 3, stride=2), BiasedLeak(wide))
        self.skip = nn.Sequential(Blur(padding=1, stride=2), ScaledConv(narrow, wide, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[n, narrow, side, side] -> [n, wide, side / 2, side / 2]."""
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


class Blur(nn.Module):
    """Each channel blurred by itself, and every `stride`-th row and column of the result."""

    def __init__(self, padding: int, stride: int = 1) -> None:
        super().__init__()
        self.padding = padding
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[n, C, side, side] -> [n, C, side', side']."""
        line = x.new_tensor(_BLUR) / sum(_BLUR)
        kernel = torch.outer(line, line).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(x, kernel, padding=self.padding, stride=self.stride, groups=x.shape[1])


class ScaledConv(nn.Module):
    """A convolution without bias, of weights that are divided by the root of the numbers they sum over."""

    def __init__(self, narrow: int, wide: int, side: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(scaled_normal(wide, narrow, side, side, width=1))
        self.scale = 1 / math.sqrt(narrow * side**2)
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """[n, narrow, side, side] -> [n, wide, side', side']."""
        return F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class ScaledLinear(nn.Module):
    """A linear layer of weights that are divided by the root of the numbers they sum over."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(scaled_normal(wide, narrow, width=1))
        self.bias = nn.Parameter(torch.zeros(wide))
        self.scale = 1 / math.sqrt(narrow)

    def forward(self, x: Tensor) -> Tensor:
        """[n, narrow] -> [n, wide]."""
        return F.linear(x, self.weight * self.scale, self.bias)


class BiasedLeak(nn.Module):
    """A bias for each channel and a leaking threshold, which keeps the size of what goes through."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[n, C, side, side] -> the same."""
        return F.leaky_relu(x + self.bias, _SLOPE) * math.sqrt(2)
