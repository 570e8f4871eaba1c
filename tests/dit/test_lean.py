"""A block that keeps almost nothing beside its tokens gives what the usual one gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from wan_director.common.errors import InvalidInputError
from wan_director.dit.adapters import AppliedAdapter, adapted
from wan_director.dit.attention import sdpa_attention
from wan_director.dit.block.lean import head_groups
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import Avoided, TextTravel
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory.policy import BlockSwap
from wan_director.memory.slabs import Slabs
from wan_director.weights import layers
from wan_director.weights.casting import CASTINGS, cast_matrix
from wan_director.weights.fp8_compute import find_multiply
from wan_director.weights.multiplication import multiply, opened

from . import trainable_models
from .trainable_models import FORMS, everything, matrices, stored_model

SIZES = {"dim": 48, "ffn_dim": 80, "heads": 6, "layers": 3, "text_dim": 24, "text_tokens": 8, "freq_dim": 16}
CONFIGS = {
    "t2v": DiTConfig(**SIZES),
    "flf2v": DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(20, 17),)),
    "vace": DiTConfig(**SIZES, branches=(VaceBranch(2),)),
    "frame times": DiTConfig(**SIZES, in_channels=48, out_channels=48),
    "led away": DiTConfig(**SIZES),
    "texts in time": DiTConfig(**SIZES),
}
FRAMES, TOKENS = 3, 24  # tokens of a frame
LIMIT = 2e-6
"""Of float32 sums over 80 columns in another order, relative to the largest value."""

RUNS = {"one run": 1000, "runs that cut frames": 7}
GROUPS = [1, 4, 6]


def model_of(kind: str = "t2v", **options) -> WanDiT:
    torch.manual_seed(0)
    model = WanDiT(CONFIGS[kind], **options).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture
def given(make_inputs) -> Callable[..., DitInputs]:
    """A function: kind of model -> inputs that fill all its ports."""

    def make(kind: str = "t2v", batch: int = 1) -> DitInputs:
        inputs = make_inputs(CONFIGS[kind], shape=(FRAMES, 8, 12), batch=batch)
        texts = tuple(torch.randn(batch, 8, 24) for _ in range(3))
        shares = torch.tensor([[1.0, 0.25, 0.0], [0.0, 0.5, 0.0], [0.0, 0.25, 1.0]])
        changes = {
            "vace": {"steering": tuple(VaceInput(torch.randn(1, 96, FRAMES, 8, 12), each) for each in (0.7, 1.2))},
            "frame times": {"timestep": torch.tensor([[0.0, 500.0, 800.0]]).expand(batch, -1)},
            "led away": {"avoided": Avoided(texts[0], 11.0, 0.25, 2.5)},
            "texts in time": {"travel": TextTravel(texts, shares)},
        }
        return replace(inputs, **changes.get(kind, {}))

    return make


def lean(groups: int = 3, keys_in_groups: bool = False, run: int = 7, **other) -> Execution:
    return Execution(may_overwrite=True, lean=Lean(groups, keys_in_groups, run), **other)


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("keys_in_groups", [False, True])
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_a_lean_block_gives_the_same(kind, groups, keys_in_groups, runs, given):
    model, inputs = model_of(kind), given(kind)
    assert error(model(inputs, lean(groups, keys_in_groups, RUNS[runs])), model(inputs)) < LIMIT


@pytest.mark.parametrize("keys_in_groups", [False, True])
@pytest.mark.parametrize("kind", ["t2v", "flf2v", "frame times", "texts in time"])
@torch.no_grad()
def test_videos_of_a_batch_are_run_together(kind, keys_in_groups, given):
    model, inputs = model_of(kind), given(kind, batch=2)
    assert error(model(inputs, lean(keys_in_groups=keys_in_groups)), model(inputs)) < LIMIT


@torch.no_grad()
def test_one_group_and_one_run_are_the_usual_block_to_the_bit(given):
    for kind in CONFIGS:
        model, inputs = model_of(kind), given(kind)
        assert torch.equal(model(inputs, lean(1, False, 1000)), model(inputs)), kind


@pytest.mark.parametrize("residual", [False, True])
@torch.no_grad()
def test_tokens_may_be_kept_in_float32(residual, given):
    model = model_of(fp32_residual=residual).to(torch.bfloat16)
    usual = model(given(), Execution(may_overwrite=True))
    assert error(model(given(), lean()), usual) < 0.02 and usual.dtype == torch.float32


@pytest.mark.parametrize("form", ["fp8", "gguf", "int8"])
@torch.no_grad()
def test_stored_matrices_are_read_by_rows(form):
    model, _ = stored_model(form)
    inputs = trainable_models.inputs()
    for keys_in_groups in (False, True):
        assert error(model(inputs, lean(2, keys_in_groups)), model(inputs)) < LIMIT


@pytest.mark.skipif(find_multiply(torch.device("cpu")) is None, reason="this torch multiplies no fp8 on a CPU")
@torch.no_grad()
def test_rows_are_multiplied_in_fp8():
    layer = layers.Linear(64, 96).to(torch.bfloat16)
    layer.store(cast_matrix(layer.weight.detach(), CASTINGS["fp8_scaled"]))
    layer.may_multiply_in_fp8 = True
    x = torch.randn(5, 64).to(torch.bfloat16)
    whole = multiply(layer, x, "fp8")
    assert not torch.equal(whole, multiply(layer, x, "dense"))
    assert torch.equal(opened(layer, x, "fp8", slice(32, 64))(x), whole[:, 32:64])


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_adapters_change_the_rows_of_theirs(form, merge):
    model, inputs = trainable_models.model(), trainable_models.inputs()
    plain = model(inputs)
    for magnitude in ("", "rows", "columns") if not merge else ("",):
        applied = AppliedAdapter(matrices(model, form, magnitude), 0.7, merge=merge)
        with adapted(model, [applied]):
            usual = model(inputs)
            for keys_in_groups in (False, True):
                assert error(model(inputs, lean(2, keys_in_groups)), usual) < LIMIT
        assert error(usual, plain) > 1e-3


@torch.no_grad()
def test_every_parameter_may_be_changed():
    model, inputs = trainable_models.model(), trainable_models.inputs()
    with adapted(model, [AppliedAdapter(everything(model), 0.5)]):
        assert error(model(inputs, lean(2, True)), model(inputs)) < LIMIT


@torch.no_grad()
def test_lean_blocks_are_swapped_and_run_together(given):
    model, inputs = model_of(), [given(), replace(given(), timestep=torch.tensor([20.0]))]
    alone = [model(each, lean()) for each in inputs]
    with BlockSwap(3, 10**9).streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        together = model.forward_together(inputs, lean(stream=stream))
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


@torch.no_grad()
def test_the_kernel_sees_all_heads_group_by_group(given):
    seen = []

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append((q.shape[1:3], k.shape[1:3]))
        return sdpa_attention(q, k, v)

    model_of()(given(), lean(4, run=40, attention=kernel))
    length, first = FRAMES * TOKENS, seen[:6]
    assert [queries[1] for queries, keys in first[:4] if keys[0] == length] == [1, 2, 1, 2]
    assert first[4:] == [((40, 6), (8, 6)), ((32, 6), (8, 6))]


@pytest.mark.parametrize(("heads", "groups"), [(40, 10), (12, 5), (2, 2)])
def test_groups_hold_every_head_once(heads, groups):
    parts = head_groups(heads, heads * 8, groups)
    assert [column for part in parts for column in range(heads * 8)[part]] == list(range(heads * 8))
    sizes = {(part.stop - part.start) // 8 for part in parts}
    assert len(parts) == groups and max(sizes) - min(sizes) <= 1


def test_a_lean_block_has_to_overwrite():
    with pytest.raises(InvalidInputError, match="may_overwrite is false"):
        Execution(lean=Lean(2))
