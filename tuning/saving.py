"""The file of what was learned, as ComfyUI, diffusers, musubi-tuner and the loader of this pack read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..dit.adapters import Adapter, LowRank
from ..media.faults import writing_to
from ..media.whole import replace_file, unfinished_file
from ..model_loading.files.tensor_stream import TensorStream
from ..model_loading.lora.writing import lora_tensors

_OWN_PREFIX, _KOHYA_PREFIX = "diffusion_model.", "lora_unet_"
_ENTRY_BYTES = 256
"""Of a tensor in the header, beside its name: more than it ever takes."""
_ROLES = ("lora_down.weight", "lora_up.weight", "alpha")


def file_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """The tensors of a LoRA file.

    A plain LoRA has the names that kohya's trainers and musubi-tuner write (`lora_unet_blocks_0_self_attn_q`), which
    every program knows; one with lengths, norms or biases those of ComfyUI (`diffusion_model.blocks.0...`).

    Returns:
        name in the file -> contiguous tensor on the CPU.
    """
    tensors = lora_tensors(adapter)
    changes = [change for group in adapter.changes.values() for change in group]
    if not all(isinstance(change.delta, LowRank) and change.magnitude is None for change in changes):
        return tensors
    return {_kohya_name(name): tensor for name, tensor in tensors.items()}


def save_lora(adapter: Adapter, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a LoRA file, in place of one of that name; equal ones have equal bytes.

    Raises:
        OutputError: it cannot be written.
    """
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_file(path.parent, "safetensors") as part:
            _write(part, file_tensors(adapter), {"format": "pt", **metadata})
            replace_file(part, path)


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    texts = sum(len(repr(text).encode("unicode_escape")) for text in (*tensors, *metadata, *metadata.values()))
    with path.open("r+b") as file:
        stream = TensorStream(file, 2 * texts + _ENTRY_BYTES * len(tensors), metadata)
        for name, tensor in sorted(tensors.items()):
            stream.add(name, tensor)
        stream.finish()


def _kohya_name(name: str) -> str:
    layer = name.removeprefix(_OWN_PREFIX)
    role = next(role for role in _ROLES if layer.endswith(f".{role}"))
    return f"{_KOHYA_PREFIX}{layer.removesuffix(f'.{role}').replace('.', '_')}.{role}"
