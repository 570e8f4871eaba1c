"""Speech in Wan S2V: what is said, put into the video's tokens after some of the trunk's blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ....common.errors import FileFault, PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ...config import DiTConfig
from ...context import Context, frame_pieces
from ...execution import Execution
from ..branch import Branch, Shapes, Steered, Trunk, WeightCount
from .heard import FRAMES_PER_LATENT, SpeechHearing
from .injection import FrameAttention, FrameScale

INJECTED = (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39)
"""The trunk's blocks after which speech is put in."""


@record
class SpeechBranch(Branch[DiTConfig]):
    """Sound that is heard, and attention to it after some blocks.

    Attributes:
        injectors: how many blocks it is put in after.
        width, layers: of the sound's features, and how many layers of its encoder there are.
        tokens: of a latent frame, without one that is always there.

    Source: Wan-Video/Wan2.2 wan/modules/s2v/model_s2v.py and audio_utils.py, `AudioInjector_WAN`.
    """

    name = "speech"
    title = "S2V"
    roots = ("casual_audio_encoder", "audio_injector")
    words = "the speech of S2V"
    listens_through = "wav2vec2_large_english_fp16.safetensors"

    injectors: int = 12
    width: int = 1024
    layers: int = 25
    tokens: int = 4

    @classmethod
    def read(cls, tensors: Shapes) -> SpeechBranch | None:
        """See `Branch.read`."""
        if not tensors.has("casual_audio_encoder.weights"):
            return None
        convolution = "casual_audio_encoder.encoder.conv1_local.conv.weight"
        part = tensors.size("casual_audio_encoder.encoder.final_linear.weight", 0) // 4
        return cls(
            tensors.count("audio_injector.injector."),
            tensors.size(convolution, 1),
            tensors.size("casual_audio_encoder.weights", 1),
            tensors.size(convolution, 0) // part,
        )

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} does not hear speech. Remove the sound, or choose ",
            *names.file("speech", "a Wan S2V model"), ".",
        )  # fmt: skip

    def check_layers(self, layers: int) -> None:
        """See `Branch.check_layers`."""
        if self.injectors > len(INJECTED) or INJECTED[self.injectors - 1] >= layers:
            raise FileFault(
                f"puts speech in after {self.injectors} of {layers} blocks, which no Wan model does",
                "it is damaged; download it again",
            )

    def own_blocks(self, layers: int) -> Mapping[int, Sequence[str]]:
        """See `Branch.own_blocks`: what scales the tokens by the whole sound, and the attention to it."""
        return {
            layer: (f"audio_injector.injector_adain_layers.{number}", f"audio_injector.injector.{number}")
            for number, layer in enumerate(INJECTED[: self.injectors])
        }

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        numbers = range(self.injectors)
        injectors = {
            "injector": nn.ModuleList(FrameAttention(config, operations) for _ in numbers),
            "injector_adain_layers": nn.ModuleList(FrameScale(config.dim, operations) for _ in numbers),
        }
        return {
            "casual_audio_encoder": SpeechHearing(self.width, self.layers, self.tokens, config.dim, operations),
            "audio_injector": nn.ModuleDict(injectors),
        }

    def check(self, given: Sequence[SpeechInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} sounds, and the model hears one. Leave one of them.")
        for each in given:
            layers, width, frames = each.features.shape[1:]
            if (layers, width) != (self.layers, self.width):
                raise PairingError(
                    f"The sound has {layers} layers of features of width {width}, and the model hears {self.layers} of "
                    f"{self.width}. Encode it with {self.listens_through}."
                )
            if each.stop - each.start != latent.shape[2] or each.stop > -(-frames // FRAMES_PER_LATENT):
                raise PairingError(
                    f"The sound was prepared for {-(-frames // FRAMES_PER_LATENT)} latent frames, of which it is to "
                    f"give {each.start} to {each.stop}, but the video has {latent.shape[2]}. Prepare it for a video of "
                    "the same length."
                )
            if len(each.features) not in (1, len(latent)):
                raise PairingError(
                    f"There are {len(each.features)} sounds, but the latent has {len(latent)} videos. Give one for "
                    "all, or one for each."
                )

    def embed(self, trunk: Trunk, given: Sequence[SpeechInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        features, start, stop = given[-1]
        whole, parts = trunk.get_submodule("casual_audio_encoder")(features, trunk.dtype)
        return Steered(tokens, context, Speaking(whole[:, start:stop], parts[:, start:stop], tokens.shape[1]))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        dim, part = config.dim, config.dim // 4
        first = (3 * self.width + 1) * part * (self.tokens + 1)
        later = (3 * part + 1) * 2 * part + (6 * part + 1) * dim + (dim + 1) * dim
        return self.layers + first + later + dim

    def block_weights(self, config: DiTConfig, block: WeightCount) -> Sequence[WeightCount]:
        """See `Branch.block_weights`."""
        dim = config.dim
        return [WeightCount(2 * dim**2, 2 * dim, 2 * dim), WeightCount(4 * dim**2, 4 * dim, 6 * dim)] * self.injectors

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`; a latent of the least size that has so many pixels tells of too many frames."""
        return 0


class SpeechInput(NamedTuple):
    """A sound: `features` [1 or B, layers, width, frames], four frames to a latent one, of which those from `start` to
    `stop` are the video's; what lies before is heard at its beginning."""

    features: Tensor
    start: int
    stop: int

    @property
    def branch(self) -> type[SpeechBranch]:
        """The kind of branch it steers."""
        return SpeechBranch


class Speaking:
    """A sound on its way through the blocks of one pass.

    Args:
        whole: [B, T, D], what is heard in each latent frame as one.
        parts: [B, T, tokens, D], the same in parts.
        length: tokens of the video, which are the last ones.
    """

    def __init__(self, whole: Tensor, parts: Tensor, length: int) -> None:
        self._whole, self._parts, self._length = whole, parts, length
        self._scales: tuple[Tensor, Tensor] | None = None

    def part(self, tokens: slice) -> Speaking:
        """See `BranchRun.part`; which tokens there are is told by the context."""
        return self

    def after(self, block: nn.Module, tokens: Tensor, context: Context, execution: Execution) -> Tensor:
        """See `BranchRun.after`."""
        if isinstance(block, FrameScale):
            self._scales = execution.run(block, self._whole)
            return tokens
        scales, self._scales = self._scales, None
        assert scales is not None, "they are made right before"
        if context.part is None:
            return execution.run(block, tokens, self._length, scales, self._parts)
        part, whole = context.whole_of(slice(0, tokens.shape[1]), tokens.shape[1])
        before, frames = whole - self._length, self._parts.shape[1]
        made = [tokens[:, : max(0, before - part.start)]]
        for piece in frame_pieces(part, before, self._length // frames):
            rows, heard = tokens[:, piece.rows], self._parts[:, piece.frames]
            own = tuple(each[:, piece.frames] for each in scales)
            made.append(execution.run(block, rows, rows.shape[1], own, heard))
        return tokens if execution.may_overwrite else torch.cat(made, dim=1)
