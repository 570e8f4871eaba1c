"""The layers of the causal video autoencoder. Attribute names equal the keys of the official checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .convolution import convolve, laid_out
from .stream import FrameStream, Step
from .winograd import filtering_for, is_recorded

# Where torch has no fused kernel for heads this wide, it makes the whole matrix of scores: 0.8 GiB for 720 x 1280.
_QUERIES_AT_ONCE = 2048
# A convolution copies a frame and its past, a norm the frame in float32. Larger copies are made of some rows at a time:
# then the past, which has to be kept, is four fifths of the memory of decoding.
ELEMENTS_AT_ONCE = 2**25
# A CPU takes half the time for a norm whose float32 copies stay in its cache.
_ELEMENTS_IN_CACHE = 2**18


def causal_conv(conv: nn.Conv3d, frames: Tensor, stream: FrameStream) -> Tensor:
    """Convolves each frame with itself and the frames before it; there is nothing (zeros) before the first.

    Args:
        conv: kernel (k, n, n), temporal stride 1, padding (0, p, p).
        frames: [B, C, T, H, W], the next frames of the clip.
        stream: holds the k - 1 frames before them.

    Returns:
        [B, C_out, T, H', W'].
    """
    if frames.shape[2] == 1:
        return _conv_of_one(conv, frames, stream)
    filtering = filtering_for(conv, frames)
    if filtering is not None:
        past = stream.extend(conv, frames, keep=2)[:-1]
        none = [torch.zeros_like(frames[:, :, :1])] * (2 - len(past))
        seen = (*none, *past, *frames.split(1, dim=2))
        return filtering.convolve(seen, stream.kernel(conv, filtering.kernel), conv.bias)
    if is_recorded(conv, frames):
        reach = conv.kernel_size[0] - 1
        missing = reach - stream.count(conv)
        seen = torch.cat(stream.extend(conv, frames, keep=reach), dim=2)
        return channels_last(conv(F.pad(seen, (0, 0, 0, 0, missing, 0)) if missing else seen))
    return torch.cat([_conv_of_one(conv, frame, stream) for frame in frames.split(1, dim=2)], dim=2)


def _conv_of_one(conv: nn.Conv3d, frame: Tensor, stream: FrameStream) -> Tensor:
    """One frame and its past, side by side as the channels of one picture, for a 2D convolution.

    On a CPU this is as fast as the 3D one where that is fast, and six times as fast in float32 on small pictures, where
    torch has a slow one. Near the start of the clip, the taps that would meet the zeros before it are left out.
    """
    reach = conv.kernel_size[0] - 1
    seen = stream.extend(conv, frame, keep=reach)
    if len(seen) > reach:
        kernel = stream.kernel(conv, _flat_kernel)
    else:
        kernel = _flat_kernel(conv.weight[:, :, -len(seen) :])
    height, (_, margin, _) = frame.shape[3], _padding(conv)

    def rows(start: int, end: int) -> Tensor:
        low, high = max(0, start - margin), min(height, end + margin)
        picture = torch.cat([each[..., low:high, :] for each in seen], dim=1)
        result = convolve(picture.squeeze(2), kernel, conv.bias, padding=margin)
        return result[..., start - low : end - low, :].unsqueeze(2)

    return _by_rows(rows, height, len(seen) * frame.numel())


def conv_of_few(norm: ChannelNorm, conv: nn.Conv3d, frames: Tensor, stream: FrameStream) -> Tensor:
    """Norm, SiLU and a causal convolution to few channels: as `causal_conv`, with less to remember.

    Of a frame, not its many channels are kept, but what it adds to the next two: as many channels as the convolution
    gives, in float32. All taps meet a frame at once, which on a CPU fills vectors that few channels leave empty.
    """
    return torch.cat([_conv_of_few(norm, conv, frame, stream) for frame in frames.split(1, dim=2)], dim=2)


def _conv_of_few(norm: ChannelNorm, conv: nn.Conv3d, frame: Tensor, stream: FrameStream) -> Tensor:
    taps = conv.kernel_size[0]
    kernel = rearrange(conv.weight.float(), "D C k n m -> (k D) n m C").movedim(-1, 1)
    height, (_, margin, _) = frame.shape[3], _padding(conv)

    def rows(start: int, end: int) -> Tensor:
        low, high = max(0, start - margin), min(height, end + margin)
        picture = norm.silu(frame[..., low:high, :]).squeeze(2).float()
        result = F.conv2d(picture, kernel, padding=margin)
        return result[..., start - low : end - low, :].unsqueeze(2)

    *later, now = _by_rows(rows, height, 4 * frame.numel()).chunk(taps, dim=1)
    waiting = stream.past(conv) if stream.has_begun(conv) else ()
    sums = [part.clone() for part in (now, *later[::-1])]
    for part, before in zip(sums, waiting, strict=False):
        part += before
    stream.keep(conv, sums[1:])
    return (sums[0] if conv.bias is None else sums[0] + conv.bias.float()[:, None, None, None]).to(frame.dtype)


def _padding(conv: nn.Conv3d) -> tuple[int, ...]:
    """Of frames, rows and columns; torch allows words there, which no layer of the VAE has."""
    return cast(tuple[int, ...], conv.padding)


def norm_and_conv(head: nn.Sequential) -> tuple[ChannelNorm, nn.Conv3d]:
    """The two working layers of the last part of an encoder or decoder, between which an activation lies."""
    return cast(ChannelNorm, head[0]), cast(nn.Conv3d, head[2])


def _flat_kernel(weight: Tensor) -> Tensor:
    """[D, C, k, n, n] -> [D, k * C, n, n], for frames side by side as channels."""
    return laid_out(rearrange(weight, "D C k n m -> D (k C) n m"))


def _by_rows(
    compute: Callable[[int, int], Tensor], height: int, elements: int, limit: int = ELEMENTS_AT_ONCE
) -> Tensor:
    """What `compute(0, height)` gives, some rows at a time if the copies it makes have more elements than `limit`."""
    parts = -(-elements // limit)
    if parts <= 1:
        return channels_last(compute(0, height))
    step = -(-height // parts)
    rows = compute(0, step)
    shape = (*rows.shape[:3], height, rows.shape[4])
    result = torch.empty(shape, dtype=rows.dtype, device=rows.device, memory_format=torch.channels_last_3d)
    result[..., :step, :] = rows
    for start in range(step, height, step):
        del rows  # before the next ones are made
        rows = compute(start, min(height, start + step))
        result[..., start : start + step, :] = rows
    return result


def channels_last(frames: Tensor) -> Tensor:
    """The same values with the channels of a pixel side by side in memory.

    All layers keep this layout. On a CPU it makes the norms 4 to 5 times and the convolutions 1.05 times as fast.
    """
    return frames.contiguous(memory_format=torch.channels_last_3d)


def fold_frames(frames: Tensor) -> Tensor:
    """[B, C, T, H, W] -> [B * T, C, H, W]: the frames as a batch of pictures, channels last."""
    return rearrange(frames, "B C T H W -> (B T) H W C").movedim(-1, 1)


def unfold_frames(pictures: Tensor, frame_count: int) -> Tensor:
    """[B * T, C, H, W] -> [B, C, T, H, W], the inverse of `fold_frames`."""
    # Split with the channels last: otherwise a single frame gets a stride that torch does not take for this layout.
    return channels_last(pictures.movedim(1, -1).unflatten(0, (-1, frame_count)).movedim(-1, 1))


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels, dim 1, in float32; `dims` counts the dimensions after the channels."""

    def __init__(self, channels: int, dims: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *(1,) * dims, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return self._normalized(x).to(x.dtype)

    def silu(self, x: Tensor) -> Tensor:
        """The norm and then SiLU, rounded once."""

        def normalize(start: int, end: int) -> Tensor:
            return F.silu(self._normalized(x[..., start:end, :]), inplace=True).to(x.dtype)

        cached = x.device.type == "cpu" and x.dtype != torch.float32
        return _by_rows(normalize, x.shape[-2], 2 * x.numel(), _ELEMENTS_IN_CACHE if cached else ELEMENTS_AT_ONCE)

    def _normalized(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            x = x.float()  # the length alone would make such a copy; here all of the norm uses it
        return (x * self._scale(x)).mul_(self.gamma)

    def _scale(self, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
        return x.shape[1] ** 0.5 / length.clamp_min(1e-12)


class ResidualBlock(nn.Module):
    """Two causal convolutions beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, operations: Any = nn) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ChannelNorm(in_channels),
            nn.SiLU(),
            operations.Conv3d(in_channels, out_channels, 3, padding=(0, 1, 1)),
            ChannelNorm(out_channels),
            nn.SiLU(),
            nn.Identity(),  # dropout in the official training code
            operations.Conv3d(out_channels, out_channels, 3, padding=(0, 1, 1)),
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else operations.Conv3d(in_channels, out_channels, 1)

    def steps(self) -> tuple[Step, ...]:
        return (Step(self, above=2, below=2),)

    def forward(self, x: Tensor, stream: FrameStream) -> Tensor:
        norm1, norm2 = (cast(ChannelNorm, self.residual[place]) for place in (0, 3))
        conv1, conv2 = (cast(nn.Conv3d, self.residual[place]) for place in (2, 6))
        shortcut = channels_last(self.shortcut(x))
        x = causal_conv(conv1, norm1.silu(x), stream)
        x = norm2.silu(x)
        return causal_conv(conv2, x, stream).add_(shortcut)


class AttentionBlock(nn.Module):
    """Attention with one head among the pixels of each frame."""

    def __init__(self, channels: int, operations: Any = nn) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, dims=2)
        self.to_qkv = operations.Conv2d(channels, channels * 3, 1)
        self.proj = operations.Conv2d(channels, channels, 1)

    def steps(self) -> tuple[Step, ...]:
        return (Step(self),)

    def forward(self, x: Tensor, stream: FrameStream) -> Tensor:
        height, width = x.shape[-2:]
        pictures = fold_frames(x)
        q, k, v = rearrange(self.to_qkv(self.norm(pictures)), "B (three C) H W -> three B 1 (H W) C", three=3)
        parts = [F.scaled_dot_product_attention(part, k, v) for part in q.split(_QUERIES_AT_ONCE, dim=2)]
        mixed = rearrange(torch.cat(parts, dim=2), "B 1 (H W) C -> B C H W", H=height, W=width)
        return unfold_frames(self.proj(mixed), x.shape[2]).add_(x)


class Upsample(nn.Module):
    """Doubles height and width, and the number of frames after the first one if `temporal`.

    `out_channels` is half of `channels` when None.
    """

    def __init__(self, channels: int, temporal: bool, operations: Any = nn, *, out_channels: int | None = None) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Identity(),  # each pixel four times; see `_convolve_enlarged`
            operations.Conv2d(channels, out_channels or channels // 2, 3, padding=1),
        )
        self.time_conv = operations.Conv3d(channels, channels * 2, (3, 1, 1)) if temporal else None

    def steps(self) -> tuple[Step, ...]:
        enlarge = Step(self.enlarge, above=1, below=1, up=2)
        return (enlarge,) if self.time_conv is None else (Step(self.double_frames), enlarge)

    def double_frames(self, x: Tensor, stream: FrameStream) -> Tensor:
        """The clip's first frame stays one, and the convolution never sees it; each later frame becomes two."""
        conv = cast(nn.Conv3d, self.time_conv)
        if stream.has_begun(conv):
            return self._double(x, stream)
        first, rest = x[:, :, :1], x[:, :, 1:]
        if not rest.shape[2]:
            stream.extend(conv, rest, keep=0)
            return first
        return torch.cat((first, self._double(rest, stream)), dim=2)

    def enlarge(self, x: Tensor, stream: FrameStream) -> Tensor:
        """[B, C, T, H, W] -> [B, out_channels, T, 2 * H, 2 * W]."""
        conv = cast(nn.Conv2d, self.resample[1])
        kernel = stream.kernel(conv, _kernel_of_squares)
        return unfold_frames(_convolve_enlarged(fold_frames(x), kernel, conv.bias), x.shape[2])

    def _double(self, x: Tensor, stream: FrameStream) -> Tensor:
        pairs = causal_conv(cast(nn.Conv3d, self.time_conv), x, stream)
        return rearrange(pairs, "B (two C) T H W -> B (T two) H W C", two=2).movedim(-1, 1)


# Along one side: which of three taps meet the first and the second of two pixels, at the even places and at the odd.
_MEETING_TAPS = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1]])


