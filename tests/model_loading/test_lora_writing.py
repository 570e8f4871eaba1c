"""What is trained is saved as what the loader loads: written, read again, the same adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.errors import InvalidInputError
from wan_director.dit.adapters import (
    Adapter,
    AppliedAdapter,
    Change,
    Delta,
    Full,
    Hadamard,
    Kronecker,
    LowRank,
    ParameterShapes,
    adapted,
    frozen,
    trainable,
    trainable_parameters,
)
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading.lora import lora_tensors, read_lora

CONFIG = DiTConfig(dim=32, ffn_dim=64, heads=2, layers=2, text_dim=24, text_tokens=8, freq_dim=16)


def make_deltas() -> dict[str, Delta]:
    """A difference of a matrix [32, 32] in every form."""
    torch.manual_seed(2)
    rand = torch.randn
    return {
        "lora": LowRank(rand(4, 32), rand(32, 4), 0.5),
        "loha": Hadamard(rand(4, 32), rand(32, 4), rand(2, 32), rand(32, 2), 0.25),
        "lokr": Kronecker(rand(4, 2), rand(8, 16)),
        "lokr, right product": Kronecker(rand(4, 2), rand(8, 2), None, rand(2, 16), 0.5),
        "lokr, left product": Kronecker(rand(4, 2), rand(8, 16), rand(2, 2), None, 2.0),
        "lokr, products": Kronecker(rand(4, 4), rand(8, 2), rand(4, 2), rand(2, 16), 0.5),
        "difference": Full(rand(32, 32)),
    }


DELTAS = make_deltas()


def model() -> WanDiT:
    torch.manual_seed(0)
    return WanDiT(CONFIG).eval().requires_grad_(False)


def adapter(base: WanDiT) -> Adapter:
    """Every form of a matrix, with and without DoRA's lengths of both layouts, and every parameter that is none."""
    torch.manual_seed(1)
    layers = ("q", "k", "v", "o")
    lengths = (None, torch.rand(32, 1) + 0.5, torch.rand(1, 32) + 0.5)
    places = [(f"blocks.{block}.{kind}_attn.{layer}.weight") for block in (0, 1) for kind in ("self", "cross") for layer
              in layers]  # fmt: skip
    pairs = [(delta, length) for delta in DELTAS.values() for length in lengths][: len(places)]
    changes = {name: (Change(*pair),) for name, pair in zip(places, pairs)}
    for name, value in base.named_parameters():
        if value.ndim not in (2, 5):
            changes[name] = (Change(Full(torch.randn(value.shape)), replaces="norm_q" in name),)
    changes["patch_embedding.weight"] = (Change(LowRank(torch.randn(2, 64), torch.randn(32, 2), 2.0)),)
    changes["blocks.0.ffn.0.weight"] = (Change(Full(torch.randn(64, 32))),)
    changes["head.head.bias"] = (Change(Full(torch.randn(64)), replaces=True),)
    changes["head.modulation"] = (Change(Full(torch.randn(1, 2, 32)), replaces=True),)
    return Adapter("trained.safetensors", changes)


def saved(tmp_path: Path, written: Adapter, base: WanDiT) -> Adapter:
    path = tmp_path / "trained.safetensors"
    save_file(lora_tensors(written), path)
    loaded = read_lora(path, ParameterShapes.of(base), model=None)  # pyright: ignore[reportArgumentType]
    assert not loaded.report.ignored and not loaded.report.unmatched
    return loaded.adapter


def assert_same(found: Adapter, expected: Adapter) -> None:
    assert found.changes.keys() == expected.changes.keys()
    for name, (change,) in expected.changes.items():
        (other,) = found.changes[name]
        assert (other.replaces, other.delta.__class__, other.delta.scale) == (
            change.replaces, change.delta.__class__, change.delta.scale,
        ), name  # fmt: skip
    both = [trainable_parameters(trainable(each)) for each in (found, expected)]
    assert sorted(both[0]) == sorted(both[1])
    for name, tensor in both[1].items():
        assert torch.equal(both[0][name], tensor), name


def test_a_trained_adapter_is_read_again_as_it_was(tmp_path):
    base = model()
    own = trainable(adapter(base))
    assert_same(saved(tmp_path, own, base), frozen(own))


def test_all_forms_are_written(tmp_path):
    """The ones that the adapter above has not reached."""
    base = model()
    for delta in DELTAS.values():
        one = Adapter("trained.safetensors", {"blocks.1.self_attn.q.weight": (Change(delta),)})
        assert_same(saved(tmp_path, one, base), one)


def test_what_was_trained_makes_the_same_video_when_it_is_loaded(tmp_path):
    """After a step of an optimiser, to the bit."""
    base = model()
    own = trainable(adapter(base))
    inputs = DitInputs(torch.randn(1, 16, 2, 4, 6), torch.tensor([500.0]), torch.randn(1, 8, 24))
    with adapted(base, [AppliedAdapter(own, 0.5)]) as run:
        optimiser = torch.optim.AdamW(run.parameters(), lr=1e-2)
        before = base(inputs)
        before.square().mean().backward()
        optimiser.step()
        trained: Tensor = base(inputs).detach()
    with torch.no_grad(), adapted(base, [AppliedAdapter(saved(tmp_path, own, base), 0.5)]):
        assert torch.equal(base(inputs), trained) and not torch.equal(before, trained)


def test_scales_that_have_no_alpha_are_multiplied_in(tmp_path):
    base = model()
    kronecker, full = DELTAS["lokr"], DELTAS["difference"]
    for delta in (replace(kronecker, scale=0.3), replace(full, scale=0.3)):
        written = Adapter("trained.safetensors", {"blocks.1.self_attn.q.weight": (Change(delta),)})
        (change,) = saved(tmp_path, written, base).changes["blocks.1.self_attn.q.weight"]
        torch.testing.assert_close(change.delta.rows(slice(None)), delta.rows(slice(None)), rtol=1e-6, atol=1e-7)


def test_two_changes_of_one_parameter_have_no_names():
    change = Change(DELTAS["lora"])
    with pytest.raises(InvalidInputError, match=r"2 changes to blocks.0.self_attn.q.weight, .* files of their own"):
        lora_tensors(Adapter("both", {"blocks.0.self_attn.q.weight": (change, change)}))
