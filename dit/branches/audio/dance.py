"""Wan-Dancer: music that the video's tokens hear after some blocks, a picture of who dances, and the pace of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ....common.errors import FileFault, PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ....weights.multiplication import multiply
from ...block.attention import AttentionLayers
from ...config import PATCH, DiTConfig
from ...context import Context
from ...execution import Execution
from ...layers import Head
from ...tokens import matrix_run
from ..branch import Branch, Ends, PassBytes, PassShape, Shapes, Steered, Trunk, WeightCount
from ..clip import ClipBranch, ClipProjection
from ..reference import FrameConv
from .music import ROWS_PER_FRAME, MusicLayer, over_frames

FULL_RATE = 30.0
"""Frames a second of the dance itself; a plan of a whole song has fewer."""
MUSIC_FEATURES = 35
"""Numbers of a moment, of which there are 30 a second."""
INJECTED = (0, 4, 8, 12, 16, 20, 24, 27)
"""The trunk's blocks after which music is put in."""
_PLAN = Ends("patch_embedding_global", "head_global")
_PICTURE_TOKENS = 257


@record
class DanceBranch(Branch[DiTConfig]):
    """Music that every token hears, a second picture, and layers at both ends for a plan of a whole song.

    A plan has fewer frames a second than 30. Its first and last layers are others, and its frames lie further apart.

    Attributes:
        injectors: how many blocks music is put in after.
        width: of the encoder of music; `inner`: of the layers in it; `layers`: of it.
        clip_dim: width of the picture's features.
        reference_channels: of a layer for a reference's latent that the model's own pipeline leaves alone; 0 without.

    Source: Huang et al., "Wan-Dancer", arXiv 2607.09581; Wan-Video/Wan-Dancer diffsynth/models/wan_video_dit.py and
        diffsynth/pipelines/wan_video_new.py.
    """

    name = "dance"
    title = "Wan-Dancer"
    roots = (
        "patch_embedding_global", "img_emb_refimage", "head_global", "music_injector", "music_projection",
        "music_encoder",
    )  # fmt: skip
    words = "the music of Wan-Dancer"
    is_always_steered = True

    injectors: int = len(INJECTED)
    width: int = 256
    inner: int = 1024
    layers: int = 2
    clip_dim: int = 1280
    reference_channels: int = 0

    @classmethod
    def read(cls, tensors: Shapes) -> DanceBranch | None:
        """See `Branch.read`."""
        first = ("music_projection.weight", "patch_embedding_global.weight", "music_injector.injector.0.v.weight")
        found = [tensors.has(key) for key in first]
        if not any(found):
            return None
        if not all(found) or tensors.size(first[0], 1) != MUSIC_FEATURES:
            raise FileFault("has the names of Wan-Dancer but not its structure", "it is damaged; download it again")
        reference = "ref_conv.weight"
        return cls(
            tensors.count("music_injector.injector."),
            tensors.size(first[0], 0),
            tensors.size("music_encoder.0.linear1.weight", 0),
            tensors.count("music_encoder."),
            tensors.size("img_emb_refimage.proj.1.weight", 1),
            tensors.size(reference, 1) if tensors.has(reference) else 0,
        )

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} does not dance to music. Remove the music, or choose ",
            *names.file("dance", "a Wan-Dancer model"), ".",
        )  # fmt: skip

    def check_layers(self, layers: int) -> None:
        """See `Branch.check_layers`."""
        if self.injectors > len(INJECTED) or INJECTED[self.injectors - 1] >= layers:
            raise FileFault(
                f"puts music in after {self.injectors} of {layers} blocks, which no Wan model does",
                "it is damaged; download it again",
            )

    @property
    def image_tokens(self) -> int:
        """See `Branch.image_tokens`."""
        return _PICTURE_TOKENS

    def own_blocks(self, layers: int) -> Mapping[int, Sequence[str]]:
        """See `Branch.own_blocks`."""
        numbers = enumerate(INJECTED[: self.injectors])
        return {layer: (f"music_injector.injector.{number}",) for number, layer in numbers}

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        dim = config.dim
        injectors = nn.ModuleList(MusicInjector(config, operations) for _ in range(self.injectors))
        layers = {
            "patch_embedding_global": operations.Conv3d(config.in_channels, dim, kernel_size=PATCH, stride=PATCH),
            "img_emb_refimage": ClipProjection(ClipBranch(self.clip_dim), dim, operations),
            "head_global": Head(config, operations),
            "music_injector": nn.ModuleDict({"injector": injectors}),
            "music_projection": operations.Linear(MUSIC_FEATURES, self.width),
            "music_encoder": nn.Sequential(
                *(MusicLayer(self.width, self.inner, operations) for _ in range(self.layers))
            ),
        }
        return layers | ({"ref_conv": FrameConv(self.reference_channels, dim)} if self.reference_channels else {})

    def check(self, given: Sequence[DanceInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There is the music of {len(given)} songs, and the model hears one. Leave one of them.")
        for each in given:
            moments, features = each.music.shape[1:]
            if features != MUSIC_FEATURES or not moments:
                raise PairingError(
                    f"The music has {features} numbers for each of {moments} moments, and the model hears "
                    f"{MUSIC_FEATURES}. Prepare it for Wan-Dancer."
                )
            if each.stop - each.start != latent.shape[2]:
                raise PairingError(
                    f"The music was prepared for {each.stop - each.start} latent frames, but the video has "
                    f"{latent.shape[2]}. Prepare it for a video of the same length."
                )
            pictures = [] if each.picture is None else [each.picture]
            if any(len(tensor) not in (1, len(latent)) for tensor in (each.music, *pictures)):
                raise PairingError(
                    f"The music is for {len(each.music)} videos, but the latent has {len(latent)}. Give one for all, "
                    "or one for each."
                )
            if any(picture.shape[-1] != self.clip_dim for picture in pictures):
                raise PairingError(
                    f"The CLIP vision features of the reference have the width {pictures[0].shape[-1]}, but the model "
                    f"needs {self.clip_dim}. Encode the picture with clip_vision_h.safetensors."
                )

    def ends(self, given: Sequence[DanceInput]) -> Ends | None:
        """See `Branch.ends`."""
        return _PLAN if given and given[-1].is_plan else None

    def times(self, given: Sequence[DanceInput], frames: int) -> Tensor | None:
        """See `Branch.times`: of a plan each frame lies where it would at 30 a second, the last one at its end."""
        if not given or not given[-1].is_plan:
            return None
        apart = FULL_RATE / given[-1].fps
        times = torch.arange(frames, dtype=torch.float64) * apart
        times[-1] = int(apart * frames + 0.5) - 1
        return times

    def embed(self, trunk: Trunk, given: Sequence[DanceInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        each = given[-1]
        if each.picture is not None:
            picture = trunk.get_submodule("img_emb_refimage")(each.picture.to(trunk.dtype))
            context = _with_picture(context, picture.expand(len(tokens), -1, -1))
        encoded = trunk.get_submodule("music_encoder")(
            trunk.get_submodule("music_projection")(each.music.to(trunk.dtype))
        )
        heard = over_frames(encoded, each.frames, tokens.shape[-1])
        heard = heard[:, ROWS_PER_FRAME * each.start : ROWS_PER_FRAME * each.stop]
        return Steered(tokens, context, Dancing(heard, each.stop - each.start, tokens.shape[1], each.strength))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        dim, patch, width, clip = config.dim, PATCH[0] * PATCH[1] * PATCH[2], self.width, self.clip_dim
        ends = (config.in_channels * patch + 1) * dim + (dim + 1) * config.out_channels * patch + 2 * dim
        picture = (clip + 1) * clip + (clip + 1) * dim + 2 * clip + 2 * dim
        layer = 4 * (width + 1) * width + (width + 1) * self.inner + (self.inner + 1) * width + 4 * width
        reference = (self.reference_channels * patch + 1) * dim if self.reference_channels else 0
        return ends + picture + (MUSIC_FEATURES + 1) * width + self.layers * layer + reference

    def block_weights(self, config: DiTConfig, block: WeightCount) -> Sequence[WeightCount]:
        """See `Branch.block_weights`."""
        dim = config.dim
        return [WeightCount(4 * dim**2, 4 * dim, 6 * dim)] * self.injectors

    def pass_bytes(self, shape: PassShape, given: int, buffer: int) -> PassBytes:
        """See `Branch.pass_bytes`."""
        heard = ROWS_PER_FRAME * shape.frames * buffer // (shape.length or 1)
        return PassBytes(shape.together * heard, 0)

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`: the picture's features; a song takes less."""
        return 4 * passes * _PICTURE_TOKENS * self.clip_dim


def _with_picture(context: Context, picture: Tensor) -> Context:
    """What the blocks see with the reference, in the place of the start picture, whose tokens then go before the text.

    So the model was trained: its blocks take the first 257 tokens for a picture, and all others for text.
    """
    start, avoided, in_time = context.image, context.avoided, context.in_time
    if start is not None:
        if avoided is not None:
            avoided = avoided._replace(text=torch.cat([start, avoided.text], dim=1))
        if in_time is not None:
            spans = (
                span._replace(text=torch.cat([start[: len(span.text)], span.text], dim=1)) for span in in_time.spans
            )
            in_time = in_time._replace(spans=tuple(spans))
        context = context._replace(text=torch.cat([start, context.text], dim=1), avoided=avoided, in_time=in_time)
    return context._replace(image=picture)


class DanceInput(NamedTuple):
    """What steers Wan-Dancer.

    Attributes:
        music: [1 or B, moments, 35] of a whole song, or of the part of it that is danced, 30 moments a second.
        fps: frames a second of the video; below 30 it is a plan of the song.
        frames: latent frames of a video as long as the music, of which those from `start` to `stop` are made.
        strength: of what is heard.
        picture: CLIP features [1 or B, tokens, clip width] of who dances, or None.
    """

    music: Tensor
    fps: float
    frames: int
    start: int
    stop: int
    strength: float = 1.0
    picture: Tensor | None = None

    @property
    def branch(self) -> type[DanceBranch]:
        """The kind of branch it steers."""
        return DanceBranch

    @property
    def is_plan(self) -> bool:
        """Whether the video is a plan, with fewer frames a second than the dance."""
        return int(self.fps + 0.5) != int(FULL_RATE)


class MusicInjector(AttentionLayers):
    """Every token adds what is heard at its place.

    The model's own pipeline lets each token look at one moment alone. Whatever it asks of one, that is what it gets:
    its queries and keys change nothing, and are left as they are.

    Source: Wan-Video/Wan-Dancer diffsynth/models/wan_video_dit.py, WanModel.after_transformer_block.
    """

    def forward(
        self, tokens: Tensor, heard: Tensor, at: Tensor, strength: float, first: int, execution: Execution
    ) -> Tensor:
        """Adds it to the tokens from the one numbered `first` on.

        Args:
            tokens: [B, L, D], which may be overwritten if the execution says so.
            heard: [1 or B, rows, D], in the dtype of computation.
            at: [L - first], which row each token hears.

        Returns:
            [B, L, D] in their dtype.
        """
        values = multiply(self.o, multiply(self.v, heard, execution.multiply), execution.multiply) * strength
        run, added = max(1, matrix_run(tokens) // len(tokens)), [tokens[:, :first]]
        for rows, place in zip(tokens[:, first:].split(run, dim=1), at.split(run)):
            moments = values[:, place].to(tokens.dtype)
            added.append(rows.add_(moments) if execution.may_overwrite else rows + moments)
        return tokens if execution.may_overwrite else torch.cat(added, dim=1)


class Dancing:
    """Music on its way through the blocks of one pass.

    Args:
        heard: [1 or B, 8 * frames, D].
        frames: latent frames of the video.
        length: tokens of the video, which are the last ones.
        strength: of what is heard.
    """

    def __init__(self, heard: Tensor, frames: int, length: int, strength: float) -> None:
        self._heard, self._frames, self._length, self._strength = heard, frames, length, strength

    def part(self, tokens: slice) -> Dancing:
        """See `BranchRun.part`; which tokens there are is told by the context."""
        return self

    def after(self, block: nn.Module, tokens: Tensor, context: Context, execution: Execution) -> Tensor:
        """See `BranchRun.after`."""
        part, whole = context.whole_of(slice(0, tokens.shape[1]), tokens.shape[1])
        before, of_frame = whole - self._length, self._length // self._frames
        first = min(max(0, before - part.start), tokens.shape[1])
        number = torch.arange(part.start + first - before, part.stop - before, device=tokens.device)
        within = number % of_frame * ROWS_PER_FRAME // of_frame
        at = number // of_frame * ROWS_PER_FRAME + within
        return execution.run(block, tokens, self._heard, at, self._strength, first)
