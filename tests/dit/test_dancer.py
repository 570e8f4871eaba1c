"""Wan-Dancer: music after some blocks, who dances, and the pace of a plan, against diffsynth and ComfyUI."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from wan_director.common.errors import PairingError
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, adapted
from wan_director.dit.branches.audio.dance import DanceBranch, DanceInput
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.conditioning.audio.dance import DancedMusic
from wan_director.dit.conditioning.clip_image import ClipImage
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import Avoided, TextTravel
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.rope import TokenPlaces, rope_at
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.memory.slabs import Slabs

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = runpy.run_path(str(FIXTURES / "dancer_models.py"))
EXPECTED = load_file(FIXTURES / "dancer_outputs.safetensors")
OF_COMFYUI = load_file(FIXTURES / "dancer_comfyui.safetensors")
BRANCH = DanceBranch(len(SMALL["INJECTED"]), reference_channels=16)
CONFIG = DiTConfig(**SMALL["SIZES"], in_channels=36, branches=(ClipBranch(1280), BRANCH))
PLAN = SMALL["PLAN_FPS"]
WAYS = {
    "kept": Execution(),
    "overwritten": Execution(may_overwrite=True),
    "lean": Execution(may_overwrite=True, lean=Lean(2, run=50)),
    "leanest": Execution(may_overwrite=True, lean=Lean(4, keys_in_groups=True, run=37)),
}
# Queries and keys of a look at one thing alone, and a layer that the model's own pipeline leaves alone.
WITHOUT_EFFECT = (".q.", ".k.", ".norm_q.", ".norm_k.", "ref_conv.")


@pytest.fixture(scope="module")
def model():
    """With the weights that the others had. Nothing writes into it."""
    return build()


def build(config: DiTConfig = CONFIG) -> WanDiT:
    model = WanDiT(config)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(SMALL["random_like"](shapes))
    return model.eval().requires_grad_(False)


def dance(fps: float = PLAN, referred: bool = True, **changes) -> DanceInput:
    asked, frames = SMALL["random_inputs"](), SMALL["SHAPE"][0]
    given = DanceInput(asked.music, fps, frames, 0, frames, picture=asked.reference if referred else None)
    return given._replace(**changes)


def inputs_of(given: DanceInput | None = None, **changes) -> DitInputs:
    asked = SMALL["random_inputs"]()
    steering = (ClipInput(asked.start), dance() if given is None else given)
    return replace(DitInputs(asked.latent, asked.timestep, asked.text, asked.beside, steering), **changes)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - expected).norm() <= 5e-6 * expected.norm()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", SMALL["CASES"])
def test_velocity_equals_diffsynth(model, case, way):
    """Of its own pipeline's pass: a plan and a dance, with and without a reference, and without the ninth block."""
    weights = sum(value.double().sum() for value in model.state_dict().values())
    torch.testing.assert_close(weights.reshape(1), EXPECTED["weights"])  # else the fixture is of other weights
    fps, _started, referred = SMALL["CASES"][case]
    skipped = frozenset({9}) if "left out" in case else frozenset()
    assert_same(model(inputs_of(dance(fps, referred), skipped=skipped), WAYS[way]), EXPECTED[case])


@pytest.mark.parametrize("case", SMALL["PICTURED"])
def test_velocity_without_music_equals_comfyui(model, case):
    """Of what both do alike: ComfyUI turns music at another place, and takes the start picture for no text."""
    given = dance(SMALL["PICTURED"][case], referred=False, strength=0.0)
    assert_same(model(inputs_of(given)), OF_COMFYUI[case])


def test_a_branch_that_nothing_steers_is_as_if_it_were_not_there(model):
    plain = WanDiT(replace(CONFIG, branches=(ClipBranch(1280),))).eval()
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key in plain.state_dict()})
    inputs = inputs_of()
    unsteered = replace(inputs, steering=inputs.steering[:1])
    with torch.no_grad():
        alone = plain(unsteered)
    assert torch.equal(model(unsteered), alone)
    assert (model(inputs) - alone).norm() > 1e-2 * alone.norm()


def test_music_picture_pace_and_strength_each_count(model):
    given = dance()
    others = [
        given, given._replace(music=0 * given.music), given._replace(picture=None), given._replace(fps=30.0),
        given._replace(fps=15.0), given._replace(strength=0.5),
    ]  # fmt: skip
    velocities = [model(inputs_of(each)) for each in others]
    assert all((velocities[0] - other).norm() > 1e-3 * other.norm() for other in velocities[1:])


