"""ComfyUI's formats of four and six bits: the numbers of comfy-kitchen to the bit, and all that a model does with them.

Files are written by comfy-kitchen's own quantisers where it has one, and read without the package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from wan_director.common.errors import CheckpointError
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, LowRank, adapted
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.engine.tasks import bytes_of
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.memory.residency import held_tensors
from wan_director.memory.slabs import Slabs
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.footprint import model_bytes
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint

from .conftest import random_weights
from .test_quant_formats import comfy_marker

kitchen = pytest.importorskip("comfy_kitchen")

CPU = torch.device("cpu")
DIT = DiTConfig(dim=256, ffn_dim=512, heads=4, layers=2, text_dim=256, freq_dim=256)
METADATA = {"wan_director.family": "tiny", "wan_director.heads": "4"}
GROUP = 64  # of AWQ, and of the rotations that are not of 256

State = dict[str, Tensor]
Made = tuple[dict[str, object], State, Tensor]
"""What a layer says of itself, its tensors by their ends, and the numbers that comfy-kitchen reads from them."""


@pytest.fixture(scope="module")
def weights() -> State:
    with torch.device("meta"):
        module = WanDiT(DIT)
    return random_weights(module)


def is_packed(key: str, weight: Tensor) -> bool:
    return key.startswith("blocks.") and weight.ndim == 2 and key.endswith(".weight")


def rotated_int4(group: int, **said: object) -> Callable[[Tensor], Made]:
    def make(weight: Tensor) -> Made:
        from comfy_kitchen.tensor import convrot_w4a4

        codes, scale = convrot_w4a4.quantize_convrot_w4a4_weight(weight, group)
        exact = convrot_w4a4.dequantize_convrot_w4a4_weight(codes, scale, group)
        return {"format": "convrot_w4a4", **said}, {"": codes, "_scale": scale}, exact

    return make


def grid(bits: int, size: int = 16, group: int = 256, fp8: bool = True, **how: bool) -> Callable[[Tensor], Made]:
    def make(weight: Tensor) -> Made:
        from comfy_kitchen.tensor import w4a8_int8

        dtype = torch.float8_e4m3fn if fp8 else torch.float32
        codes, relative, channel, correction, codebook = w4a8_int8.quantize_w4a8_int8_weight(
            weight, size, group, scale_dtype=dtype, bits=bits, **how
        )
        exact = w4a8_int8.dequantize_w4a8_int8_weight(
            codes, relative, channel, codebook, correction, size, group, torch.float32
        )
        ends = {
            "": codes, "_s_rel": relative, "_s_channel": channel, "_codebook": codebook, "_correction": correction,
        }  # fmt: skip
        said = {"format": "asym_w4a8_int8", "group_size": size, "convrot_groupsize": group}
        return said, {end: value for end, value in ends.items() if value is not None}, exact

    return make


def offsets(dtype: torch.dtype, size: int = GROUP, end: str = "_zeros") -> Callable[[Tensor], Made]:
    def make(weight: Tensor) -> Made:
        from comfy_kitchen.tensor import TensorCoreAWQW4A16Layout as Layout

        groups = weight.unflatten(1, (-1, size))
        scale = (groups.amax(2) - groups.amin(2)).div(15).to(dtype)
        zeros = (groups.amin(2) + 8 * scale.float()).to(dtype)
        numbers = (groups - zeros.float().unsqueeze(2)) / scale.float().unsqueeze(2)
        codes = (numbers.round().clamp(-8, 7) + 8).to(torch.uint8).flatten(1)
        packed = (codes[:, 0::2] | codes[:, 1::2] << 4).view(torch.int8)
        ends = {"": packed, "_scale": scale.T.contiguous(), end: zeros.T.contiguous()}
        params = Layout.Params(
            scale=ends["_scale"], zeros=ends[end], group_size=size, orig_dtype=torch.float32,
            orig_shape=tuple(weight.shape),
        )  # fmt: skip
        return {"format": "awq_w4a16", "group_size": size}, ends, Layout.dequantize(packed, params)

    return make


def nvfp4(weight: Tensor) -> Made:
    scale = weight.abs().max() / (448 * 6)
    codes, blocks = kitchen.quantize_nvfp4(weight, scale)
    ends = {"": codes, "_scale": blocks, "_scale_2": scale}
    return {"format": "nvfp4"}, ends, kitchen.dequantize_nvfp4(codes, scale, blocks, torch.float32)


def nvfp4_with_scaled_inputs(weight: Tensor) -> Made:
    """The inputs of a layer are multiplied by the scale before, so that its columns are as much smaller."""
    inputs = torch.rand(weight.shape[1], generator=torch.Generator().manual_seed(7)) + 0.5
    said, ends, exact = nvfp4(weight / inputs)
    return said, {**ends, ".pre_quant_scale": inputs.bfloat16()}, exact * inputs.bfloat16().float()


def mxfp8(weight: Tensor) -> Made:
    codes, blocks = kitchen.quantize_mxfp8(weight)
    exact = kitchen.dequantize_mxfp8(codes, blocks, torch.float32)
    return {"format": "mxfp8"}, {"": codes, "_scale": blocks.view(torch.uint8)}, exact


FORMS: dict[str, Callable[[Tensor], Made]] = {
    "convrot_w4a4": rotated_int4(256),
    "convrot_w4a4 in groups of 64": rotated_int4(64, convrot_groupsize=64, linear_dtype="int8"),
    "convrot_w4a4 with params": rotated_int4(16, params={"convrot_groupsize": 16}),
    "w4a8": grid(4),
    "w4a8, float32 scales": grid(4, 32, 64, fp8=False),
    "w4a8 without levels": grid(4, 8, codebook=False),
    "w4a8 with corrections": grid(4, symmetric=False, codebook=False),
    "w6a8": grid(6),
    "w6a8, float32 scales": grid(6, 32, 16, fp8=False),
    "awq": offsets(torch.bfloat16),
    "awq in fp16": offsets(torch.float16, 32, "_zero"),
    "nvfp4": nvfp4,
    "nvfp4 with pre_quant_scale": nvfp4_with_scaled_inputs,
    "mxfp8": mxfp8,
}


def written(path: Path, weights: State, form: str, *, by_header: bool = False) -> tuple[Path, State]:
    """The file in this form, and the numbers that are in it."""
    state, exact, layers = {}, dict(weights), {}
    for key, weight in weights.items():
        if not is_packed(key, weight):
            state[key] = weight
            continue
        said, ends, exact[key] = FORMS[form](weight)
        layer = key.removesuffix(".weight")
        state |= {(layer if end.startswith(".") else key) + end: value.contiguous() for end, value in ends.items()}
        layers[layer] = said
    metadata = dict(METADATA)
    if by_header:
        metadata["_quantization_metadata"] = json.dumps({"layers": layers})
    else:
        state |= {layer + ".comfy_quant": comfy_marker(said) for layer, said in layers.items()}
    save_file(state, path, metadata)
    return path, exact


@pytest.fixture(scope="module")
def files(weights, tmp_path_factory) -> Callable[[str], tuple[Path, State]]:
    """files(form): see `written`, made once."""
    made: dict[str, tuple[Path, State]] = {}

    def file(form: str) -> tuple[Path, State]:
        if form not in made:
            made[form] = written(tmp_path_factory.mktemp("packed") / "model.safetensors", weights, form)
        return made[form]

    return file


def loaded(path: Path, **options):
    return load(kinds.DIT, path, precision="fp32", device="cpu", **options)


def inputs() -> DitInputs:
    generator = torch.Generator().manual_seed(2)
    latent = torch.randn(1, 16, 2, 8, 8, generator=generator)
    return DitInputs(latent, torch.tensor([700.0]), torch.randn(1, 7, 256, generator=generator))


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_the_numbers_are_those_of_comfy_kitchen_without_it(files, monkeypatch, form: str) -> None:
    path, exact = files(form)
    monkeypatch.setitem(sys.modules, "comfy_kitchen", None)
    module = loaded(path).module
    for key in (key for key, weight in exact.items() if is_packed(key, weight)):
        layer = module.get_submodule(key.removesuffix(".weight"))
        assert torch.equal(layer.dense_weight(), exact[key])
        assert torch.equal(layer.dense_weight(torch.bfloat16), exact[key].bfloat16())
        assert torch.equal(layer.stored().dense_rows(slice(96, 200)), exact[key][96:200])
    plain = WanDiT(DIT).eval()
    plain.load_state_dict(exact)
    assert error(module(inputs()), plain(inputs())) < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_the_header_may_say_how_a_layer_is_stored(weights, tmp_path, form: str) -> None:
    path, exact = written(tmp_path / "model.safetensors", weights, form, by_header=True)
    module = loaded(path).module
    assert torch.equal(module.blocks[1].ffn[2].dense_weight(), exact["blocks.1.ffn.2.weight"])


@pytest.mark.parametrize("form", FORMS)
def test_a_packed_model_has_its_true_size_and_takes_what_its_header_tells(files, form: str) -> None:
    path, exact = files(form)
    checkpoint = open_checkpoint(path)
    spec = inspect_checkpoint(checkpoint)
    assert (spec.config, spec.weight_format.name) == (DIT, "a format per layer")
    assert spec.parameters == sum(value.numel() for value in exact.values())
    told, module = model_bytes(checkpoint, spec, "fp32", "cpu"), loaded(path).module
    held = sum(entry.size_bytes for entry in held_tensors(module))
    assert 0 <= held - told.total <= 0.01 * held
    assert told.unpacking == bytes_of(module, torch.float32).unpacking
    cast = load(kinds.DIT, path, precision="fp8_scaled", device="cpu")
    told = model_bytes(checkpoint, spec, "fp8_scaled", "cpu")
    assert told.total == sum(entry.size_bytes for entry in held_tensors(cast.module))


def lora(module: WanDiT) -> AppliedAdapter:
    generator = torch.Generator().manual_seed(5)
    changes = {}
    for name in ("self_attn.q", "cross_attn.k", "ffn.0", "ffn.2"):
        for index in range(DIT.layers):
            layer = module.get_submodule(f"blocks.{index}.{name}")
            down, up = (torch.randn(size, generator=generator) / 16 for size in (
                (4, layer.in_features), (layer.out_features, 4),
            ))  # fmt: skip
            changes[f"blocks.{index}.{name}.weight"] = (Change(LowRank(down, up, 0.5)),)
    return AppliedAdapter(Adapter("test", changes), 0.8)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_a_lora_on_packed_weights_is_one_on_their_numbers(files, form: str) -> None:
    path, exact = files(form)
    module, plain = loaded(path).module, WanDiT(DIT).eval()
    added = lora(module)
    merged = {
        key: change.delta.up @ change.delta.down * change.delta.scale * added.strength
        for key, (change,) in added.adapter.changes.items()
    }
    plain.load_state_dict({key: weight + merged.get(key, 0) for key, weight in exact.items()})
    with adapted(module, [added]):
        assert error(module(inputs()), plain(inputs())) < 1e-5


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_swapped_blocks_give_the_bits_of_resident_ones_and_lean_ones_the_same(files, form: str) -> None:
    module, slabs = loaded(files(form)[0]).module, Slabs()
    with adapted(module, [lora(module)]):
        outs = []
        for policy in (RESIDENT, BlockSwap(2, 10**9), BlockSwap(1, 0)):
            with policy.streaming(module.streamed_blocks, CPU, slabs) as stream:
                outs.append(module(inputs(), Execution(stream=stream, may_overwrite=True)))
        assert all(torch.equal(out, outs[0]) for out in outs)
        for lean in (Lean(2, False, 8), Lean(4, True, 8)):
            assert error(module(inputs(), Execution(may_overwrite=True, lean=lean)), outs[0]) < 1e-5


def changed(weights: State, tmp_path: Path, form: str, change: Callable[[State], object]) -> str:
    """What is said of a file whose tensors were changed."""
    path, _ = written(tmp_path / "model.safetensors", weights, form)
    state = load_file(path)
    change(state)
    save_file({key: value.contiguous() for key, value in state.items()}, path, METADATA)
    with pytest.raises(CheckpointError) as error:
        loaded(path)
    assert "\n" not in str(error.value)
    return str(error.value)


KEY, LAYER = "blocks.0.ffn.0.weight", "blocks.0.ffn.0."


def put(**tensors: Tensor) -> Callable[[State], object]:
    """Tensors in place of those of the layer."""
    return lambda state: state.update({LAYER + name: tensor for name, tensor in tensors.items()})


def says(form: str, **settings: object) -> Callable[[State], object]:
    return put(comfy_quant=comfy_marker({"format": form, **settings}))


FAULTS: dict[str, tuple[str, Callable[[State], object], str]] = {
    "no scale": ("convrot_w4a4", lambda s: s.pop(KEY + "_scale"), f"the weight {KEY!r} is scaled, but neither"),
    "a scale of another size": (
        "convrot_w4a4", put(weight_scale=torch.ones(7)), "needs one number or 512, one per row",
    ),
    "a rotation that does not divide": (
        "convrot_w4a4 in groups of 64", says("convrot_w4a4", convrot_groupsize=128),
        "claims to be rotated in groups of 128, which must be a power of 4 that divides its 256 columns",
    ),
    "a group size that is no number": (
        "convrot_w4a4", says("convrot_w4a4", convrot_groupsize="x"), "has the group size 'x'",
    ),
    "numbers in floats": (
        "convrot_w4a4", put(weight=torch.ones(512, 128)), "should be a matrix of bytes, but is F32 [512, 128]",
    ),
    "w4a8 without its groups": (
        "w4a8", lambda s: s.pop(KEY + "_s_rel"), "is stored in 4 bits, but 'blocks.0.ffn.0.weight_s_rel'",
    ),
    "w4a8 of half a matrix": (
        "w4a8", lambda s: s.update({KEY: s[KEY][:, :96]}),
        "has 96 bytes in a row and 16 scales for every 16 numbers, which is neither 4 nor 6 bits each",
    ),
    "w4a8 with five levels": (
        "w4a8", put(weight_codebook=torch.ones(5)), "is F32 [5], where 'blocks.0.ffn.0.weight' needs 16 numbers",
    ),
    "w4a8 with a level that is none": (
        "w4a8", put(weight_codebook=torch.full((16,), torch.nan)), "holds values that are no numbers",
    ),
    "w4a8 with a scale that is none": (
        "w4a8", put(weight_s_channel=torch.full((512,), torch.inf)), "_s_channel' is no number (NaN or infinite)",
    ),
    "w6a8 with levels": (
        "w6a8", put(weight_codebook=torch.ones(16)), "has 6 bits for a number and levels of 4 bits beside",
    ),
    "awq without offsets": (
        "awq", lambda s: s.pop(KEY + "_zeros"), "but 'blocks.0.ffn.0.weight_zeros' is not in the file",
    ),
    "awq in odd groups": (
        "awq", says("awq_w4a16", group_size=48), "claims a scale for every 48 columns, which do not divide its 256",
    ),
    "awq by rows": ("awq", put(weight_scale=torch.ones(512, 4)), "needs 4 x 512 numbers"),
    "inputs of another layer": (
        "nvfp4 with pre_quant_scale", put(pre_quant_scale=torch.ones(3)),
        "should be 256 numbers, one for each input, but is [3]",
    ),
    "inputs that are none": (
        "nvfp4 with pre_quant_scale", put(pre_quant_scale=torch.full((256,), torch.nan)), "is no number (NaN",
    ),
    "scaled inputs beside another format": (
        "awq", put(pre_quant_scale=torch.ones(256)),
        "has a scale of its inputs (pre_quant_scale) beside 'awq_w4a16', which this version cannot read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_packed_layer_that_cannot_be_right_is_refused_in_a_sentence(weights, tmp_path, name: str) -> None:
    form, change, sentence = FAULTS[name]
    assert sentence in changed(weights, tmp_path, form, change)