def _kernel_of_squares(weight: Tensor) -> Tensor:
    """A kernel [D, C, 3, 3] for pictures whose pixels are squares of four -> [4 * D, C, 2, 2], see below."""
    taps = torch.kron(_MEETING_TAPS, _MEETING_TAPS).to(weight)
    kernels = taps @ rearrange(weight, "D C n m -> D (n m) C")  # [D, 16, C]
    places = rearrange(kernels, "D (row n column m) C -> (row column D) C n m", row=2, n=2, column=2)
    return laid_out(places)


def _convolve_enlarged(pictures: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Convolves pictures of which each pixel stands there four times, as a square, without making them.

    Three neighbouring taps meet two pixels, one of them twice, so that taps can be added up beforehand: a 2 x 2 kernel
    for each of the four places in a square does 4/9 of the work.

    Args:
        pictures: [B, C, H, W].
        kernel: [4 * D, C, 2, 2], from `_kernel_of_squares`; padding was 1.
        bias: [D].

    Returns:
        [B, D, 2 * H, 2 * W].
    """
    bias = None if bias is None else bias.repeat(4)
    parts = convolve(pictures, kernel, bias, padding=1).unflatten(1, (4, -1))
    batch, _, channels = parts.shape[:3]
    height, width = pictures.shape[2:]
    result = parts.new_empty(batch, 2 * height, 2 * width, channels).movedim(-1, 1)
    for place, (row, column) in enumerate(product(range(2), range(2))):
        result[..., row::2, column::2] = parts[:, place, :, row : row + height, column : column + width]
    return result


class Downsample(nn.Module):
    """Halves height and width, and the number of frames after the first one if `temporal`."""

    def __init__(self, channels: int, temporal: bool, operations: Any = nn) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)),
            operations.Conv2d(channels, channels, 3, stride=2),
        )
        self.time_conv = operations.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def steps(self) -> tuple[Step, ...]:
        shrink = Step(self.shrink, below=1, down=2)
        return (shrink,) if self.time_conv is None else (shrink, Step(self.halve_frames))

    def shrink(self, x: Tensor, stream: FrameStream) -> Tensor:
        """[B, C, T, H, W] -> [B, C, T, H / 2, W / 2]."""
        margin, conv = self.resample[0], cast(nn.Conv2d, self.resample[1])
        return unfold_frames(convolve(margin(fold_frames(x)), conv.weight, conv.bias, stride=2), x.shape[2])

    def halve_frames(self, x: Tensor, stream: FrameStream) -> Tensor:
        """The clip's first frame stays; each pair after it becomes one, seen together with the frame before it.

        The first frame of a pair gives nothing until the second one comes: the result may have no frame.
        """
        conv = cast(nn.Conv3d, self.time_conv)
        first = x[:, :, : 0 if stream.has_begun(conv) else 1]
        count = stream.count(conv) + x.shape[2]
        seen = stream.extend(conv, x, keep=1 if count % 2 else 2)
        if count < 3:
            return first
        halved = channels_last(conv(torch.cat(seen, dim=2)))
        return torch.cat((first, halved), dim=2) if first.shape[2] else halved
