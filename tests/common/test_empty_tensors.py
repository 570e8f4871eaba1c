"""Tensors without values have the shapes and dtypes of those with values, whatever is done with them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from wan_director.common.checking import has_values, is_finite
from wan_director.common.empty_tensors import LARGE, EmptyTensors, empty
from wan_director.common.errors import UnknownValueError

WORK = {
    "arithmetic": lambda a, b: (1 - a) * 2 + b / 3 - a,
    "powers": lambda a, b: -(a**2) + b.abs().sqrt(),
    "broadcast": lambda a, b: a * b[:, :1, :1] + b[0, 0, 0],
    "halves": lambda a, b: (a.half() * b.half(), a.half() + b, a.to(torch.float64) * b, a.to(b)),
    "whole numbers": lambda a, b: (a.long() * 2, a.long() * 2.5, a.long() + b),
    "comparisons": lambda a, b: (a > 0.5, a == b, ~(a < b), torch.isfinite(a), (a > 0) & (b > 0)),
    "choices": lambda a, b: (torch.where(a > 0.5, a, b), torch.where((a > 0.5)[..., :1], b.new_tensor(0.5), a)),
    "limits": lambda a, b: (a.clamp(0, 1), torch.maximum(a, b), a.clamp(min=0.1)),
    "joined": lambda a, b: (torch.cat([a, b]), torch.cat((a, b), dim=-1), torch.stack([a, b], dim=1)),
    "repeated": lambda a, b: (a.repeat(2, 1, 1, 3), a.repeat((2, 1, 1, 1, 1)), b.expand(2, 3, 4, 4)),
    "moved": lambda a, b: (a.movedim(-1, 1), a.permute(3, 0, 1, 2), b.flatten(1, 2), a.unflatten(0, (2, 1)), a.mT),
    "parts": lambda a, b: (a[:, 1], a[..., :3], a[[0, 1, 1]], *a.split(1), *b.unbind(1), a.narrow(1, 0, 2), a[None]),
    "alike": lambda a, b: (torch.zeros_like(a), torch.ones_like(a[:1], dtype=torch.float64), a.new_zeros(2, 3)),
    "means": lambda a, b: (a.mean(dim=1, keepdim=True), a.mean((0, 1)), a.mean(), a.amax((0, 1)), a.sum()),
    "padded": lambda a, b: (F.pad(a, (1, 2)), F.pad(a, (0, 0, 1, 1), value=1.0)),
    "resized": lambda a, b: tuple(
        F.interpolate(a, (9, 7), mode=mode) for mode in ("nearest-exact", "bilinear", "area", "bicubic")
    ),
    "antialiased": lambda a, b: F.interpolate(a, (9, 7), mode="bicubic", antialias=True),
    "scaled": lambda a, b: (F.interpolate(a, scale_factor=2.0), F.interpolate(a, size=5)),
    "volumes": lambda a, b: (F.interpolate(a[None], (4, 9, 9), mode="trilinear"), F.avg_pool3d(a[None], (2, 1, 1))),
    "copies": lambda a, b: (a.detach().clone(), a.cpu().contiguous(), a.float(), a.to("cpu"), a.to(a.device, a.dtype)),
}  # fmt: skip


def tensors(of: object) -> list[Tensor]:
    return [of] if isinstance(of, Tensor) else list(of)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", WORK)
def test_work_with_empty_tensors_gives_the_shapes_of_true_ones(name, mixed):
    a, b = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    expected = tensors(WORK[name](a, b))
    with EmptyTensors():
        found = tensors(WORK[name](empty(*a.shape), b if mixed else empty(*b.shape)))
    assert [(each.shape, each.dtype) for each in found] == [(each.shape, each.dtype) for each in expected]
    assert any(each.is_meta for each in found) and (mixed or all(each.is_meta for each in found))


def test_what_does_not_go_together_is_an_error_here_too():
    a, b = empty(2, 3), empty(2, 4)
    with EmptyTensors():
        for work in (lambda: a + b, lambda: torch.cat([a, b]), lambda: a.view(5), lambda: a.expand(3, 3)):
            with pytest.raises(RuntimeError):
                work()


def test_small_new_tensors_keep_their_values_and_large_ones_take_no_memory():
    with EmptyTensors():
        small, large = torch.full((3,), 0.5), torch.zeros(LARGE)
        noise = torch.randn(2, LARGE, generator=torch.Generator().manual_seed(0))
        grown = small.repeat(10**6, 10**6)
        assert small.tolist() == [0.5] * 3 and torch.cat([small, small]).sum() == 3
        assert not has_values(large) and not has_values(noise) and grown.shape == (10**6, 3 * 10**6)
        assert is_finite(large) and is_finite(small)
    assert torch.zeros(LARGE).sum() == 0


def test_empty_values_written_into_a_tensor_leave_its_own():
    kept = torch.ones(2, 3)
    with EmptyTensors():
        kept[0] = empty(3)
        kept.add_(empty(2, 3))
        into = empty(2, 3)
        into[0] = kept[0]
    assert torch.equal(kept, torch.ones(2, 3)) and into.is_meta


@pytest.mark.parametrize("ask", [Tensor.tolist, Tensor.numpy, Tensor.item, bool, float, int, Tensor.nonzero])
def test_values_that_nobody_knows_are_an_error_of_ours(ask):
    with EmptyTensors(), pytest.raises(UnknownValueError):
        ask(empty(4, 4).max())


def test_the_common_work_brings_in_no_compiler():
    """torch's own shapes of these import torch._dynamo, which costs two seconds."""
    code = (
        "import sys, torch\n"
        "from wan_director.common.empty_tensors import EmptyTensors, empty\n"
        "with EmptyTensors():\n"
        "    a = torch.randn(3, 300, 300, 3)\n"
        "    b = torch.cat([torch.where(a > 0.5, 1 - a, a * 2), a]).movedim(-1, 1).clamp(0, 1).mean(dim=1)\n"
        "    b[:1] = torch.nn.functional.interpolate(a.movedim(-1, 1), (300, 300), mode='bilinear')[:1, 0]\n"
        "print(b.shape, 'torch._dynamo' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "torch.Size([6, 300, 300]) False"
