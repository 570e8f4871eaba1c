"""InfiniteTalk from files: packed, cast to fp8 and plain, by itself or with its trunk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.errors import CheckpointError, PairingError
from wan_director.dit.branches.audio.talk import TalkBranch, TalkInput
from wan_director.dit.branches.module import BranchModule
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.engine.recipe import ModelRecipe
from wan_director.engine.tasks import bytes_of
from wan_director.model_loading.branch_module import add_module
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT, INFINITETALK_MODULE
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.outline import outline
from wan_director.model_loading.recognition.detect import inspect_checkpoint

PLAIN = DiTConfig(dim=256, ffn_dim=512, heads=2, layers=2, text_dim=4096, in_channels=36)
CONFIG = PLAIN.with_branches((TalkBranch(2, 8, 4, 96, 16),))
INSIDE = "blocks.1.audio_cross_attn."
FP32 = {"precision": "fp32", "device": "cpu"}
LEAN = Execution(may_overwrite=True, lean=Lean(2, run=30))


def random_weights(module: torch.nn.Module, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) / 12 + float("norm" in name and "weight" in name)
        for name, value in module.state_dict().items()
    }


@pytest.fixture(scope="module")
def trunk() -> dict[str, Tensor]:
    with torch.device("meta"):
        module = WanDiT(PLAIN)
    return random_weights(module, 3)


@pytest.fixture(scope="module")
def own() -> dict[str, Tensor]:
    with torch.device("meta"):
        module = BranchModule(CONFIG)
    return random_weights(module, 4)


@pytest.fixture(scope="module")
def base(tmp_path_factory, trunk) -> Path:
    path = tmp_path_factory.mktemp("base") / "i2v.safetensors"
    save_file(trunk, path)
    return path


def inputs() -> DitInputs:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    masks = torch.zeros(2, 8, 10, dtype=torch.bool)
    masks[0, :, :4], masks[1, :, 6:] = True, True
    steering = (TalkInput(random(1, 2, 2, 8, 12, 8), masks),)
    return DitInputs(random(1, 16, 2, 8, 10), torch.tensor([500.0]), random(1, 512, 4096), steering=steering)


def answer(weights: dict[str, Tensor]) -> Tensor:
    model = WanDiT(CONFIG)
    model.load_state_dict(weights)
    with torch.no_grad():
        return model.eval()(inputs())


def assert_close(velocity: Tensor, expected: Tensor, limit: float) -> None:
    assert expected.abs().max() > 0.1
    assert (velocity - expected).abs().max() <= limit * expected.abs().max()


def with_module(base: Path, path: Path, **how):
    return add_module(load(DIT, base, **{**FP32, **how}), path, INFINITETALK_MODULE, **{"precision": "fp32", **how})


@torch.no_grad()
def test_a_packed_file_computes_as_its_plain_weights(write_gguf, base, trunk, own) -> None:
    stored, plain = {}, {}
    for key, weight in own.items():
        if weight.ndim == 2 and weight.shape[1] % 32 == 0 and key.startswith("blocks."):
            packed = gguf.quantize(weight.numpy(), Ggml.Q8_0)
            stored[key], plain[key] = (packed, "Q8_0"), torch.from_numpy(gguf.dequantize(packed, Ggml.Q8_0))
        else:
            stored[key], plain[key] = weight.numpy().astype(np.float32), weight
    loaded = with_module(base, write_gguf(stored, {"general.architecture": "wan"}))
    assert loaded.spec.config == CONFIG and loaded.spec.title.endswith("with the InfiniteTalk module of another size")
    assert loaded.module.get_submodule(f"{INSIDE}kv_linear").is_stored
    expected = answer(trunk | plain)
    assert_close(loaded.module(inputs()), expected, 1e-6)
    assert_close(loaded.module(inputs(), LEAN), expected, 1e-5)


@torch.no_grad()
def test_a_file_cast_to_fp8_is_near(tmp_path: Path, base, trunk, own) -> None:
    save_file(own, tmp_path / "talk.safetensors")
    expected = answer(trunk | own)
    assert_close(with_module(base, tmp_path / "talk.safetensors").module(inputs()), expected, 1e-6)
    cast = with_module(base, tmp_path / "talk.safetensors", precision="fp8_scaled").module
    assert all(cast.get_submodule(f"{INSIDE}{name}").is_stored for name in ("q_linear", "kv_linear", "proj"))
    for execution in (Execution(), LEAN):
        velocity = cast(inputs(), execution)
        assert (velocity - expected).norm() < 0.1 * velocity.norm()


@torch.no_grad()
def test_a_scaled_fp8_file_is_read(tmp_path: Path, base, trunk, own) -> None:
    """As the node packs' author publishes it, beside a trunk of plain numbers."""
    stored, plain = {}, {}
    for key, weight in own.items():
        if weight.ndim == 2 and key.startswith("blocks."):
            scale = weight.abs().max() / 448
            codes = (weight / scale).to(torch.float8_e4m3fn)
            stored |= {key: codes, key.replace(".weight", ".scale_weight"): scale.reshape(1)}
            plain[key] = codes.float() * scale
        else:
            stored[key], plain[key] = weight, weight
    stored["scaled_fp8"] = torch.empty(2, dtype=torch.float8_e4m3fn)
    save_file(stored, tmp_path / "talk.safetensors")
    assert_close(with_module(base, tmp_path / "talk.safetensors").module(inputs()), answer(trunk | plain), 2e-6)


