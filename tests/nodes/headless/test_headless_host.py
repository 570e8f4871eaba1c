"""The command line's host: weights come and go unharmed, names and counters are ComfyUI's."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from wan_director.common.errors import InvalidInputError
from wan_director.engine.local import LocalResidence, LocalRuntime
from wan_director.nodes.hosts.command_line import HeadlessHost


def network() -> nn.Module:
    module = nn.Sequential(nn.PReLU(3), nn.BatchNorm1d(3), nn.ReLU()).requires_grad_(False)
    module.add_module("twin", module[0])  # a weight under two names
    return module.eval()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_weights_are_on_the_device_only_while_they_compute(mode):
    with mode():
        module = network()
        before = {name: (value, value.data_ptr()) for name, value in module.state_dict(keep_vars=True).items()}
        residence = LocalResidence(module, torch.device("meta"))
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), residence.loaded() as inside:
                assert inside is module
                assert {value.device.type for value in inside.state_dict().values()} == {"meta"}
                raise ZeroDivisionError
        after = module.state_dict(keep_vars=True)
        assert all(after[name] is value and value.data_ptr() == place for name, (value, place) in before.items())


def test_on_the_cpu_nothing_moves():
    module = network()
    with LocalResidence(module, torch.device("cpu")).loaded() as inside:
        assert inside is module


def test_a_file_is_found_in_the_second_folder(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.safetensors").write_bytes(b"x")
    host = HeadlessHost(folders={"vae": [tmp_path / "a", tmp_path / "b"]})
    assert host.find_model("vae", "x.safetensors") == tmp_path / "b" / "x.safetensors"


def test_names_of_saved_files(tmp_path):
    host = HeadlessHost(output=tmp_path)
    place = host.save_place("%year%/%width%x%height%_%nothing%", 64, 48)
    assert place == (tmp_path / str(time.localtime().tm_year), "64x48_%nothing%", 1, str(time.localtime().tm_year))
    place.folder.mkdir()
    for name in ("64x48_%nothing%_00041_.mp4", "64x48_00100_.mp4", "other_00500_.mp4"):
        (place.folder / name).touch()
    assert host.save_place("%year%/64x48_%nothing%", 64, 48).counter == 42


@pytest.mark.parametrize("prefix", ["../clip", "a/../../clip", "/clip"])
def test_names_outside_the_output_folder_are_refused(tmp_path, prefix):
    with pytest.raises(InvalidInputError, match="leads out of the output folder"):
        HeadlessHost(output=tmp_path / "output").save_place(prefix, 1, 1)


def test_the_chosen_gpu_becomes_the_current_one(monkeypatch):
    """What names no device would otherwise open the first GPU too, and take memory of it."""
    chosen = []
    monkeypatch.setattr(torch, "empty", lambda *_size, device: SimpleNamespace(device=torch.device(device)))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert LocalRuntime("cuda:1").device("vae") == torch.device("cuda:1")
    assert LocalRuntime("cuda:1").device("vae", "cpu") == torch.device("cpu")
    assert LocalRuntime("mps").device("vae") == torch.device("mps")
    assert chosen == [torch.device("cuda:1")]
