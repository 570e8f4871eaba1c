"""What ComfyUI asks of a model among the cached outputs of nodes when RAM runs short.

Source: ComfyUI comfy_execution/caching.py, RAMPressureCache, v0.33.0; `_comfy_cache_tensors` is asked since v0.38.
"""

from __future__ import annotations

from torch import Tensor

from ...engine.loaded import OfPlaced
from ...engine.runtime import Residence
from ...memory.tensors import is_window

SMALL_PART = 0.1
"""Of a model's weights; norms, biases and scales that were converted are less."""


class KeptUnderPressure(OfPlaced):
    """Of a model object with weights.

    ComfyUI drops outputs while RAM is short, and keeps those of the running workflow that answer `is_dynamic`: the
    system takes their pages back by itself, so to drop them frees nothing, and costs reading the file again.
    """

    def residences(self) -> tuple[Residence, ...]:
        """Where all its weights live."""
        return (self.residence,)

    def is_dynamic(self) -> bool:
        """Whether (nearly) all weights are windows into their file."""
        weights = [tensor for residence in self.residences() for tensor in residence.host_tensors()]
        own = sum(tensor.nbytes for tensor in weights if not is_window(tensor))
        return own <= SMALL_PART * sum(tensor.nbytes for tensor in weights)

    def _comfy_cache_tensors(self) -> list[Tensor]:
        """The host memory that would be free without this object, each piece once."""
        pieces = {}
        for residence in self.residences():
            for tensor in (*residence.slabs.buffers, *residence.host_tensors()):
                if tensor.device.type == "cpu" and not is_window(tensor):
                    pieces.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return list(pieces.values())
