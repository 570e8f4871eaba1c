"""The same adapters in the PEFT library and here: same output, from PEFT's own state dict."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import LayerNorm, Linear
from wan_director.common.errors import CheckpointError
from wan_director.dit.adapters import AppliedAdapter, ParameterShapes, adapted
from wan_director.dit.branches.clip import ClipBranch
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
        self.norm3 = LayerNorm(WIDTH)
        self.ffn = nn.Sequential(Linear(WIDTH, INNER), nn.GELU(), Linear(INNER, WIDTH))

    def forward(self, x):
        return self.ffn(self.norm3(self.self_attn.o(torch.tanh(self.self_attn.q(x)))))


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
    "pattern as an expression": lambda: peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=TARGETS, alpha_pattern={r"blocks\.(0|1)\.ffn.*": 2, "self_attn.[qo]": 9}
    ),
    "adalora": lambda: peft.AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=6, target_modules=TARGETS, total_step=100, tinit=10, tfinal=10
    ),
    "biases": lambda: peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, bias="lora_only"),
    "whole layers": lambda: peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=["q", "ffn.0"], modules_to_save=["o", "norm3"]
    ),
    "lora bias": lambda: peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, lora_bias=True),
    "dora": lambda: peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, use_dora=True),
    "loha": lambda: peft.LoHaConfig(r=4, alpha=6, target_modules=TARGETS),
    "lokr": lambda: peft.LoKrConfig(r=2, alpha=3, target_modules=TARGETS),
    "lokr full": lambda: peft.LoKrConfig(r=64, alpha=32, target_modules=TARGETS),
    "lokr both low rank": lambda: peft.LoKrConfig(r=2, alpha=3, target_modules=TARGETS, decompose_both=True),
}


@pytest.mark.parametrize("strength", [0.0, 0.4])
@pytest.mark.parametrize("merge", [False, True])
def test_whole_layers_blend_from_the_models_own(tmp_path, strength, merge):
    """What PEFT trained whole (modules_to_save): at a strength s each weight is (1 - s) * base + s * trained."""
    torch.manual_seed(1)
    base = Tiny().requires_grad_(False)
    theirs = peft.get_peft_model(copy.deepcopy(base), CONFIGS["whole layers"]())
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            parameter.data = 0.3 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    loaded = read_lora(tmp_path / "adapter_model.safetensors", ParameterShapes.of(base), model=None)
    whole = {
        name: value.detach()
        for name, value in theirs.merge_and_unload().named_parameters()
        if name in dict(base.named_parameters())
    }
    blended = copy.deepcopy(base)
    for name, value in blended.named_parameters():
        value.data.lerp_(whole[name], strength)
    x = torch.randn(2, 30, WIDTH)
    with torch.inference_mode():
        expected = blended(x)
        with adapted(base, [AppliedAdapter(loaded.adapter, strength=strength, merge=merge)]):
            found = base(x)
    assert (found - expected).norm() / expected.norm() < LIMIT


CHANGED_BASES = {
    "pissa": {"init_lora_weights": "pissa"},
    "pissa_niter_4": {"init_lora_weights": "pissa_niter_4"},
    "olora": {"init_lora_weights": "olora"},
}


@pytest.mark.parametrize("name", CHANGED_BASES)
def test_a_lora_for_a_changed_base_is_refused(name, tmp_path):
    theirs = peft.get_peft_model(Tiny(), peft.LoraConfig(r=4, target_modules=TARGETS, **CHANGED_BASES[name]))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="was trained as (PiSSA|OLoRA): .* path_initial_model_for_weight_conver"):
        read_lora(tmp_path / "adapter_model.safetensors", ParameterShapes.of(Tiny()), model=None)


def test_a_converted_pissa_is_a_plain_lora(tmp_path):
    """What the refusal advises works: the file that PEFT makes gives what the PiSSA model gave."""
    torch.manual_seed(1)
    base = Tiny().requires_grad_(False)
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, init_lora_weights="pissa")
    theirs = peft.get_peft_model(copy.deepcopy(base), config)
    theirs.peft_config["default"].init_lora_weights = True
    theirs.save_pretrained(tmp_path / "start")
    theirs.peft_config["default"].init_lora_weights = "pissa"
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data + 0.1 * torch.randn_like(parameter)
    x = torch.randn(2, 30, WIDTH)
    with torch.inference_mode():
        expected = theirs(x)
    theirs.save_pretrained(tmp_path / "plain", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    loaded = read_lora(tmp_path / "plain" / "adapter_model.safetensors", ParameterShapes.of(base), model=None)
    with torch.inference_mode(), adapted(base, [AppliedAdapter(loaded.adapter)]):
        found = base(x)
    assert (found - expected).norm() / expected.norm() < LIMIT


OTHER_KINDS = {
    "OFT": lambda: peft.OFTConfig(r=2, oft_block_size=0, target_modules=["q"]),
    "(IA)\N{SUPERSCRIPT THREE}": lambda: peft.IA3Config(target_modules=["q"], feedforward_modules=[]),
    "VeRA": lambda: peft.VeraConfig(r=2, target_modules=["q"]),
    "HRA": lambda: peft.HRAConfig(r=2, target_modules=["q"]),
    "FourierFT": lambda: peft.FourierFTConfig(n_frequency=8, target_modules=["q"]),
    "GraLoRA": lambda: peft.GraloraConfig(r=4, gralora_k=2, target_modules=["q"]),
    "KaSA": lambda: peft.LoraConfig(r=2, target_modules=["q"], kasa_config=peft.tuners.lora.KasaConfig()),
}


@pytest.mark.parametrize("title", OTHER_KINDS)
def test_other_adapters_are_refused_by_name(title, tmp_path):
    """By their tensors, and so also when the settings are not beside them."""
    peft.get_peft_model(Tiny(), OTHER_KINDS[title]()).save_pretrained(tmp_path)
    path = (tmp_path / "adapter_model.safetensors").rename(tmp_path / "style.safetensors")
    with pytest.raises(CheckpointError) as refusal:
        read_lora(path, ParameterShapes.of(Tiny()), model=None)
    assert str(refusal.value).startswith(f"style.safetensors is a {title} adapter ('base_model.model.blocks.0.")


def test_a_lost_alpha_is_told(tmp_path, caplog):
    peft.get_peft_model(Tiny(), CONFIGS["lora"]()).save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    with caplog.at_level("INFO", "wan_director"):
        read_lora(path, ParameterShapes.of(Tiny()), model=None)
        assert "says nothing of alpha" not in caplog.text
        read_lora(path.rename(tmp_path / "style.safetensors"), ParameterShapes.of(Tiny()), model=None)
    assert "style.safetensors says nothing of alpha: it is taken to be the rank (scale 1)." in caplog.text


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_peft(name, tmp_path):
    torch.manual_seed(1)
    base = Tiny().requires_grad_(False)
    theirs = peft.get_peft_model(copy.deepcopy(base), CONFIGS[name]())
    for parameter_name, parameter in theirs.named_parameters():
        is_adapter = any(mark in parameter_name for mark in ("lora_", "hada_", "lokr_"))
        if is_adapter or parameter.requires_grad:
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
        dim=48, ffn_dim=64, heads=4, layers=2, in_channels=36, branches=(ClipBranch(32, 8),), text_dim=40, freq_dim=32
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
