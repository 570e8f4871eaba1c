"""Clips beside the video (Bernini-R) against diffusers' parts: its embeddings, blocks and head on all tokens."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.conditioning.in_context import ContextClip, ContextSize, context_sizes, source_ids
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import TextTravel
from wan_director.dit.execution import DEFAULT_EXECUTION
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import RunningDiT, WanDiT
from wan_director.dit.rope import make_rope, source_turns
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import StagedContext
from wan_director.sampling.step import NoiseLevel

from .test_dit_parity import T2V, assert_close

CLIPS = ((3, 8, 12), (2, 6, 4), (1, 4, 10), (1, 10, 6))
"""Latent sizes: a source, a reference video and two pictures."""


def random_clips(sizes=CLIPS, batch: int = 1, ids=(1.0, 2.0, 3.0, 4.0)) -> tuple[ContextClip, ...]:
    generator = torch.Generator().manual_seed(7)
    latents = [torch.randn(batch, 16, *size, generator=generator) for size in sizes]
    return tuple(ContextClip(latent, own, own == 1.0) for latent, own in zip(latents, ids))


def own_turns(size: tuple[int, int, int], head_dim: int, source_id: float) -> torch.Tensor:
    """Rotation matrices [L, P, 2, 2] written out: that of the place, and after it that of the clip, in float64."""
    frames, rows, columns = size[0], size[1] // 2, size[2] // 2
    side = 2 * (head_dim // 6)
    further = _rotations([source_id / 10000.0 ** (2 * pair / head_dim) for pair in range(head_dim // 2)])
    matrices = []
    for place in product(range(frames), range(rows), range(columns)):
        angles = [
            at / 10000.0 ** (2 * pair / dim)
            for dim, at in zip((head_dim - 2 * side, side, side), place)
            for pair in range(dim // 2)
        ]
        matrices.append(further @ _rotations(angles))
    return torch.stack(matrices)


def _rotations(angles: list[float]) -> torch.Tensor:
    turned = torch.tensor(angles, dtype=torch.float64)
    cos, sin = turned.cos(), turned.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def theirs_with_clips(model: torch.nn.Module, inputs: DitInputs) -> torch.Tensor:
    """diffusers' model asked part by part: the video's tokens first, then the clips', as ComfyUI packs them."""
    config = model.config
    parts = [(inputs.latent, 0.0), *((clip.latent, clip.source_id) for clip in inputs.in_context)]
    tokens, matrices = [], []
    for latent, source_id in parts:
        embedded = model.patch_embedding(latent).flatten(2).transpose(1, 2)
        tokens.append(embedded.expand(len(inputs.latent), -1, -1))
        matrices.append(own_turns(tuple(latent.shape[2:]), config.attention_head_dim, source_id))
    turns = torch.cat(matrices)
    cos, sin = (turns[..., row, 0].float().repeat_interleave(2, -1)[None, :, None] for row in (0, 1))
    hidden = torch.cat(tokens, dim=1)
    time, projected, text, _ = model.condition_embedder(inputs.timestep, inputs.text, None)
    projected = projected.unflatten(1, (6, -1))
    for block in model.blocks:
        hidden = block(hidden, text, projected, (cos, sin))
    hidden = hidden[:, : tokens[0].shape[1]]
    shift, scale = (model.scale_shift_table + time.unsqueeze(1)).chunk(2, dim=1)
    values = model.proj_out(model.norm_out(hidden) * (1 + scale) + shift)
    batch, _, frames, height, width = inputs.latent.shape
    values = values.reshape(batch, frames, height // 2, width // 2, 1, 2, 2, -1)
    return values.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 2])
def test_velocity_with_clips_equals_diffusers_parts(count, batch, make_pair, make_inputs):
    ours, theirs = make_pair(T2V)
    inputs = replace(make_inputs(T2V, batch=batch), in_context=random_clips()[:count])
    with torch.no_grad():
        found, expected = ours(inputs), theirs_with_clips(theirs, inputs)
        assert_close(found, expected)
        assert (found - ours(replace(inputs, in_context=()))).abs().max() > 1e-3


def test_the_restatement_without_clips_is_diffusers_own(make_pair, make_inputs, run_diffusers):
    _, theirs = make_pair(T2V)
    inputs = make_inputs(T2V)
    with torch.no_grad():
        assert_close(theirs_with_clips(theirs, inputs), run_diffusers(theirs, inputs))


@pytest.mark.parametrize("source_id", [1.0, 2.0, 1.5, 5.0])
def test_places_of_a_clip_are_turned_by_its_id(source_id):
    grid, head_dim = (2, 3, 5), 48
    ours = make_rope(head_dim, grid) * source_turns(head_dim, source_id)
    expected = own_turns((2, 6, 10), head_dim, source_id)
    found = torch.view_as_real(ours)[0, :, 0].double()
    assert (found[..., 0] - expected[..., 0, 0]).abs().max() < 1e-6
    assert (found[..., 1] - expected[..., 1, 0]).abs().max() < 1e-6


