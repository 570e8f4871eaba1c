"""A causal model's memory of the frames before equals one pass over all frames with a mask of what each may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.dit.adapters import AppliedAdapter, adapted
from wan_director.dit.attention import resolve_pattern
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.footprint import past_bytes
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.past import Past
from wan_director.memory.policy import BlockSwap
from wan_director.memory.slabs import Slabs

from .conftest import official_name
from .trainable_models import everything, stored_model

CONFIG = DiTConfig(dim=48, ffn_dim=80, heads=6, layers=3, text_dim=24, text_tokens=8, freq_dim=16)
TOKENS = 24  # of a frame
LIMIT = 1e-5
NOISY = 700.0


@pytest.fixture
def model() -> WanDiT:
    torch.manual_seed(0)
    model = WanDiT(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture
def inputs(make_inputs) -> DitInputs:
    return make_inputs(CONFIG, (6, 8, 12))


def chunk(inputs: DitInputs, start: int, stop: int, timestep: float, past: Past) -> DitInputs:
    told = torch.full((len(inputs.latent),), timestep)
    return replace(inputs, latent=inputs.latent[:, :, start:stop], timestep=told, past=past)


def chunk_by_chunk(
    model: WanDiT, inputs: DitInputs, sizes: Sequence[int], past: Past, execution: Execution | None = None
) -> list[Tensor]:
    """The velocity of each chunk while it is noisy, the ones before being clean."""
    answers, start, execution = [], 0, execution or Execution()
    for size in sizes:
        past.begin(size)
        answers.append(model(chunk(inputs, start, start + size, NOISY, past), execution))
        model(chunk(inputs, start, start + size, 0.0, past), execution)
        past.keep()
        start += size
    return answers


def past_of(most: int = 6, sink: int = 0, heads: int = CONFIG.heads) -> Past:
    return Past(CONFIG.layers, heads, most, sink)


def masked(mask: Tensor) -> Callable[..., Tensor]:
    """A kernel in which frame i of a video sees frame j where mask[i, j] says so."""
    of_tokens = mask.repeat_interleave(TOKENS, 0).repeat_interleave(TOKENS, 1)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shown = of_tokens if k.shape[1] == len(of_tokens) == q.shape[1] else None
        heads = (each.transpose(1, 2) for each in (q, k, v))
        return F.scaled_dot_product_attention(*heads, attn_mask=shown).transpose(1, 2)

    return attend


def seen(sizes: Sequence[int], most: int, sink: int) -> Tensor:
    """[T, T]: which frames each sees."""
    frames, start = sum(sizes), 0
    mask = torch.zeros(frames, frames, dtype=torch.bool)
    for size in sizes:
        stop = start + size
        mask[start:stop, max(0, stop - (most - sink)) : stop] = True
        mask[start:stop, : min(sink, stop)] = True
        start = stop
    return mask


def in_one_pass(model: WanDiT, inputs: DitInputs, sizes: Sequence[int], mask: Tensor) -> list[Tensor]:
    """As `chunk_by_chunk`, each chunk by one pass over all frames up to its end."""
    answers, start = [], 0
    for size in sizes:
        stop = start + size
        times = torch.zeros(len(inputs.latent), stop)
        times[:, start:] = NOISY
        whole = replace(inputs, latent=inputs.latent[:, :, :stop], timestep=times)
        answers.append(model(whole, Execution(attention=masked(mask[:stop, :stop])))[:, :, start:])
        start = stop
    return answers


def assert_near(ours: Sequence[Tensor], expected: Sequence[Tensor], limit: float = LIMIT) -> None:
    for one, other in zip(ours, expected, strict=True):
        assert (one - other).abs().max() <= limit * other.abs().max()


@pytest.mark.parametrize("sizes", [(1,) * 6, (2, 2, 2), (1, 3, 2), (6,)], ids=str)
def test_remembered_frames_equal_a_pass_over_all_with_a_causal_mask(model, inputs, sizes):
    assert_near(chunk_by_chunk(model, inputs, sizes, past_of()), in_one_pass(model, inputs, sizes, seen(sizes, 6, 0)))


@pytest.mark.parametrize(
    ("sizes", "most", "sink"), [((1,) * 6, 3, 0), ((1,) * 6, 3, 1), ((2, 2, 2), 3, 1), ((1, 2, 2, 1), 4, 2)], ids=str
)
def test_forgotten_frames_are_those_outside_of_the_window_and_the_sink(model, inputs, sizes, most, sink):
    mask = seen(sizes, most, sink)
    assert not mask[-1].all()
    past = past_of(most, sink)
    assert_near(chunk_by_chunk(model, inputs, sizes, past), in_one_pass(model, inputs, sizes, mask))
    assert past.frames == 6
    assert past.size_bytes == past_bytes(CONFIG, 1, most, TOKENS, itemsize=4)


def test_the_velocity_equals_that_of_diffusers_with_its_own_causal_mask(inputs):
    from diffusers import SkyReelsV2Transformer3DModel

    torch.manual_seed(3)
    theirs = SkyReelsV2Transformer3DModel(
        num_attention_heads=CONFIG.heads, attention_head_dim=CONFIG.head_dim, in_channels=16, out_channels=16,
        text_dim=CONFIG.text_dim, freq_dim=CONFIG.freq_dim, ffn_dim=CONFIG.ffn_dim, num_layers=CONFIG.layers,
        num_frame_per_block=2,
    )  # fmt: skip
    for parameter in theirs.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    theirs = theirs.eval().requires_grad_(False)
    ours = WanDiT(CONFIG).eval().requires_grad_(False)
    ours.load_state_dict({official_name(name): value for name, value in theirs.state_dict().items()})
    times = torch.tensor([[0.0, 0.0, 0.0, 0.0, NOISY, NOISY]])
    expected = theirs(inputs.latent, times, inputs.text, enable_diffusion_forcing=True).sample[:, :, 4:]
    assert_near(chunk_by_chunk(ours, inputs, (2, 2, 2), past_of())[-1:], [expected])


def test_a_first_chunk_of_all_frames_is_a_plain_pass_to_the_bit(model, inputs):
    past = past_of()
    past.begin(6)
    told = torch.full((1,), NOISY)
    plain = replace(inputs, timestep=told)
    assert torch.equal(model(replace(plain, past=past)), model(plain))


def test_a_chunk_may_be_gone_over_again(model, inputs):
    past = past_of()
    chunk_by_chunk(model, inputs, (2, 2), past)
    past.begin(2)
    first = model(chunk(inputs, 4, 6, NOISY, past))
    model(chunk(inputs, 0, 2, 100.0, past))  # another latent in the same place
    assert torch.equal(model(chunk(inputs, 4, 6, NOISY, past)), first)


def test_videos_of_a_batch_do_not_see_each_other(model, make_inputs):
    both = make_inputs(CONFIG, (6, 8, 12), batch=2)
    together = chunk_by_chunk(model, both, (2, 2, 2), past_of(4, 1))
    for number in range(2):
        alone = replace(both, latent=both.latent[number : number + 1], text=both.text[number : number + 1])
        assert_near(
            [each[number : number + 1] for each in together], chunk_by_chunk(model, alone, (2, 2, 2), past_of(4, 1))
        )


@pytest.mark.parametrize("lean", [None, Lean(2), Lean(3, keys_in_groups=True, run=20)], ids=str)
def test_blocks_that_keep_less_remember_the_same(model, inputs, lean):
    way = Execution(may_overwrite=True, lean=lean)
    sizes = (2, 1, 2, 1)
    assert_near(
        chunk_by_chunk(model, inputs, sizes, past_of(4, 1), way), chunk_by_chunk(model, inputs, sizes, past_of(4, 1))
    )


def test_swapped_blocks_give_the_same_bits(model, inputs):
    expected = chunk_by_chunk(model, inputs, (2, 2, 2), past_of(4, 1))
    with BlockSwap(2, 0).streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        swapped = chunk_by_chunk(model, inputs, (2, 2, 2), past_of(4, 1), Execution(stream=stream))
    assert all(torch.equal(one, other) for one, other in zip(swapped, expected))


@pytest.mark.parametrize("form", ["fp8", "gguf", "int8", "int8, rotated"])
def test_stored_weights_and_a_lora_remember_what_plain_ones_do(form, inputs):
    model, _ = stored_model(form)
    model.requires_grad_(False)
    with adapted(model, [AppliedAdapter(everything(model))]):
        ours = chunk_by_chunk(model, inputs, (2, 2, 2), past_of(heads=model.config.heads))
        expected = in_one_pass(model, inputs, (2, 2, 2), seen((2, 2, 2), 6, 0))
    assert_near(ours, expected)


def test_a_skipped_block_remembers_nothing(model, inputs):
    past, skipping = past_of(), replace(inputs, skipped=frozenset({1}))
    answers = chunk_by_chunk(model, skipping, (2, 2, 2), past)
    assert past.size_bytes == past_bytes(CONFIG, 1, 6, TOKENS, itemsize=4) * 2 // 3
    assert_near(answers, in_one_pass(model, skipping, (2, 2, 2), seen((2, 2, 2), 6, 0)))


def test_a_16_bit_model_stays_near_its_float32_result(model, inputs):
    expected = chunk_by_chunk(model, inputs, (2, 2, 2), past_of())
    for one, other in zip(chunk_by_chunk(model.to(torch.bfloat16), inputs, (2, 2, 2), past_of()), expected):
        assert (one - other).norm() <= 1.3e-2 * other.norm()


def test_what_cannot_look_back_is_refused(model, inputs):
    past = past_of()
    past.begin(2)
    asked = chunk(inputs, 0, 2, NOISY, past)
    with pytest.raises(InvalidInputError, match="sparse in the video, .* Choose attention 'sdpa'"):
        model(asked, Execution(pattern=resolve_pattern("radial")))
    with pytest.raises(PairingError, match="by causal models of text to video, and this model takes more"):
        WanDiT(replace(CONFIG, branches=(VaceBranch(2),)))(asked)
    with pytest.raises(InvalidInputError, match="2 latent frames and 2 that are never forgotten are more than the 3"):
        past_of(3, 2).begin(2)