def test_a_plan_lies_where_its_frames_are_at_30_a_second():
    """Every fourth frame at 7.5, and the last one at the end of all."""
    assert BRANCH.times([dance()], 5).tolist() == [0, 4, 8, 12, 19]
    assert BRANCH.times([dance(30.0)], 5) is None and BRANCH.times([], 5) is None
    model, inputs = WanDiT(CONFIG).eval(), inputs_of()
    moved = replace(inputs, places=TokenPlaces(scale=(0.5, 1.0, 1.0), shift=(2.0, 0.0, 0.0)))
    places = (torch.tensor([2.0, 4.0, 7.5]), torch.arange(4.0), torch.arange(6.0))
    assert torch.equal(model.embed(moved).context.rope, rope_at(24, places))


def test_a_part_of_the_tokens_hears_what_it_would_in_the_whole(model):
    """What one device of several does, wherever its tokens begin."""
    embedded = model.embed(inputs_of())
    (run,) = embedded.runs.values()
    block, context = model.get_submodule("music_injector.injector.1"), embedded.context
    for execution in (Execution(), Execution(may_overwrite=True)):
        whole = run.after(block, embedded.tokens.clone(), context, execution)
        for part in (slice(0, 20), slice(20, 37), slice(37, 72)):
            own = embedded.part(part)
            (share,) = own.runs.values()
            assert torch.equal(share.after(block, own.tokens, own.context, execution), whole[:, part])


def test_tokens_that_no_eighth_of_a_frame_divides_hear_in_order(model):
    latent = torch.randn(1, 16, 3, 6, 10)
    inputs = inputs_of(latent=latent, image_channels=torch.zeros(1, 20, 3, 6, 10))  # 15 tokens a frame
    (run,) = model.embed(inputs).runs.values()
    heard = torch.zeros(1, 45, 96)
    block = model.get_submodule("music_injector.injector.0")
    block_out = run.after(block, heard, model.embed(inputs).context, Execution())[0]
    values = block.o(block.v(run._heard))[0]
    rows = [frame * 8 + token * 8 // 15 for frame in range(3) for token in range(15)]
    torch.testing.assert_close(block_out, values[rows])


@pytest.mark.parametrize("lean", [None, Lean(2, run=40)])
def test_videos_of_a_batch_share_what_is_given(model, lean):
    inputs = inputs_of()
    both = replace(
        inputs, latent=torch.cat([inputs.latent, 0.5 * inputs.latent]), timestep=inputs.timestep.repeat(2),
        text=inputs.text.repeat(2, 1, 1), image_channels=inputs.image_channels.repeat(2, 1, 1, 1, 1),
        steering=(ClipInput(inputs.steering[0].features.repeat(2, 1, 1)), inputs.steering[1]),
    )  # fmt: skip
    execution = Execution(may_overwrite=True, lean=lean)
    together = model(both, execution)
    for index, latent in enumerate((inputs.latent, 0.5 * inputs.latent)):
        alone = model(replace(inputs, latent=latent), execution)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=3e-6 * alone.abs().max().item())


def test_equal_timesteps_for_each_frame_are_one_timestep(model):
    inputs, execution = inputs_of(), WAYS["overwritten"]
    assert_same(model(replace(inputs, timestep=inputs.timestep.expand(1, 3)), execution), model(inputs, execution))


def test_passes_together_give_the_same_bits(model):
    """A plan and a dance may go through the blocks together."""
    passes = [inputs_of(), inputs_of(dance(30.0)), inputs_of(skipped=frozenset({9}))]
    together = model.forward_together(passes)
    assert all(torch.equal(one, model(each)) for one, each in zip(together, passes))


@pytest.mark.parametrize("way", ["kept", "overwritten", "lean"])
def test_what_steers_is_never_written_into(model, way):
    inputs = inputs_of()
    given = inputs.steering[1]
    copies = given.music.clone(), given.picture.clone()
    model(inputs, WAYS[way])
    assert torch.equal(given.music, copies[0]) and torch.equal(given.picture, copies[1])


def test_swapped_blocks_change_nothing(model):
    inputs = inputs_of()
    expected = model(inputs, WAYS["overwritten"])
    with BlockSwap(5, 0).streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        assert torch.equal(model(inputs, Execution(may_overwrite=True, stream=stream)), expected)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("merge", [False, True])
