"""Branches by themselves, as separate files hold them."""

from __future__ import annotations

from types import ModuleType

from torch import nn

from ..config import DiTConfig


class BranchModule(nn.Module):
    """The branches of a transformer without its trunk, for `WanDiT.with_branches`. Attributes equal the official keys.

    Args:
        config: of the transformer they are for; `layers` matters where they have some inside its blocks.
        operations: as for `WanDiT`.
    """

    def __init__(self, config: DiTConfig, operations: ModuleType = nn) -> None:
        super().__init__()
        self.config = config
        for branch in config.branches:
            for name, module in branch.build(config, operations).items():
                self.add_module(name, module)
        if any(branch.in_blocks for branch in config.branches):
            self.blocks = nn.ModuleList(InsideBlock(config, operations) for _ in range(config.layers))

    def inside(self, layers: int) -> list[nn.Module]:
        """What goes into each of the trunk's blocks, of which there are so many."""
        blocks = dict(self.named_children()).get("blocks")
        return [nn.Module()] * layers if blocks is None else list(blocks.children())


class InsideBlock(nn.Module):
    """What branches have inside one of the trunk's blocks."""

    def __init__(self, config: DiTConfig, operations: ModuleType) -> None:
        super().__init__()
        for branch in config.branches:
            for name, module in branch.inside(config, operations).items():
                self.add_module(name, module)
