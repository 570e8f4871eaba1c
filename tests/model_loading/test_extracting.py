"""The difference of two models as a LoRA: base + LoRA is the tuned one, by our loader and by ComfyUI's rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from wan_director.__main__ import main
from wan_director.dit.adapters import AppliedAdapter, ParameterShapes, adapted
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.lora import read_lora

CONFIG = DiTConfig(dim=64, ffn_dim=128, heads=2, layers=2, text_dim=32, text_tokens=8, freq_dim=32)
METADATA = {"wan_director.family": "tiny", "wan_director.heads": "2"}
LIMIT = 1e-5  # of the largest value, float32: rounding of an SVD and of a product of its factors

Weights = dict[str, Tensor]


def weights(seed: int, config: DiTConfig = CONFIG) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in WanDiT(config).state_dict().items()}
    return {name: torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}


def plain(path: Path, state: Weights) -> Path:
    save_file(state, path.with_suffix(".safetensors"), METADATA)
    return path.with_suffix(".safetensors")


def sharded(path: Path, state: Weights) -> Path:
    """Two files and an index, in a folder."""
    path.mkdir()
    names = list(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: state[key] for key in keys}, path / file, METADATA)
    index = {"weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (path / "m.safetensors.index.json").write_text(json.dumps(index))
    return path / "m.safetensors.index.json"


def fp8_scaled(path: Path, state: Weights) -> Path:
    """Matrices of blocks in fp8 with a scale each; `state` becomes what they stand for."""
    stored = {"scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn)}
    for name, value in state.items():
        stored[name] = value
        if value.ndim == 2 and name.startswith("blocks."):
            scale = value.abs().max() / 448
            stored[name] = (value / scale).to(torch.float8_e4m3fn)
            stored[name.replace(".weight", ".scale_weight")] = scale
            state[name] = stored[name].float() * scale
    return plain(path, stored)


def q8_0(path: Path, state: Weights) -> Path:
    """As `fp8_scaled`, in blocks of GGUF, by the gguf package."""
    path = path.with_suffix(".gguf")
    writer = gguf.GGUFWriter(path, "wan")
    for key, value in METADATA.items():
        writer.add_string(key, value)
    for name, value in state.items():
        if value.ndim == 2 and name.startswith("blocks."):
            blocks = gguf.quants.quantize(value.numpy(), Ggml.Q8_0)
            state[name] = torch.from_numpy(gguf.quants.dequantize(blocks, Ggml.Q8_0).copy())
            writer.add_tensor(name, blocks, raw_dtype=Ggml.Q8_0)
        elif value.ndim == 5:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(value.shape))
            writer.add_tensor(name, np.ascontiguousarray(value.reshape(-1, *value.shape[2:])))
        else:
            writer.add_tensor(name, np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def bf16(path: Path, state: Weights) -> Path:
    stored = {name: value.bfloat16() for name, value in state.items()}
    state |= {name: value.float() for name, value in stored.items()}
    return plain(path, stored)


def comfyui_patched(base: Weights, lora: Weights) -> Weights:
    """What ComfyUI makes of a model and a LoRA file.

    Source: comfyanonymous/ComfyUI, comfy/lora.py (load_lora, model_lora_keys_unet) and comfy/weight_adapter/lora.py.
    """
    patched, left = dict(base), dict(lora)
    for name in base:
        layer = f"diffusion_model.{name.removesuffix('.weight').removesuffix('.bias')}"
        change = None
        if name.endswith(".bias"):
            change = left.pop(f"{layer}.diff_b", None)
        elif f"{layer}.lora_up.weight" in left:
            up, down = (left.pop(f"{layer}.lora_{side}.weight") for side in ("up", "down"))
            alpha = left.pop(f"{layer}.alpha").item() / down.shape[0]
            change = (torch.mm(up.flatten(1), down.flatten(1)) * alpha).reshape(base[name].shape)
        else:
            change = left.pop(f"{layer}.diff", None)
        if change is not None:
            assert change.shape == base[name].shape
            patched[name] = base[name] + change
    assert not left
    return patched


def assert_near(found: Weights, expected: Weights, limit: float = LIMIT) -> None:
    for name, value in expected.items():
        error = (found[name] - value).abs().max() / value.abs().max()
        assert error <= limit, f"{name}: {error:.1e}"


@pytest.fixture
def extract(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Runs the command; gives (exit code, file, standard error)."""

    def run(base: Path, tuned: Path, *options: str):
        target = tmp_path / "loras" / "out.safetensors"
        code = main(["extract-lora", str(base), str(tuned), "--output", str(target), "--device", "cpu", *options])
        captured = capsys.readouterr()
        assert captured.out == (f"{target}\n" if code == 0 else "")
        return code, target, captured.err

    return run


