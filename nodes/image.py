"""Nodes that make the latent to start from, empty or from pictures, and mark the given frames."""

from __future__ import annotations

from typing import Any

from ..common.checking import check_number, choice_of
from ..common.errors import InvalidInputError
from ..common.shapes import MAX_BATCH, MAX_FRAMES, MAX_SIDE, VideoShape
from ..engine.memory import MemorySettings
from ..media.pictures import FITS, clean_clip, clean_image
from .api import io, one_sentence
from .conditioning.clip_image import joined_clip_vision
from .conditioning.entries import with_values
from .conditioning.keyframes import Keyframe, edit_rates, given_frames, with_given
from .options.memory import memory_input, with_memory
from .sockets.latents import check_video_size, empty_latent, family_of, tagged_latent

CATEGORY = "Wan Director/latent"
Keyframes = io.Custom("WAN_DIRECTOR_KEYFRAMES")


def size_inputs(frames: int = 81) -> list[Any]:
    """The widgets width, height and frames, the same in every node that has them, but for the usual length."""
    return [
        io.Int.Input(
            "width",
            default=832,
            min=32,
            max=MAX_SIDE,
            step=16,
            tooltip="Width of the video in pixels, a multiple of 16 (of 32 for TI2V-5B).",
        ),
        io.Int.Input(
            "height",
            default=480,
            min=32,
            max=MAX_SIDE,
            step=16,
            tooltip="Height of the video in pixels, a multiple of 16 (of 32 for TI2V-5B).",
        ),
        io.Int.Input(
            "frames",
            default=frames,
            min=1,
            max=MAX_FRAMES,
            step=4,
            tooltip="Length of the video: 1 + 4k frames (1, 5, 9, ... 81). Wan was trained on 81 frames, TI2V-5B on "
            "121; both are 5 seconds.",
        ),
    ]


def prompt_inputs() -> list[Any]:
    """The prompts that pictures are put beside, and the VAE of all that is seen."""
    return [
        io.Conditioning.Input("positive", tooltip="The encoded positive prompt."),
        io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
        io.Vae.Input("vae", tooltip="The VAE that encodes the pictures and will decode the video."),
    ]


def batch_input() -> Any:
    """The widget batch_size."""
    return io.Int.Input(
        "batch_size",
        default=1,
        min=1,
        max=MAX_BATCH,
        tooltip="How many videos to make at once; each takes its own memory.",
    )


class WanDirectorEmptyLatent(io.ComfyNode):
    """The blank latent that text to video starts from."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorEmptyLatent",
            display_name="Wan Empty Latent",
            category=CATEGORY,
            description="The blank latent for text to video: it fixes size and length of the video.",
            search_aliases=["empty latent video", "EmptyHunyuanLatentVideo", "video size", "wan empty embeds"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE that will decode the video; it decides the latent's form."),
                *size_inputs(),
                batch_input(),
            ],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="The blank latent, for the Wan Sampler.")],
        )

    @classmethod
    def validate_inputs(cls, width: int | None = None, height: int | None = None, frames: int | None = None) -> bool:
        # Raised, not answered: ComfyUI shows an answer once for each of the three widgets, an exception only once.
        check_video_size(width, height, frames)
        return True

    @classmethod
    @one_sentence
    def execute(cls, vae: Any, width: int, height: int, frames: int, batch_size: int) -> Any:
        return io.NodeOutput(empty_latent(vae, width, height, frames, batch_size))


class WanDirectorKeyframe(io.ComfyNode):
    """One picture at one place of the video."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorKeyframe",
            display_name="Wan Keyframe",
            category=CATEGORY,
            description="Puts a picture at a frame of the video. Chain several of these for several pictures.",
            search_aliases=["any frame", "middle frame", "guide", "frame index"],
            inputs=[
                io.Image.Input("image", tooltip="The picture; of several, the first is used."),
                io.Int.Input(
                    "frame",
                    default=0,
                    min=-MAX_FRAMES,
                    max=MAX_FRAMES,
                    tooltip="The frame it stands at: 0 is the first; negative numbers count from the end, -1 is the "
                    "last.",
                ),
                Keyframes.Input("keyframes", optional=True, tooltip="Keyframes to add this one to."),
                io.Float.Input(
                    "edit_rate",
                    optional=True,
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="TI2V-5B only: how much of the picture may change. 0 keeps it as it is, 1 makes it anew.",
                ),
            ],
            outputs=[
                Keyframes.Output(display_name="keyframes", tooltip="All keyframes so far, for Wan Image To Video.")
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, image: Any, frame: int, keyframes: tuple[Keyframe, ...] = (), edit_rate: float = 0.0) -> Any:
        check_number(edit_rate, "edit_rate")
        if not 0.0 <= edit_rate <= 1.0:
            raise InvalidInputError(
                f"The edit_rate of a keyframe is from 0 (it stays) to 1 (it is made anew), got {edit_rate:g}."
            )
        return io.NodeOutput((*keyframes, Keyframe(frame, clean_image(image, f"keyframe {frame}"), edit_rate)))


