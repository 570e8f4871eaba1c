"""One random LoRA written in every published spelling is read as the same adapters; nothing is lost in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.dit.adapters import Adapter, Change, Full, Hadamard, Kronecker, LowRank, ParameterShapes
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading.lora import read_lora
from wan_director.model_loading.lora.names import layer_of

torch.set_num_threads(1)

RANK, ALPHA = 4, 6.0

# Official layers -> diffusers', written out so that the tests lean on no table of the pack.
DIFFUSERS = {
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "head.head": "proj_out",
}
IN_A_BLOCK = {
    "self_attn.q": "attn1.to_q", "self_attn.k": "attn1.to_k", "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0", "cross_attn.q": "attn2.to_q", "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v", "cross_attn.o": "attn2.to_out.0", "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj", "ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2",
}  # fmt: skip


def meta_model(**changes) -> WanDiT:
    sizes = {
        "dim": 48,
        "ffn_dim": 64,
        "heads": 4,
        "layers": 12,
        "text_dim": 40,
        "freq_dim": 32,
        "branches": (ClipBranch(24),),
    }
    with torch.device("meta"):
        return WanDiT(DiTConfig(**{**sizes, "in_channels": 36, **changes}))


@pytest.fixture(scope="module")
def shapes() -> ParameterShapes:
    """Those of an image-to-video model with 12 blocks, so that blocks 1, 10 and 11 could be mixed up."""
    return ParameterShapes.of(meta_model())


@pytest.fixture(scope="module")
def reference(shapes) -> dict[str, tuple[Tensor, Tensor]]:
    """Official layer -> (down, up), another one for every matrix of the model."""
    generator = torch.Generator().manual_seed(0)
    matrices = {name: shape for name, shape in shapes.shapes.items() if len(shape) == 2 and name.endswith(".weight")}
    return {
        layer_of(name): (torch.randn(RANK, inner, generator=generator), torch.randn(out, RANK, generator=generator))
        for name, (out, inner) in matrices.items()
    }


def diffusers_name(layer: str) -> str:
    if layer in DIFFUSERS:
        return DIFFUSERS[layer]
    _, number, rest = layer.split(".", 2)
    return f"blocks.{number}.{IN_A_BLOCK[rest]}"


def official(layer: str) -> str:
    return layer


def underscored(layer: str) -> str:
    return layer.replace(".", "_")


# name -> (prefix, spelling of the layer, end of down, end of up, alpha's end or None where the file has none)
SPELLINGS: dict[str, tuple[str, Callable[[str], str], str, str, str | None]] = {
    "diffusion_model": ("diffusion_model.", official, ".lora_A.weight", ".lora_B.weight", None),
    "diffusion_model, alpha": ("diffusion_model.", official, ".lora_down.weight", ".lora_up.weight", ".alpha"),
    "model.diffusion_model": ("model.diffusion_model.", official, ".lora_A.weight", ".lora_B.weight", None),
    "no prefix": ("", official, ".lora_down.weight", ".lora_up.weight", ".alpha"),
    "kohya, musubi": ("lora_unet_", underscored, ".lora_down.weight", ".lora_up.weight", ".alpha"),
    "kohya, two underscores": ("lora_unet__", underscored, ".lora_down.weight", ".lora_up.weight", ".alpha"),
    "onetrainer": (
        "lora_transformer_", lambda layer: underscored(diffusers_name(layer)), ".lora_down.weight",
        ".lora_up.weight", ".alpha",
    ),
    "lycoris": ("lycoris_", underscored, ".lora_down.weight", ".lora_up.weight", ".alpha"),
    "diffusers": ("transformer.", diffusers_name, ".lora_A.weight", ".lora_B.weight", None),
    "diffusers, second expert alone": ("transformer_2.", diffusers_name, ".lora_A.weight", ".lora_B.weight", None),
    "diffusers, without prefix": ("", diffusers_name, ".lora.down.weight", ".lora.up.weight", None),
    "peft": ("base_model.model.", official, ".lora_A.weight", ".lora_B.weight", None),
    "peft over diffusers": ("base_model.model.", diffusers_name, ".lora_A.weight", ".lora_B.weight", None),
    "peft, named adapter": (
        "base_model.model.", official, ".lora_A.my_style.weight", ".lora_B.my_style.weight", None,
    ),
    "diffsynth": ("", official, ".lora_A.default.weight", ".lora_B.default.weight", None),
    "diffsynth, pipe": ("pipe.dit.", official, ".lora_A.default.weight", ".lora_B.default.weight", None),
    "bare parameters": ("diffusion_model.", official, ".lora_A", ".lora_B", None),
    "compiled": ("diffusion_model._orig_mod.", official, ".lora_A.weight", ".lora_B.weight", None),
}  # fmt: skip


def write(path: Path, reference, spelling: str, metadata: dict[str, str] | None = None) -> Path:
    prefix, spell, down_end, up_end, alpha_end = SPELLINGS[spelling]
    tensors = {}
    for layer, (down, up) in reference.items():
        name = prefix + spell(layer)
        tensors[name + down_end], tensors[name + up_end] = down, up
        if alpha_end is not None:
            tensors[name + alpha_end] = torch.tensor(ALPHA)
    save_file(tensors, path, metadata)
    return path


def assert_same(adapter: Adapter, reference, scale: float) -> None:
    """Every matrix has its own factors, unmixed, with the scale."""
    assert set(adapter.changes) == {f"{layer}.weight" for layer in reference}
    for layer, (down, up) in reference.items():
        (change,) = adapter.changes[f"{layer}.weight"]
        assert torch.equal(change.delta.down, down) and torch.equal(change.delta.up, up), layer
        assert change.delta.scale == pytest.approx(scale) and change.magnitude is None


def save(tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    path = tmp_path / "some_lora.safetensors"
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata)
    return path


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_gives_the_same_adapters(tmp_path, shapes, reference, spelling):
    """attn1 is self-attention and attn2 cross-attention, feed-forward layers included, which a rival mixes up."""
    loaded = read_lora(write(tmp_path / "lora.safetensors", reference, spelling), shapes, model=None)
    has_alpha = SPELLINGS[spelling][4] is not None
    assert_same(loaded.adapter, reference, ALPHA / RANK if has_alpha else 1.0)
    assert loaded.report.unmatched == () and not loaded.report.ignored
    assert loaded.report.matched == len(reference) * (3 if has_alpha else 2)


def test_names_written_with_underscores_stay_apart(shapes):
    layers = {layer_of(name) for name in shapes.shapes}
    assert len({underscored(layer) for layer in layers}) == len(layers)


@pytest.mark.parametrize("spelling", ["peft", "peft over diffusers", "diffusion_model"])
def test_rank_stabilised_only_where_the_file_says_so(tmp_path, shapes, reference, spelling):
    """A rival takes every `base_model.model.` file as rank-stabilised, and multiplies it by the root of the rank."""
    path = write(tmp_path / "lora.safetensors", reference, spelling)
    assert_same(read_lora(path, shapes, model=None).adapter, reference, 1.0)
    for said, scale in ((False, 8 / RANK), (True, 8 / RANK**0.5)):
        settings = {"transformer.lora_alpha": 8, "transformer.r": RANK, "transformer.use_rslora": said}
        write(path, reference, spelling, {"lora_adapter_metadata": json.dumps(settings)})
        assert_same(read_lora(path, shapes, model=None).adapter, reference, scale)


def test_settings_beside_a_file_of_peft(tmp_path, shapes, reference):
    path = write(tmp_path / "adapter_model.safetensors", reference, "peft")
    settings = {"lora_alpha": 2, "alpha_pattern": {"ffn.0": 12}, "use_rslora": False, "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    changes = read_lora(path, shapes, model=None).adapter.changes
    assert changes["blocks.3.ffn.0.weight"][0].delta.scale == 3.0
    assert changes["blocks.3.ffn.2.weight"][0].delta.scale == 0.5


def test_norms_of_diffusers_have_swapped_numbers(tmp_path, shapes):
    """norm2 of diffusers is the official norm3; its norm3 has no parameters."""
    tensors = {
        "transformer.blocks.2.norm2.diff": torch.ones(48),
        "transformer.blocks.2.norm2.diff_b": 2 * torch.ones(48),
        "transformer.blocks.2.norm3.diff": 3 * torch.ones(48),
        "transformer.blocks.2.attn1.norm_q.diff": 4 * torch.ones(48),
        "transformer.blocks.2.attn2.norm_added_k.diff": 5 * torch.ones(48),
    }
    loaded = read_lora(save(tmp_path, tensors), shapes, model=None)
    assert {name: change.delta.values[0].item() for name, (change,) in loaded.adapter.changes.items()} == {
        "blocks.2.norm3.weight": 1.0,
        "blocks.2.norm3.bias": 2.0,
        "blocks.2.self_attn.norm_q.weight": 4.0,
        "blocks.2.cross_attn.norm_k_img.weight": 5.0,
    }
    assert loaded.report.unmatched == ("transformer.blocks.2.norm3.diff",)


def test_distilled_files_lose_nothing(tmp_path, shapes):
    """lightx2v, CausVid and AccVid files carry differences of biases, norms, modulation, head and embeddings."""
    base = "diffusion_model."
    sizes = shapes.shapes
    differences = {
        "blocks.0.self_attn.q.diff_b": "blocks.0.self_attn.q.bias",
        "blocks.0.self_attn.norm_q.diff": "blocks.0.self_attn.norm_q.weight",
        "blocks.0.norm3.diff": "blocks.0.norm3.weight",
        "blocks.0.norm3.diff_b": "blocks.0.norm3.bias",
        "blocks.0.diff_m": "blocks.0.modulation",
        "blocks.0.ffn.2.diff": "blocks.0.ffn.2.weight",
        "head.diff_m": "head.modulation",
        "head.head.diff": "head.head.weight",
        "head.head.diff_b": "head.head.bias",
        "patch_embedding.diff": "patch_embedding.weight",
        "patch_embedding.diff_b": "patch_embedding.bias",
        "text_embedding.0.diff_b": "text_embedding.0.bias",
        "time_embedding.2.diff": "time_embedding.2.weight",
        "time_projection.1.diff_b": "time_projection.1.bias",
        "img_emb.proj.0.diff": "img_emb.proj.0.weight",
        "img_emb.proj.4.diff_b": "img_emb.proj.4.bias",
    }
    tensors = {base + key: torch.randn(sizes[name]) for key, name in differences.items()}
    tensors[base + "blocks.1.modulation.diff"] = torch.randn(6, 48)  # also written without the batch dimension
    loaded = read_lora(save(tmp_path, tensors), shapes, model=None)
    assert set(loaded.adapter.changes) == {*differences.values(), "blocks.1.modulation"}
    assert loaded.report.unmatched == () and loaded.report.matched == len(tensors)
    for key, name in differences.items():
        values = loaded.adapter.changes[name][0].delta.values
        assert torch.equal(values.flatten(), tensors[base + key].flatten())


def test_lora_on_the_patch_convolution(tmp_path, shapes):
    down, up = torch.randn(RANK, 36, 1, 2, 2), torch.randn(48, RANK, 1, 1, 1)
    tensors = {"patch_embedding.lora_down.weight": down, "patch_embedding.lora_up.weight": up}
    changes = read_lora(save(tmp_path, tensors), shapes, model=None).adapter.changes
    found = changes["patch_embedding.weight"][0].delta.rows(slice(None))
    assert torch.allclose(found.view(48, 36, 1, 2, 2), torch.einsum("or,rikhw->oikhw", up.flatten(1), down), atol=1e-5)


LAYER = "lora_unet_blocks_11_ffn_0"  # [64, 48]


@pytest.mark.parametrize("end", [".dora_scale", ".lora_magnitude_vector", ".lora_magnitude_vector.weight",
                                 ".lora_magnitude_vector.default.weight"])  # fmt: skip
@pytest.mark.parametrize("shape", [(64, 1), (64,), (1, 48)])
def test_dora(tmp_path, shapes, end, shape):
    magnitude = torch.rand(shape) + 1
    tensors = {
        f"{LAYER}.lora_down.weight": torch.randn(RANK, 48),
        f"{LAYER}.lora_up.weight": torch.randn(64, RANK),
        f"{LAYER}{end}": magnitude,
    }
    (change,) = read_lora(save(tmp_path, tensors), shapes, model=None).adapter.changes["blocks.11.ffn.0.weight"]
    assert isinstance(change.delta, LowRank)
    assert tuple(change.magnitude.shape) == ((1, 48) if shape == (1, 48) else (64, 1))
    assert torch.equal(change.magnitude.flatten(), magnitude.flatten())


def kronecker_parts(left: str, right: str) -> dict[str, Tensor]:
    parts = {}
    for side, (out, inner), form in (("w1", (8, 6), left), ("w2", (8, 8), right)):
        if form == "whole":
            parts[f"lokr_{side}"] = torch.randn(out, inner)
        else:
            parts |= {f"lokr_{side}_a": torch.randn(out, 3), f"lokr_{side}_b": torch.randn(3, inner)}
    return parts


def whole(parts: dict[str, Tensor], side: str) -> Tensor:
    name = f"lokr_{side}"
    return parts[name] if name in parts else parts[name + "_a"] @ parts[name + "_b"]


@pytest.mark.parametrize("left", ["whole", "product"])
@pytest.mark.parametrize("right", ["whole", "product"])
def test_lokr(tmp_path, shapes, left, right):
    """alpha / rank holds for products; for two whole matrices alpha has no effect, as in LyCORIS."""
    parts = kronecker_parts(left, right)
    tensors = {f"{LAYER}.{name}": value for name, value in parts.items()} | {f"{LAYER}.alpha": torch.tensor(1.5)}
    (change,) = read_lora(save(tmp_path, tensors), shapes, model=None).adapter.changes["blocks.11.ffn.0.weight"]
    assert isinstance(change.delta, Kronecker)
    scale = 1.0 if left == right == "whole" else 0.5
    expected = scale * torch.kron(whole(parts, "w1"), whole(parts, "w2"))
    assert torch.allclose(change.delta.rows(slice(None)), expected, rtol=1e-5, atol=1e-5)


def test_loha(tmp_path, shapes):
    parts = {
        "hada_w1_a": torch.randn(64, 3), "hada_w1_b": torch.randn(3, 48), "hada_w2_a": torch.randn(64, 3),
        "hada_w2_b": torch.randn(3, 48),
    }  # fmt: skip
    tensors = {f"{LAYER}.{name}": value for name, value in parts.items()} | {f"{LAYER}.alpha": torch.tensor(1.5)}
    (change,) = read_lora(save(tmp_path, tensors), shapes, model=None).adapter.changes["blocks.11.ffn.0.weight"]
    assert isinstance(change.delta, Hadamard)
    expected = 0.5 * (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
    assert torch.allclose(change.delta.rows(slice(None)), expected, rtol=1e-5, atol=1e-5)


def test_lycoris_norms_and_lora_biases(tmp_path, shapes):
    tensors = {
        "lycoris_blocks_0_norm3.w_norm": torch.randn(48),
        "lycoris_blocks_0_norm3.b_norm": torch.randn(48),
        f"{LAYER}.lora_down.weight": torch.randn(RANK, 48),
        f"{LAYER}.lora_up.weight": torch.randn(64, RANK),
        f"{LAYER}.lora_up.bias": torch.randn(64),
        f"{LAYER}.alpha": torch.tensor(2.0),
    }
    changes = read_lora(save(tmp_path, tensors), shapes, model=None).adapter.changes
    assert set(changes) == {
        "blocks.0.norm3.weight", "blocks.0.norm3.bias", "blocks.11.ffn.0.weight", "blocks.11.ffn.0.bias"
    }  # fmt: skip
    assert changes["blocks.11.ffn.0.bias"][0].delta.scale == 2.0 / RANK


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_number_formats(tmp_path, shapes, dtype):
    down, up = torch.randn(RANK, 48).to(dtype), torch.randn(64, RANK).to(dtype)
    tensors = {f"{LAYER}.lora_down.weight": down, f"{LAYER}.lora_up.weight": up}
    (change,) = read_lora(save(tmp_path, tensors), shapes, model=None).adapter.changes["blocks.11.ffn.0.weight"]
    assert torch.equal(change.delta.down.float(), down.float()) and torch.equal(change.delta.up.float(), up.float())


@pytest.mark.parametrize("alpha", [torch.tensor(2), torch.tensor([2], dtype=torch.int32), torch.tensor([[2.0]])])
def test_alpha_may_be_a_whole_number(tmp_path, shapes, alpha):
    """kohya's trainers write an alpha that was given as 2 as an integer."""
    pair = {f"{LAYER}.lora_down.weight": torch.ones(RANK, 48), f"{LAYER}.lora_up.weight": torch.ones(64, RANK)}
    loaded = read_lora(save(tmp_path, pair | {f"{LAYER}.alpha": alpha}), shapes, model=None)
    assert loaded.adapter.changes["blocks.11.ffn.0.weight"][0].delta.scale == 2 / RANK


