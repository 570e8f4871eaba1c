"""VACE: blocks that follow a control video, against diffusers' WanVACETransformer3DModel on the same random weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import PairingError
from wan_director.dit.branches import vace
from wan_director.dit.branches.module import BranchModule
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS

T2V = DiTConfig(dim=128, ffn_dim=320, heads=1, layers=6, text_dim=96)
VACE = replace(T2V, branches=(VaceBranch(3),))


def control(seed: int = 5, batch: int = 1, frames: int = 3, strength: float = 1.0) -> VaceInput:
    generator = torch.Generator().manual_seed(seed)
    return VaceInput(torch.randn(batch, 96, frames, 8, 12, generator=generator), strength)


def run_diffusers(model, inputs) -> torch.Tensor:
    given = inputs.steering[0]
    scale = torch.full((VACE.branch(VaceBranch).blocks,), given.strength)
    with torch.no_grad():
        return model(
            inputs.latent,
            inputs.timestep,
            inputs.text,
            control_hidden_states=given.channels,
            control_hidden_states_scale=scale,
        ).sample


def build(config: DiTConfig) -> WanDiT:
    torch.manual_seed(0)
    return WanDiT(config).eval().requires_grad_(False)


@pytest.mark.parametrize(("batch", "strength"), [(1, 1.0), (2, 0.6)])
def test_velocity_equals_diffusers(batch, strength, make_pair, make_inputs):
    ours, theirs = make_pair(VACE)
    inputs = replace(make_inputs(VACE, batch=batch), steering=(control(batch=batch, strength=strength),))
    with torch.no_grad():
        velocity, expected = ours(inputs), run_diffusers(theirs, inputs)
    assert (velocity - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (velocity - expected).norm() <= 5e-6 * expected.norm()
    with torch.no_grad():
        assert (ours(replace(inputs, steering=())) - expected).norm() > 1e-3 * expected.norm()


def test_published_layer_maps():
    assert PRESETS["vace-14B"].branch(VaceBranch).steered_layers(40) == (0, 5, 10, 15, 20, 25, 30, 35)
    assert PRESETS["vace-1.3B"].branch(VaceBranch).steered_layers(30) == tuple(range(0, 30, 2))
    assert PRESETS["t2v-14B"].branch(VaceBranch) is None


def test_without_a_control_video_it_is_the_text_model_bit_for_bit(make_inputs):
    vace, plain = build(VACE), build(T2V)
    state = vace.state_dict()
    plain.load_state_dict({key: state[key] for key in plain.state_dict()})
    inputs = make_inputs(T2V)
    assert torch.equal(vace(inputs), plain(inputs))
    assert torch.equal(vace(replace(inputs, steering=(control(strength=0.0),))), plain(inputs))


def test_hints_of_several_control_videos_add_up(make_inputs):
    model, inputs = build(VACE), make_inputs(VACE)
    once = model(replace(inputs, steering=(control(strength=1.0),)))
    halves = model(replace(inputs, steering=(control(strength=0.5), control(strength=0.5))))
    torch.testing.assert_close(halves, once, rtol=0, atol=2e-6)
    other = model(replace(inputs, steering=(control(), control(seed=6))))
    assert (other - once).norm() > 1e-3 * once.norm()


@pytest.mark.parametrize(
    ("gradients", "may_overwrite"), [(False, True), (False, False), (True, False)], ids=["lean", "plain", "grad"]
)
def test_control_videos_are_never_written_into(gradients, may_overwrite, make_inputs):
    model, given = build(VACE).requires_grad_(gradients), control()
    copy = given.channels.clone()
    with torch.set_grad_enabled(gradients):
        velocity = model(replace(make_inputs(VACE), steering=(given,)), Execution(may_overwrite=may_overwrite))
    assert torch.equal(given.channels, copy)
    with torch.no_grad():
        again = model(replace(make_inputs(VACE), steering=(given,)))
    torch.testing.assert_close(velocity, again, rtol=0, atol=1e-6)


@pytest.mark.parametrize("lean", [None, Lean(2, run=7)])
def test_videos_of_a_batch_may_share_a_long_control_video(lean, make_inputs, monkeypatch):
    monkeypatch.setattr(vace, "matrix_run", lambda _tokens: 5)
    model, shared = build(VACE), control()
    inputs = replace(make_inputs(VACE, batch=2), steering=(shared,))
    own = replace(inputs, steering=(shared._replace(channels=shared.channels.repeat(2, 1, 1, 1, 1)),))
    execution = Execution(may_overwrite=True, lean=lean)
    expected = model(own, execution)
    rounding = 2e-6 * float(expected.abs().max())  # of float32 sums for runs of other lengths, as in test_lean
    torch.testing.assert_close(model(inputs, execution), expected, rtol=0, atol=rounding)


def test_the_stream_gets_every_vace_block_right_after_the_block_it_steers(make_inputs):
    model, seen, lent = build(VACE), [], []

    def lend(blocks):
        for block in blocks:
            lent.append(block)
            yield block

    execution = Execution(stream=lend, on_block=lambda index, _tokens: seen.append(index))
    model(replace(make_inputs(VACE), steering=(control(),)), execution)
    blocks, steering = list(model.blocks), list(model.vace_blocks)
    assert lent == [blocks[0], steering[0], blocks[1], blocks[2], steering[1], blocks[3], blocks[4], steering[2],
                    blocks[5]]  # fmt: skip
    assert seen == list(range(9))


def test_a_module_added_to_a_text_model_makes_the_whole_model(make_inputs):
    whole, base = build(VACE), build(T2V)
    state = whole.state_dict()
    base.load_state_dict({key: state[key] for key in base.state_dict()})
    module = BranchModule(VACE).requires_grad_(False)
    module.load_state_dict({key: value for key, value in state.items() if key.startswith("vace_")})
    added = base.with_branches(module)
    inputs = replace(make_inputs(VACE), steering=(control(),))
    assert torch.equal(added(inputs), whole(inputs))
    assert added.state_dict().keys() == state.keys()
    assert base.config == T2V and not any("vace" in key for key in base.state_dict())


def test_a_control_video_that_does_not_fit_is_refused(make_inputs):
    inputs = make_inputs(VACE)
    with pytest.raises(
        PairingError, match="This model has no VACE blocks and cannot follow a control video. Choose a VACE model"
    ):
        build(T2V)(replace(inputs, steering=(control(),)))
    with pytest.raises(PairingError, match="96 channels, 4 latent frames of 12 x 8, but .* has 16 channels, 3 latent"):
        build(VACE)(replace(inputs, steering=(control(frames=4),)))


def test_blocks_are_skipped_by_their_number_in_the_model_and_still_steered(make_inputs):
    model = build(VACE)
    inputs = replace(make_inputs(VACE), steering=(control(),))
    run = []
    for block in model.streamed_blocks:
        block.register_forward_hook(lambda block, *_call: run.append(block))
    with torch.no_grad():
        model(replace(inputs, skipped=frozenset({1, 4})))
    assert run == [block for block in model.streamed_blocks if block not in (model.blocks[1], model.blocks[4])]
