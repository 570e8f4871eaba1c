"""A branch is one file: a third one, written here alone, is built, recognised, titled, planned, steered and refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from wan_director.common.errors import PairingError
from wan_director.common.model_names import THIS_MODEL, ModelNames
from wan_director.common.shapes import LatentShape
from wan_director.dit.branches import known
from wan_director.dit.branches.branch import Branch, Shapes, Steered, Trunk
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.module import BranchModule
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.conditioning.cut import Cut
from wan_director.dit.config import PATCH, DiTConfig
from wan_director.dit.context import Context
from wan_director.dit.footprint import block_weights, other_weights
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.engine.sampling.task import sampling_task
from wan_director.model_loading.build import load
from wan_director.model_loading.footprint import bytes_before_download, model_bytes
from wan_director.model_loading.kinds import DIT
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint


@dataclass(frozen=True, slots=True)
class Camera(Branch[DiTConfig]):
    """Adds what the camera does to the tokens of the patches."""

    name = "camera"
    roots = ("camera_embedding",)
    words = title = "Camera"

    channels: int

    @classmethod
    def read(cls, tensors: Shapes) -> Camera | None:
        return cls(tensors.size("camera_embedding.weight", 1)) if tensors.has("camera_embedding.weight") else None

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        return PairingError(f"{names.subject} cannot follow a camera.")

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        return {"camera_embedding": operations.Conv3d(self.channels, config.dim, kernel_size=PATCH, stride=PATCH)}

    def check(self, given: Sequence[CameraInput], latent: Tensor) -> None:
        if any(each.rays.shape[1:] != (self.channels, *latent.shape[2:]) for each in given):
            raise PairingError("The camera's way does not fit the latent.")

    def embed(self, trunk: Trunk, given: Sequence[CameraInput], tokens: Tensor, context: Context) -> Steered:
        embedding = trunk.get_submodule("camera_embedding")
        return Steered(tokens + sum(trunk.tokens_of(embedding, each.rays) for each in given), context)

    def other_weights(self, config: DiTConfig) -> int:
        return (4 * self.channels + 1) * config.dim

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        return 4 * pixels * given * self.channels


class CameraInput(NamedTuple):
    rays: Tensor

    @property
    def branch(self) -> type[Camera]:
        return Camera


@dataclass(frozen=True, slots=True)
class CameraWay:
    """A conditioning item."""

    rays: Tensor

    @property
    def branch(self) -> type[Camera]:
        return Camera

    def apply(self, inputs: DitInputs) -> DitInputs:
        return replace(inputs, steering=(*inputs.steering, CameraInput(self.rays)))

    def window(self, cut: Cut) -> CameraWay:
        return CameraWay(cut.of(self.rays))

    def to(self, device: torch.device) -> CameraWay:
        return CameraWay(self.rays.to(device))


T2V = DiTConfig(dim=128, ffn_dim=160, heads=1, layers=3)
CAMERA = replace(T2V, branches=(Camera(24),))
BOTH = replace(T2V, branches=(Camera(24), VaceBranch(2)))
RAYS = torch.randn(1, 24, 3, 8, 12, generator=torch.Generator().manual_seed(4))
LATENT = LatentShape(16, 3, 8, 12)


@pytest.fixture
def with_camera(monkeypatch):
    monkeypatch.setattr(known, "BRANCHES", (Camera, *known.BRANCHES))


@pytest.fixture
def camera_file(tmp_path: Path) -> Path:
    path = tmp_path / "camera.safetensors"
    save_file(build(CAMERA).state_dict(), path)
    return path


def build(config: DiTConfig) -> WanDiT:
    torch.manual_seed(0)
    return WanDiT(config).eval().requires_grad_(False)


def the_text_model(model: WanDiT) -> WanDiT:
    text = build(T2V)
    state = model.state_dict()
    text.load_state_dict({key: state[key] for key in text.state_dict()})
    return text


def steered(inputs: DitInputs) -> DitInputs:
    return CameraWay(RAYS).apply(inputs)


def test_off_equals_absent_bit_for_bit_and_on_does_not(make_inputs):
    model, inputs = build(CAMERA), make_inputs(T2V)
    text = the_text_model(model)
    assert torch.equal(model(inputs), text(inputs))
    assert (model(steered(inputs)) - text(inputs)).norm() > 1e-3 * text(inputs).norm()


def test_a_branch_adds_to_the_tokens_before_another_takes_a_copy_of_them(make_inputs):
    model, inputs = build(BOTH), make_inputs(T2V)
    control = VaceInput(torch.randn(1, 96, 3, 8, 12), 1.0)
    both = replace(steered(inputs), steering=(control, CameraInput(RAYS)))
    with torch.no_grad():
        assert torch.equal(model.embed(both).tokens, model.embed(steered(inputs)).tokens)
        alone = [model(each) for each in (inputs, steered(inputs), replace(inputs, steering=(control,)), both)]
        together = model.forward_together(
            [inputs, steered(inputs), replace(inputs, steering=(control,)), replace(both, steering=both.steering[::-1])]
        )
    assert all(torch.equal(one, other) for one, other in zip(alone, together))
    assert len({tuple(velocity.flatten().tolist()) for velocity in alone}) == 4


def test_a_model_without_the_branch_refuses_what_steers_it(make_inputs):
    with pytest.raises(PairingError, match="This model cannot follow a camera."):
        build(T2V)(steered(make_inputs(T2V)))
    with pytest.raises(PairingError, match="camera's way does not fit"):
        build(CAMERA)(steered(make_inputs(T2V, shape=(2, 8, 12))))


def test_a_model_gets_the_branch_of_another_file_and_stays_as_it_was(make_inputs):
    whole = build(CAMERA)
    base, module = the_text_model(whole), BranchModule(CAMERA)
    module.load_state_dict({key: value for key, value in whole.state_dict().items() if key.startswith("camera")})
    added, inputs = base.with_branches(module), make_inputs(T2V)
    assert torch.equal(added(steered(inputs)), whole(steered(inputs)))
    assert torch.equal(base(inputs), whole(inputs)) and base.config == T2V


def test_it_is_recognised_titled_and_loaded_from_its_tensors(with_camera, camera_file, make_inputs):
    spec = inspect_checkpoint(open_checkpoint(camera_file))
    assert spec.config == CAMERA
    assert spec.title == "a Wan 2.1 Camera model of another size"
    inputs = steered(make_inputs(T2V))
    loaded = load(DIT, camera_file, precision="fp32")
    assert torch.equal(loaded.module(inputs), build(CAMERA)(inputs))


def test_its_weights_are_counted(with_camera, camera_file):
    model, checkpoint = build(CAMERA), open_checkpoint(camera_file)
    own = sum(parameter.numel() for parameter in model.camera_embedding.parameters())
    assert other_weights(CAMERA) == other_weights(T2V) + own
    total = sum(parameter.numel() for parameter in model.parameters())
    assert other_weights(CAMERA) + sum(each.elements for each in block_weights(CAMERA)) == total
    assert model_bytes(checkpoint, inspect_checkpoint(checkpoint), "fp32").total == 4 * total


def test_what_steers_it_is_planned():
    weights = bytes_before_download(CAMERA, "bf16")
    prompt = Conditioning(torch.zeros(1, 512, 4096), (CameraWay(RAYS),))
    off, on = (
        sampling_task(weights, CAMERA, 1, LATENT, passes=2, steering=steering, run=0)
        for steering in ({}, prompt.steering())
    )
    assert on.ways[0].working_bytes - off.ways[0].working_bytes == 4 * RAYS.numel()


def test_windows_and_devices_reach_it():
    prompt = Conditioning(torch.zeros(1, 512, 4096), (CameraWay(RAYS),))
    (given,) = prompt.window(Cut(1, 3, 3)).inputs(torch.zeros(1, 16, 2, 8, 12), torch.zeros(1)).steering
    assert torch.equal(given.rays, RAYS[:, :, 1:3])
    (given,) = prompt.to(torch.device("meta")).inputs(torch.zeros(1, 16, 3, 8, 12), torch.zeros(1)).steering
    assert given.rays.device.type == "meta"


@pytest.mark.parametrize("branch", [ClipBranch(20), ClipBranch(20, 34), VaceBranch(2), Camera(24)], ids=str)
def test_a_branch_owns_the_names_that_it_says_and_no_others(branch):
    config = replace(T2V, branches=(branch,))
    assert branch.build(config, nn).keys() == set(branch.roots)
    model = build(config)
    added = {name.split(".")[0] for name in model.state_dict().keys() - build(T2V).state_dict().keys()}
    assert added == {*branch.roots} | ({"blocks"} if branch.in_blocks else set())
    assert [place.name for place in config.block_order() if place.branch is not None] == [
        name for names in branch.own_blocks(config.layers).values() for name in names
    ]
    assert model.streamed_blocks == [model.get_submodule(place.name) for place in config.block_order()]
