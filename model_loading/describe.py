"""The text that `wan-director inspect FILE` prints."""

from __future__ import annotations

from ..dit.config import DiTConfig
from .checkpoint import Checkpoint, human_bytes
from .known_files import FOLDERS, known_file
from .spec import KIND_TITLES, ModelSpec

_PRECISIONS = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64"}
_NAMINGS = {
    "official": "official names",
    "diffusers": "diffusers names",
    "hf": "Hugging Face names",
    "comfy": "ComfyUI names",
}
_IMAGE = {
    "none": "takes no image",
    "optional": "takes images{clip}, also runs without",
    "required": "needs a start image{clip}",
}


def describe(spec: ModelSpec, checkpoint: Checkpoint) -> str:
    """What a file is, its size and precision, and what goes with it: a few lines of 'name: value'."""
    lines = [
        ("file", str(spec.path)),
        ("model", f"{spec.title} ({KIND_TITLES[spec.kind]})"),
        ("family", spec.family.title),
        ("size", f"{human_bytes(spec.size_bytes)}, {spec.parameters / 1e6:,.1f} million weights"),
        ("precision", f"{_PRECISIONS[spec.file_dtype]} ({spec.weight_format.name})"),
        ("names", _naming(spec, checkpoint)),
    ]
    if isinstance(spec.config, DiTConfig):
        clip = " and its CLIP vision features" if spec.takes_clip else ""
        lines.append(("image", _IMAGE[spec.start_image].format(clip=clip)))
    if spec.extras:
        more = f" and {len(spec.extras) - 5} more" if len(spec.extras) > 5 else ""
        lines.append(("beside it", ", ".join(spec.extras[:5]) + more))
    lines.append(("belongs in", FOLDERS[spec.kind]))
    lines.append(("goes with", ", ".join(_with_source(name) for name in spec.goes_with)))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def _naming(spec: ModelSpec, checkpoint: Checkpoint) -> str:
    prefix = f" behind {spec.prefix!r}" if spec.prefix else ""
    return f"{_NAMINGS[spec.naming]}{prefix}, {len(checkpoint.tensors):,} tensors"


def _with_source(name: str) -> str:
    file = known_file(name)
    return f"{name} ({file.repo})" if file is not None else name