def test_changes_of_its_layers_equal_changed_weights(swapped, merge):
    """A LoRA may change the layers of its music and of a plan as well as the others."""
    model, inputs = build(), inputs_of()
    generator = torch.Generator().manual_seed(4)
    names = [
        "music_injector.injector.1.v.weight", "music_injector.injector.0.o.bias", "head_global.head.weight",
        "patch_embedding_global.bias", "music_encoder.1.linear1.weight", "music_projection.weight",
        "img_emb_refimage.proj.3.weight", "blocks.2.ffn.0.weight",
    ]  # fmt: skip
    added = {name: 0.02 * torch.randn(model.get_parameter(name).shape, generator=generator) for name in names}
    changes = {name: (Change(Full(value)),) for name, value in added.items()}
    memory = BlockSwap(4, 0) if swapped else RESIDENT
    with (
        adapted(model, [AppliedAdapter(Adapter("test", changes), 0.5, merge=merge)]),
        memory.streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream,
    ):
        velocity = model(inputs, Execution(stream=stream))
    plain = model(inputs)
    for name, value in added.items():
        model.get_parameter(name).data.add_(value, alpha=0.5)
    expected = model(inputs)
    assert (velocity - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (plain - expected).abs().max() > 1e-3 * expected.abs().max()


def test_gradients_reach_all_that_counts():
    model = WanDiT(replace(CONFIG, layers=1, branches=(ClipBranch(1280), DanceBranch(1))))
    for each in (inputs_of(), inputs_of(dance(30.0))):
        model(each, Execution(checkpoints=True)).square().mean().backward()
    kept = {name: parameter.grad for name, parameter in model.named_parameters()}
    idle = {
        name for name in kept if name.startswith("music_injector.") and any(part in name for part in WITHOUT_EFFECT)
    }
    assert all((grad is None) == (name in idle) for name, grad in kept.items())
    model.zero_grad()
    for each in (inputs_of(), inputs_of(dance(30.0))):
        model(each).square().mean().backward()
    for name, parameter in model.named_parameters():
        if name not in idle:
            torch.testing.assert_close(parameter.grad, kept[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("residual", [False, True])
def test_a_16_bit_model_stays_near_its_float32_result(model, residual):
    """The limit is that of the other models, see parity.md."""
    small = WanDiT(CONFIG, fp32_residual=residual).eval().requires_grad_(False)
    small.load_state_dict(model.state_dict())
    velocity = small.to(torch.bfloat16)(inputs_of(), Execution(may_overwrite=True))
    assert (velocity - EXPECTED["plan"]).norm() <= 1.3e-2 * EXPECTED["plan"].norm()


def test_a_text_to_lead_away_from_and_texts_in_time_keep_the_start_picture(model):
    """The start picture's tokens stand before each text that a block sees."""
    inputs = inputs_of()
    travel = TextTravel((inputs.text, inputs.text), torch.full((2, 3), 0.5))
    assert_same(model(replace(inputs, travel=travel)), model(inputs))
    away = Avoided(inputs.text, 4.0, 0.25, 2.5)
    assert_same(model(replace(inputs, avoided=away)), model(inputs))


def test_a_window_hears_its_part_of_the_song(model):
    asked = SMALL["random_inputs"]()
    whole = DancedMusic(asked.music, 30.0, 3, 0, 3, 0.5, asked.reference)
    prompt = Conditioning(asked.text, (ClipImage(asked.start), whole))
    assert prompt.steering() == {ClipBranch: 1, DanceBranch: 1}
    part = prompt.window(Cut(1, 3, 3)).inputs(asked.latent[:, :, 1:], asked.timestep)
    (run,) = model.embed(replace(part, image_channels=asked.beside[:, :, 1:])).runs.values()
    (of_whole,) = model.embed(prompt.inputs(asked.latent, asked.timestep)).runs.values()
    assert torch.equal(run._heard, of_whole._heard[:, 8:])
    tile = prompt.window(Cut(0, 3, 3, rows=Span(2, 8, 8), columns=Span(0, 8, 12)))
    model(tile.inputs(asked.latent[..., 2:, :8], asked.timestep))
    on_meta = prompt.to(torch.device("meta")).items[1]
    assert on_meta.music.is_meta and on_meta.picture.is_meta


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dance(music=torch.zeros(1, 9, 34)), "has 34 numbers for each of 9 moments, and the model hears 35"),
        (dance(stop=2), "prepared for 2 latent frames, but the video has 3"),
        (dance(music=torch.zeros(2, 9, 35)), "is for 2 videos, but the latent has 1"),
        (dance(picture=torch.zeros(1, 257, 768)), "reference have the width 768, but the model needs 1280"),
    ],
)
def test_what_does_not_fit_is_refused(model, given, words):
    with pytest.raises(PairingError, match=words):
        model(inputs_of(given))


def test_the_music_of_two_songs_and_other_models_are_refused(model):
    inputs = inputs_of()
    with pytest.raises(PairingError, match="the music of 2 songs, and the model hears one"):
        model(replace(inputs, steering=(dance(), dance())))
    with pytest.raises(PairingError, match="This model does not dance to music. Remove the music, or choose"):
        WanDiT(replace(CONFIG, branches=(ClipBranch(1280),)))(inputs)
