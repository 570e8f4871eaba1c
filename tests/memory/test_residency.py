"""Copies of weights on a device, loaded and taken away part by part."""

from __future__ import annotations

import torch
from torch import nn
from wan_director.memory.policy import fewest_swapped
from wan_director.memory.residency import Weights

META = torch.device("meta")


class Stack(nn.Module):
    """A model of blocks, with something beside them."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(blocks))
        self.head = nn.Linear(64, 4, bias=False)

    @property
    def streamed_blocks(self) -> list[nn.Module]:
        return list(self.blocks)


BLOCK, HEAD = 64 * 64 * 4, 64 * 4 * 4


def there(stack: Stack) -> list[bool]:
    return [block.weight.is_meta for block in stack.blocks]


def test_what_is_taken_away_comes_back_and_nothing_else_is_copied_again():
    stack = Stack(4)
    own = [block.weight.data_ptr() for block in stack.blocks]
    weights = Weights(stack)
    weights.load(META)
    assert weights.is_whole and weights.loaded_bytes == 4 * BLOCK + HEAD
    kept = stack.blocks[0].weight
    assert weights.take_away([stack.blocks[2]]) == BLOCK
    assert there(stack) == [True, True, False, True] and not weights.is_whole and weights.is_loaded
    assert weights.take_away([stack.blocks[2]]) == 0
    weights.load(META)
    assert weights.is_whole and there(stack) == [True] * 4 and stack.blocks[0].weight is kept
    weights.unload()
    assert [block.weight.data_ptr() for block in stack.blocks] == own and weights.loaded_bytes == 0


def test_another_choice_of_what_stays_moves_only_the_difference():
    stack = Stack(4)
    weights = Weights(stack)
    weights.leave_out([stack.blocks[0], stack.blocks[1]])
    weights.load(META)
    assert there(stack) == [False, False, True, True]
    kept = stack.blocks[3].weight
    weights.leave_out([stack.blocks[1], stack.blocks[2]])
    assert there(stack) == [False, False, False, True] and not weights.is_whole
    weights.load(META)
    assert there(stack) == [True, False, False, True] and stack.blocks[3].weight is kept
    assert weights.loaded_bytes == 2 * BLOCK + HEAD == weights.size_bytes()
    assert [tensor.is_meta for tensor in weights.host_tensors()] == [False] * 5


def test_as_few_blocks_are_swapped_as_the_budget_asks_for():
    stack = Stack(6)
    whole = 6 * BLOCK + HEAD
    swapped = [fewest_swapped(stack, META, whole - missing * BLOCK).blocks for missing in range(7)]
    assert swapped == [0, 3, 4, 5, 6, 6, 6]  # two slots take the place of two blocks
    assert fewest_swapped(stack, META, float("inf")).blocks == 0 and fewest_swapped(stack, META, 0).blocks == 6
