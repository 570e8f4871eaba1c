"""The text that `wan-director inspect FILE` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .files.checkpoint import Checkpoint
from .files.file_type import human_bytes
from .footprint import loaded_bytes
from .precision import choose_dtype
from .publishing.known_files import known_file
from .spec import ModelSpec

_PRECISIONS = {
    "BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64", "F8_E4M3": "fp8_e4m3fn", "F8_E5M2": "fp8_e5m2",
    "I8": "int8", "U8": "4 bit",
}  # fmt: skip
_CAST_PRECISION = "fp8_scaled"
_NAMINGS = {
    "official": "official names",
    "diffusers": "diffusers names",
    "hf": "Hugging Face names",
    "comfy": "ComfyUI names",
    "llama": "llama.cpp names",
}
_IMAGE = {
    "none": "takes no image",
    "optional": "takes images{clip}, also runs without",
    "required": "needs a start image{clip}",
}
_EDITS = "needs a clip to edit"


def describe(spec: ModelSpec, checkpoint: Checkpoint) -> str:
    """What a file is, its size and precision, and what goes with it: a few lines of 'name: value'."""
    lines = [
        ("file", str(spec.path)),
        ("model", f"{spec.title} ({spec.kind.title})"),
        ("family", spec.family.title),
        ("size", f"{human_bytes(spec.size_bytes)}, {spec.parameters / 1e6:,.1f} million weights"),
        ("precision", f"{_precision(spec, checkpoint)} ({spec.weight_format.name})"),
        ("memory", _memory(spec, checkpoint)),
        ("names", _naming(spec, checkpoint)),
    ]
    if spec.kind.is_transformer:
        clip = " and its CLIP vision features" if spec.takes_clip else ""
        edits = spec.config.source_channels
        lines.append(("image", _EDITS if edits else _IMAGE[spec.start_image].format(clip=clip)))
    extras = [name for name in spec.extras if not name.endswith(spec.weight_format.companions)]
    if extras:
        more = f" and {len(extras) - 5} more" if len(extras) > 5 else ""
        lines.append(("beside it", ", ".join(extras[:5]) + more))
    lines += [("note", note) for note in spec.notes]
    lines.append(("belongs in", spec.kind.folder))
    lines.append(("goes with", ", ".join(_with_source(name) for name in spec.goes_with)))
    return aligned(lines)


def aligned(lines: Sequence[tuple[str, str]]) -> str:
    """'name  value' a line, the values below one another."""
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def _precision(spec: ModelSpec, checkpoint: Checkpoint) -> str:
    """The number formats of the matrices, the one of most bytes first: files keep sensitive layers in a wider one."""
    sizes: Counter[str] = Counter()
    for source in spec.sources.values():
        for info in (checkpoint.tensors[key] for key in source.keys if key in checkpoint.tensors):
            if len(info.shape) > 1:
                sizes[info.dtype] += info.size_bytes
    sizes[spec.file_dtype] += 0
    return ", ".join(_PRECISIONS.get(dtype, dtype) for dtype, _ in sizes.most_common())


def _memory(spec: ModelSpec, checkpoint: Checkpoint) -> str:
    """What the weights take with precision auto and, where they can be cast, in fp8."""
    dtype = str(choose_dtype(spec, "auto").dtype).removeprefix("torch.")
    auto_bytes = loaded_bytes(checkpoint, spec)
    size = f"{human_bytes(auto_bytes)}, computed in {dtype}"
    cast_bytes = loaded_bytes(checkpoint, spec, _CAST_PRECISION) if spec.kind.is_network else 0
    if not 0 < cast_bytes < 0.95 * auto_bytes:
        return size
    return f"{size}; {human_bytes(cast_bytes)} with precision {_CAST_PRECISION}"


def _naming(spec: ModelSpec, checkpoint: Checkpoint) -> str:
    prefix = f" behind {spec.prefix!r}" if spec.prefix else ""
    return f"{_NAMINGS[spec.naming]}{prefix}, {len(checkpoint.tensors):,} tensors"


def _with_source(name: str) -> str:
    file = known_file(name)
    return f"{name} ({file.repo})" if file is not None else name