def test_an_id_of_0_and_no_clips_change_nothing(make_pair, make_inputs):
    rope = make_rope(48, (2, 3, 5))
    assert torch.equal(rope * source_turns(48, 0.0), rope)
    ours, _ = make_pair(T2V)
    inputs = make_inputs(T2V)
    with torch.no_grad():
        assert torch.equal(ours(inputs), ours(replace(inputs, in_context=())))
    prompt = Conditioning(inputs.text)
    assert prompt.inputs(inputs.latent, inputs.timestep).in_context == ()


def test_clips_of_odd_sides_are_padded_as_videos_are(make_pair, make_inputs):
    ours, _ = make_pair(T2V)
    (odd,) = random_clips(((1, 5, 7),), ids=(2.0,))
    padded = torch.nn.functional.pad(odd.latent, (0, 1, 0, 1, 0, 0), mode="circular")
    inputs = make_inputs(T2V)
    with torch.no_grad():
        both = [ours(replace(inputs, in_context=(clip,))) for clip in (odd, replace(odd, latent=padded))]
    assert torch.equal(*both)


def test_ids_are_numbers_and_beyond_the_trained_ones_spread_up_to_there():
    assert source_ids(0) == () and source_ids(3) == (1, 2, 3) and source_ids(5) == (1, 2, 3, 4, 5)
    assert source_ids(9) == tuple(torch.linspace(1, 5, 9).tolist())


def test_a_window_shows_its_part_of_the_source_and_all_of_a_picture():
    source, video, picture = random_clips(((7, 8, 12), (7, 6, 4), (1, 4, 10)), ids=(1.0, 2.0, 3.0))
    prompt = Conditioning(torch.zeros(1, 512, 96), in_context=(source, video, picture))
    cut = Cut(2, 5, 7, rows=Span(2, 6, 8))
    seen = prompt.window(cut).in_context
    assert torch.equal(seen[0].latent, source.latent[:, :, 2:5, 2:6])
    assert torch.equal(seen[1].latent, video.latent[:, :, 2:5])
    assert torch.equal(seen[2].latent, picture.latent)
    assert [clip.source_id for clip in seen] == [1, 2, 3]
    still = replace(source, latent=source.latent[:, :, :1])
    assert torch.equal(still.window(cut).latent, source.latent[:, :, :1, 2:6])
    assert torch.equal(source.window(Cut(5, 8, 9)).latent, source.latent[:, :, 5:])
    ended = replace(prompt, in_context=(source, picture)).window(Cut(7, 9, 9)).in_context
    assert [clip.source_id for clip in ended] == [3]
    tokens = [size.tokens((3, 4, 12), 7) for size in context_sizes(prompt.in_context)]
    assert tokens == [clip.latent[0, 0].numel() // 4 for clip in seen]
    assert ContextSize(1, 8, 12, is_source=True).tokens((3, 4, 12), 7) == 12


@pytest.mark.parametrize(
    ("config", "changes", "error", "words"),
    [
        (replace(T2V, in_channels=36), {}, PairingError, "has channels for given frames"),
        (T2V, {"timestep": torch.zeros(1, 3)}, InvalidInputError, "a timestep for each frame"),
        (T2V, {"in_context": random_clips(batch=2)}, PairingError, "is 2 latents of 16 channels.* is 1 of 16"),
        (
            T2V,
            {"travel": TextTravel((torch.zeros(1, 512, 96),), torch.ones(1, 3))},
            InvalidInputError,
            "no place in time among prompts",
        ),
        (
            replace(T2V, branches=(VaceBranch(1),)),
            {"steering": (VaceInput(torch.zeros(1, 96, 3, 8, 12), 1.0),)},
            InvalidInputError,
            "brings .* and a source video or reference",
        ),
    ],
)
def test_what_cannot_go_with_clips_is_refused(config: DiTConfig, changes, error, words, make_inputs):
    model = WanDiT(config)
    inputs = make_inputs(replace(config, branches=tuple(b for b in config.branches if isinstance(b, ClipBranch))))
    with pytest.raises(error, match=words), torch.no_grad():
        model(replace(inputs, **{"in_context": random_clips(), **changes}))


@pytest.mark.parametrize(("video", "references", "passes"), [(1.25, 4.5, 4), (1.25, 1.25, 3), (1.0, 1.0, 2)])
def test_a_step_in_stages_equals_the_authors_sum_of_diffusers_passes(video, references, passes, make_pair, make_inputs):
    ours, theirs = make_pair(T2V)
    plain, clips, words = make_inputs(T2V), random_clips()[:3], 4.0
    texts = {"positive": plain.text, "negative": plain.text.roll(7, dims=-1)}

    def answer(side: str, shown: tuple[ContextClip, ...]) -> torch.Tensor:
        return theirs_with_clips(theirs, replace(plain, text=texts[side], in_context=shown))

    prompts = {side: Conditioning(text, in_context=clips) for side, text in texts.items()}
    guidance = StagedContext(words, video, references)
    denoiser = Denoiser(RunningDiT(ours, DEFAULT_EXECUTION), **prompts, guidance=guidance)
    level = NoiseLevel(3, 10, 0.5, 500.0)
    with torch.no_grad():
        none, source, both = (answer("negative", shown) for shown in ((), clips[:1], clips))
        expected = none + video * (source - none) + references * (both - source)
        expected = expected + words * (answer("positive", clips) - both)
        found = denoiser.start()(plain.latent, level)
    assert len(guidance.asks(level)) == passes
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
