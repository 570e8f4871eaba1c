"""Adapters beside a layer give what the merged weight gives, for any stored form, any number of tokens, any kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from wan_director.common.errors import InvalidInputError
from wan_director.dit.adapters import (
    Adapter,
    AppliedAdapter,
    Change,
    Full,
    Hadamard,
    Kronecker,
    LowRank,
    ParameterShapes,
    adapted,
    parse_blocks,
)
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.model import WanDiT
from wan_director.dit.tokens import update_tokens
from wan_director.weights import layers
from wan_director.weights.gguf import CODECS
from wan_director.weights.stored import StoredWeight

torch.set_num_threads(1)

OUT, INNER = 96, 64
LIMIT = 1e-5  # relative, float32; the project's target for side path against exact merge


@dataclass(frozen=True)
class ScaledFp8:
    """Published fp8 files: 8-bit numbers and one scale, here written out apart from the pack's own reader."""

    name: str = "test"

    def dequantize(self, parts, shape, dtype):
        return (parts["weight"].float() * parts["scale"]).to(dtype).view(shape)


def rand(*shape: int) -> Tensor:
    return torch.randn(shape)


def random_delta(kind: str, out: int = OUT, inner: int = INNER):
    match kind:
        case "lora":
            return LowRank(rand(4, inner), rand(out, 4), 0.5)
        case "loha":
            return Hadamard(rand(4, inner), rand(out, 4), rand(3, inner), rand(out, 3), 0.25)
        case "lokr":
            return Kronecker(rand(8, 4), rand(out // 8, inner // 4), scale=0.5)
        case "lokr low rank":
            return Kronecker(rand(8, 2), rand(out // 8, 2), rand(2, 4), rand(2, inner // 4), 0.5)
        case "full":
            return Full(rand(out, inner))


KINDS = ("lora", "loha", "lokr", "lokr low rank", "full")


def written_out(delta) -> Tensor:
    """The delta [out, in] in float64, by the definitions and apart from the code under test."""
    values = {name: getattr(delta, name) for name in delta.__slots__}
    part = {name: value.double() for name, value in values.items() if isinstance(value, Tensor)}
    match delta:
        case LowRank():
            matrix = part["up"] @ part["down"]
        case Hadamard():
            matrix = (part["up_1"] @ part["down_1"]) * (part["up_2"] @ part["down_2"])
        case Kronecker():
            sides = [part[name] @ part[f"{name}_down"] if f"{name}_down" in part else part[name] for name in
                     ("left", "right")]  # fmt: skip
            matrix = torch.kron(*sides)
        case Full():
            matrix = part["values"]
    return delta.scale * matrix


def changed_weight(weight: Tensor, changes: list[tuple[Change, float]]) -> Tensor:
    """The merged weight in float64."""
    total = weight.double().clone()
    for change, strength in changes:
        merged = weight.double() + written_out(change.delta)
        if change.magnitude is not None:
            axis = 1 if change.magnitude.shape[1] == 1 else 0
            merged = merged * change.magnitude.double() / merged.norm(dim=axis, keepdim=True)
        total += strength * (merged - weight.double())
    return total


def linear_in(form: str, out: int = OUT, inner: int = INNER) -> tuple[nn.Module, Tensor]:
    """A layer with a random weight in a stored form, inside a model, and the numbers that weight stands for."""
    weight = rand(out, inner) / inner**0.5
    layer = (nn if form == "plain" else layers).Linear(inner, out)
    if form == "plain":
        layer.weight.data = weight
    elif form == "fp8 scaled":
        scale = weight.abs().max() / 448  # about 1e-3, as in published files
        parts = {"weight": (weight / scale).to(torch.float8_e4m3fn), "scale": scale}
        layer.store(StoredWeight(ScaledFp8(), parts, (out, inner)))
    elif form == "gguf":
        import gguf

        packed = gguf.quantize(weight.numpy(), gguf.GGMLQuantizationType.Q8_0)
        layer.store(StoredWeight(CODECS["Q8_0"], {"weight": torch.from_numpy(np.array(packed))}, (out, inner)))
    model = nn.Module()
    model.layer = layer
    model.requires_grad_(False)
    return model, layer.dense_weight().clone() if form != "plain" else weight


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("form", ["plain", "fp8 scaled", "gguf"])
@pytest.mark.parametrize("tokens", [1, 512, 20_000])
@pytest.mark.parametrize("kind", KINDS)
def test_side_path_equals_exact_merge(form, tokens, kind):
    """At few tokens too, where a rival multiplies the input by the fp8 scale and loses the LoRA with it."""
    model, weight = linear_in(form)
    change = Change(random_delta(kind))
    x = rand(1, tokens, INNER)
    expected = x.double() @ changed_weight(weight, [(change, 0.8)]).T + model.layer.bias.double()
    with adapted(model, [AppliedAdapter(Adapter("a", {"layer.weight": (change,)}), 0.8)]):
        assert relative_error(model.layer(x), expected) < LIMIT
    assert relative_error(model.layer(x), expected) > 0.1  # the adapter was no trifle, and is gone


@pytest.mark.parametrize("form", ["plain", "fp8 scaled", "gguf"])
@pytest.mark.parametrize("axis", ["rows", "columns"])
@pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
def test_dora_uses_the_lengths_of_the_true_weight(form, axis, kind):
    model, weight = linear_in(form)
    magnitude = torch.rand(OUT, 1) + 1 if axis == "rows" else torch.rand(1, INNER) + 1
    change = Change(random_delta(kind), magnitude)
    x = rand(2, 33, INNER)
    for strength in (1.0, 0.6):
        expected = x.double() @ changed_weight(weight, [(change, strength)]).T + model.layer.bias.double()
        with adapted(model, [AppliedAdapter(Adapter("a", {"layer.weight": (change,)}), strength)]):
            assert relative_error(model.layer(x), expected) < LIMIT


def test_a_chain_adds_up():
    model, weight = linear_in("fp8 scaled")
    lora, loha = Change(random_delta("lora")), Change(random_delta("loha"))
    dora = Change(random_delta("lora"), torch.rand(OUT, 1) + 1)
    shift = Change(Full(rand(OUT)))
    stack = [
        AppliedAdapter(Adapter("a", {"layer.weight": (lora,), "layer.bias": (shift,)}), 0.5),
        AppliedAdapter(Adapter("b", {"layer.weight": (dora,)}), 0.7),
        AppliedAdapter(Adapter("c", {"layer.weight": (loha,)}), -1.5),
    ]
    x = rand(1, 40, INNER)
    bias = model.layer.bias.double() + 0.5 * shift.delta.values.double()
    expected = x.double() @ changed_weight(weight, [(lora, 0.5), (dora, 0.7), (loha, -1.5)]).T + bias
    with adapted(model, stack):
        assert relative_error(model.layer(x), expected) < LIMIT


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_rounds_the_float32_sum_once(dtype):
    model, weight = linear_in("plain")
    model.to(dtype)
    change, dora = Change(random_delta("lora")), Change(random_delta("lokr"), torch.rand(OUT, 1) + 1)
    adapter = Adapter("a", {"layer.weight": (change, dora), "layer.bias": (Change(Full(rand(OUT))),)})
    base = model.layer.weight.clone()
    x = rand(1, 9, INNER).to(dtype)
    exact = changed_weight(base, [(change, 0.8), (dora, 0.8)])
    with adapted(model, [AppliedAdapter(adapter, 0.8, merge=True)]):
        found = model.layer(x)
    bias = model.layer.bias.float() + 0.8 * adapter.changes["layer.bias"][0].delta.values
    expected = nn.functional.linear(x, exact.to(dtype), bias.to(dtype))
    limit = LIMIT if dtype == torch.float32 else 2e-3  # half a unit in the last place of single weights, averaged
    assert relative_error(found, expected.double()) < limit
    assert torch.equal(model.layer.weight, base)


def test_merging_into_a_quantised_layer_is_refused():
    model, _ = linear_in("fp8 scaled")
    applied = AppliedAdapter(
        Adapter("style.safetensors", {"layer.weight": (Change(random_delta("lora")),)}), merge=True
    )
    with (
        pytest.raises(InvalidInputError, match=r"style.safetensors cannot be merged .* Switch merge off"),
        adapted(model, [applied]),
    ):
        pass


def test_factored_forms_are_never_written_out():
    """Side paths of LoHa and LoKr at true width make nothing near the size of the matrix, and bound their tokens."""
    out = inner = 1024
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.untyped_storage().nbytes() > 0:
                largest = max(largest, result.untyped_storage().nbytes())
            return result

    x, y = rand(8, inner), torch.zeros(8, out)
    deltas = (
        Hadamard(rand(16, inner), rand(out, 16), rand(16, inner), rand(out, 16)),
        Kronecker(rand(16, 16), rand(64, 64)),
        LowRank(rand(16, inner), rand(out, 16)),
    )
    for delta in deltas:
        largest = 0
        with Watch():
            delta.add_to(y, x, 1.0)
        assert largest <= out * inner * 4 / 4, type(delta)


CONFIG = DiTConfig(
    dim=48, ffn_dim=64, heads=4, layers=3, in_channels=36, branches=(ClipBranch(32, 8),), text_dim=40, text_tokens=16,
    freq_dim=32,
)  # fmt: skip


def wan() -> WanDiT:
    model = WanDiT(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def change_everything(model: WanDiT, scale: float = 0.05) -> dict[str, tuple[Change, ...]]:
    """A full difference for every parameter: blocks, norms, modulation, head, embeddings, position table."""
    return {
        name: (Change(Full(scale * torch.randn(value.shape).reshape(value.shape))),)
        for name, value in model.named_parameters()
    }


def flattened(model: WanDiT, changes) -> dict[str, tuple[Change, ...]]:
    """Convolutions as the reader gives them: matrices."""
    shapes = {name: value.shape for name, value in model.named_parameters()}
    return {
        name: tuple(Change(Full(each.delta.values.flatten(1))) if len(shapes[name]) == 5 else each for each in group)
        for name, group in changes.items()
    }


@pytest.mark.parametrize("merge", [False, True])
def test_every_parameter_of_the_transformer_can_change(make_inputs, merge):
    """Biases, norms, modulation, head and embeddings too, which rivals drop in silence."""
    model, inputs = wan(), make_inputs(CONFIG)
    changes = change_everything(model)
    expected_model = WanDiT(CONFIG).eval().requires_grad_(False)
    merged = {name: value + 0.7 * changes[name][0].delta.values for name, value in model.named_parameters()}
    expected_model.load_state_dict(merged)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain, expected = model(inputs), expected_model(inputs)
    applied = AppliedAdapter(Adapter("a", flattened(model, changes)), 0.7, merge=merge)
    with adapted(model, [applied]):
        assert relative_error(model(inputs), expected.double()) < LIMIT
    assert relative_error(plain, expected.double()) > 0.1
    assert torch.equal(model(inputs), plain)
    assert {name: id(value) for name, value in model.named_parameters()}.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_each_kind_of_parameter_matters(make_inputs):
    """Every single parameter that a file may change changes the result: none is accepted and then lost."""
    model, inputs = wan(), make_inputs(CONFIG)
    plain = model(inputs)
    for name, changes in flattened(model, change_everything(model, scale=0.5)).items():
        if name.startswith("blocks.") and not name.startswith("blocks.1."):
            continue
        with adapted(model, [AppliedAdapter(Adapter("a", {name: changes}))]):
            changed = model(inputs)
        # A key's bias adds the same to every score of a row, which softmax takes out again, but for rounding.
        assert not torch.equal(changed, plain), name


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_the_model_is_restored_after_an_exception(make_inputs, failure):
    """Also when it comes from inside a block, with its parameters replaced."""
    model, inputs = wan(), make_inputs(CONFIG)
    names, identities = list(model.state_dict()), {name: id(value) for name, value in model.named_parameters()}
    modules = list(model.modules())
    plain = model(inputs)
    calls = iter(range(4))  # of three in each block: the next looks at the text in the second

    def fail(q, *_):
        if next(calls, None) is None:
            raise failure
        return q

    stack = [AppliedAdapter(Adapter("a", flattened(model, change_everything(model))))]
    with pytest.raises(failure), adapted(model, stack):
        model(inputs, Execution(attention=fail))
    assert list(model.state_dict()) == names and list(model.modules()) == modules
    assert {name: id(value) for name, value in model.named_parameters()} == identities
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    assert torch.equal(model(inputs), plain)


def test_zero_strength_is_bitwise_absent(make_inputs):
    model, inputs = wan(), make_inputs(CONFIG)
    plain, modules = model(inputs), list(model.modules())
    changes = flattened(model, change_everything(model))
    with adapted(model, [AppliedAdapter(Adapter("a", changes), 0.0)]):
        assert list(model.modules()) == modules
        assert torch.equal(model(inputs), plain)


def test_blocks_choose_what_changes(make_inputs):
    model, inputs = wan(), make_inputs(CONFIG)
    changes = flattened(model, change_everything(model))
    some = {name: group for name, group in changes.items() if name.startswith(("blocks.0.", "blocks.2."))}
    with adapted(model, [AppliedAdapter(Adapter("a", some))]):
        expected = model(inputs)
    with adapted(model, [AppliedAdapter(Adapter("a", changes), blocks=parse_blocks("0, 2-9"))]):
        assert torch.equal(model(inputs), expected)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("all", None), (" All ", None), ("", None), ("0-2,5", {0, 1, 2, 5}), ("7", {7}), ("3 - 4 , 39", {3, 4, 39})],
)
def test_blocks_are_read(text, numbers):
    assert parse_blocks(text) == numbers


@pytest.mark.parametrize("text", ["0-", "a", "3-1", "1;2", "-1", "0,,2", "1" * 5000])
def test_wrong_blocks_are_refused(text):
    with pytest.raises(InvalidInputError, match="'all' or numbers"):
        parse_blocks(text)


def test_strength_follows_the_steps(make_inputs):
    """0.25 to 0.75 of four steps: the second and the third."""
    model, inputs = wan(), make_inputs(CONFIG)
    plain = model(inputs)
    applied = AppliedAdapter(Adapter("a", flattened(model, change_everything(model))), start=0.25, end=0.75)
    with adapted(model, [applied]) as run:
        active = []
        for step in range(4):
            run.begin_step(step, 4)
            active.append(not torch.equal(model(inputs), plain))
    assert active == [False, True, True, False]


@pytest.mark.parametrize(("start", "end"), [(0.6, 0.5), (-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)])
def test_wrong_ranges_and_strengths_are_refused(start, end):
    with pytest.raises(InvalidInputError, match="0 <= start <= end <= 1"):
        AppliedAdapter(Adapter("a", {}), start=start, end=end)
    with pytest.raises(InvalidInputError, match="strength of a LoRA is a number"):
        AppliedAdapter(Adapter("a", {}), strength=float("nan"))


def test_inputs_may_be_overwritten_by_the_base(make_inputs):
    """A layer's input may be reused for its output in runs; the side path has read it by then."""
    model, weight = linear_in("plain", 64, 64)
    change = Change(random_delta("lora", 64, 64))
    x = rand(1, 100, 64)
    expected = x.double() @ changed_weight(weight, [(change, 1.0)]).T + model.layer.bias.double()
    with adapted(model, [AppliedAdapter(Adapter("a", {"layer.weight": (change,)}))]):
        assert relative_error(update_tokens(model.layer, x, run=7, may_overwrite=True), expected) < LIMIT


def test_shapes_see_through_stored_weights():
    model, _ = linear_in("gguf")
    assert ParameterShapes.of(model).shapes == {"layer.weight": (OUT, INNER), "layer.bias": (OUT,)}


def test_side_paths_are_buffers_of_their_block(make_inputs):
    """Whatever moves the tensors of a block finds those of its adapters, and what it puts there is used."""
    model, inputs = wan(), make_inputs(CONFIG)
    low = LowRank(0.1 * rand(4, 48), rand(48, 4))
    with adapted(model, [AppliedAdapter(Adapter("a", {"blocks.1.self_attn.q.weight": (Change(low),)}))]):
        found = {value.data_ptr() for value in model.blocks[1].buffers()}
        assert {low.down.data_ptr(), low.up.data_ptr()} <= found
        changed = model(inputs)
        for module in model.blocks[1].modules():
            for name, value in list(module.named_buffers(recurse=False)):
                setattr(module, name, value.clone())
        low.down.zero_()
        assert torch.equal(model(inputs), changed)