def test_pickled_loras_are_read(tmp_path, shapes):
    tensors = {f"{LAYER}.lora_down.weight": torch.randn(RANK, 48), f"{LAYER}.lora_up.weight": torch.randn(64, RANK)}
    torch.save(tensors, tmp_path / "lora.pt")
    (change,) = read_lora(tmp_path / "lora.pt", shapes, model=None).adapter.changes["blocks.11.ffn.0.weight"]
    assert isinstance(change, Change) and torch.equal(change.delta.down, tensors[f"{LAYER}.lora_down.weight"])


def test_a_difference_of_a_matrix_stays_a_matrix(tmp_path, shapes):
    values = torch.randn(64, 48)
    (change,) = read_lora(save(tmp_path, {f"{LAYER}.diff": values}), shapes, model=None).adapter.changes[
        "blocks.11.ffn.0.weight"
    ]
    assert isinstance(change.delta, Full) and torch.equal(change.delta.values, values)


@pytest.mark.parametrize("spelling", ["diffusion_model", "kohya, musubi", "diffusers"])
def test_image_branch_is_ignored_and_counted_without_clip(tmp_path, reference, spelling):
    """LoRAs of Wan 2.1 image to video on Wan 2.2 or text to video."""
    path = write(tmp_path / "lora.safetensors", reference, spelling)
    shapes = ParameterShapes.of(meta_model(branches=()))
    report = read_lora(path, shapes, model=None).report
    each = 3 if spelling == "kohya, musubi" else 2
    image = sum("_img" in layer or "img_emb" in layer for layer in reference)
    assert image == 12 * 2 + 2
    assert report.ignored == {"of the CLIP image branch, which this model does not have": image * each}
    assert report.unmatched == () and report.matched == (len(reference) - image) * each
    assert f"{image * each} ignored (of the CLIP image branch" in report.line()
    assert f"{report.matched} of {report.total} tensors matched" in report.line()


