"""Attention kernels of optional packages: what each takes, and how it is called."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from ...common.errors import InvalidInputError, MissingPackageError
from ...common.records import record
from .kernel import Attention, without_gradient

HALVES = (torch.bfloat16, torch.float16)
FLOATS = (*HALVES, torch.float32)


@record
class Package:
    """A kernel of an optional package, all of which run on a CUDA or ROCm device only.

    Attributes:
        name: by which it is chosen.
        module: that is imported when it is chosen.
        adapt: makes our kernel of the module.
        dtypes: that it takes.
        head_dims: sizes of a head that it takes.
        capability: the least compute capability of the device.
        has_gradient: whether it can be gone back through.
    """

    name: str
    module: str
    adapt: Callable[[ModuleType], Attention]
    dtypes: tuple[torch.dtype, ...]
    head_dims: range
    capability: tuple[int, int]
    has_gradient: bool

    def load(self) -> Attention:
        """The kernel, which refuses what it does not take with `InvalidInputError`.

        Raises:
            MissingPackageError: its package is not installed, or not one that works here.
        """
        kernel = self.adapt(self._imported())

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self.check(q)
            return kernel(q, k, v)

        return attend if self.has_gradient else without_gradient(attend, self.name)

    def check(self, q: Tensor) -> None:
        """Refuses queries [B, L, N, D] that it does not take.

        Raises:
            InvalidInputError: their device, dtype or head size does not fit.
        """
        if q.device.type != "cuda":
            raise self._unfit("a GPU", f"a model on {q.device.type}", "Choose attention 'sdpa'")
        found = torch.cuda.get_device_capability(q.device)
        if found < self.capability:
            needed = "a GPU of compute capability {}.{} or more".format(*self.capability)
            raise self._unfit(needed, "one of {}.{}".format(*found), "Choose attention 'sdpa'")
        if q.dtype not in self.dtypes:
            known = " or ".join(_title(dtype) for dtype in self.dtypes)
            advice = "Choose precision bf16 or fp16, or attention 'sdpa'"
            raise self._unfit(f"values in {known}", _title(q.dtype), advice)
        if q.shape[-1] not in self.head_dims:
            few = " or ".join(map(str, self.head_dims)) if len(self.head_dims) < 4 else f"at most {self.head_dims[-1]}"
            raise self._unfit(f"heads of {few}", str(q.shape[-1]), "Choose attention 'sdpa'")

    def _unfit(self, needed: str, found: str, advice: str) -> InvalidInputError:
        return InvalidInputError(f"Attention '{self.name}' needs {needed}, got {found}. {advice}.")

    def _imported(self) -> ModuleType:
        root = self.module.partition(".")[0]
        try:
            return import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name not in (root, self.module):  # one that the package itself needs
                raise _broken(root, error) from error
            raise MissingPackageError(f"{root} is not installed. Install it, or choose attention 'sdpa'.") from error
        except ImportError as error:
            raise _broken(root, error) from error


def _broken(root: str, error: ImportError) -> MissingPackageError:
    return MissingPackageError(
        f"{root} is installed, but cannot be imported ({error}). Install one that was built for torch "
        f"{torch.__version__}, or choose attention 'sdpa'."
    )


def _title(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _sage(module: ModuleType) -> Attention:
    """Source: thu-ml/SageAttention, sageattention/core.py, `sageattn`."""
    return lambda q, k, v: module.sageattn(q, k, v, tensor_layout="NHD")


def _sage_3(module: ModuleType) -> Attention:
    """Source: thu-ml/SageAttention, sageattention3_blackwell/sageattn3/api.py, `sageattn3_blackwell`."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        own = k.transpose(1, 2).clone(memory_format=torch.contiguous_format)  # it takes the mean off the keys in place
        return module.sageattn3_blackwell(q.transpose(1, 2), own, v.transpose(1, 2)).transpose(1, 2)

    return attend


def _flash(module: ModuleType) -> Attention:
    """Source: Dao-AILab/flash-attention, flash_attn/flash_attn_interface.py, `flash_attn_func`."""
    return lambda q, k, v: module.flash_attn_func(q, k, v)


def _flash_3(module: ModuleType) -> Attention:
    """Source: Dao-AILab/flash-attention, hopper/flash_attn_interface.py, `flash_attn_func`."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = module.flash_attn_func(q, k, v)
        return out[0] if isinstance(out, tuple) else out  # early versions give the sums of the softmax, too

    return attend


def _xformers(module: ModuleType) -> Attention:
    """Source: facebookresearch/xformers, xformers/ops/fmha/__init__.py, `memory_efficient_attention`."""
    return lambda q, k, v: module.memory_efficient_attention(q, k, v)


def _comfy_kitchen(module: ModuleType) -> Attention:
    """Source: comfy-kitchen 0.2.31, comfy_kitchen/sage_attention.py, `int8_attention`."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return module.int8_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)

    return attend


SAGE = Package("sage", "sageattention", _sage, HALVES, range(1, 129), (8, 0), has_gradient=False)
"""SageAttention 2, or 1: 8-bit queries and keys; approximate."""

FLASH = Package("flash", "flash_attn", _flash, HALVES, range(1, 257), (8, 0), has_gradient=True)
"""FlashAttention 2; exact."""

SAGE_3 = Package("sage3", "sageattn3", _sage_3, HALVES, range(64, 129, 64), (12, 0), has_gradient=False)
"""SageAttention 3: 4-bit numbers, on Blackwell GPUs; approximate, more so than SageAttention 2."""

FLASH_3 = Package("flash3", "flash_attn_interface", _flash_3, HALVES, range(1, 257), (8, 0), has_gradient=True)
"""FlashAttention 3, made for Hopper GPUs; exact."""

XFORMERS = Package("xformers", "xformers.ops", _xformers, FLOATS, range(1, 257), (6, 0), has_gradient=True)
"""The memory-efficient attention of xFormers; exact."""

KITCHEN = Package("comfy_kitchen", "comfy_kitchen", _comfy_kitchen, FLOATS, range(1, 257), (7, 5), has_gradient=False)
"""The attention of comfy-kitchen in 8-bit integers; approximate."""

PACKAGES = (SAGE, FLASH, SAGE_3, FLASH_3, XFORMERS, KITCHEN)
