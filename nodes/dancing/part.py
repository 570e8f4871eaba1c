"""The node that takes a part of a dance from its plan."""

from __future__ import annotations

from typing import Any

from ...common.checking import check_count
from ...common.errors import InvalidInputError
from ...common.shapes import MAX_FRAMES
from ...engine.memory import MemorySettings
from ..api import io, one_sentence
from ..options.memory import memory_input, with_memory
from ..sockets.latents import decodable
from ..sockets.sounds import sound_of
from .music import CATEGORY, check_length, frames_input
from .places import FPS, frame_by_frame, native_part, part_of_dance, parts_of_song


class WanDirectorDancePart(io.ComfyNode):
    """Pictures of a plan in their places in one part of a dance, and the music of it."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorDancePart",
            display_name="Wan Dance Part",
            category=CATEGORY,
            description="Takes a part of a dance from its plan: pictures of the plan in their places, black between, "
            "and the music of the part.",
            search_aliases=["wan dancer", "WanDancerPadKeyframes", "WanDancerPadKeyframesList", "LatentCutToBatch",
                            "keyframes", "segment", "dance"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Latent.Input(
                    "plan",
                    tooltip="The sampled latent of the whole song, from the global model; each of its frames is a "
                    "picture.",
                ),
                io.Audio.Input("audio", tooltip="The song that the plan was made to."),
                frames_input(),
                io.Int.Input(
                    "part",
                    default=0,
                    min=0,
                    max=MAX_FRAMES,
                    tooltip="Which part of the dance, from 0; a part has so many frames, 30 a second.",
                ),
                memory_input("How much of the GPU to use, and how many strips."),
            ],
            outputs=[
                io.Image.Output(display_name="keyframes", tooltip="The part's frames, for start_image of Wan Dancer."),
                io.Mask.Output(display_name="mask", tooltip="Which of them are given, for mask of Wan Dancer."),
                io.Audio.Output(display_name="audio", tooltip="The part's music, for Wan Dance Music."),
                io.Int.Output(display_name="parts", tooltip="How many parts the song has."),
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls, vae: Any, plan: dict, audio: Any, frames: int, part: int, memory: MemorySettings | None = None
    ) -> Any:
        check_length(frames)
        check_count(part, "part", "Use 0 for the first.")
        sound = sound_of(audio)
        if sound is None:
            raise InvalidInputError("audio holds no sound. Connect the song that the plan was made to.")
        parts = parts_of_song(sound.duration_s, frames)
        if part >= parts:
            raise InvalidInputError(
                f"part is {part}, and a song of {sound.duration_s:.1f} s has {parts} of {frames / FPS:.2f} s each. "
                + (f"Use 0 to {parts - 1}." if parts else "Connect a longer song.")
            )
        samples = decodable(vae, plan)
        if len(samples) > 1:
            raise InvalidInputError(f"plan holds {len(samples)} plans, and a part is of one. Connect one of them.")
        pictures = frame_by_frame(with_memory(vae, memory), samples)
        made = part_of_dance(pictures, sound.waveform[None], sound.sample_rate, frames, part)
        return io.NodeOutput(*native_part(made, sound.sample_rate), parts)
