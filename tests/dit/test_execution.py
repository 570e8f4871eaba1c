"""How a run computes is an argument: two runs share a model, nothing stays on it, and gradients find their way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from wan_director.common.errors import InvalidInputError
from wan_director.dit.attention import sdpa_attention
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.memory.slabs import Slabs
from wan_director.weights import layers
from wan_director.weights.casting import CASTINGS, cast_matrix
from wan_director.weights.fp8_compute import find_multiply
from wan_director.weights.multiplication import allow_fp8

from ..leftovers import everything_on

CPU = torch.device("cpu")
SIZES = {"dim": 32, "ffn_dim": 64, "heads": 2, "layers": 3, "text_dim": 24, "text_tokens": 8, "freq_dim": 16}
CONFIGS = {
    "t2v": DiTConfig(**SIZES),
    "flf2v": DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(20, 17),)),
    "vace": DiTConfig(**SIZES, branches=(VaceBranch(2),)),
    "frame times": DiTConfig(**SIZES, in_channels=48, out_channels=48),
}


def build(kind: str = "t2v", **options) -> WanDiT:
    torch.manual_seed(0)
    model = WanDiT(CONFIGS[kind], **options).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def in_fp8() -> WanDiT:
    """A model whose blocks keep their matrices in fp8, in which they may be multiplied too."""
    model = build(operations=layers).to(torch.bfloat16)
    for layer in model.blocks.modules():
        if isinstance(layer, layers.Linear):
            layer.store(cast_matrix(layer.weight.detach(), CASTINGS["fp8_scaled"]))
    assert allow_fp8(model) == 3 * 10
    return model


@pytest.fixture
def given(make_inputs) -> Callable[[str], DitInputs]:
    """A function: kind of model -> inputs that fill all its ports."""

    def make(kind: str = "t2v") -> DitInputs:
        inputs = make_inputs(CONFIGS[kind], shape=(2, 4, 6))
        if kind == "vace":
            return replace(inputs, steering=(VaceInput(torch.randn(1, 96, 2, 4, 6), 0.7),))
        if kind == "frame times":
            return replace(inputs, timestep=torch.tensor([[0.0, 800.0]]))
        return inputs

    return make


def scaled_down(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A kernel that gives something else than the usual one."""
    return 0.5 * sdpa_attention(q, k, v)


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_overwriting_changes_no_bit(kind, given):
    model, inputs = build(kind), given(kind)
    assert torch.equal(model(inputs, Execution(may_overwrite=True)), model(inputs))


@pytest.mark.skipif(find_multiply(torch.device("cpu")) is None, reason="this torch multiplies no fp8 on a CPU")
@torch.no_grad()
def test_two_runs_at_the_same_time_do_not_see_each_other(given):
    """A second run begins and ends between two blocks of the first one, in another way in every respect."""
    model, first, second = in_fp8(), given(), replace(given(), timestep=torch.tensor([40.0]))
    one = Execution(may_overwrite=True, feed_forward_run=5, multiply="fp8")
    other = Execution(attention=scaled_down)
    alone, other_alone = model(first, one), model(second, other)
    between, order = [], []

    def run_the_other(index, _tokens):
        order.append(index)
        with BlockSwap(3, 10**9).streaming(model.streamed_blocks, CPU, Slabs()) as stream:
            between.append(model(second, replace(other, stream=stream)))

    # The blocks are swapped for the inner run alone, and back in their places when it has ended.
    assert torch.equal(model(first, replace(one, on_block=run_the_other)), alone)
    assert order == [0, 1, 2] and all(torch.equal(each, other_alone) for each in between)
    assert not torch.equal(model(first, replace(one, multiply="dense")), alone)
    assert not torch.equal(model(second, replace(other, attention=sdpa_attention)), other_alone)


@pytest.mark.parametrize("policy", [RESIDENT, BlockSwap(2, 10**9), BlockSwap(3, 0)], ids=["all", "slabs", "staged"])
@pytest.mark.parametrize("fails", [False, True])
@torch.no_grad()
def test_a_run_leaves_nothing_on_the_model(policy, fails, given):
    model = in_fp8()

    def stop(index, _tokens):
        if fails and index == 1:
            raise KeyboardInterrupt

    before = everything_on(model)
    with policy.streaming(model.streamed_blocks, CPU, Slabs()) as stream:
        execution = Execution(scaled_down, 5, "fp8", stream, may_overwrite=True, on_block=stop)
        if fails:
            with pytest.raises(KeyboardInterrupt):
                model(given(), execution)
        else:
            model(given(), execution)
    assert everything_on(model) == before


def gradients(model: WanDiT, inputs: DitInputs, execution: Execution) -> list[Tensor]:
    model.requires_grad_(True).zero_grad()
    latent = inputs.latent.clone().requires_grad_(True)
    velocity = model(replace(inputs, latent=latent), execution)
    velocity.square().mean().backward()
    parameters = [parameter.grad for parameter in model.parameters()]
    assert latent.grad is not None and all(gradient is not None for gradient in parameters)
    return [velocity.detach(), latent.grad, *parameters]


@pytest.mark.parametrize("kind", CONFIGS)
def test_checkpointed_blocks_give_the_same_gradients_to_the_bit(kind, given):
    model, runs = build(kind), []
    handle = model.blocks[1].register_forward_pre_hook(lambda *_call: runs.append(1))
    resident = gradients(model, given(kind), Execution())
    assert len(runs) == 1
    checkpointed = gradients(model, given(kind), Execution(checkpoints=True))
    assert len(runs) == 3
    handle.remove()
    assert all(torch.equal(one, other) for one, other in zip(checkpointed, resident, strict=True))


@pytest.mark.parametrize("execution", [Execution(), Execution(checkpoints=True)], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("of", ["weights", "latent"])
def test_gradients_through_swapped_blocks_are_refused_in_a_sentence(execution, of, given):
    model, inputs = build(), given()
    if of == "weights":
        model.blocks[0].requires_grad_(True)
    else:
        inputs.latent.requires_grad_(True)
    with (
        BlockSwap(3, 10**9).streaming(model.streamed_blocks, CPU, Slabs()) as stream,
        pytest.raises(InvalidInputError, match=r"^Gradients are recorded while blocks are swapped, .*no_grad\(\)\.$"),
    ):
        model(inputs, replace(execution, stream=stream))


def test_swapped_blocks_run_where_no_gradient_is_wanted_of_them(given):
    """Whatever the gradient mode is."""
    model, inputs = build(), given()
    with BlockSwap(3, 10**9).streaming(model.streamed_blocks, CPU, Slabs()) as stream:
        assert torch.equal(model(inputs, Execution(stream=stream)), model(inputs))


def test_what_is_run_again_must_not_be_overwritten():
    with pytest.raises(InvalidInputError, match="may_overwrite is true"):
        Execution(may_overwrite=True, checkpoints=True)
