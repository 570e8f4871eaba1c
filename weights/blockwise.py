"""nvfp4 and mxfp8 numbers, with a scale for every 16 or 32 neighbours, read by the package comfy-kitchen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from ..common.errors import MissingPackageError


@dataclass(frozen=True, slots=True)
class Nvfp4Codec:
    """4-bit numbers, two per byte of "weight", times "block_scale" (fp8, in tiles) times "scale"."""

    name: str = "nvfp4"
    whole: bool = True

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        kitchen = comfy_kitchen(self.name)
        return kitchen.dequantize_nvfp4(
            parts["weight"], parts["scale"], parts["block_scale"], torch.float32
        ).to(dtype)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mxfp8Codec:
    """fp8 numbers in "weight" times "block_scale" (bytes that are powers of two, in tiles)."""

    name: str = "mxfp8"
    whole: bool = True

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        kitchen = comfy_kitchen(self.name)
        block_scale = parts["block_scale"].view(torch.float8_e8m0fnu)
        return kitchen.dequantize_mxfp8(parts["weight"], block_scale, torch.float32).to(dtype)


NVFP4, MXFP8 = Nvfp4Codec(), Mxfp8Codec()


def comfy_kitchen(what: str) -> ModuleType:
    """The package that reads these formats; ComfyUI brings it along.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import comfy_kitchen as kitchen
    except ImportError:
        raise MissingPackageError(
            f"Weights stored as {what} are read by the package comfy-kitchen, which is not installed. Install it "
            "(pip install comfy-kitchen), or use the fp8 or bf16 file of the same model."
        ) from None
    return kitchen
