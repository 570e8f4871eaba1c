"""The nodes that write video files: from frames, and from a latent."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator
from typing import Any

from torch import Tensor

from ..common.checking import object_with
from ..common.errors import PairingError
from ..common.log import logger
from ..common.shapes import video_frames
from ..engine.memory import MemorySettings
from ..media.pictures import clean_clip
from ..media.video_writing import FORMATS, WITH_OPACITY
from .api import io, one_sentence
from .options.memory import memory_input, with_memory
from .saving.rescue import keep_frames, keep_latent
from .saving.result import FileOptions, check_file, metadata_of, saved_result
from .sockets.latents import decodable
from .sockets.models import WanVAE


class WanDirectorSaveVideo(io.ComfyNode):
    """Frames to a file in the output folder."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorSaveVideo",
            display_name="Wan Save Video",
            category="Wan Director/video",
            description="Saves frames as a video, an animated GIF or numbered pictures, with the workflow inside, and "
            "shows the result.",
            search_aliases=[
                "save mp4",
                "SaveVideo",
                "CreateVideo",
                "video combine",
                "VHS_VideoCombine",
                "export video",
                "gif",
                "webm",
            ],
            inputs=[
                io.Image.Input("images", tooltip="The frames, in order."),
                *file_inputs(),
                audio_input(),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None, format: str | None = None) -> bool:
        # Raised, not answered: ComfyUI shows an answer once for each of the two widgets, an exception only once.
        check_file(filename_prefix, format)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls, images: Any, fps: float, filename_prefix: str, format: str, quality: int, audio: Any = None
    ) -> Any:
        frames = clean_clip(images, "images", None if format in WITH_OPACITY else 0.0)
        options = FileOptions(fps, filename_prefix, format, quality).with_sound(audio, len(frames))
        keep = functools.partial(keep_frames, frames)
        return io.NodeOutput(ui=saved_result(frames, (frames.shape[1], frames.shape[2]), options, cls.hidden, keep))


class WanDirectorDecodeToVideo(io.ComfyNode):
    """Latent to a file in the output folder, without the frames between."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorDecodeToVideo",
            display_name="Wan Decode To Video",
            category="Wan Director/video",
            description="Decodes a latent straight into a video file: frames go to the encoder as they are made, so "
            "that a video of any length needs little memory.",
            search_aliases=[
                "vae decode",
                "VAEDecode",
                "stream decode",
                "long video",
                "save mp4",
                "SaveVideo",
                "latent to video",
            ],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model, from Load Wan VAE."),
                io.Latent.Input("latent", tooltip="The finished latent; the videos of a batch follow one another."),
                *file_inputs(),
                memory_input("How much of the GPU to use, and how many strips."),
                audio_input(),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None, format: str | None = None) -> bool:
        check_file(filename_prefix, format)  # raised, not answered, as in Wan Save Video
        return True

    @classmethod
    @one_sentence
    def execute(
        cls,
        vae: Any,
        latent: dict,
        fps: float,
        filename_prefix: str,
        format: str,
        quality: int,
        memory: MemorySettings | None = None,
        audio: Any = None,
    ) -> Any:
        vae = with_memory(vae, memory)
        samples = _decodable_or_kept(vae, latent, cls.hidden)
        object_with(vae, "spacial_compression_decode", "The VAE must be one that decodes", "Connect Load Wan VAE.")
        stride = vae.spacial_compression_decode()
        size = (samples.shape[3] * stride, samples.shape[4] * stride)
        count = samples.shape[0] * video_frames(samples.shape[2])
        options = FileOptions(fps, filename_prefix, format, quality).with_sound(audio, count)
        with contextlib.closing(decoded_frames(vae, samples)) as frames:
            keep = functools.partial(keep_latent, samples)
            return io.NodeOutput(ui=saved_result(frames, size, options, cls.hidden, keep))


def decoded_frames(vae: Any, samples: Tensor) -> Generator[Tensor, None, None]:
    """The frames of a latent one by one, as a VAE of ours makes them; those of a native one come all at once."""
    return vae.decode_frames(samples) if isinstance(vae, WanVAE) else _decoded_whole(vae, samples)


def _decoded_whole(vae: Any, samples: Tensor) -> Generator[Tensor, None, None]:
    logger.info("The VAE was loaded by another node: it decodes the whole video before the first frame is written.")
    frames = vae.decode(samples)
    yield from frames.reshape(-1, *frames.shape[-3:])


def _decodable_or_kept(vae: Any, latent: dict, hidden: Any) -> Any:
    """As `decodable`; a latent that only wants another VAE is kept, because on the command line it would be lost."""
    try:
        return decodable(vae, latent)
    except PairingError as error:
        kept = keep_latent(latent["samples"], metadata_of(hidden))
        refusal = PairingError(*error.parts, f" {kept}") if kept else error
    raise refusal


def audio_input() -> Any:
    """The socket for the sound of a video, the same in every node that writes one."""
    return io.Audio.Input(
        "audio",
        optional=True,
        tooltip="The sound of the video, from Wan Load Video, Load Audio or any node that gives AUDIO: cut, or "
        "filled up with silence, to the length of the video. The mp4, webm and mov formats hold sound.",
    )


def file_inputs() -> list[Any]:
    """The widgets about the file, the same in every node that writes a video."""
    return [
        io.Float.Input(
            "fps",
            default=16.0,
            min=0.1,
            max=240.0,
            step=1.0,
            round=0.01,
            tooltip="Frames per second: 16 for Wan, 8 for the tiny demo model.",
        ),
        io.String.Input(
            "filename_prefix",
            default="video/WanDirector",
            tooltip="Name of the file in the output folder; it may begin with a subfolder and hold %date:yyyy-MM-dd% "
            "(yyyy yy MM M dd d hh h mm m ss s), %width%, %height%, %year%, %month%, %day%, %hour%, %minute%, %second% "
            "and values of other nodes as %Node.widget%, by the node's class or title. What some file systems cannot "
            "hold, such as : ? *, becomes _. A counter is added.",
        ),
        io.Combo.Input(
            "format",
            options=list(FORMATS),
            default="mp4-h264",
            tooltip="mp4-h264 plays everywhere; mp4-h265 and webm-vp9 are smaller, but mp4-h265 stays blank where a "
            "browser has no decoder for it; gif has 256 colours and no room for the workflow; png frames are exact; "
            "mov-prores (4444) is for editors, no browser shows it. webm-vp9, png frames and mov-prores keep how "
            "transparent pictures of four channels are.",
        ),
        io.Int.Input(
            "quality",
            default=80,
            min=1,
            max=100,
            tooltip="1 to 100: higher is sharper and larger. Not used for gif and png frames.",
        ),
    ]
