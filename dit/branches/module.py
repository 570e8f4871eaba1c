"""Branches by themselves, as separate files hold them."""

from __future__ import annotations

from types import ModuleType

from torch import nn

from ..config import DiTConfig


class BranchModule(nn.Module):
    """The branches of a transformer without its trunk, for `WanDiT.with_branches`. Attributes equal the official keys.

    Args:
        config: of the transformer they are for; `layers` does not matter.
        operations: as for `WanDiT`.
    """

    def __init__(self, config: DiTConfig, operations: ModuleType = nn) -> None:
        super().__init__()
        self.config = config
        for branch in config.branches:
            for name, module in branch.build(config, operations).items():
                self.add_module(name, module)
