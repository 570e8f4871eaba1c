"""Writes a checkpoint of random weights with the official key names, one piece at a time.

`python -m wan_director.benchmarks.random_checkpoint --kind dit --preset t2v-14B OUT.safetensors` makes the 28.6 GB of
a 14B transformer in a few hundred megabytes of memory, to try loading, speed and memory without a download.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn
from wan_director.common.errors import InvalidInputError, WanDirectorError
from wan_director.common.log import logger
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.text_encoder.clip_vision import CLIP_VIT_H, ClipVisionEncoder
from wan_director.text_encoder.umt5 import UMT5_XXL, UMT5Encoder
from wan_director.vae3d import WAN_2_1_VAE, CausalVAE

KINDS = ("dit", "vae", "text_encoder", "clip_vision")
DTYPES = {
    "bf16": ("BF16", torch.bfloat16),
    "fp16": ("F16", torch.float16),
    "fp32": ("F32", torch.float32),
}
PIECE_ELEMENTS = 2**22  # drawn and written at a time


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code: 0, or 2 when it could not run."""
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.random_checkpoint")
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--preset", default="t2v-1.3B", help=f"for --kind dit: {', '.join(PRESETS)}")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("file", type=Path, help="the .safetensors file to write")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        shapes = checkpoint_shapes(options.kind, options.preset)
        write_random_checkpoint(options.file, shapes, dtype=options.dtype, seed=options.seed)
    except WanDirectorError as error:
        logger.error("%s", error)
        return 2
    logger.info("%s: %d tensors, %.2f GB", options.file, len(shapes), options.file.stat().st_size / 1e9)
    return 0


def checkpoint_shapes(kind: str, preset: str = "t2v-1.3B") -> dict[str, tuple[int, ...]]:
    """Official key -> shape of a true model; `preset` names the transformer.

    Raises:
        InvalidInputError: unknown kind or preset.
    """
    if kind not in KINDS:
        raise InvalidInputError(f"There is no kind '{kind}' of checkpoint. Choose one of: {', '.join(KINDS)}.")
    if kind == "dit" and preset not in PRESETS:
        raise InvalidInputError(f"There is no transformer preset '{preset}'. Choose one of: {', '.join(PRESETS)}.")
    with torch.device("meta"):
        if kind == "dit":
            return module_shapes(WanDiT(PRESETS[preset]))
        if kind == "vae":
            return module_shapes(CausalVAE(WAN_2_1_VAE))
        if kind == "text_encoder":
            return module_shapes(UMT5Encoder(UMT5_XXL))
        return module_shapes(ClipVisionEncoder(CLIP_VIT_H), prefix="visual.")


def module_shapes(module: nn.Module, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Key -> shape of what a checkpoint of this module holds."""
    return {prefix + key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def write_random_checkpoint(
    file: Path, shapes: Mapping[str, tuple[int, ...]], *, dtype: str = "bf16", seed: int = 0
) -> None:
    """Writes a safetensors file with a random tensor per key; same seed, same file.

    Values are sized as in a fresh model: matrices by their fan-in, norms around 1, biases small, so that a forward
    pass stays finite.

    Args:
        shapes: key -> shape, written in this order.
        dtype: a key of `DTYPES`.

    Source: the safetensors format, https://github.com/huggingface/safetensors (8 bytes of header length, JSON, data).
    """
    format_name, torch_dtype = DTYPES[dtype]
    header, position = {}, 0
    for key, shape in shapes.items():
        size = math.prod(shape) * torch_dtype.itemsize
        header[key] = {"dtype": format_name, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    generator = torch.Generator().manual_seed(seed)
    with open(file, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for key, shape in shapes.items():
            _write_pieces(out, _random_pieces(key, shape, generator), torch_dtype)


def _random_pieces(key: str, shape: tuple[int, ...], generator: torch.Generator) -> Iterator[Tensor]:
    mean, deviation = _distribution(key, shape)
    left = math.prod(shape)
    while left:
        count = min(left, PIECE_ELEMENTS)
        yield torch.randn(count, generator=generator).mul_(deviation).add_(mean)
        left -= count


def _distribution(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation that suit the tensor's place."""
    per_channel = math.prod(shape) == shape[0]
    if per_channel and key.endswith((".weight", ".gamma")):
        return 1.0, 0.1  # a norm
    if per_channel or key.endswith(".bias"):
        return 0.0, 0.02
    return 0.0, 1.0 / math.sqrt(math.prod(shape[1:]))


def _write_pieces(out: BinaryIO, pieces: Iterator[Tensor], dtype: torch.dtype) -> None:
    for piece in pieces:
        out.write(memoryview(piece.to(dtype).view(torch.uint8).numpy()))


if __name__ == "__main__":
    sys.exit(main())
