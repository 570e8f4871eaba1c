"""The benchmarks of torch.compile: what they compile computes what the pack does, and the graphs are counted."""

import pytest
import torch
from torch import nn
from wan_director.benchmarks import compiled_graphs, compiling
from wan_director.dit.block import Block
from wan_director.weights.gguf import CODECS

SHAPE = (24, 512)


@torch.no_grad()
def test_a_rewritten_block_gives_what_the_usual_one_gives():
    torch.manual_seed(0)
    block = Block(compiling.CONFIG, nn).to(compiling.DTYPE)
    again = compiling.rewritten(block).float()
    x, context, in_real = compiling.inputs(40)
    text = context.text.float()
    usual = block.float()(x.float(), context._replace(text=text), compiling.FRESH)
    found = again(x.float(), in_real._replace(text=text), compiling.FRESH)
    assert (found - usual).abs().max() / usual.abs().max() < 1e-6  # float32, sums in the same order but for two pieces


def test_numbers_are_unpacked_to_the_bit():
    packed = compiling.random_q4_k(*SHAPE)
    numbers = compiling.q4_k_numbers(packed, *compiling.q4_k_scales(packed)).view(SHAPE)
    assert torch.equal(numbers, CODECS["Q4_K"].dequantize({"weight": packed}, SHAPE, compiling.DTYPE))


@pytest.mark.parametrize(("case", "graphs"), [("steps", "1"), ("swapped", "1"), ("lora_strengths", "3")])
def test_graphs_are_counted(case, graphs):
    assert compiled_graphs.graphs(getattr(compiled_graphs, case), dynamic=False, specialize_float=True) == graphs
