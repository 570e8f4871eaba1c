"""What training through adapters cannot do is said in a sentence; what inference may do meanwhile goes on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from wan_director.common.errors import InvalidInputError
from wan_director.dit.adapters import Adapter, AppliedAdapter, adapted, trainable, trainable_parameters
from wan_director.dit.attention import sdpa_attention, without_gradient
from wan_director.dit.execution import Execution
from wan_director.memory.policy import BlockSwap
from wan_director.memory.slabs import Slabs

from .trainable_models import CHECKPOINTED, everything, inputs, loss_of, matrices, model, stored_model


def test_going_back_outside_of_the_context_is_no_silent_mistake():
    """Blocks that are run again have lost their adapters by then, which torch's checkpoint sees."""
    base, own = model(), trainable(everything(model()))
    with adapted(base, [AppliedAdapter(own)]):
        loss = loss_of(base(inputs(), CHECKPOINTED))
    with pytest.raises(torch.utils.checkpoint.CheckpointError):
        loss.backward()


@pytest.mark.parametrize("name", ["blocks.1.self_attn.q.weight", "blocks.2.modulation", "text_embedding.0.weight"])
def test_swapped_blocks_cannot_be_learned_through(name):
    base = model()
    own = trainable(Adapter("a", {name: everything(base).changes[name]}))
    with (
        adapted(base, [AppliedAdapter(own)]),
        BlockSwap(3, 10**9).streaming(base.streamed_blocks, torch.device("cpu"), Slabs()) as stream,
        pytest.raises(InvalidInputError, match="^Gradients are recorded while blocks are swapped"),
    ):
        base(inputs(), Execution(stream=stream))


@pytest.mark.parametrize("pinned", [0, 10**9])
def test_samples_with_swapped_blocks_follow_what_is_learned(pinned):
    """Between two steps, in one context and in another; and learning goes on after them."""
    base, own, slabs = model(), trainable(everything(model())), Slabs()
    parameters = list(trainable_parameters(own).values())

    def sampled() -> Tensor:
        with (
            torch.no_grad(),
            BlockSwap(2, pinned).streaming(base.streamed_blocks, torch.device("cpu"), slabs) as stream,
        ):
            return base(inputs(), Execution(stream=stream))

    def learn() -> None:
        with torch.no_grad():
            assert torch.equal(sampled(), base(inputs()))
        loss_of(base(inputs())).backward()
        for value in parameters:
            assert value.grad is not None
            value.data.sub_(0.1 * value.grad)
            value.grad = None

    for _ in range(2):
        with adapted(base, [AppliedAdapter(own)]):
            for _ in range(2):
                learn()


def test_a_merge_into_stored_weights_is_refused_for_learning_too():
    base, _ = stored_model("gguf")
    applied = AppliedAdapter(trainable(matrices(model(), "lora")), merge=True)
    with pytest.raises(InvalidInputError, match=r"cannot be merged .* Switch merge off"), adapted(base, [applied]):
        pass


def test_kernels_without_a_gradient_say_so():
    base, own = model(), trainable(matrices(model(), "lora"))
    kernel = without_gradient(sdpa_attention, "sage")
    with adapted(base, [AppliedAdapter(own)]):
        with pytest.raises(InvalidInputError, match="Attention 'sage' has no gradient, .* 'sdpa'"):
            base(inputs(), Execution(attention=kernel))
        with torch.no_grad():
            assert torch.equal(base(inputs(), Execution(attention=kernel)), base(inputs()))


def test_nothing_is_learned_of_what_was_made_in_inference_mode():
    with torch.inference_mode():
        base = model()
        with pytest.raises(InvalidInputError, match=r"matrices cannot be trained in torch.inference_mode"):
            trainable(matrices(base, "lora"))
    own = trainable(matrices(model(), "lora"))
    with (
        pytest.raises(
            InvalidInputError, match=r"The model was loaded in torch.inference_mode \(.*\), .* Load it again"
        ),
        adapted(base, [AppliedAdapter(own)]),
    ):
        pass
    with torch.no_grad(), adapted(base, [AppliedAdapter(own)]):
        assert base(inputs()).isfinite().all()
