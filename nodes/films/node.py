"""The node that makes a film of many clips and saves it as it grows."""

from __future__ import annotations

from typing import Any

from ...common.shapes import MAX_FRAMES, VideoShape
from ...engine.films.shape import MAX_CLIPS, film_shape, read_prompts
from ...engine.memory import MemorySettings
from ..api import io, one_sentence
from ..conditioning.official_negative import OFFICIAL_NEGATIVE
from ..image import size_inputs
from ..loaders import WanModelType
from ..options.memory import memory_input, with_memory
from ..sampler import solver_inputs, step_inputs
from ..saving.result import FileOptions, check_file
from ..sockets.latents import check_video_size
from ..video import audio_input, file_inputs
from .cast import FilmCast
from .clips import FilmClips, checked_memory, checked_settings, encode_film, end_frames, start_frames
from .saved import check_film_room, saved_film


class WanDirectorLongVideo(io.ComfyNode):
    """A film of any length, made clip by clip and saved meanwhile."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLongVideo",
            display_name="Wan Long Video",
            category="Wan Director/video",
            description="Makes a video of any length, clip by clip: each goes on from the last frames of the one "
            "before, and goes to the file as it is made, so that minutes take the memory of one clip. When it is "
            "broken off, the same workflow goes on after the last finished clip.",
            search_aliases=[
                "long video",
                "infinite video",
                "extend video",
                "continue video",
                "film",
                "loop sampler",
                "SVI",
                "video extension",
            ],
            inputs=[*_what_inputs(), *_length_inputs(), *step_inputs(), *solver_inputs(), *file_inputs(), *_sockets()],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(
        cls,
        prompts: str | None = None,
        width: int | None = None,
        height: int | None = None,
        clip_frames: int | None = None,
        clips: int | None = None,
        overlap: int | None = None,
        filename_prefix: str | None = None,
        format: str | None = None,
    ) -> bool:
        # Raised, not answered: ComfyUI shows an answer once for each of the widgets, an exception only once.
        check_video_size(width, height, clip_frames)
        if prompts is not None and clips is not None and clip_frames is not None and overlap is not None:
            film_shape(read_prompts(prompts), clips, clip_frames, overlap)
        check_file(filename_prefix, format)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls, model: Any, text_encoder: Any, vae: Any, prompts: str, negative: str, width: int, height: int,
        clip_frames: int, clips: int, overlap: int, seed: int, steps: int, cfg: float, shift: float, solver: str,
        schedule: str, fps: float, filename_prefix: str, format: str, quality: int, start_image: Any = None,
        end_images: Any = None, first_model: Any = None, clip_vision: Any = None, memory: MemorySettings | None = None,
        audio: Any = None,
    ) -> Any:  # fmt: skip
        lines, video = read_prompts(prompts), VideoShape(clip_frames, height, width)
        ends = end_frames(end_images, video)
        count = 0 if ends is None else len(ends)
        shape = film_shape(lines, clips, clip_frames, overlap, count)
        settings = checked_settings(seed, steps, cfg, shift, solver, schedule)
        taken = checked_memory(memory)
        cast = FilmCast(model, first_model, with_memory(vae, memory), clip_vision)
        cast.check(text_encoder, video, shape.clips, has_start=start_image is not None, ends=count)
        start = start_frames(start_image, video)
        options = FileOptions(fps, filename_prefix, format, quality).with_sound(audio, shape.frames)
        check_film_room(shape, video, format)
        encoded = encode_film(text_encoder, lines, negative, memory)
        maker = FilmClips(cast, encoded, shape, video, start, ends, settings, taken)
        return io.NodeOutput(ui=saved_film(maker, options, cls.hidden))


def _what_inputs() -> list[Any]:
    """Who makes the film, and of what."""
    return [
        WanModelType.Input(
            "model",
            tooltip="An image-to-video, TI2V-5B or VACE model, or two experts: it makes each clip from the end of the "
            "one before.",
        ),
        io.Clip.Input("text_encoder", tooltip="From Load Wan Text Encoder (or ComfyUI's Load CLIP, type wan)."),
        io.Vae.Input("vae", tooltip="The VAE that belongs to the model, from Load Wan VAE."),
        io.String.Input(
            "prompts",
            multiline=True,
            default="",
            dynamic_prompts=True,
            tooltip="One prompt a line: line n for clip n, and the last one for all clips that follow. Blank lines are "
            "left out. Say what stays (subject, place, light) in every line.",
        ),
        io.String.Input(
            "negative",
            multiline=True,
            default=OFFICIAL_NEGATIVE,
            dynamic_prompts=True,
            tooltip="What to avoid in all clips; the default is the official list. Not used at cfg 1.",
        ),
    ]


def _length_inputs() -> list[Any]:
    """How large the film is, and how long."""
    width, height, _ = size_inputs()
    return [
        width,
        height,
        io.Int.Input(
            "clip_frames",
            default=81,
            min=5,
            max=MAX_FRAMES,
            step=4,
            tooltip="Frames of each clip: 1 + 4k. Wan was trained on 81, TI2V-5B on 121. Memory is that of one clip.",
        ),
        io.Int.Input(
            "clips",
            default=0,
            min=0,
            max=MAX_CLIPS,
            tooltip="How many clips; 0: one for each line of prompts, or each of end_images if there are more. A film "
            "has clip_frames + (clips - 1) x (clip_frames - overlap) frames.",
        ),
        io.Int.Input(
            "overlap",
            default=5,
            min=1,
            max=MAX_FRAMES,
            step=4,
            tooltip="Frames that a clip takes over from the end of the one before: 1, 5, 9, 17. 5 carries the motion "
            "over; 1 carries the picture alone.",
        ),
    ]


def _sockets() -> list[Any]:
    """What may be connected."""
    return [
        io.Image.Input(
            "start_image",
            optional=True,
            tooltip="The first frame of the film, or a clip that it goes on from. Cut to the film's shape.",
        ),
        io.Image.Input(
            "end_images",
            optional=True,
            tooltip="Keyframes: picture n is the last frame of clip n, and the next clip goes on from there. Clips "
            "beyond them end freely.",
        ),
        WanModelType.Input(
            "first_model",
            optional=True,
            tooltip="Makes the first clip when there is no start image: a text-to-video model.",
        ),
        io.ClipVision.Input(
            "clip_vision",
            optional=True,
            tooltip="Wan 2.1 image-to-video only: looks at the first given frame of each clip.",
        ),
        memory_input("How much of the GPU to use, and how many blocks to swap."),
        audio_input(),
    ]
