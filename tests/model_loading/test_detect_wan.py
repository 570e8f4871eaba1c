"""Every form of a Wan model is recognised by its header: true names and shapes, no weights."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from wan_director.common.errors import CheckpointError
from wan_director.common.families import TINY, WAN_2_1, WAN_2_2_5B
from wan_director.dit.branches.camera import CameraBranch
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.module import BranchModule
from wan_director.dit.branches.scail import ScailBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.model_loading import kinds
from wan_director.model_loading.describe import describe
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.model_loading.spec import require_kind
from wan_director.nodes.files.places import sentence
from wan_director.text_encoder.clip_vision import CLIP_VIT_H, ClipVisionEncoder
from wan_director.text_encoder.umt5 import UMT5_XXL, UMT5Encoder
from wan_director.vae3d.config import WAN_2_1_VAE, VAEConfig
from wan_director.vae3d.vae import CausalVAE


def _state(make) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return make().state_dict()


def _entries(state: dict[str, torch.Tensor], dtype: str = "BF16", prefix: str = "") -> dict[str, tuple]:
    return {prefix + key: (dtype, tuple(value.shape)) for key, value in state.items()}


@cache
def _dit(name: str = "t2v-14B", **changes: object) -> dict[str, torch.Tensor]:
    return _state(lambda: WanDiT(replace(PRESETS[name], **changes)))


def _inspect(path):
    return inspect_checkpoint(open_checkpoint(path))


# From the table of published models: tensors in the file, millions of parameters.
@pytest.mark.parametrize(
    ("preset", "keys", "parameters", "start_image", "clip"),
    [
        ("t2v-1.3B", 825, 1419.0, "none", False),
        ("t2v-14B", 1095, 14288.5, "none", False),
        ("i2v-14B", 1303, 16394.9, "required", True),
        ("flf2v-14B", 1304, 16395.5, "required", True),
        ("i2v-A14B", 1095, 14288.9, "required", False),
        ("fun-inp-1.3B", 983, 1564.4, "required", True),
        ("s2v-14B", 1260, 16295.8, "none", False),
        ("humo-17B", 1583, 17055.9, "none", False),
        ("dancer-14B", 1424, 17245.2, "required", True),
        ("vace-1.3B", 1264, 2154.0, "none", False),
        ("vace-14B", 1331, 17337.6, "none", False),
    ],
)
def test_published_transformers(header_file, preset, keys, parameters, start_image, clip) -> None:
    spec = _inspect(header_file(_entries(_dit(preset))))
    assert (spec.kind.name, spec.preset, spec.config, spec.family) == ("dit", preset, PRESETS[preset], WAN_2_1)
    assert len(spec.sources) == keys
    assert spec.parameters / 1e6 == pytest.approx(parameters, abs=0.06)
    assert (spec.start_image, spec.takes_clip) == (start_image, clip)
    assert (spec.naming, spec.prefix, spec.file_dtype, spec.weight_format.name) == ("official", "", "BF16", "plain")
    assert ("clip_vision_h.safetensors" in spec.goes_with) == clip
    assert {"wan_2.1_vae.safetensors", "umt5_xxl_fp16.safetensors"} <= set(spec.goes_with)


def test_ti2v_5b_has_a_family_of_its_own(header_file) -> None:
    spec = _inspect(header_file(_entries(_dit("ti2v-5B"))))
    assert (spec.preset, spec.config, spec.family) == ("ti2v-5B", PRESETS["ti2v-5B"], WAN_2_2_5B)
    assert (len(spec.sources), spec.title, spec.start_image, spec.takes_clip) == (
        825, "Wan 2.2 TI2V 5B", "optional", False,
    )  # fmt: skip
    assert spec.goes_with == ("wan2.2_vae.safetensors", "umt5_xxl_fp16.safetensors")


@pytest.mark.parametrize("size", ["1.3B", "14B"])
@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_vace_modules_are_parts_to_add_to_a_model(header_file, size: str, prefix: str) -> None:
    state = {key: value for key, value in _dit(f"vace-{size}").items() if key.startswith("vace_")}
    spec = _inspect(header_file(_entries(state, "BF16", prefix)))
    assert (spec.kind.name, spec.title, spec.family) == ("vace_module", f"the VACE module {size}", WAN_2_1)
    assert spec.sources.keys() == _state(lambda: BranchModule(spec.config)).keys() == state.keys()
    with pytest.raises(CheckpointError) as refused:
        require_kind(spec, kinds.DIT)
    assert re.search("is a VACE module .*choose it in Load Wan Model as its vace_module", sentence(refused.value))


def test_more_vace_blocks_than_blocks_are_refused(header_file) -> None:
    state = {key: value for key, value in _dit("vace-1.3B").items() if not re.match(r"blocks\.([4-9]|\d\d)\.", key)}
    with pytest.raises(CheckpointError, match="15 VACE blocks for 4 blocks"):
        _inspect(header_file(_entries(state)))


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", "model.", "_orig_mod."])
def test_prefixes_are_taken_off(header_file, prefix: str) -> None:
    spec = _inspect(header_file(_entries(_dit("t2v-1.3B"), "F16", prefix)))
    assert (spec.preset, spec.file_dtype) == ("t2v-1.3B", "F16")
    assert spec.prefix == ("" if prefix == "_orig_mod." else prefix)
    assert spec.sources["head.modulation"].keys == (prefix + "head.modulation",)


def test_names_from_a_compiled_model_are_understood(header_file) -> None:
    names = {key.replace("blocks.0.", "blocks.0._orig_mod."): value for key, value in _dit("t2v-1.3B").items()}
    assert _inspect(header_file(_entries(names))).preset == "t2v-1.3B"


def test_other_published_sizes_are_named(header_file) -> None:
    expert = _inspect(header_file(_entries(_dit("i2v-14B", branches=()))))
    assert (expert.title, expert.start_image, expert.takes_clip) == (
        "one expert of Wan 2.2 I2V A14B",
        "required",
        False,
    )
    fun = _inspect(header_file(_entries(_dit("fun-inp-1.3B"))))
    assert fun.title == "Wan 2.1 Fun-InP 1.3B"
    for changes, title in (
        ({"layers": 4}, "a Wan 2.1 T2V model of another size"),
        ({"layers": 4, "in_channels": 36}, "a Wan 2.1 I2V model of another size"),
        ({"layers": 4, "in_channels": 48, "out_channels": 48}, "a Wan 2.2 TI2V model of another size"),
        ({"layers": 4, "branches": (VaceBranch(2),)}, "a Wan 2.1 VACE model of another size"),
        ({"layers": 4, "in_channels": 48}, "a Wan 2.1 Fun-Control model of another size"),
        ({"layers": 4, "in_channels": 100, "out_channels": 48}, "a Wan 2.2 Fun-InP model of another size"),
        ({"layers": 4, "in_channels": 20, "branches": (ScailBranch(),)}, "a Wan 2.1 SCAIL model of another size"),
        ({"layers": 4, "in_channels": 32, "branches": (CameraBranch(),)}, "a Wan 2.1 Fun-Camera model of another size"),
    ):
        assert _inspect(header_file(_entries(_dit("t2v-1.3B", **changes)))).title == title
    assert "Wan 2.2 T2V A14B" in _inspect(header_file(_entries(_dit("t2v-14B")))).title


IN_DIFFUSERS = [
    name
    for name, config in PRESETS.items()
    if all(isinstance(each, ClipBranch | VaceBranch) for each in config.branches)
]


@pytest.mark.parametrize("preset", IN_DIFFUSERS)
def test_diffusers_transformers(header_file, preset: str) -> None:
    from diffusers import WanTransformer3DModel, WanVACETransformer3DModel

    config = PRESETS[preset]
    vace, clip = config.branch(VaceBranch), config.branch(ClipBranch)
    build = WanTransformer3DModel
    if vace is not None:
        build = partial(WanVACETransformer3DModel, vace_layers=list(vace.steered_layers(config.layers)))
    state = _state(
        lambda: build(
            num_attention_heads=config.heads,
            attention_head_dim=config.head_dim,
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            ffn_dim=config.ffn_dim,
            num_layers=config.layers,
            image_dim=clip.dim if clip else None,
            added_kv_proj_dim=config.dim if clip else None,
            pos_embed_seq_len=clip.positions if clip else None,
        )
    )
    spec = _inspect(header_file(_entries(state, "F32")))
    assert (spec.naming, spec.preset, spec.config) == ("diffusers", preset, config)
    assert spec.sources.keys() == _dit(preset).keys()


@pytest.mark.parametrize("prefix", ["", "model.", "vae."])
def test_official_vae(header_file, prefix: str) -> None:
    spec = _inspect(header_file(_entries(_state(CausalVAE), "F16", prefix)))
    assert (spec.kind.name, spec.config, spec.family, spec.title) == ("vae", WAN_2_1_VAE, WAN_2_1, "the Wan 2.1 VAE")
    assert len(spec.sources) == 194
    assert spec.parameters / 1e6 == pytest.approx(126.89, abs=0.01)


@pytest.mark.parametrize(
    "config",
    [
        VAEConfig(base_channels=16, residual_blocks=1),
        VAEConfig(base_channels=24),
        VAEConfig(base_channels=96, decoder_base_channels=48),
        VAEConfig(base_channels=8, channel_multipliers=(1, 2, 3, 4), temporal_downsample=(True, True, False)),
    ],
)
def test_vae_sizes_are_read_from_shapes(header_file, config: VAEConfig) -> None:
    assert _inspect(header_file(_entries(_state(lambda: CausalVAE(config))))).config == config


@pytest.mark.parametrize("blocks", [1, 2])
def test_diffusers_vae(header_file, blocks: int) -> None:
    from diffusers import AutoencoderKLWan

    spec = _inspect(header_file(_entries(_state(lambda: AutoencoderKLWan(num_res_blocks=blocks)), "F32")))
    config = VAEConfig(residual_blocks=blocks)
    assert (spec.kind.name, spec.naming, spec.config) == ("vae", "diffusers", config)
    assert spec.sources.keys() == _state(lambda: CausalVAE(config)).keys()


def test_official_umt5(header_file) -> None:
    spec = _inspect(header_file(_entries(_state(lambda: UMT5Encoder(UMT5_XXL)))))
    assert (spec.kind.name, spec.config, spec.family, spec.naming) == ("text_encoder", UMT5_XXL, WAN_2_1, "official")
    assert (len(spec.sources), spec.title) == (242, "UMT5-XXL")
    assert spec.parameters / 1e9 == pytest.approx(5.681, abs=0.001)


def _hf_umt5() -> dict[str, torch.Tensor]:
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        vocab_size=256384,
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=24,
        num_heads=64,
        feed_forward_proj="gated-gelu",
    )
    return _state(lambda: UMT5EncoderModel(config))


@pytest.mark.parametrize("embedding", ["shared.weight", "encoder.embed_tokens.weight", "both"])
def test_hugging_face_umt5(header_file, embedding: str) -> None:
    state = _hf_umt5()
    if embedding != "both":
        state = {key: value for key, value in state.items() if "layer" in key or "norm" in key or key == embedding}
    spec = _inspect(header_file(_entries(state)))
    assert (spec.naming, spec.config) == ("hf", UMT5_XXL)
    assert spec.sources.keys() == _state(lambda: UMT5Encoder(UMT5_XXL)).keys()


def test_comfy_umt5_carries_its_tokenizer(header_file) -> None:
    entries = {**_entries(_hf_umt5(), "F16"), "spiece_model": ("U8", (4_548_313,))}
    spec = _inspect(header_file(entries))
    assert (spec.naming, spec.config, spec.extras) == ("comfy", UMT5_XXL, ("spiece_model",))


@pytest.mark.parametrize(("name", "kind"), [("step", "I64"), ("is_ema", "BOOL"), ("model_type.Wan2_1", "I32")])
def test_a_mark_or_counter_beside_the_weights_is_no_number_format(header_file, name: str, kind: str) -> None:
    spec = _inspect(header_file({**_entries(_state(lambda: WanDiT(PRESETS["t2v-1.3B"]))), name: (kind, (1,))}))
    assert (spec.preset, spec.weight_format.name, spec.file_dtype) == ("t2v-1.3B", "plain", "BF16")


def test_whole_numbers_for_weights_are_an_unknown_format(header_file) -> None:
    entries = _entries(_state(lambda: WanDiT(PRESETS["t2v-1.3B"])))
    entries["blocks.0.ffn.0.weight"] = ("I32", entries["blocks.0.ffn.0.weight"][1])
    with pytest.raises(CheckpointError, match="unknown number format .*I32"):
        _inspect(header_file(entries))


@pytest.mark.parametrize("prefix", ["", "visual."])
def test_official_clip_vision(header_file, prefix: str) -> None:
    extras = {"log_scale": ("F32", ()), "textual.token_embedding.weight": ("F32", (250002, 1024))} if prefix else {}
    spec = _inspect(header_file({**_entries(_state(lambda: ClipVisionEncoder(CLIP_VIT_H)), prefix=prefix), **extras}))
    assert (spec.kind.name, spec.config, spec.naming) == ("clip_vision", CLIP_VIT_H, "official")
    assert len(spec.sources) == 392
    assert spec.parameters / 1e6 == pytest.approx(632.1, abs=0.1)
    assert spec.extras == tuple(sorted(extras))


def test_hugging_face_clip_vision(header_file) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=1280,
        intermediate_size=5120,
        projection_dim=1024,
        num_hidden_layers=32,
        num_attention_heads=16,
        patch_size=14,
    )
    entries = _entries(_state(lambda: CLIPVisionModelWithProjection(config)), "F16")
    entries["vision_model.embeddings.position_ids"] = ("I64", (1, 257))
    spec = _inspect(header_file(entries))
    assert (spec.naming, spec.config) == ("hf", CLIP_VIT_H)
    assert spec.sources.keys() == _state(lambda: ClipVisionEncoder(CLIP_VIT_H)).keys()
    assert spec.extras == ("vision_model.embeddings.position_ids",)


TINY_DIT = DiTConfig(dim=192, ffn_dim=768, heads=4, layers=4, in_channels=36, text_dim=128, branches=(ClipBranch(64),))


def test_tiny_files_say_what_shapes_cannot(header_file) -> None:
    entries = _entries(_state(lambda: WanDiT(TINY_DIT)), "F16")
    metadata = {"wan_director.family": "tiny", "wan_director.heads": "4"}
    spec = _inspect(header_file(entries, metadata))
    assert (spec.family, spec.config, spec.start_image) == (TINY, TINY_DIT, "optional")
    assert spec.title == "I2V of the tiny demo model"
    with pytest.raises(CheckpointError, match="width 192, which is no multiple of 128"):
        _inspect(header_file(entries))
    with pytest.raises(CheckpointError, match="family 'wan9', which this version does not know"):
        _inspect(header_file(entries, {**metadata, "wan_director.family": "wan9"}))


@pytest.mark.parametrize("heads", ["0", "5", "many", "-4", "9" * 30])
def test_impossible_head_counts_are_refused(header_file, heads: str) -> None:
    metadata = {"wan_director.family": "tiny", "wan_director.heads": heads}
    with pytest.raises(CheckpointError, match="number of heads"):
        _inspect(header_file(_entries(_state(lambda: WanDiT(TINY_DIT))), metadata))


def test_a_model_with_another_text_width_is_of_another_family(header_file) -> None:
    with pytest.raises(CheckpointError, match="text width of 2048 where Wan 2.1 has"):
        _inspect(header_file(_entries(_dit("t2v-1.3B", text_dim=2048))))


def test_description_says_what_it_is_and_what_goes_with_it(header_file) -> None:
    path = header_file(_entries(_dit("i2v-14B"), "F16", "model.diffusion_model."), name="some_name.safetensors")
    checkpoint = open_checkpoint(path)
    text = describe(inspect_checkpoint(checkpoint), checkpoint)
    for part in (
        "some_name.safetensors",
        "Wan 2.1 I2V 14B (diffusion model)",
        "32.8 GB, 16,394.9 million weights",
        "fp16 (plain)",
        "ComfyUI names behind 'model.diffusion_model.', 1,303 tensors",
        "needs a start image and its CLIP vision features",
        "models/diffusion_models",
        "wan_2.1_vae.safetensors (Comfy-Org/Wan_2.1_ComfyUI_repackaged)",
        "clip_vision_h.safetensors",
    ):
        assert part in text


def test_a_model_in_the_wrong_loader_is_sent_to_the_right_one(header_file) -> None:
    spec = _inspect(header_file(_entries(_state(CausalVAE)), name="wan_2.1_vae.safetensors"))
    require_kind(spec, kinds.VAE)
    with pytest.raises(CheckpointError) as error:
        require_kind(spec, kinds.DIT)
    assert sentence(error.value) == (
        "wan_2.1_vae.safetensors is a VAE (the Wan 2.1 VAE), not a diffusion model: put it into models/vae and choose "
        "it in Load Wan VAE. Here choose a file such as wan2.1_t2v_1.3B_bf16.safetensors."
    )
