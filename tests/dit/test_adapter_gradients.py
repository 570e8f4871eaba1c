"""What is learned through adapters gets the gradients of the merged weights, whatever form the base is stored in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from wan_director.dit.adapters import (
    Adapter,
    AppliedAdapter,
    Change,
    Full,
    Hadamard,
    Kronecker,
    LowRank,
    adapted,
    frozen,
    trainable,
    trainable_parameters,
)
from wan_director.dit.execution import Execution
from wan_director.dit.model import WanDiT
from wan_director.weights import layers
from wan_director.weights.fp8_compute import find_multiply
from wan_director.weights.multiplication import allow_fp8

from .trainable_models import (
    CHECKPOINTED,
    CONFIG,
    DIM,
    FORMS,
    KEPT,
    LAYERS,
    delta,
    everything,
    inputs,
    loss_of,
    matrices,
    model,
    packed_in,
    small,
    stored_model,
)

LIMIT = 1e-5  # relative to the largest of a tensor: float32 against float64


def written_out(change: Change, weight: Tensor, strength: float) -> Tensor:
    """The changed parameter, by the definitions and apart from the code under test."""
    match change.delta:
        case LowRank(down, up, scale):
            difference = scale * up @ down
        case Hadamard(down_1, up_1, down_2, up_2, scale):
            difference = scale * (up_1 @ down_1) * (up_2 @ down_2)
        case Kronecker(left, right, left_down, right_down, scale):
            left = left if left_down is None else left @ left_down
            difference = scale * torch.kron(left, right if right_down is None else right @ right_down)
        case Full(values, scale):
            difference = scale * values
    matrix = weight.flatten(1) if difference.ndim == 2 else weight
    if change.replaces:
        goal = difference
    else:
        goal = matrix + difference
    if change.magnitude is not None:
        axis = 1 if change.magnitude.shape[1] == 1 else 0
        goal = goal * change.magnitude / goal.norm(dim=axis, keepdim=True)
    return (matrix + strength * (goal - matrix)).view(weight.shape)


def merged_gradients(weights: Mapping[str, Tensor], adapter: Adapter, strength: float = 1.0) -> dict[str, Tensor]:
    """The gradients by the merged weights, all in float64 but for what the model itself computes in float32."""
    twin = WanDiT(CONFIG).eval().requires_grad_(False).double()
    twin.time_embedding.float(), twin.time_projection.float()
    twin.load_state_dict({name: value.double() for name, value in weights.items()})
    own = trainable(adapter)
    for parameter in trainable_parameters(own).values():
        parameter.data = parameter.data.double()
    changed = {}
    for name, changes in own.changes.items():
        value = twin.get_parameter(name)
        (change,) = changes
        changed[name] = written_out(change, value.double(), strength).to(value.dtype)
    given = inputs()
    given = replace(given, latent=given.latent.double(), timestep=given.timestep.double(), text=given.text.double())
    loss_of(functional_call(twin, changed, (given,))).backward()
    return {name: parameter.grad for name, parameter in trainable_parameters(own).items()}


def found_gradients(
    base: nn.Module, adapter: Adapter, execution: Execution = KEPT, **settings
) -> dict[str, Tensor | None]:
    own = trainable(adapter)
    with adapted(base, [AppliedAdapter(own, **settings)]):
        loss_of(base(inputs(), execution)).backward()
    assert all(value.grad is None for value in base.parameters())
    return {name: parameter.grad for name, parameter in trainable_parameters(own).items()}


def assert_equal_gradients(found: Mapping[str, Tensor | None], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys() and expected
    for name, gradient in expected.items():
        given, largest = found[name], gradient.abs().max()
        assert largest > 0 and given is not None, name
        error = float((given.double() - gradient).abs().max() / largest)
        assert error <= LIMIT, (name, error)


@pytest.mark.parametrize("magnitude", ["", "rows", "columns"])
@pytest.mark.parametrize("form", FORMS)
def test_factors_get_the_gradients_of_the_merged_weight(form, magnitude):
    base = model()
    adapter = matrices(base, form, magnitude)
    expected = merged_gradients(base.state_dict(), adapter, 0.8)
    for merge in (False, True):
        for execution in (KEPT, CHECKPOINTED):
            found = found_gradients(base, adapter, execution, strength=0.8, merge=merge)
            assert_equal_gradients(found, expected)


FREE = (
    "blocks.0.norm3.weight", "blocks.0.norm3.bias", "blocks.1.self_attn.norm_q.weight",
    "blocks.1.cross_attn.norm_k.weight", "blocks.2.modulation", "blocks.0.self_attn.q.bias", "blocks.2.ffn.2.bias",
    "head.modulation", "patch_embedding.weight", "patch_embedding.bias", "time_projection.1.bias",
)  # fmt: skip


@pytest.mark.parametrize("replaces", [False, True])
def test_norms_biases_modulation_and_patches_get_theirs(replaces):
    base = model()
    torch.manual_seed(3)
    shapes = {name: base.get_parameter(name).shape for name in FREE}
    values = {name: small(*shape) for name, shape in shapes.items()}
    values["patch_embedding.weight"] = values["patch_embedding.weight"].flatten(1)  # as the reader gives it
    adapter = Adapter("free", {name: (Change(Full(value), replaces=replaces),) for name, value in values.items()})
    expected = merged_gradients(base.state_dict(), adapter, 0.8)
    for execution in (KEPT, CHECKPOINTED):
        assert_equal_gradients(found_gradients(base, adapter, execution, strength=0.8), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checkpointed_gradients_are_the_kept_ones_to_the_bit(dtype):
    base = model().to(dtype)
    adapter = everything(base)
    kept, again = (found_gradients(base, adapter, execution) for execution in (KEPT, CHECKPOINTED))
    assert len(kept) == 150
    for name, gradient in kept.items():
        assert gradient is not None and torch.equal(again[name], gradient), name
        assert gradient.dtype == torch.float32


@pytest.mark.parametrize("form", ["fp8", "gguf", "int8", "int8, rotated"])
def test_stored_weights_pass_gradients_on_as_plain_ones_do(form):
    """The text embedding lies before all stored matrices, so its gradient has come through every one of them."""
    base, weights = stored_model(form)
    adapter = everything(model())
    expected = merged_gradients(weights, adapter)
    for execution in (KEPT, CHECKPOINTED):
        assert_equal_gradients(found_gradients(base, adapter, execution), expected)


@pytest.mark.parametrize("form", ["fp8", "gguf", "int8", "int8, rotated"])
def test_a_stored_layer_gives_its_input_the_gradient_of_the_plain_one(form):
    torch.manual_seed(0)
    layer = layers.Linear(64, 48).requires_grad_(False)
    layer.store(packed_in(form)(torch.randn(48, 64)))
    x, gradient = torch.randn(2, 5, 64, requires_grad=True), torch.randn(2, 5, 48)
    layer(x).backward(gradient)
    assert x.grad is not None
    assert (x.grad - gradient @ layer.dense_weight()).abs().max() <= 1e-5 * x.grad.abs().max()


@pytest.mark.skipif(find_multiply(torch.device("cpu")) is None, reason="this torch multiplies no fp8 on a CPU")
def test_multiplying_in_fp8_steps_aside_where_a_gradient_comes_back():
    base, _ = stored_model("fp8", torch.bfloat16)
    assert allow_fp8(base) == 30
    adapter = Adapter("a", {"text_embedding.0.bias": (Change(Full(small(DIM))),), "blocks.0.modulation": (
        Change(Full(small(1, 6, DIM))),)})  # fmt: skip
    fast = found_gradients(base, adapter, Execution(multiply="fp8"))
    exact = found_gradients(base, adapter)
    with torch.no_grad():
        assert not torch.equal(base(inputs(), Execution(multiply="fp8")), base(inputs()))
    for name, gradient in exact.items():
        assert gradient is not None and torch.equal(fast[name], gradient), name


def test_strength_and_blocks_choose_what_is_learned():
    base = model()
    adapter = matrices(base, "lora")
    whole, half = (found_gradients(base, adapter, strength=strength) for strength in (1e-6, 0.5e-6))
    for name, gradient in whole.items():  # so weak that the model stays the same: the gradient is in proportion
        other = half[name]
        assert gradient is not None and other is not None
        assert (gradient - 2 * other).abs().max() <= 1e-4 * gradient.abs().max() > 0, name
    chosen = found_gradients(base, adapter, blocks=frozenset({1}))
    assert {name for name, gradient in chosen.items() if gradient is not None} == {
        "blocks.1.cross_attn.v.weight.down", "blocks.1.cross_attn.v.weight.up"
    }  # fmt: skip
    own = trainable(adapter)
    named = trainable_parameters(own)
    for settings, expected in (
        ({}, list(named.values())),
        ({"blocks": frozenset({1})}, [value for name, value in named.items() if name.startswith("blocks.1.")]),
        ({"strength": 0.0}, []),
    ):
        with adapted(base, [AppliedAdapter(own, **settings), AppliedAdapter(adapter)]) as run:
            parameters = run.parameters()
        assert [id(value) for value in parameters] == [id(value) for value in expected]


def test_out_of_its_steps_an_adapter_gets_no_gradient():
    base, own = model(), trainable(matrices(model(), "lora"))
    with adapted(base, [AppliedAdapter(own, end=0.5)]) as run:
        run.begin_step(3, 4)
        assert not base(inputs()).requires_grad
        run.begin_step(1, 4)
        assert base(inputs()).requires_grad


def test_what_is_learned_is_part_of_the_model_while_it_is_adapted():
    base, own = model(), trainable(matrices(model(), "lokr", "rows"))
    parameters, before = trainable_parameters(own).values(), [id(value) for value in base.parameters()]
    with adapted(base, [AppliedAdapter(own)]):
        assert {id(value) for value in parameters} <= {id(value) for value in base.parameters()}
    assert [id(value) for value in base.parameters()] == before
    assert all(value.dtype == torch.float32 and value.is_leaf for value in parameters)


def test_learning_beside_frozen_adapters_leaves_them_alone():
    base = model()
    first, second = matrices(base, "lora", "rows"), trainable(matrices(base, "loha"))
    with adapted(base, [AppliedAdapter(first, 0.5), AppliedAdapter(second)]) as run:
        loss_of(base(inputs())).backward()
        assert len(run.parameters()) == 4 * len(LAYERS)
    assert all(value.grad is not None for value in trainable_parameters(second).values())
    assert not trainable_parameters(first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_learned_computes_as_what_is_saved_of_it(dtype):
    """To the bit, recorded or not: a trained adapter is by its making one that is loaded."""
    base = model().to(dtype)
    own = trainable(everything(base))
    saved = frozen(own)
    assert not trainable_parameters(saved)
    with adapted(base, [AppliedAdapter(own, 0.8)]):
        recorded = base(inputs())
        with torch.no_grad():
            unrecorded = base(inputs(), Execution(may_overwrite=True))
    with torch.inference_mode(), adapted(base, [AppliedAdapter(saved, 0.8)]):
        assert torch.equal(base(inputs()), recorded) and torch.equal(unrecorded, recorded)


@pytest.mark.parametrize("learned", [LowRank, Kronecker])
def test_many_tokens_give_one_gradient(learned):
    """More than a side path takes at a time."""
    torch.manual_seed(0)
    layer = layers.Linear(16, 24).requires_grad_(False)
    base = nn.ModuleDict({"layer": layer})
    change = LowRank(small(2, 16), small(24, 2)) if learned is LowRank else Kronecker(small(4, 2), small(6, 8))
    own = trainable(Adapter("a", {"layer.weight": (Change(change),)}))
    x = torch.randn(1, 10_000, 16, requires_grad=True)
    gradient = torch.randn(1, 10_000, 24)
    with adapted(base, [AppliedAdapter(own)]):
        base["layer"](x).backward(gradient)
    assert x.grad is not None
    found = [value.grad for value in trainable_parameters(own).values()] + [x.grad]
    twin = trainable(own)
    for value in trainable_parameters(twin).values():
        value.data = value.data.double()
    wide = x.detach().double().requires_grad_(True)
    merged = written_out(twin.changes["layer.weight"][0], layer.weight.double(), 1.0)
    nn.functional.linear(wide, merged).backward(gradient.double())
    assert wide.grad is not None
    for one, other in zip(found, [value.grad for value in trainable_parameters(twin).values()] + [wide.grad]):
        assert (one.double() - other).abs().max() <= LIMIT * other.abs().max()


@pytest.mark.parametrize("magnitude", ["rows", "columns"])
def test_the_lengths_of_dora_keep_no_copy_of_the_weight(magnitude):
    """They are computed again in the backward pass; a 14B model would keep 50 GB of float32 copies."""
    torch.manual_seed(0)
    layer = layers.Linear(256, 256).requires_grad_(False)
    base = nn.ModuleDict({"layer": layer})
    lengths = torch.rand(256, 1) + 0.5 if magnitude == "rows" else torch.rand(1, 256) + 0.5
    own = trainable(Adapter("a", {"layer.weight": (Change(delta("lora", 256, 256), lengths),)}))
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with adapted(base, [AppliedAdapter(own)]), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        base["layer"](torch.randn(1, 4, 256, requires_grad=True))
    kept.pop(layer.weight.data_ptr(), None)
    assert kept and max(kept.values()) < 256 * 256
