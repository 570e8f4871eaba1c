"""The ring on a CUDA device: the same bits as resident, from pinned memory, with nothing left behind."""

from __future__ import annotations

import pytest
import torch
from wan_director.benchmarks.swap import TINY, measure
from wan_director.common.shapes import VideoShape
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory.pinned import HostBuffer
from wan_director.memory.policy import RESIDENT, BlockSwap, block_bytes, swapped_blocks
from wan_director.memory.residency import Weights
from wan_director.memory.slabs import Slabs

pytestmark = pytest.mark.gpu


def test_slabs_are_pinned_and_given_back():
    device = torch.device("cuda")
    buffer = HostBuffer(1 << 20, device)
    values = buffer.bytes
    assert buffer.pinned and values.is_pinned()
    del buffer
    assert not values.is_pinned()


@torch.inference_mode()
@pytest.mark.parametrize("policy", [BlockSwap(3), BlockSwap(8), BlockSwap(8, 0), BlockSwap(8, 12 << 20)], ids=str)
def test_many_passes_equal_resident(policy):
    device = torch.device("cuda")
    torch.manual_seed(0)
    module, slabs = WanDiT(TINY).to(torch.bfloat16).eval().requires_grad_(False), Slabs()
    latent, text = torch.randn(1, 16, 3, 32, 32, device=device), torch.randn(1, 64, 64, device=device)
    inputs = DitInputs(latent, torch.tensor([500.0], device=device), text)
    weights = Weights(module)

    def run(memory) -> torch.Tensor:
        weights.leave_out(swapped_blocks(memory, module))
        weights.load(device)
        with memory.streaming(module.streamed_blocks, device, slabs) as stream:
            results = [module(inputs, Execution(stream=stream, may_overwrite=True)) for _ in range(20)]
        weights.unload()
        assert all(torch.equal(result, results[0]) for result in results)
        return results[0].cpu()

    resident = run(RESIDENT)
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    for _ in range(3):
        assert torch.equal(run(policy), resident)
    assert torch.cuda.memory_allocated() == held


@torch.inference_mode()
def test_swapping_takes_from_the_device_what_its_footprint_says():
    """To the byte, but for the gaps before aligned tensors: activations are the same, and nothing else is there."""
    device = torch.device("cuda")
    module = WanDiT(TINY).to(torch.bfloat16).eval().requires_grad_(False)
    latent, text = torch.randn(1, 16, 3, 32, 32, device=device), torch.randn(1, 64, 64, device=device)
    inputs = DitInputs(latent, torch.tensor([500.0], device=device), text)
    weights, slabs, sizes = Weights(module), Slabs(), block_bytes(module.blocks)

    def peak(memory) -> int:
        weights.leave_out(swapped_blocks(memory, module))
        weights.load(device)
        torch.cuda.reset_peak_memory_stats()
        with memory.streaming(module.streamed_blocks, device, slabs) as stream:
            for _ in range(2):
                module(inputs, Execution(stream=stream, may_overwrite=True))
        weights.unload()
        return torch.cuda.memory_stats()["requested_bytes.all.peak"]

    peak(RESIDENT)  # libraries keep what they ask for in the first pass
    resident = peak(RESIDENT)
    gaps = 256 * sum(1 for _ in module.parameters())
    for policy in (BlockSwap(3), BlockSwap(8), BlockSwap(8, 0)):
        saved = sum(sizes) - policy.footprint(sizes, device).device_bytes
        assert abs(resident - peak(policy) - saved) <= gaps
    assert saved > 20 * gaps


def test_the_benchmark_gives_the_same_bits():
    assert all(result.same_bits for result in measure(TINY, VideoShape(9, 256, 256), torch.device("cuda"), repeats=2))
