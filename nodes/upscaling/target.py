"""The size that a clip is to have."""

from __future__ import annotations

from typing import NamedTuple

from ...common.checking import check_number
from ...common.errors import InvalidInputError
from ...common.shapes import PictureSize


class Target(NamedTuple):
    """The size that a clip is to have: a number of times its own, or pixels; a side of 0 follows from the rest."""

    factor: float
    width: int
    height: int

    def size(self, have: PictureSize, multiple: int) -> PictureSize:
        """In pixels, for pictures of a size; what follows from the rest is the nearest multiple.

        Raises:
            InvalidInputError: a value that cannot work, or a smaller picture.
        """
        for name, value in self._asdict().items():
            check_number(value, name)
        if self.factor < 1 or min(self.width, self.height) < 0:
            raise InvalidInputError(
                f"A clip becomes larger: factor is at least 1, width and height at least 0, got {self.factor:g}, "
                f"{self.width} and {self.height}. Use factor 2, or 0 where a side is to follow."
            )

        def nearest(side: float) -> int:
            return max(1, round(side / multiple)) * multiple

        width = self.width or nearest(have.width * (self.height / have.height if self.height else self.factor))
        height = self.height or nearest(have.height * (self.width / have.width if self.width else self.factor))
        if width < have.width and height < have.height:
            raise InvalidInputError(
                f"The clip has {have.width} x {have.height} pixels and would become smaller, {width} x {height}. "
                "Give a larger width and height, or a factor; to make clips smaller, use Wan Fit Size."
            )
        return PictureSize(width, height)