def test_modulation_of_vace_blocks_is_matched_where_there_are_some(tmp_path, shapes):
    """The name of a `diff_m` is that of its block, which is no layer by itself."""
    path = save(
        tmp_path, {f"diffusion_model.{kind}.1.diff_m": torch.ones(1, 6, 48) for kind in ("blocks", "vace_blocks")}
    )
    loaded = read_lora(path, ParameterShapes.of(meta_model(in_channels=16, branches=(VaceBranch(2),))), model=None)
    assert set(loaded.adapter.changes) == {"blocks.1.modulation", "vace_blocks.1.modulation"}
    assert loaded.report.ignored == {}
    report = read_lora(path, shapes, model=None).report
    assert report.ignored == {"of VACE, which this model does not have": 1} and report.matched == 1


def test_text_encoders_and_other_channels_are_ignored_and_counted(tmp_path, shapes):
    tensors = {
        f"{LAYER}.lora_down.weight": torch.randn(RANK, 48),
        f"{LAYER}.lora_up.weight": torch.randn(64, RANK),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.randn(RANK, 8),
        "text_encoder.block.0.q.lora_A.weight": torch.randn(RANK, 8),
        "lora_unet_patch_embedding.diff": torch.randn(48, 16, 1, 2, 2),  # text to video on an image-to-video model
        "diffusion_model.blocks.99.self_attn.q.diff_b": torch.randn(48),
        "step": torch.tensor(3.0),
    }
    report = read_lora(save(tmp_path, tensors), shapes, model=None).report
    assert report.ignored == {"of a text encoder": 2, "of a layer for another number of channels": 1}
    assert set(report.unmatched) == {"diffusion_model.blocks.99.self_attn.q.diff_b", "step"}
    assert report.matched == 2 and report.total == len(tensors)


def test_of_two_experts_in_one_file_the_first_is_taken(tmp_path, shapes):
    name = "blocks.0.attn1.to_q.lora_{}.weight"
    tensors = {
        prefix + name.format(half): value * torch.ones(48, 48)
        for prefix, value in (("transformer.", 1.0), ("transformer_2.", 2.0))
        for half in "AB"
    }
    loaded = read_lora(save(tmp_path, tensors), shapes, model=None)
    assert loaded.adapter.changes["blocks.0.self_attn.q.weight"][0].delta.down[0, 0] == 1.0
    assert loaded.report.ignored == {"of a second expert (transformer_2)": 2}
    assert loaded.holds_two_experts
