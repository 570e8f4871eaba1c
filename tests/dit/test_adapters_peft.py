"""The same adapters in the PEFT library and here: same output, from PEFT's own state dict."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import Linear
from wan_director.dit.adapters import AppliedAdapter, ParameterShapes, adapted
from wan_director.dit.config import DiTConfig
from wan_director.model_loading.lora import read_lora

peft = pytest.importorskip("peft")

torch.set_num_threads(1)

WIDTH, INNER, TARGETS = 48, 64, ["q", "o", "ffn.0", "ffn.2"]
LIMIT = 1e-5  # relative, float32: two orders of summation


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.o = Linear(WIDTH, WIDTH), Linear(WIDTH, WIDTH)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = Attention()
        self.ffn = nn.Sequential(Linear(WIDTH, INNER), nn.GELU(), Linear(INNER, WIDTH))

    def forward(self, x):
        return self.ffn(self.self_attn.o(torch.tanh(self.self_attn.q(x))))


class Tiny(nn.Module):
    """The names of a Wan block, as much of it as PEFT needs to wrap."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


CONFIGS = {
    "lora": lambda: peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS),
    "rank stabilised": lambda: peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, use_rslora=True),
    "patterns": lambda: peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=TARGETS, rank_pattern={"self_attn.o": 8}, alpha_pattern={"self_attn.o": 2}
    ),
    "lora bias": lambda: peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, lora_bias=True),
    "dora": lambda: peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, use_dora=True),
    "loha": lambda: peft.LoHaConfig(r=4, alpha=6, target_modules=TARGETS),
    "lokr": lambda: peft.LoKrConfig(r=2, alpha=3, target_modules=TARGETS),
    "lokr full": lambda: peft.LoKrConfig(r=64, alpha=32, target_modules=TARGETS),
    "lokr both low rank": lambda: peft.LoKrConfig(r=2, alpha=3, target_modules=TARGETS, decompose_both=True),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_peft(name, tmp_path):
    torch.manual_seed(1)
    base = Tiny().requires_grad_(False)
    theirs = peft.get_peft_model(copy.deepcopy(base), CONFIGS[name]())
    for parameter_name, parameter in theirs.named_parameters():
        if "lora_" in parameter_name or "hada_" in parameter_name or "lokr_" in parameter_name:
            is_length = "magnitude" in parameter_name
            parameter.data = parameter.data * 1.3 if is_length else 0.3 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)  # adapter_model.safetensors beside adapter_config.json
    loaded = read_lora(tmp_path / "adapter_model.safetensors", ParameterShapes.of(base), model=None)
    assert loaded.report.unmatched == () and not loaded.report.ignored
    x = torch.randn(2, 30, WIDTH)
    with torch.inference_mode():
        expected, plain = theirs(x), base(x)
        with adapted(base, [AppliedAdapter(loaded.adapter)]):
            found = base(x)
    assert (found - expected).norm() / expected.norm() < LIMIT
    assert (plain - expected).norm() / expected.norm() > 0.05


def test_equals_a_lora_loaded_by_diffusers(make_pair, make_inputs, run_diffusers, tmp_path):
    """A file with diffusers' names, loaded by diffusers into its transformer and by us into ours, same base weights."""
    config = DiTConfig(
        dim=48, ffn_dim=64, heads=4, layers=2, in_channels=36, clip_dim=32, clip_tokens=8, text_dim=40, freq_dim=32
    )  # fmt: skip
    ours, theirs = make_pair(config)
    inputs = make_inputs(config)
    matrices = {name: layer for name, layer in theirs.named_modules() if isinstance(layer, Linear)}
    tensors = {}
    for name, layer in matrices.items():
        tensors[f"transformer.{name}.lora_A.weight"] = 0.2 * torch.randn(4, layer.in_features)
        tensors[f"transformer.{name}.lora_B.weight"] = 0.2 * torch.randn(layer.out_features, 4)
    save_file(tensors, tmp_path / "lora.safetensors")
    plain = run_diffusers(theirs, inputs)
    theirs.load_lora_adapter(dict(tensors), prefix="transformer")
    expected = run_diffusers(theirs, inputs)
    loaded = read_lora(tmp_path / "lora.safetensors", ParameterShapes.of(ours), model=None)
    assert loaded.report.matched == len(tensors)
    with torch.inference_mode(), adapted(ours, [AppliedAdapter(loaded.adapter)]):
        found = ours(inputs)
    assert (found - expected).norm() / expected.norm() < LIMIT
    assert (plain - expected).norm() / expected.norm() > 0.1