class WanDirectorImageToVideo(io.ComfyNode):
    """The conditioning and latent of a video with given frames."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorImageToVideo",
            display_name="Wan Image To Video",
            category=CATEGORY,
            description="Prepares a video in which some frames are given: the first, the last, both, or any others. "
            "Needs an image-to-video model.",
            search_aliases=[
                "i2v",
                "WanImageToVideo",
                "first last frame",
                "WanFirstLastFrameToVideo",
                "flf2v",
                "Wan22ImageToVideoLatent",
                "start image",
                "wanvideo image to video encode",
            ],
            inputs=[
                *prompt_inputs(),
                *size_inputs(),
                batch_input(),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How pictures of another shape come to the video's size: crop cuts off what stands over "
                    "(centred), pad adds black bars, stretch distorts. Resizing is antialiased bicubic.",
                ),
                io.Image.Input(
                    "start_image",
                    optional=True,
                    tooltip="The first frame. A clip of n pictures gives the first n frames, to continue it. The only "
                    "one that TI2V-5B takes.",
                ),
                io.Image.Input(
                    "end_image", optional=True, tooltip="The last frame. A clip of n pictures gives the last n frames."
                ),
                Keyframes.Input("keyframes", optional=True, tooltip="Pictures at other frames, from Wan Keyframe."),
                io.ClipVisionOutput.Input(
                    "clip_vision_start", optional=True, tooltip="Wan 2.1 only: the start image through CLIP vision."
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_end", optional=True, tooltip="Wan 2.1 only: the end image through CLIP vision."
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with the given frames."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the given frames."),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of this size, for the Wan Sampler."),
            ],
        )

    @classmethod
    def validate_inputs(cls, width: int | None = None, height: int | None = None, frames: int | None = None) -> bool:
        # Raised, not answered: ComfyUI shows an answer once for each of the three widgets, an exception only once.
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
        start_image: Any = None,
        end_image: Any = None,
        keyframes: tuple[Keyframe, ...] = (),
        clip_vision_start: Any = None,
        clip_vision_end: Any = None,
    ) -> Any:
        latent, shape = empty_latent(vae, width, height, frames, batch_size), VideoShape(frames, height, width)
        fitting = choice_of(fit, FITS, "fit")
        given = given_frames(frames, start_image, end_image, keyframes)
        values, latent = with_given(vae, given, fitting, shape, latent, edit_rates(frames, keyframes))
        values |= joined_clip_vision(clip_vision_start, clip_vision_end)
        return io.NodeOutput(with_values(positive, values), with_values(negative, values), latent)


class WanDirectorEncode(io.ComfyNode):
    """Frames to latent."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorEncode",
            display_name="Wan Encode Video",
            category=CATEGORY,
            description="Encodes frames into a latent, for video to video with the sampler's denoise below 1.",
            search_aliases=["vae encode", "VAEEncode", "wan encode video", "video to video", "v2v"],
            inputs=[
                io.Vae.Input("vae", tooltip="The Wan VAE."),
                io.Image.Input(
                    "images",
                    tooltip="The clip: 1 + 4k frames, width and height multiples of 16 (of 32 for TI2V-5B); or a "
                    "single picture.",
                ),
                memory_input("How much of the GPU to use, and how many strips."),
            ],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="The clip as a latent.")],
        )

    @classmethod
    @one_sentence
    def execute(cls, vae: Any, images: Any, memory: MemorySettings | None = None) -> Any:
        vae = with_memory(vae, memory)
        frames = clean_clip(images, "images")
        check_video_size(frames.shape[2], frames.shape[1], frames.shape[0], family_of(vae))
        return io.NodeOutput(tagged_latent(vae.encode(frames), vae))
