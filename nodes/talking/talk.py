"""The node that prepares a video of one or two people who speak, for InfiniteTalk."""

from __future__ import annotations

from typing import Any

from ...common.checking import choice_of
from ...common.shapes import VideoShape
from ...dit.conditioning.audio.talk import TOGETHER
from ...media.pictures import FITS
from ..api import ADVANCED, io, one_sentence
from ..conditioning.clip_image import joined_clip_vision
from ..conditioning.reading import check_fresh
from ..image import batch_input, prompt_inputs, size_inputs
from ..sockets.latents import check_video_size, empty_latent
from .chunk import MOST_MOTION_FRAMES, MOTION_FRAMES, chunk_of
from .encoder import CATEGORY
from .speech import ShapedPictures, fit_input
from .started import shown_frames, start_values, talking_sides
from .voices import MOST_SCALE, voices_of

_GIVEN_KEYS = ("concat_latent_image", "concat_mask", "clip_vision_output")


class WanDirectorInfiniteTalk(io.ComfyNode):
    """The conditioning and latent of a video of one or two people who speak."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorInfiniteTalk",
            display_name="Wan InfiniteTalk",
            category=CATEGORY,
            description="Prepares a video in which one or two people of a picture speak or sing, for a 14B model of "
            "image to video with Load Wan InfiniteTalk. A longer video is made chunk by chunk. 25 frames a second.",
            search_aliases=[
                "infinitetalk", "infinite talk", "multitalk", "WanInfiniteTalkToVideo", "talking head", "lip sync",
                "audio driven", "two speakers", "dubbing",
            ],
            inputs=[*prompt_inputs(), *size_inputs(), batch_input(), fit_input(), *_talk_inputs()],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with all that is given."),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The negative prompt with all that is given; it hears the same."
                ),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of this chunk, for the Wan Sampler."),
                io.Int.Output(
                    display_name="trim_frames",
                    tooltip="How many of this chunk's first frames are those of the video so far: motion_frames, or 0 "
                    "of the first chunk. Leave them out where the chunks are joined.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, width: int | None = None, height: int | None = None, frames: int | None = None) -> bool:
        check_video_size(width, height, frames)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        frames: int,
        batch_size: int,
        fit: str,
        audio_scale: float,
        speakers: str,
        motion_frames: int,
        start_image: Any,
        audio: Any,
        clip_vision: Any = None,
        audio_2: Any = None,
        mask_1: Any = None,
        mask_2: Any = None,
        previous_frames: Any = None,
    ) -> Any:
        check_fresh(positive, negative, _GIVEN_KEYS, "a start image")
        chunk = chunk_of(frames, motion_frames, previous_frames)
        latent = empty_latent(vae, width, height, frames, batch_size)
        pictures = ShapedPictures(vae, VideoShape(frames, height, width), choice_of(fit, FITS, "fit"))
        voices = voices_of((audio, audio_2), (mask_1, mask_2), speakers, audio_scale).fitted(*pictures[1:])
        values = start_values(pictures, start_image) | joined_clip_vision(clip_vision, None)
        scene = chunk.shown(voices, latent["samples"], shown_frames(chunk, pictures, values["concat_latent_image"]))
        return io.NodeOutput(*talking_sides(positive, negative, values, scene), latent, chunk.trim)


def _talk_inputs() -> list[Any]:
    """What there is of who speaks, and of the video so far."""
    return [
        io.Float.Input(
            "audio_scale",
            default=1.0,
            min=-MOST_SCALE,
            max=MOST_SCALE,
            step=0.01,
            tooltip="How much what is heard moves the video: 1 as trained, more for larger movements of the lips.",
        ),
        io.Combo.Input(
            "speakers",
            options=list(TOGETHER),
            default=TOGETHER[0],
            tooltip="Of two people: the second speaks when the first has ended, or both sounds begin with the video.",
        ),
        io.Int.Input(
            "motion_frames",
            default=MOTION_FRAMES,
            min=1,
            max=MOST_MOTION_FRAMES,
            step=4,
            tooltip="How many of the last previous_frames this chunk goes on from: 1 + 4k frames, 9 as trained.",
            **ADVANCED,
        ),
        io.Image.Input("start_image", tooltip="The first frame of the whole video, of later chunks too: who speaks."),
        io.AudioEncoderOutput.Input(
            "audio",
            tooltip="What is said, from Wan Audio Encode with wav2vec2-chinese-base: the whole of it, also for later "
            "chunks.",
        ),
        io.ClipVisionOutput.Input(
            "clip_vision", optional=True, tooltip="The start image through CLIP vision, for models of Wan 2.1."
        ),
        io.AudioEncoderOutput.Input("audio_2", optional=True, tooltip="What the second person says."),
        io.Mask.Input(
            "mask_1", optional=True, tooltip="Where the first person is in start_image; white. For two people only."
        ),
        io.Mask.Input("mask_2", optional=True, tooltip="Where the second person is in start_image; white."),
        io.Image.Input(
            "previous_frames",
            optional=True,
            tooltip="All frames of the video so far: this chunk goes on from the last of them, and the sound with it.",
        ),
    ]
