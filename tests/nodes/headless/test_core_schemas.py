"""The core nodes have the inputs, defaults, limits and outputs that ComfyUI v0.33.0 announces for its own.

The fixture is what the classes of ComfyUI v0.33.0 answer to INPUT_TYPES, RETURN_TYPES, RETURN_NAMES and OUTPUT_NODE,
without texts and without what only the canvas reads. The two loaders of ComfyUI-GGUF and the
node of ComfyUI-KJNodes are restated from their nodes.py, the nodes of loops from a newer ComfyUI.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from wan_director.nodes.headless.core_nodes import CORE_NODES

NATIVE = json.loads((Path(__file__).parent / "fixtures" / "comfyui_0_33_0_nodes.json").read_text(encoding="utf-8"))
FILES = {
    ("LoadImage", "image"), ("LoadImageMask", "image"), ("LoadVideo", "file"), ("LoadLatent", "latent"),
    ("LoadAudio", "audio"),
    ("UNETLoader", "unet_name"), ("CLIPLoader", "clip_name"), ("VAELoader", "vae_name"),
    ("CLIPVisionLoader", "clip_name"), ("LoraLoader", "lora_name"), ("LoraLoaderModelOnly", "lora_name"),
    ("UnetLoaderGGUF", "unet_name"), ("CLIPLoaderGGUF", "clip_name"), ("CustomCombo", "choice"),
    ("UpscaleModelLoader", "model_name"), ("AudioEncoderLoader", "audio_encoder_name"),
    ("ModelPatchLoader", "name"), ("Painter", "bg_color"),
}  # fmt: skip
"""Inputs that list the files of a folder there, and take any path here; and those of what a user writes or picks."""
BY_THE_CANVAS = {"CustomCombo": {"index", *(f"option{number}" for number in range(1, 33))}}
"""Inputs that the canvas adds to the announced ones."""
OTHERWISE_LATER = {
    "CreateVideo": {"bit_depth": "INT,COMBO", "color_space": "COMBO"},
    "ComfySwitchNode": {"on_false": "COMFY_MATCHTYPE_V3", "on_true": "COMFY_MATCHTYPE_V3"},
}
"""Optional inputs that newer ComfyUIs announce otherwise, and their types here, which take what both write."""
NO_RESULT = {"PreviewImage"}
"""Shows pictures there, and nothing here."""
CANVAS_ONLY = {"tooltip", "display_name", "multiselect"}


def plain(value: Any) -> Any:
    """An input's options as the fixture has them."""
    if isinstance(value, dict):
        if value and set(value) <= {"required", "optional"}:
            return {name: plain(spec) for group in value.values() for name, spec in group.items()}
        return {name: plain(each) for name, each in value.items() if name not in CANVAS_ONLY}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", CORE_NODES)
def test_a_core_node_is_announced_as_comfyui_announces_it(name):
    node, native, later = CORE_NODES[name], NATIVE[name], OTHERWISE_LATER.get(name, {})
    types = node.INPUT_TYPES()
    inputs = {
        each: [spec[0], group == "required", plain(spec[1])]
        for group in ("required", "optional")
        for each, spec in types.get(group, {}).items()
    }
    assert {each: inputs[each][:2] for each in later} == {each: [kind, False] for each, kind in later.items()}
    own = {*BY_THE_CANVAS.get(name, ()), *later}
    assert [each for each in inputs if each not in own] == [each for each in native["inputs"] if each not in later]
    for each, (kind, required, options) in native["inputs"].items():
        if each in later:
            continue
        if (name, each) in FILES:
            assert inputs[each][0] == "STRING"
            continue
        always = {"multiline": False} if kind == "STRING" else {}
        assert inputs[each] == [kind, required, always | options]
    assert [list(pair) for pair in zip(node.RETURN_TYPES, node.RETURN_NAMES)] == native["outputs"]
    assert node.OUTPUT_NODE is (native["output_node"] and name not in NO_RESULT)
