"""Patches to blocks and attention in native `transformer_options`, around the blocks of our transformer.

Source: ComfyUI v0.33.0, comfy/ldm/wan/model.py (WanSelfAttention, WanAttentionBlock, WanModel.forward_orig) and
comfy/ldm/modules/attention.py, wrap_attn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ....common.errors import InvalidInputError
from ....common.records import record
from ....common.streaming import BlockStream
from ....dit.attention import Attention
from ....dit.context import Context
from ....dit.execution import Execution
from ....dit.model import Embedded, WanDiT
from ....dit.rope import AS_TRAINED, TokenPlaces
from .transformer import NativePass

Patch = Callable[..., Any]

_PATCHES = {"double_block", "attn1_patch", "attn2_patch"}
_ADVICE = "Take that node out, or put it behind Load Diffusion Model."


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses what Wan's blocks have no place for.

    Raises:
        InvalidInputError: it is so.
    """
    unknown = sorted(name for name, patches in options.get("patches", {}).items() if patches and name not in _PATCHES)
    replaced = options.get("patches_replace", {})
    unknown += sorted(name for name, patches in replaced.items() if patches and name != "dit")
    if unknown:
        raise InvalidInputError(
            f"A node patches '{unknown[0]}', and the blocks of Wan have no such place: it would do nothing. {_ADVICE}"
        )


def places_of(options: Mapping[str, Any]) -> TokenPlaces:
    """Where `rope_options` say that tokens lie."""
    rope = options.get("rope_options")
    if rope is None:
        return AS_TRAINED
    (frames, rows, columns), (late, down, right) = (
        [float(rope.get(f"{kind}_{axis}", usual)) for axis in "tyx"] for kind, usual in (("scale", 1.0), ("shift", 0.0))
    )
    return TokenPlaces((frames, rows, columns), (late, down, right))


def patched(execution: Execution, model: WanDiT, asked: NativePass, embedded: Embedded) -> Execution:
    """How to compute with the patches of a pass; as before where there are none."""
    options, patches = asked.options, asked.options.get("patches", {})
    replaced = options.get("patches_replace", {}).get("dit", {})
    if not any(patches.values()) and not replaced and "optimized_attention_override" not in options:
        return execution
    own = {**options, "grid_sizes": torch.Size(embedded.grid), "total_blocks": len(model.blocks)}
    around = _Patches({**own, "block_type": "double", "block_index": 0}, patches, replaced, asked.channels, embedded)
    numbers = {block: number for number, block in enumerate(model.blocks)}
    stream = partial(_stream, execution.stream, numbers, around)
    # A patch may keep what it is shown.
    return replace(execution, stream=stream, may_overwrite=False)


def _stream(
    stream: BlockStream, numbers: Mapping[nn.Module, int], around: _Patches, blocks: Iterable[nn.Module]
) -> Iterator[Callable[..., Any]]:
    for block in stream(blocks):
        yield partial(around.run, block, numbers[block]) if block in numbers else partial(around.beside, block)


@record(eq=False)
class _Patches:
    """The patches of one pass, and what they are told."""

    options: dict[str, Any]
    patches: Mapping[str, Sequence[Patch]]
    replaced: Mapping[tuple[str, int], Patch]
    channels: Tensor
    embedded: Embedded

    def run(self, block: nn.Module, number: int, tokens: Tensor, context: Context, execution: Execution) -> Tensor:
        """A block of the trunk."""
        self.options["block_index"] = number
        execution = self._inside(execution)
        instead = self.replaced.get(("double_block", number))
        if instead is None:
            tokens = block(tokens, context, execution)
        else:
            shown = {"img": tokens, "txt": _text(context), "vec": context.modulation, "pe": context.rope}
            original = {"original_block": partial(_original, block, context, execution)}
            tokens = instead({**shown, "transformer_options": self.options}, original)["img"]
        for patch in self.patches.get("double_block", ()):
            told = {"img": tokens, "x": self.channels, "vec": self.embedded.time, "block_index": number}
            tokens = patch({**told, "img_offset": 0, "transformer_options": self.options})["img"]
        return tokens

    def beside(self, block: nn.Module, *inputs: Any) -> Any:
        """A block of a branch, which has attention, too; the last input is the execution."""
        return block(*inputs[:-1], self._inside(inputs[-1]))

    def _inside(self, execution: Execution) -> Execution:
        over_video = _PatchedAttention(execution.video_attention, self.options, self.patches.get("attn1_patch", ()))
        attention = _PatchedAttention(execution.attention, self.options)
        return replace(execution, attention=attention, over_video=over_video, after_attention=self._after_attention)

    def _after_attention(self, tokens: Tensor) -> Tensor:
        for patch in self.patches.get("attn2_patch", ()):
            tokens = patch({"x": tokens, "transformer_options": self.options})
        return tokens


@record(eq=False)
class _PatchedAttention:
    """An attention of one block, and the patches of what it gives."""

    kernel: Attention
    options: dict[str, Any]
    patches: Sequence[Patch] = ()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = self._attend(q, k, v)
        if self.patches:
            flat = out.flatten(2)
            for patch in self.patches:
                flat = patch({"x": flat, "q": q, "k": k, "transformer_options": self.options})
            out = flat.unflatten(2, out.shape[2:])
        return out

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        override = self.options.get("optimized_attention_override")
        if override is None:
            return self.kernel(q, k, v)
        flat = (part.flatten(2) for part in (q, k, v))
        return override(self._as_native, *flat, heads=q.shape[2], transformer_options=self.options).reshape(q.shape)

    def _as_native(self, q: Tensor, k: Tensor, v: Tensor, heads: int, *_masks: Any, **_options: Any) -> Tensor:
        """Our kernel, called as ComfyUI's: [B, L, heads * D] each."""
        return self.kernel(*(part.unflatten(2, (heads, -1)) for part in (q, k, v))).flatten(2)


def _text(context: Context) -> Tensor:
    """What native blocks call the context: tokens of pictures before those of the prompt."""
    return context.text if context.image is None else torch.cat([context.image, context.text], dim=1)


def _original(block: nn.Module, context: Context, execution: Execution, told: Mapping[str, Any]) -> dict[str, Any]:
    """The block itself, with what a patch hands on to it in place of what it was told."""
    pictures = 0 if context.image is None else context.image.shape[1]
    text = told["txt"]
    image = text[:, :pictures] if pictures else None
    seen = context._replace(modulation=told["vec"], rope=told["pe"], text=text[:, pictures:], image=image)
    return {"img": block(told["img"], seen, execution)}
