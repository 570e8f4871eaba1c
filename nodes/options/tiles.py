"""The node that cuts pictures into tiles, for any size in the memory of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from ...common.checking import check_number
from ...common.errors import InvalidInputError
from ...common.families import Family
from ...common.shapes import MAX_SIDE, check_size
from ...engine.models import VideoModel, with_policies
from ...engine.sampling.policies import StepPolicies
from ...sampling.windows import SpatialTiles, TileSide
from ..api import io, one_sentence
from ..loaders import WanModelType


def tile_inputs(prefix: str = "") -> list[Any]:
    """The widgets for the size of a tile, and for how much of it the next one shows, too."""
    return [
        io.Int.Input(
            f"{prefix}width",
            default=832,
            min=32,
            max=MAX_SIDE,
            step=16,
            tooltip="Width of a tile in pixels, a multiple of 16 (of 32 for TI2V-5B): a size that the model was "
            "trained on.",
        ),
        io.Int.Input(
            f"{prefix}height",
            default=480,
            min=32,
            max=MAX_SIDE,
            step=16,
            tooltip="Height of a tile in pixels, a multiple of 16 (of 32 for TI2V-5B). For an upright video, swap "
            "both.",
        ),
        io.Int.Input(
            f"{prefix}overlap",
            default=128,
            min=0,
            max=MAX_SIDE,
            step=16,
            tooltip="Pixels that a tile shares with the next at least, about a quarter of its shorter side. More is "
            "smoother and slower.",
        ),
    ]


class WanDirectorTiles(io.ComfyNode):
    """Videos of a model are made in tiles that overlap."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorTiles",
            display_name="Wan Tiles",
            category="Wan Director/options",
            description="Videos larger than the model was trained for: it sees a part of the picture at a time, and "
            "parts that overlap are blended in every step. Memory is that of one. Goes with Wan Windows. For videos to "
            "change (denoise 0.3 and less): from noise alone, each tile would draw its own scene.",
            search_aliases=["tiled diffusion", "multidiffusion", "ultimate sd upscale", "tiled sampling", "tile size"],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model, Wan LoRA, Wan Two Experts or Wan Windows."),
                *tile_inputs(),
            ],
            outputs=[
                WanModelType.Output(display_name="model", tooltip="The model, for the sampler or another option.")
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, model: VideoModel, width: int, height: int, overlap: int) -> Any:
        return io.NodeOutput(with_tiles(model, ByPixels(width, height, overlap).tiles(model.spec.family)))


class ByPixels(NamedTuple):
    """What the widgets say of tiles, in pixels."""

    width: int
    height: int
    overlap: int

    def tiles(self, family: Family) -> SpatialTiles:
        """The same in latent pixels.

        Raises:
            InvalidInputError: a widget's value cannot work.
        """
        multiple, stride = family.size_multiple, family.spatial_stride
        for name, value in self._asdict().items():
            check_number(value, f"tile {name}")
        try:
            check_size(self.width, self.height, multiple)
        except InvalidInputError as error:
            raise InvalidInputError(f"Of a tile: {error}") from None
        if self.overlap < 0 or self.overlap % multiple or self.overlap >= min(self.width, self.height):
            most = min(self.width, self.height) - multiple
            raise InvalidInputError(
                f"Tiles of {self.width} x {self.height} pixels cannot share {self.overlap} pixels with the next. Use a "
                f"multiple of {multiple}, at most {most}."
            )
        rows, columns = (TileSide(side // stride, self.overlap // stride) for side in (self.height, self.width))
        return SpatialTiles(rows, columns)


def with_tiles(model: VideoModel, tiles: SpatialTiles) -> VideoModel:
    """The model that sees its videos in tiles, each in the windows in time that the model comes with.

    Raises:
        InvalidInputError: it does so already.
    """

    def tiled(policies: StepPolicies) -> StepPolicies:
        if isinstance(policies.windows, SpatialTiles):
            raise InvalidInputError(
                f"{model.file} comes with tiles already, and a run has one kind. Take one Wan Tiles out."
            )
        return replace(policies, windows=replace(tiles, over_time=policies.windows))

    return with_policies(model, tiled)
