"""ComfyUI's node for InfiniteTalk on a model.

Pictures are cut in the middle and resized without antialiasing, and masks of people stretched, as ComfyUI does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ......common.errors import InvalidInputError
from ......common.records import record
from ......dit.conditioning.audio.talk import TOGETHER, TalkScene
from ......model_loading.kinds import INFINITETALK_MODULE
from ..... import standin as io
from .....conditioning.clip_image import joined_clip_vision
from .....conditioning.entries import with_values
from .....files.model_files import ModuleFile
from .....sockets.latents import family_of
from .....sockets.native_model import NativeModel, native_model
from .....talking.chunk import MOTION_FRAMES, Chunk, chunk_of
from .....talking.voices import MOST_SCALE, Voices, voices_of
from ...dynamic_inputs import Choice, Choosing, Model
from ...wan_videos import blank, fitted, given_values, grey, size_inputs
from .loader import ModelPatch, patched


class WanInfiniteTalkToVideo(io.ComfyNode):
    """A model that hears one or two people speak, and a video of them."""

    @classmethod
    def define_schema(cls) -> Any:
        second = [
            io.AudioEncoderOutput.Input("audio_encoder_output_2", optional=True),
            io.Mask.Input("mask_1", optional=True, tooltip="Where the first person is."),
            io.Mask.Input("mask_2", optional=True, tooltip="Where the second person is."),
        ]
        return io.Schema(
            node_id="WanInfiniteTalkToVideo",
            category="model/conditioning/wan/infinite talk",
            inputs=[
                Choosing("mode", [Choice("single_speaker", []), Choice("two_speakers", second)]),
                Model.Input("model"),
                ModelPatch.Input("model_patch", tooltip="InfiniteTalk, from ModelPatchLoader."),
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Vae.Input("vae"),
                *size_inputs(832, 480, 81)[:3],
                io.ClipVisionOutput.Input("clip_vision_output", optional=True),
                io.Image.Input("start_image", optional=True, tooltip="The first frame, or the first frames."),
                io.AudioEncoderOutput.Input("audio_encoder_output_1"),
                io.Int.Input("motion_frame_count", default=MOTION_FRAMES, min=1, max=33, step=1, advanced=True),
                io.Float.Input("audio_scale", default=1.0, min=-MOST_SCALE, max=MOST_SCALE, step=0.01),
                io.Image.Input("previous_frames", optional=True, tooltip="The video so far."),
            ],
            outputs=[
                Model.Output(display_name="model"),
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
                io.Int.Output(display_name="trim_image"),
            ],
        )

    @classmethod
    def execute(
        cls,
        mode: dict[str, Any],
        model: NativeModel,
        model_patch: ModuleFile,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        audio_encoder_output_1: Any,
        motion_frame_count: int,
        audio_scale: float,
        clip_vision_output: Any = None,
        start_image: Tensor | None = None,
        previous_frames: Tensor | None = None,
    ) -> Any:
        native = native_model(model)
        _check_silent(native)
        chunk = chunk_of(length, motion_frame_count, previous_frames)
        voices = _voices(mode, audio_encoder_output_1, audio_scale)
        talking = patched(native, model_patch, INFINITETALK_MODULE)
        latent, values, shown = _begun(vae, (width, height, length), start_image, chunk)
        values |= joined_clip_vision(clip_vision_output, None)
        scene = chunk.shown(voices, latent["samples"], family_of(vae).normalize(shown.float()))
        sides = (with_values(side, values) for side in (positive, negative))
        return io.NodeOutput(talking.following(SaidInChunk(scene)), *sides, latent, chunk.trim)


def _check_silent(native: NativeModel) -> None:
    """Refuses a model that hears somebody already.

    Raises:
        InvalidInputError: it does.
    """
    if any(isinstance(each, SaidInChunk) for each in native.follows):
        raise InvalidInputError("The model hears who speaks already. Remove one of the WanInfiniteTalkToVideo nodes.")


def _voices(mode: dict[str, Any], audio: Any, scale: float) -> Voices:
    two = mode if mode["mode"] == "two_speakers" else {}
    masks = (two.get("mask_1"), two.get("mask_2"))
    return voices_of((audio, two.get("audio_encoder_output_2")), masks, TOGETHER[0], scale)


def _begun(
    vae: Any, shape: tuple[int, int, int], start_image: Tensor | None, chunk: Chunk
) -> tuple[dict[str, Any], dict[str, Any], Tensor]:
    """The blank LATENT of a chunk, the conditioning values of its start image, and the raw latent of what is shown."""
    width, height, length = shape
    latent = blank(vae, width, height, length, 1)
    if start_image is None:
        if chunk.previous is None:
            raise InvalidInputError("WanInfiniteTalkToVideo needs a start_image, or previous_frames. Connect one.")
        return latent, {}, _encoded(vae, chunk, width, height)
    given = fitted(start_image[:length], width, height)
    mask = torch.ones(1, 1, *latent["samples"].shape[2:])
    mask[:, :, : (len(given) - 1) // 4 + 1] = 0.0
    values = given_values(vae, grey(given, length, width, height), mask)
    first = values["concat_latent_image"][:, :, :1]
    return latent, values, first if chunk.previous is None else _encoded(vae, chunk, width, height)


def _encoded(vae: Any, chunk: Chunk, width: int, height: int) -> Tensor:
    """The raw latent of the frames that a chunk goes on from."""
    assert chunk.previous is not None, "asked of later chunks"
    return vae.encode(fitted(chunk.previous[-chunk.motion :], width, height)[..., :3])


@record(eq=False)
class SaidInChunk:
    """What is said in a chunk whose size is known."""

    scene: TalkScene

    does = "hears who speaks by WanInfiniteTalkToVideo"
    instead = "Put Wan InfiniteTalk between the prompts and Wan Sampler, with Load Wan InfiniteTalk at Load Wan Model."

    def item(self, samples: Tensor) -> TalkScene:
        """It, whatever the latent: another size is refused where they come together."""
        return self.scene
