"""Files are read a run at a time, each told of: words and the wish to stop never wait for a whole tensor."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.errors import CheckpointError
from wan_director.dit.adapters import ParameterShapes
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds, meter
from wan_director.model_loading.build import load
from wan_director.model_loading.lora import read_lora
from wan_director.model_loading.meter import ReadAhead
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.precision import all_finite, cast_if_finite

CONFIG = DiTConfig(dim=48, ffn_dim=64, heads=4, layers=2, text_dim=128, text_tokens=512, freq_dim=32)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    state = WanDiT(CONFIG).state_dict()
    return {key: torch.randn(value.shape, generator=generator) / 8 for key, value in state.items()}


def saved(folder: Path, weights: dict[str, Tensor]) -> Path:
    path = folder / "x.safetensors"
    save_file(weights, path, {"wan_director.family": "tiny", "wan_director.heads": "4"})
    return path


def test_bytes_are_told_and_can_stop_the_load(tmp_path, weights) -> None:
    path, seen = saved(tmp_path, weights), []
    load(kinds.DIT, path, on_bytes=lambda done, total: seen.append((done, total)))
    whole = sum(weight.nbytes for weight in weights.values())
    assert {total for _, total in seen} == {whole}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and seen[-1] == (whole, whole)

    told = []

    def stop(done: int, total: int) -> None:
        told.append(done)
        if done >= total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(kinds.DIT, path, on_bytes=stop)
    assert told[-1] >= whole // 2 > told[-2]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_large_tensor_is_read_in_runs_with_the_same_bits(tmp_path, weights, monkeypatch, precision) -> None:
    """A text encoder's embedding has 2 GB: neither words nor the wish to stop wait for all of it."""
    path = saved(tmp_path, weights)
    whole = load(kinds.DIT, path, precision=precision).module.state_dict()
    monkeypatch.setattr(meter, "RUN_BYTES", 100)
    seen = []
    in_runs = load(kinds.DIT, path, precision=precision, on_bytes=lambda done, _: seen.append(done))
    assert max(after - before for before, after in zip([0, *seen], seen)) <= 100
    for key, weight in in_runs.module.state_dict().items():
        assert torch.equal(weight, whole[key]) and weight.dtype == whole[key].dtype


class Expecting:
    """A checkpoint that notes what is asked for, and fails at it."""

    def __init__(self, path: Path) -> None:
        self.tensors = open_checkpoint(path).tensors
        self.asked: list[str] = []

    def expect(self, key: str) -> None:
        self.asked.append(key)
        raise OSError("the disk is gone")


def test_tensors_are_asked_for_a_little_before_they_are_read(tmp_path, weights, monkeypatch) -> None:
    checkpoint = Expecting(saved(tmp_path, weights))
    keys = list(weights)
    sizes = [weights[key].nbytes for key in keys]
    monkeypatch.setattr(meter, "_LEAST_BYTES", 1)
    monkeypatch.setattr(meter, "AHEAD_BYTES", sizes[0] + 1)
    before = threading.active_count()
    with ReadAhead(checkpoint, [*keys[:1], "not.in.it", *keys[1:]]) as ahead:
        ahead.reach(0)
        ahead.reach(0)
        assert ahead._thread.submit(list, checkpoint.asked).result() == keys[:2]
        ahead.reach(sum(sizes))
        assert ahead._thread.submit(list, checkpoint.asked).result() == keys
    assert threading.active_count() == before


def test_no_thread_is_left_by_a_load_that_ends_fails_or_is_stopped(tmp_path, weights, monkeypatch) -> None:
    monkeypatch.setattr(meter, "_LEAST_BYTES", 1)
    path, before = saved(tmp_path, weights), threading.active_count()
    at_work = []
    whole = load(kinds.DIT, path, on_bytes=lambda *_: at_work.append(threading.active_count()))
    assert max(at_work) == before + 1 and threading.active_count() == before
    assert all(torch.equal(whole.module.state_dict()[key], weight) for key, weight in weights.items())

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(kinds.DIT, path, on_bytes=stop)
    assert threading.active_count() == before
    last = list(weights)[-1]
    damaged = saved(tmp_path, {**weights, last: weights[last] / 0})
    with pytest.raises(CheckpointError, match="holds values that are no numbers"):
        load(kinds.DIT, damaged)
    assert threading.active_count() == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize("place", [0, 24, 25, 26, 99])
def test_a_bad_number_is_found_in_whatever_run_it_is(monkeypatch, dtype, place: int) -> None:
    monkeypatch.setattr(meter, "RUN_BYTES", 25 * dtype.itemsize)
    values = torch.arange(100.0)
    assert all_finite(values.to(dtype))
    values[place] = float("nan")
    assert not all_finite(values.to(dtype))


def test_a_cast_in_runs_is_the_cast(monkeypatch) -> None:
    monkeypatch.setattr(meter, "RUN_BYTES", 40)
    values = torch.randn(6, 35, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cast_if_finite(values, torch.bfloat16), values.bfloat16())
    assert torch.equal(cast_if_finite(values.T, torch.bfloat16), values.T.bfloat16())
    assert cast_if_finite(values, torch.float32) is values
    values[5, 34] = 1e6
    assert cast_if_finite(values, torch.float16) is None


def test_the_bytes_of_a_lora_are_told_and_can_stop_it(tmp_path, weights) -> None:
    tensors = {
        f"diffusion_model.blocks.{block}.self_attn.q.lora_{side}.weight": torch.ones(shape)
        for block in (0, 1)
        for side, shape in (("A", (4, 48)), ("B", (48, 4)))
    }
    path, seen = tmp_path / "lora.safetensors", []
    save_file(tensors, path)
    model = load(kinds.DIT, saved(tmp_path, weights))
    shapes = ParameterShapes.of(model.module)
    read_lora(path, shapes, model.spec, on_bytes=lambda *counts: seen.append(counts))
    assert seen == [(1536, 3072), (3072, 3072)]

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_lora(path, shapes, model.spec, on_bytes=stop)