FORMS = [(plain, plain), (sharded, plain), (plain, fp8_scaled), (fp8_scaled, q8_0), (q8_0, sharded), (bf16, bf16)]


@pytest.mark.parametrize(("base_form", "tuned_form"), FORMS, ids=lambda form: form.__name__)
def test_at_full_rank_base_and_lora_are_the_tuned_model(extract, tmp_path, base_form, tuned_form):
    base, tuned = weights(0), weights(1)
    files = base_form(tmp_path / "base", base), tuned_form(tmp_path / "tuned", tuned)
    code, path, _ = extract(*files, "--rank", "1000", "--dtype", "fp32")
    assert code == 0
    assert_near(comfyui_patched(base, load_file(path)), tuned)


def test_a_folder_that_is_called_a_dot_gives_the_file_its_own_name(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    base, _ = plain(tmp_path / "base", weights(0)), plain(folder / "model", weights(1))
    monkeypatch.chdir(folder)
    assert main(["extract-lora", str(base), ".", "--rank", "2", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "mine_rank2_lora.safetensors\n"
    assert main(["inspect", "mine_rank2_lora.safetensors"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"made for +a model of width 64, which no published Wan model has\n", text)
    assert re.search(r"extracted +mine - base.safetensors\n", text)
    with safe_open(folder / "mine_rank2_lora.safetensors", "pt") as file:
        assert file.metadata()["wan_director.extracted"] == "mine - base.safetensors"


def test_our_loader_makes_the_tuned_model_of_it(extract, tmp_path):
    base, tuned = (plain(tmp_path / name, weights(seed)) for seed, name in enumerate(("base", "tuned")))
    _, path, _ = extract(base, tuned, "--rank", "64", "--dtype", "fp32")
    module, spec = (loaded := load(kinds.DIT, base, precision="fp32", device="cpu")).module, loaded.spec
    lora = read_lora(path, ParameterShapes.of(module), spec)
    assert not lora.report.unmatched and not lora.report.ignored
    torch.manual_seed(2)
    inputs = DitInputs(torch.randn(1, 16, 2, 4, 6), torch.tensor([500.0]), torch.randn(1, 8, 32))
    expected = load(kinds.DIT, tuned, precision="fp32", device="cpu").module(inputs)
    with torch.no_grad(), adapted(module, [AppliedAdapter(lora.adapter)]):
        found = module(inputs)
    assert (found - expected).abs().max() <= 3e-5 * expected.abs().max()  # two blocks of such roundings


def test_a_smaller_rank_is_the_best_of_that_rank_and_the_report_says_how_good(extract, tmp_path):
    """Against numpy's decomposition: the error of the best is what the other singular values hold (Eckart, Young)."""
    base, tuned = weights(0), weights(1)
    code, path, said = extract(plain(tmp_path / "b", base), plain(tmp_path / "t", tuned), "--rank", "8", "--dtype",
                               "fp32")  # fmt: skip
    found = comfyui_patched(base, load_file(path))
    kept = total = 0.0
    for name, value in tuned.items():
        difference = (value - base[name]).double().flatten(1) if value.ndim > 1 else (value - base[name]).double()
        energy = float(difference.square().sum())
        total, kept = total + energy, kept + energy
        if value.ndim in (2, 5):
            rest = np.linalg.svd(difference.numpy(), compute_uv=False)[8:]
            error = float((found[name] - value).double().square().sum())
            assert error == pytest.approx(float((rest**2).sum()), rel=1e-4), name
            kept -= float((rest**2).sum())
        else:
            assert torch.equal(found[name], base[name] + (value - base[name])), name
    assert code == 0 and f"Rank 8 keeps {kept / total:.1%} of the difference" in said


def test_the_quick_way_is_exact_for_a_difference_of_low_rank_and_near_the_best_for_others(extract, tmp_path):
    base = weights(0)
    torch.manual_seed(3)
    tuned = {
        name: value + torch.randn(len(value), 4) @ torch.randn(4, value.shape[1]) / 16 if value.ndim == 2 else value
        for name, value in base.items()
    }
    files = plain(tmp_path / "b", base), plain(tmp_path / "t", tuned)
    code, path, said = extract(*files, "--rank", "4", "--dtype", "fp32", "--quick")
    lora = load_file(path)
    assert code == 0 and "keeps 100.0%" in said
    assert_near(comfyui_patched(base, lora), tuned)
    # What is equal in both is left out: biases, norms, the convolution.
    assert {name.rpartition(".lora_")[2] for name in lora if not name.endswith(".alpha")} == {
        "up.weight",
        "down.weight",
    }
    assert not [name for name in lora if "patch_embedding" in name]


def test_factors_are_called_and_shaped_as_trainers_write_them(extract, tmp_path):
    _, path, _ = extract(plain(tmp_path / "b", weights(0)), plain(tmp_path / "t", weights(1)), "--rank", "8")
    lora = load_file(path)
    layer = "diffusion_model.blocks.1.ffn.0"
    assert lora[f"{layer}.lora_down.weight"].shape == (8, 64) and lora[f"{layer}.lora_up.weight"].shape == (128, 8)
    assert lora[f"{layer}.alpha"] == 8 and lora[f"{layer}.diff_b"].shape == (128,)
    assert lora["diffusion_model.patch_embedding.lora_down.weight"].shape == (8, 16, 1, 2, 2)
    assert lora["diffusion_model.patch_embedding.lora_up.weight"].shape == (64, 8, 1, 1, 1)
    assert lora["diffusion_model.blocks.0.self_attn.norm_q.diff"].dtype == torch.float16
    assert lora["diffusion_model.blocks.0.modulation.diff"].shape == (1, 6, 64)


def test_diffusers_reads_one_of_the_blocks_alone(extract, tmp_path):
    from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_wan_lora_to_diffusers

    base, tuned = weights(0), weights(1)
    files = plain(tmp_path / "b", base), plain(tmp_path / "t", tuned)
    _, path, _ = extract(*files, "--rank", "100", "--dtype", "fp32", "--blocks-only")
    theirs = _convert_non_diffusers_wan_lora_to_diffusers(load_file(path))
    assert len(theirs) == 2 * 2 * 10  # factors, blocks, matrices
    for ours, name in (("self_attn.q", "attn1.to_q"), ("cross_attn.o", "attn2.to_out.0"), ("ffn.2", "ffn.net.2")):
        up, down = (theirs[f"transformer.blocks.1.{name}.lora_{side}.weight"] for side in "BA")
        difference = tuned[f"blocks.1.{ours}.weight"] - base[f"blocks.1.{ours}.weight"]
        assert (up @ down - difference).abs().max() <= LIMIT * difference.abs().max()


WIDER = DiTConfig(dim=96, ffn_dim=128, heads=2, layers=2, text_dim=32, text_tokens=8, freq_dim=32)
DEEPER = DiTConfig(dim=64, ffn_dim=128, heads=2, layers=3, text_dim=32, text_tokens=8, freq_dim=32)
REFUSED = {
    "shape": (WIDER, (), r"differ in shape: \S+ is [\dx ]+ and [\dx ]+\. Choose a model and what was tuned"),
    "blocks": (DEEPER, (), r"are not one model: \d+ tensors are in t\.safetensors alone \(first: blocks\.2\."),
    "equal": (None, (), "has the very weights of b.safetensors: there is nothing to extract"),
    "rank": (CONFIG, ("--rank", "0"), "The rank of a LoRA is 1 or more, got 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_sentence_and_leave_no_file(extract, tmp_path, case):
    config, options, words = REFUSED[case]
    base = plain(tmp_path / "b", weights(0))
    tuned = plain(tmp_path / "t", weights(0) if config is None else weights(1, config))
    code, path, said = extract(base, tuned, "--quiet", *options)
    assert code == 1 and said.count("\n") == 1 and re.search(words, said)
    assert not path.parent.exists() or not list(path.parent.iterdir())


def test_values_that_the_dtype_cannot_hold_are_refused(extract, tmp_path):
    tuned = weights(0)
    tuned["blocks.0.norm3.weight"] = tuned["blocks.0.norm3.weight"] + 1e5
    code, path, said = extract(plain(tmp_path / "b", weights(0)), plain(tmp_path / "t", tuned), "--quiet")
    assert code == 1 and "is too large for float16. Use --dtype bf16 or fp32." in said
    assert not list(path.parent.iterdir())


def test_a_disk_without_room_is_refused_before_anything_is_computed(extract, tmp_path, monkeypatch):
    files = plain(tmp_path / "b", weights(0)), plain(tmp_path / "t", weights(1))
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1000})())
    code, path, said = extract(*files, "--quiet")
    assert code == 1 and "1.0 kB are free at" in said and not list(path.parent.iterdir())


def test_what_is_there_is_never_replaced(extract, tmp_path):
    files = plain(tmp_path / "b", weights(0)), plain(tmp_path / "t", weights(1))
    assert extract(*files, "--rank", "4")[0] == 0
    code, path, said = extract(*files, "--rank", "4", "--quiet")
    assert code == 1 and f"There is a file {path} already" in said
    code = main(["extract-lora", *map(str, files), "--output", str(tmp_path / "lora.pt")])
    assert code == 1 and not (tmp_path / "lora.pt").exists()
