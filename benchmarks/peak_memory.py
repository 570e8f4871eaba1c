"""Peak bytes of intermediate tensors, counted exactly on the meta device: no memory, no time, no noise."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from wan_director.vae3d.strips import Shelf


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of every storage made while it is active, for as long as the storage lives.

    Weights and inputs, made before, do not count; views and in-place operations add nothing. Only what an operation
    returns is seen, not the workspace of its kernel.

    Attributes:
        live_bytes: of the storages alive now.
        peak_bytes: the largest value that `live_bytes` had.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = 0
        self.peak_bytes = 0
        self._alive: dict[int, tuple[weakref.ref, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        given = {_address(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(result):
            if _address(tensor) not in given:
                self._count(tensor)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage, address = tensor.untyped_storage(), _address(tensor)
        if address in self._alive:
            return
        self._alive[address] = (weakref.ref(storage, lambda _: self._release(address)), storage.nbytes())
        self.live_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def forget(self, tensor: Tensor) -> None:
        """Stops counting a tensor's storage, as if it were on another device."""
        self._release(_address(tensor))

    def _release(self, address: int) -> None:
        _, size = self._alive.pop(address, (None, 0))
        self.live_bytes -= size


class OtherDevice(Shelf):
    """A shelf whose frames do not count: what leaves for RAM, with the network on a GPU."""

    def __init__(self, tracker: PeakMemory) -> None:
        self._tracker = tracker

    def put(self, frame: Tensor) -> Tensor:
        copy = frame.clone()
        self._tracker.forget(copy)
        return copy

    def take(self, frame: Tensor, device: torch.device) -> Tensor:
        return frame.clone()


class FusedAttention(TorchFunctionMode):
    """Lets scaled dot product attention allocate its output alone, as the fused kernels of a GPU do.

    On the meta device PyTorch would otherwise take the path that builds the whole attention matrix. The output's
    values are undefined; its layout in memory is [B, L, N, D], as the kernels make it.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention:
            return _attention_output(*args, **kwargs)
        return function(*args, **kwargs)


def _attention_output(query: Tensor, key: Tensor, value: Tensor, *_args, **_kwargs) -> Tensor:
    batch, heads, length, _ = query.shape  # [B, N, L, D]
    return query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)


def peak_bytes(run: Callable[[], object]) -> int:
    """Largest sum of intermediate tensors alive at once during `run`, its result included."""
    return _peak(PeakMemory(), run)


def peak_bytes_beside_shelf(run: Callable[[Shelf], object]) -> int:
    """As `peak_bytes`; what `run` puts on the shelf it is given does not count."""
    tracker = PeakMemory()
    return _peak(tracker, lambda: run(OtherDevice(tracker)))


def _peak(tracker: PeakMemory, run: Callable[[], object]) -> int:
    with torch.no_grad(), FusedAttention(), tracker:
        run()
    return tracker.peak_bytes


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
