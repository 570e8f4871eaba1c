"""InfiniteTalk and MultiTalk: what one or two people say, looked at inside every block by the frames it is said in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ....common.errors import FileFault, PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ...config import PATCH, DiTConfig
from ...context import Context
from ...precise import in_float32
from ..branch import Branch, PassBytes, PassShape, Shapes, Steered, Trunk, WeightCount
from .voices import OneVoice, TwoVoices, VoiceAttention

LAYERS = 12
"""Of the audio encoder, whose features are heard."""
AROUND = 5
"""Video frames whose sound is heard in the first latent frame: its own, two before and two behind."""
WINDOW = 8
"""The same of the others, which are four video frames each. The first one's are the last of so many."""
MOST_VOICES = 2
_NORM_EPS = 1e-5


@record
class TalkBranch(Branch[DiTConfig]):
    """What people say, for a model of image to video.

    Attributes:
        blocks: of the trunk: each has layers for it.
        width: of the sound's features in each of 12 layers of their encoder.
        tokens, token_width: of what one person says in a latent frame.
        inner: width between the matrices that make these.

    Source: Kong et al., "Let Them Talk", arXiv 2505.22647, and Yang et al., "InfiniteTalk", arXiv 2508.14033; ComfyUI
        0.33.0 comfy/ldm/wan/model_multitalk.py and comfy_extras/nodes_model_patch.py, MultiTalkModelPatch.
    """

    name = "infinitetalk"
    words = "InfiniteTalk"
    roots = ("audio_proj",)
    in_blocks = ("audio_cross_attn.", "norm_x.")
    module_kind = "infinitetalk_module"
    listens_through = "wav2vec2-chinese-base_fp16.safetensors"

    blocks: int = 40
    width: int = 768
    tokens: int = 32
    token_width: int = 768
    inner: int = 512

    @classmethod
    def read(cls, tensors: Shapes) -> TalkBranch | None:
        """See `Branch.read`."""
        if not any(tensors.has(key) for key in ("audio_proj.proj1.weight", "blocks.0.audio_cross_attn.proj.weight")):
            return None
        inner, features = (tensors.size("audio_proj.proj1.weight", dimension) for dimension in (0, 1))
        token_width = tensors.size("audio_proj.norm.weight", 0)
        tokens, more = divmod(tensors.size("audio_proj.proj3.weight", 0), token_width)
        width, rest = divmod(features, AROUND * LAYERS)
        others = tensors.size("audio_proj.proj1_vf.weight", 1)
        if rest or more or others != WINDOW * LAYERS * width:
            raise FileFault("has the names of InfiniteTalk but not its structure", "it is damaged; download it again")
        return cls(tensors.count("blocks."), width, tokens, token_width, inner)

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} has no layers of InfiniteTalk and cannot hear who speaks. Add ",
            *names.file("infinitetalk", "an InfiniteTalk module"), " to it.",
        )  # fmt: skip

    def check_layers(self, layers: int) -> None:
        """See `Branch.check_layers`."""
        if self.blocks != layers:
            raise FileFault(
                f"has InfiniteTalk's layers for {self.blocks} blocks and {layers} blocks, which no Wan model has",
                "it is damaged; download it again",
            )

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {"audio_proj": SpokenFrames(self, operations)}

    def inside(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.inside`."""
        return {
            "audio_cross_attn": VoiceAttention(config.dim, self.token_width, operations),
            "norm_x": operations.LayerNorm(config.dim, eps=_NORM_EPS),
        }

    def check(self, given: Sequence[TalkInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} scenes of InfiniteTalk in one prompt. Leave one of them.")
        for each in given:
            _, voices, frames, *heard = each.features.shape
            if heard != [WINDOW, LAYERS, self.width]:
                raise PairingError(
                    f"The sound has {heard} numbers for a latent frame, and InfiniteTalk hears "
                    f"{[WINDOW, LAYERS, self.width]}. Encode it with {self.listens_through}."
                )
            if frames != latent.shape[2]:
                raise PairingError(
                    f"What is said was prepared for {frames} latent frames, but the video has {latent.shape[2]}. "
                    "Prepare it for a video of the same length."
                )
            if len(each.features) not in (1, len(latent)):
                raise PairingError(
                    f"What is said is for {len(each.features)} videos, but the latent has {len(latent)}. Give one for "
                    "all, or one for each."
                )
            _check_masks(each.masks, voices, latent)

    def embed(self, trunk: Trunk, given: Sequence[TalkInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`. What is heard is made in float32, as the file has these layers."""
        (scene,) = given
        frames, length = scene.features.shape[2], tokens.shape[1]
        said = trunk.get_submodule("audio_proj")(scene.features, begins=scene.begins).to(trunk.dtype)
        heard = rearrange(said, "B S T n D -> B T (S n) D")
        if scene.masks is None:
            return Steered(tokens, context._replace(heard=OneVoice(heard, length, scene.scale)))
        masks = scene.masks[:, :: PATCH[1], :: PATCH[2]].flatten(1)
        assert masks.shape[1] * frames == length, "a pass begins with the video's tokens alone"
        return Steered(tokens, context._replace(heard=TwoVoices(heard, length, scene.scale, masks)))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        first = (AROUND + WINDOW) * LAYERS * self.width + 2
        last = (self.inner + 1) * self.tokens * self.token_width + 2 * self.token_width
        return first * self.inner + (self.inner + 1) * self.inner + last

    def inside_weights(self, config: DiTConfig) -> WeightCount:
        """See `Branch.inside_weights`."""
        dim = config.dim
        return WeightCount(2 * dim**2 + 2 * dim * self.token_width, 4 * dim, 6 * dim)

    def pass_bytes(self, shape: PassShape, given: int, buffer: int) -> PassBytes:
        """See `Branch.pass_bytes`, of two voices in float32."""
        heard = 4 * shape.frames * MOST_VOICES * self.tokens * self.token_width
        return PassBytes(shape.together * heard, 0)

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`: less than what the frames before it take, which are shown in their places."""
        return 4 * pixels * given


def _check_masks(masks: Tensor | None, voices: int, latent: Tensor) -> None:
    """Refuses what does not say who of so many speaks where in a latent [B, C, T, h, w]."""
    if voices > MOST_VOICES or (masks is None) != (voices == 1):
        raise PairingError(
            f"There are {voices} people who speak and {0 if masks is None else len(masks)} masks of where they are. "
            "Give one person without a mask, or two with one each."
        )
    size = latent.shape[-2:]
    if masks is not None and (len(masks) != voices or masks.shape[1:] != size):
        raise PairingError(
            f"The masks of who speaks are for a latent of {masks.shape[2]} x {masks.shape[1]}, but the latent to "
            f"sample has {size[1]} x {size[0]}. Prepare them for a video of the same size."
        )


class TalkInput(NamedTuple):
    """What steers InfiniteTalk.

    `features` [1 or B, people, T, 8, 12, width] of the sounds around each latent frame, see `scene.spoken_frames`;
    `masks` [people, h, w] say where each is, of two; `scale`: how much what is heard counts, 1 as trained; `begins`:
    whether the first latent frame is a picture, the first of the video.
    """

    features: Tensor
    masks: Tensor | None = None
    scale: float = 1.0
    begins: bool = True

    @property
    def branch(self) -> type[TalkBranch]:
        """The kind of branch it steers."""
        return TalkBranch


class SpokenFrames(nn.Module):
    """Features of the sound around latent frames -> what their tokens look at."""

    def __init__(self, branch: TalkBranch, operations: ModuleType) -> None:
        super().__init__()
        heard, inner = LAYERS * branch.width, branch.inner
        self.tokens = branch.tokens
        self.proj1 = operations.Linear(AROUND * heard, inner)
        self.proj1_vf = operations.Linear(WINDOW * heard, inner)
        self.proj2 = operations.Linear(inner, inner)
        self.proj3 = operations.Linear(inner, branch.tokens * branch.token_width)
        self.norm = operations.LayerNorm(branch.token_width, eps=_NORM_EPS)

    def forward(self, features: Tensor, *, begins: bool) -> Tensor:
        """[B, people, T, 8, 12, width] -> [B, people, T, tokens, token_width], float32.

        `begins`: whether the first latent frame is one video frame.
        """
        first, others = (features[:, :, :1, WINDOW - AROUND :], features[:, :, 1:]) if begins else (None, features)
        heard = [] if first is None else [_after(self.proj1, first.flatten(3))]
        if others.shape[2]:
            heard.append(_after(self.proj1_vf, others.flatten(3)))
        heard = in_float32(nn.Sequential(self.proj2, nn.ReLU(), self.proj3), torch.cat(heard, dim=2))
        heard, norm = heard.unflatten(-1, (self.tokens, -1)), self.norm
        return F.layer_norm(heard, heard.shape[-1:], norm.weight.float(), norm.bias.float(), norm.eps)


def _after(layer: nn.Module, features: Tensor) -> Tensor:
    return in_float32(nn.Sequential(layer, nn.ReLU()), features)
