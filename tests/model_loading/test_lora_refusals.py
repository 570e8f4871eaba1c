"""LoRAs that cannot work are refused in a sentence that says what they are, what fits, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.errors import CheckpointError, MissingFileError, PairingError
from wan_director.dit.adapters import ParameterShapes
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading.files.safetensors_file import SafetensorsFile
from wan_director.model_loading.lora import check_lora, read_lora
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.nodes.files.places import sentence
from wan_director.vae3d import WAN_2_1_VAE, CausalVAE

torch.set_num_threads(1)

LAYER = "diffusion_model.blocks.0.self_attn.q"
WIDTHS = {"1.3B": (1536, 8960), "5B": (3072, 14336), "14B": (5120, 13824)}


def wan(size: str) -> WanDiT:
    """A transformer of true width and two blocks, without memory."""
    dim, ffn = WIDTHS[size]
    with torch.device("meta"):
        return WanDiT(DiTConfig(dim=dim, ffn_dim=ffn, heads=dim // 128, layers=2))


@pytest.fixture
def model(header_file):
    """model(size) -> (spec, shapes) of a text-to-video model, from a file with a true header."""

    def make(size: str):
        module = wan(size)
        tensors = {name: ("BF16", tuple(value.shape)) for name, value in module.state_dict().items()}
        path = header_file(tensors, name=f"wan_{size}.safetensors")
        return inspect_checkpoint(open_checkpoint(path)), ParameterShapes.of(module)

    return make


def sizes_of(size: str, rank: int = 8) -> dict[str, tuple[str, tuple[int, ...]]]:
    dim, ffn = WIDTHS[size]
    layers = {"self_attn.q": (dim, dim), "cross_attn.v": (dim, dim), "ffn.0": (ffn, dim), "ffn.2": (dim, ffn)}
    return {
        f"diffusion_model.blocks.{block}.{layer}.lora_{half}.weight": ("BF16", shape)
        for block in range(2)
        for layer, (out, inner) in layers.items()
        for half, shape in (("A", (rank, inner)), ("B", (out, rank)))
    }


@pytest.mark.parametrize(("lora", "onto"), [("1.3B", "14B"), ("14B", "1.3B"), ("5B", "14B"), ("14B", "5B")])
def test_of_another_size(header_file, monkeypatch, lora, onto):
    """Named by both sizes, from shapes alone."""
    titles = {"1.3B": "Wan 2.1 1.3B", "5B": "Wan 2.2 5B", "14B": "the 14B models of Wan 2.1 and 2.2"}
    path = header_file(sizes_of(lora), name="style.safetensors")
    shapes = ParameterShapes.of(wan(onto))
    spec = FakeSpec(onto)
    monkeypatch.setattr(SafetensorsFile, "read", lambda *_: pytest.fail("a tensor was read before the shapes fitted"))
    with pytest.raises(PairingError) as refusal:
        read_lora(path, shapes, spec)
    found = str(refusal.value)
    assert found.startswith(f"style.safetensors is a LoRA for {titles[lora]}, but wan_{onto}.safetensors is ")
    assert found.endswith(f"Use a LoRA for {titles[onto]}.")
    assert re.search(r"\(blocks\.0\.self_attn\.q is \d+ x \d+ in the LoRA and \d+ x \d+ in the model\)", found)


class FakeSpec:
    """As much of a ModelSpec as the sentences name, where building one would only cost time."""

    def __init__(self, size: str) -> None:
        self.path = Path(f"wan_{size}.safetensors")
        self.title = f"Wan {size}"
        self.config = wan(size).config


FOREIGN = {
    "Flux": (
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
        "lora_unet_double_blocks_0_img_mlp_0.lora_down.weight",
        "lora_unet_single_blocks_0_linear1.lora_down.weight",
    ),
    "HunyuanVideo": (
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
        "lora_unet_double_blocks_0_img_mlp_fc1.lora_down.weight",
        "lora_unet_single_blocks_0_linear1.lora_down.weight",
    ),
    "Stable Diffusion (1.5, 2 or XL)": ("lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight",),
    "LTX-Video, CogVideoX, Qwen-Image or Stable Diffusion 3": (
        "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight",
    ),
}


@pytest.mark.parametrize("family", FOREIGN)
def test_of_another_family(header_file, model, family):
    path = header_file(dict.fromkeys(FOREIGN[family], ("BF16", (8, 3072))), name="style.safetensors")
    spec, shapes = model("14B")
    with pytest.raises(PairingError) as refusal:
        read_lora(path, shapes, spec)
    assert str(refusal.value) == (
        f"style.safetensors is a LoRA for {family}: none of its {len(FOREIGN[family])} tensors fits "
        f"wan_14B.safetensors ({spec.title}). Use a LoRA for the 14B models of Wan 2.1 and 2.2."
    )


def test_nothing_but_ignored_tensors(header_file, model):
    path = header_file({"lora_te_layers_0_q.lora_down.weight": ("F32", (8, 64))}, name="style.safetensors")
    spec, shapes = model("1.3B")
    with pytest.raises(PairingError, match=r"has nothing for this model \(1 of its tensors are of a text encoder\)"):
        read_lora(path, shapes, spec)


def test_nothing_known(header_file, model):
    path = header_file({"decoder.x.lora_down.weight": ("F32", (8, 64))}, name="style.safetensors")
    spec, shapes = model("1.3B")
    with pytest.raises(PairingError, match=r"is a LoRA for another model \(first tensor: 'decoder.x.lora_down.weight"):
        read_lora(path, shapes, spec)


def small() -> tuple[FakeSpec, ParameterShapes]:
    with torch.device("meta"):
        config = DiTConfig(dim=48, ffn_dim=64, heads=4, layers=1, text_dim=40, freq_dim=32)
        return FakeSpec("1.3B"), ParameterShapes.of(WanDiT(config))


def refusal_of(tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    path = tmp_path / "style.safetensors"
    save_file(tensors, path, metadata)
    spec, shapes = small()
    with pytest.raises(CheckpointError) as refusal:
        read_lora(path, shapes, spec)
    message = str(refusal.value)
    assert message.startswith("style.safetensors") and message.endswith(".") and "\n" not in message
    return message


def pair(**changes: Tensor) -> dict[str, Tensor]:
    parts = {"lora_down.weight": torch.ones(4, 48), "lora_up.weight": torch.ones(48, 4), **changes}
    return {f"{LAYER}.{name}": value for name, value in parts.items()}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_numbers(tmp_path, value, dtype):
    down = torch.ones(4, 48, dtype=dtype)
    down[3, 47] = value
    assert "holds values that are no numbers" in refusal_of(tmp_path, pair(**{"lora_down.weight": down}))


def test_no_numbers_in_fp8(tmp_path):
    down = torch.full((4, 48), float("nan")).to(torch.float8_e4m3fn)
    assert "holds values that are no numbers" in refusal_of(tmp_path, pair(**{"lora_down.weight": down}))


@pytest.mark.parametrize("alpha", [torch.tensor(float("nan")), torch.ones(3)])
def test_wrong_alpha(tmp_path, alpha):
    assert re.search("no numbers|no single number", refusal_of(tmp_path, pair(alpha=alpha)))


def test_ranks_that_do_not_fit(tmp_path):
    message = refusal_of(tmp_path, pair(**{"lora_up.weight": torch.ones(48, 5)}))
    assert "the LoRA of blocks.0.self_attn.q is incomplete or its parts do not fit each other" in message
    assert "(down [4, 48], up [48, 5])" in message


@pytest.mark.parametrize(
    "tensors",
    [
        {"lora_down.weight": torch.ones(4, 48)},
        {"lora_up.weight": torch.ones(48, 4)},
        {"hada_w1_a": torch.ones(48, 4), "hada_w1_b": torch.ones(4, 48)},
        {"hada_w1_a": torch.ones(48, 4), "hada_w1_b": torch.ones(4, 48), "hada_w2_a": torch.ones(48, 4),
         "hada_w2_b": torch.ones(4, 47)},
        {"lokr_w1": torch.ones(8, 8), "lokr_w2_a": torch.ones(6, 2)},
        {"lokr_w1": torch.ones(8), "lokr_w2": torch.ones(6, 6)},
        {"lora_down.weight": torch.ones(4), "lora_up.weight": torch.ones(48, 4)},
        {"lora_down.weight": torch.tensor(1.0), "lora_up.weight": torch.tensor(1.0)},
        {"diff": torch.ones(48)},
    ],
    ids=lambda tensors: ",".join(tensors),
)  # fmt: skip
def test_incomplete_layers(tmp_path, tensors):
    named = {f"{LAYER}.{name}": value for name, value in tensors.items()}
    assert "incomplete or its parts do not fit each other" in refusal_of(tmp_path, named)


def test_lengths_without_a_lora(tmp_path):
    named = {f"{LAYER}.dora_scale": torch.ones(48, 1), f"{LAYER}.diff_b": torch.ones(48)}
    assert "has DoRA lengths but no LoRA for blocks.0.self_attn.q" in refusal_of(tmp_path, named)


def test_lengths_of_another_layer(tmp_path):
    assert "DoRA lengths of blocks.0.self_attn.q have the shape [47, 1]" in refusal_of(
        tmp_path, pair(dora_scale=torch.ones(47, 1))
    )


def test_two_forms_at_once(tmp_path):
    assert "changes blocks.0.self_attn.q as LoRA and difference at once" in refusal_of(
        tmp_path, pair(diff=torch.ones(48, 48))
    )


def test_a_layer_twice(tmp_path):
    twice = pair() | {"lora_unet_blocks_0_self_attn_q.lora_down.weight": torch.ones(4, 48)}
    assert "has the same part of blocks.0.self_attn.q twice" in refusal_of(tmp_path, twice)


def test_whole_numbers(tmp_path):
    message = refusal_of(tmp_path, pair(**{"lora_down.weight": torch.ones(4, 48, dtype=torch.int8)}))
    assert "is stored as I8; LoRAs are read in bf16, fp16, fp32 and fp8" in message


@pytest.mark.parametrize("end", ["weight_scale", "scale_weight"])
def test_scaled_factors_are_not_read_without_their_scale(tmp_path, end):
    down = torch.ones(4, 48).to(torch.float8_e4m3fn)
    message = refusal_of(tmp_path, pair(**{"lora_down.weight": down, f"lora_down.{end}": torch.tensor(0.5)}))
    assert "is stored with scales" in message and "Get it in bf16, fp16 or fp32" in message


@pytest.mark.parametrize("settings", ["{", "[1]", '{"lora_alpha": "much"}', '{"lora_alpha": NaN}', "[" * 100_000])
def test_damaged_settings(tmp_path, settings):
    message = refusal_of(tmp_path, pair(), {"lora_adapter_metadata": settings})
    assert "settings" in message


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "a*a*a*a*b", "(?=a)b", r"(a)\\1", "(", "a*" + "b" * 200])
def test_patterns_without_a_bound_are_not_tried(tmp_path, pattern):
    settings = f'{{"lora_alpha": 4, "alpha_pattern": {{"{pattern}": 2}}}}'
    message = refusal_of(tmp_path, pair(), {"lora_adapter_metadata": settings})
    assert "which is no pattern that is tried here: at most 200 characters, three repetitions" in message


def test_lengths_of_the_input_channels_of_a_convolution(tmp_path):
    layer = "diffusion_model.patch_embedding"
    tensors = {
        f"{layer}.lora_down.weight": torch.ones(4, 16, 1, 2, 2),
        f"{layer}.lora_up.weight": torch.ones(48, 4, 1, 1, 1),
        f"{layer}.dora_scale": torch.ones(1, 16, 1, 1, 1),
    }
    message = refusal_of(tmp_path, tensors)
    assert "holds DoRA lengths of patch_embedding for each input channel of a convolution ([1, 16, 1, 1, 1])" in message
    assert "not supported" in message


LYCORIS = {
    "BOFT": {"boft_R.default": (1, 12, 4, 4), "boft_s.default": (48, 1)},
    "OFT or BOFT": {"oft_blocks": (4, 12, 12), "alpha": ()},
    "GLoRA": {f"{part}.weight": (4, 48) for part in ("a1", "a2", "b1", "b2")} | {"alpha": ()},
    "T-LoRA": {"q_layer.weight": (4, 48), "p_layer.weight": (48, 4), "lambda_layer": (1, 4), "alpha": ()},
    "(IA)\N{SUPERSCRIPT THREE}": {"weight": (48, 1), "on_input": ()},
}


@pytest.mark.parametrize("title", LYCORIS)
def test_other_adapters_of_lycoris_are_refused_by_name(tmp_path, title):
    """Names and shapes as LyCORIS 4.1.3 (and PEFT, BOFT) write them."""
    named = {f"lycoris_blocks_0_self_attn_q.{part}": torch.ones(shape) for part, shape in LYCORIS[title].items()}
    assert f" is a {title} adapter (" in refusal_of(tmp_path, named)


def test_part_of_another_adapter_beside_a_lora(tmp_path):
    """To leave it out in silence would give another result than the trainer saw."""
    assert "is a OFT or BOFT adapter" in refusal_of(tmp_path, pair(oft_blocks=torch.ones(4, 12, 12)))


def test_cut_files(tmp_path):
    path = tmp_path / "style.safetensors"
    save_file(pair(), path)
    path.write_bytes(path.read_bytes()[:-100])
    spec, shapes = small()
    for read in (check_lora, lambda path: read_lora(path, shapes, spec)):
        with pytest.raises(CheckpointError, match="is incomplete"):
            read(path)


def test_tucker_decompositions_are_reported_not_misread(tmp_path):
    """A core between down and up is for convolutions; without it the product would be another one."""
    path = tmp_path / "style.safetensors"
    other = {key.replace("self_attn.q", "self_attn.k"): value.clone() for key, value in pair().items()}
    save_file(pair(**{"lora_mid.weight": torch.ones(4, 4)}) | other, path)
    spec, shapes = small()
    loaded = read_lora(path, shapes, spec)
    assert set(loaded.adapter.changes) == {"blocks.0.self_attn.k.weight"}
    assert len(loaded.report.unmatched) == 3


def test_a_full_model_in_the_lora_slot(header_file):
    tensors = {name: ("BF16", tuple(value.shape)) for name, value in wan("1.3B").state_dict().items()}
    with pytest.raises(
        CheckpointError, match="is a diffusion model and not a LoRA: put it into models/diffusion_models"
    ):
        check_lora(header_file(tensors))


def test_a_vae_in_the_lora_slot_is_not_sent_to_the_diffusion_models(header_file):
    with torch.device("meta"):
        state = CausalVAE(WAN_2_1_VAE).state_dict()
    path = header_file({name: ("BF16", tuple(value.shape)) for name, value in state.items()})
    with pytest.raises(CheckpointError) as refused:
        check_lora(path)
    assert re.search("is a VAE and not a LoRA: put it into models/vae and .* in Load Wan VAE", sentence(refused.value))


def test_something_else_in_the_lora_slot(header_file):
    with pytest.raises(CheckpointError, match=r"is no LoRA: none of its 1 tensors is named like a LoRA's \(first: 'a"):
        check_lora(header_file({"a.weight": ("F32", (1,))}))


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match="There is no file"):
        check_lora(tmp_path / "gone.safetensors")


def test_a_lora_in_the_model_slot(header_file):
    with pytest.raises(CheckpointError) as refused:
        inspect_checkpoint(open_checkpoint(header_file(sizes_of("1.3B"))))
    assert "put it into models/loras and choose it in Wan LoRA" in sentence(refused.value)