@torch.no_grad()
def test_a_file_of_both_is_a_model_that_hears(tmp_path: Path, trunk, own) -> None:
    save_file(trunk | own, tmp_path / "both.safetensors")
    loaded = load(DIT, tmp_path / "both.safetensors", **FP32)
    assert loaded.spec.config == CONFIG and loaded.spec.title.endswith("of another size with InfiniteTalk")
    assert_close(loaded.module(inputs()), answer(trunk | own), 1e-6)
    save_file(own, tmp_path / "talk.safetensors")
    with pytest.raises(PairingError, match="has InfiniteTalk of its own and takes no module"):
        add_module(loaded, tmp_path / "talk.safetensors", INFINITETALK_MODULE)


@pytest.mark.parametrize("precision", ["bf16", "fp8_scaled"])
def test_what_both_take_is_known_by_their_headers(tmp_path: Path, base, own, precision) -> None:
    save_file(own, tmp_path / "talk.safetensors")
    modules = [("infinitetalk_module", tmp_path / "talk.safetensors")]
    found = outline(base, DIT, precision, "cpu", modules)
    plain = load(DIT, base, precision=precision, device="cpu")
    loaded = add_module(plain, modules[0][1], INFINITETALK_MODULE, precision=precision)
    counted = bytes_of(loaded.module, loaded.dtype)
    assert found.weights.blocks == counted.blocks and found.weights.fixed == counted.fixed
    assert ModelRecipe(base, infinitetalk_module=modules[0][1]).modules == tuple(modules)


def test_a_file_that_is_no_such_module_is_refused(tmp_path: Path, own) -> None:
    def fault(**changed: Tensor) -> str:
        named = {key.replace("__", "."): value for key, value in changed.items()}
        save_file({**own, **named}, tmp_path / "x.safetensors")
        with pytest.raises(CheckpointError) as error:
            inspect_checkpoint(open_checkpoint(tmp_path / "x.safetensors"))
        return str(error.value)

    words = "has the names of InfiniteTalk but not its structure"
    assert words in fault(audio_proj__proj1_vf__weight=torch.zeros(16, 99))
    assert words in fault(blocks__0__norm_x__weight=torch.zeros(99))
    with pytest.raises(PairingError, match="2 blocks of width 256, but .* has 3 of width 256"):
        save_file(own, tmp_path / "talk.safetensors")
        with torch.device("meta"):
            deep = WanDiT(replace(PLAIN, layers=3))
        save_file(random_weights(deep, 3), tmp_path / "deep.safetensors")
        outline(tmp_path / "deep.safetensors", DIT, modules=[("infinitetalk_module", tmp_path / "talk.safetensors")])
