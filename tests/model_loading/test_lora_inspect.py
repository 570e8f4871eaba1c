"""`wan-director inspect` tells what a LoRA is and which model it is for, by its header alone."""

from __future__ import annotations

import re

import pytest
from wan_director.__main__ import main


@pytest.mark.parametrize(
    ("width", "ffn", "made_for"),
    [
        (1536, 8960, "Wan 2.1 1.3B"),
        (3072, 14336, "Wan 2.2 5B"),
        (5120, 13824, "the 14B models of Wan 2.1 and 2.2"),
        (640, 1280, "a model of width 640, which no published Wan model has"),
    ],
)
@pytest.mark.parametrize(
    "name", ["lora_unet_blocks_{}_ffn_0.lora_{}.weight", "diffusion_model.blocks.{}.ffn.0.lora_{}.weight"]
)
def test_inspect_tells_what_a_lora_is_for(header_file, capsys, width, ffn, made_for, name) -> None:
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for block in range(3):
        tensors[name.format(block, "down")] = ("BF16", (32, width))
        tensors[name.format(block, "up")] = ("BF16", (ffn, 32))
    tensors["diffusion_model.blocks.0.ffn.0.diff_b"] = ("BF16", (ffn,))
    assert main(["inspect", str(header_file(tensors))]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"made for +{made_for}", text)
    assert re.search("changes +3 layers by LoRA, 1 layers by differences of biases", text)
    assert re.search(r"rank +32\n", text) and re.search("belongs in +models/loras", text)


@pytest.mark.parametrize(
    ("prefix", "part", "title"),
    [
        ("lycoris_blocks_{}_ffn_0", "oft_blocks", "OFT or BOFT"),
        ("lycoris_blocks_{}_ffn_0", "a1.weight", "GLoRA"),
        ("diffusion_model.blocks.{}.ffn.0", "a1.weight", "GLoRA"),
        ("base_model.model.blocks.{}.ffn.0", "vera_lambda_b", "VeRA"),
        ("blocks.{}.ffn.0", "q_layer.weight", "T-LoRA"),
    ],
)
def test_inspect_names_other_adapters(header_file, capsys, prefix: str, part: str, title: str) -> None:
    path = header_file({f"{prefix.format(block)}.{part}": ("F32", (4, 12, 12)) for block in range(3)})
    assert main(["inspect", str(path)]) == 0
    assert re.search(f"changes +3 layers by {title}, which is not applied here", capsys.readouterr().out)


def test_inspect_names_the_family_of_a_foreign_lora(header_file, capsys) -> None:
    layer = "lora_unet_double_blocks_0_img_attn_proj.lora_{}.weight"
    shapes = {layer.format("down"): ("BF16", (16, 3072)), layer.format("up"): ("BF16", (3072, 16))}
    assert main(["inspect", str(header_file(shapes))]) == 0
    assert re.search("made for +Flux, not for Wan", capsys.readouterr().out)
