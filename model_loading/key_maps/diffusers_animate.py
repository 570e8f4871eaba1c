"""Names of what Wan-Animate has beside the trunk, in diffusers' WanAnimateTransformer3DModel -> official names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .renaming import Renaming, Source, Sources

_END = r"\.(weight|bias)"
_BLOCK = r"motion_encoder\.res_blocks\.(\d+)\."
_CONVS = r"motion_encoder.enc.net_app.convs."
_ADAPTER = r"face_adapter\.(\d+)\."
_KEY, _VALUE = (re.compile(_ADAPTER + name + _END) for name in ("to_k", "to_v"))
_RESIDUAL = re.compile(_BLOCK + r"(.+)")

# Source: huggingface/diffusers v0.42.1, loaders/single_file_utils.py, convert_wan_transformer_to_diffusers.
_PARTS = {
    "conv1.weight": "conv1.0.weight",
    "conv1.act_fn.bias": "conv1.1.bias",
    "conv2.weight": "conv2.1.weight",
    "conv2.act_fn.bias": "conv2.2.bias",
    "conv_skip.weight": "skip.1.weight",
}
_names = Renaming(
    (r"motion_encoder\.motion_synthesis_weight", r"motion_encoder.dec.direction.weight"),
    (r"motion_encoder\.motion_network\.(\d+)" + _END, r"motion_encoder.enc.fc.\1.\2"),
    (r"motion_encoder\.conv_in\.weight", _CONVS + r"0.0.weight"),
    (r"motion_encoder\.conv_in\.act_fn\.bias", _CONVS + r"0.1.bias"),
    (r"face_encoder\.(conv1_local|conv2|conv3)" + _END, r"face_encoder.\1.conv.\2"),
    (_ADAPTER + r"to_q" + _END, r"face_adapter.fuser_blocks.\1.linear1_q.\2"),
    (_ADAPTER + r"to_out" + _END, r"face_adapter.fuser_blocks.\1.linear2.\2"),
    (_ADAPTER + r"norm_([qk])\.weight", r"face_adapter.fuser_blocks.\1.\2_norm.weight"),
)


def from_diffusers_animate(keys: Iterable[str]) -> Sources:
    """Joins keys and values of the face's blocks into the official `linear1_kv`; other names stay as they are."""
    keys = list(keys)
    blocks = [int(found[1]) for found in map(_RESIDUAL.fullmatch, keys) if found]
    last = max(blocks, default=-1) + 2
    sources: Sources = {}
    for key in keys:
        shown, residual = _KEY.fullmatch(key), _RESIDUAL.fullmatch(key)
        if shown:
            official = f"face_adapter.fuser_blocks.{shown[1]}.linear1_kv.{shown[2]}"
            sources[official] = Source((key, key.replace("to_k", "to_v")))
        elif residual:
            part = _PARTS.get(residual[2], residual[2])
            sources[f"{_CONVS}{int(residual[1]) + 1}.{part}"] = Source((key,))
        elif key == "motion_encoder.conv_out.weight":
            sources[f"{_CONVS}{last}.weight"] = Source((key,))
        elif not _VALUE.fullmatch(key):
            sources[_names.official(key)] = Source((key,))
    return sources
