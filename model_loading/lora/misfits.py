"""The sentences for LoRAs of another model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from ...common.errors import PairingError
from ...dit.config import DiTConfig
from ..files.checkpoint import Checkpoint
from ..recognition.foreign import Signature, match
from ..spec import ModelSpec


class Misfit(NamedTuple):
    """A layer whose change has another shape than its weight."""

    layer: str
    found: tuple[int, ...]
    expected: tuple[int, ...]


_SIZES = {1536: "Wan 2.1 1.3B", 3072: "Wan 2.2 5B", 5120: "the 14B models of Wan 2.1 and 2.2"}

# More specific ones first. Layers with dots in PEFT's files, underscores in kohya's.
_SIGNATURES = (
    Signature("HunyuanVideo", None, ("double_blocks", "txt_in")),
    Signature("HunyuanVideo", None, ("double_blocks", "img_mlp_fc1")),
    Signature("HunyuanVideo", None, ("double_blocks", "img_mlp.fc1")),
    Signature("Flux", None, ("double_blocks",)),
    Signature("Flux", None, ("single_transformer_blocks",)),
    Signature("Stable Diffusion (1.5, 2 or XL)", None, ("down_blocks",)),
    Signature("Stable Diffusion (1.5, 2 or XL)", None, ("input_blocks",)),
    Signature("Stable Diffusion 3", None, ("joint_blocks",)),
    Signature("LTX-Video, CogVideoX, Qwen-Image or Stable Diffusion 3", None, ("transformer_blocks",)),
    Signature("Z-Image or Lumina 2", None, ("layers.0.attention",)),
)


def made_for(checkpoint: Checkpoint) -> str | None:
    """The model a LoRA is for: another family by its names, or the Wan model whose width its shapes have most."""
    signature = match(_SIGNATURES, checkpoint.tensors)
    if signature is not None:
        return f"{signature.title}, not for Wan"
    sides = Counter(side for info in checkpoint.tensors.values() for side in info.shape if side in _SIZES)
    return _SIZES[sides.most_common(1)[0][0]] if sides else None


def wrong_size(name: str, model: ModelSpec[DiTConfig], misfit: Misfit) -> PairingError:
    """The error for a LoRA of Wan of another size."""
    width = model.config.dim
    made_for = next((title for size, title in _SIZES.items() if size in misfit.found and size != width), None)
    needed = _SIZES.get(width, model.title)
    found, expected = (" x ".join(map(str, shape)) for shape in (misfit.found, misfit.expected))
    is_for = f"a LoRA for {made_for}" if made_for else "a LoRA for a model of another size"
    return PairingError(
        f"{name} is {is_for}, but {model.path.name} is {model.title} ({misfit.layer} is {found} in the LoRA and "
        f"{expected} in the model). Use a LoRA for {needed}."
    )


def no_match(checkpoint: Checkpoint, ignored: Mapping[str, int], model: ModelSpec[DiTConfig]) -> PairingError:
    """The error for a LoRA of which nothing fits."""
    needed = _SIZES.get(model.config.dim, model.title)
    signature = match(_SIGNATURES, checkpoint.tensors)
    if signature is not None:
        what = f"is a LoRA for {signature.title}"
    elif ignored:
        reason, count = max(ignored.items(), key=lambda item: item[1])
        what = f"has nothing for this model ({count} of its tensors are {reason})"
    else:
        what = f"is a LoRA for another model (first tensor: {next(iter(checkpoint.tensors))[:80]!r})"
    return PairingError(
        f"{checkpoint.path.name} {what}: none of its {len(checkpoint.tensors):,} tensors fits {model.path.name} "
        f"({model.title}). Use a LoRA for {needed}."
    )
