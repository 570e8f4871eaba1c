"""The node that writes a video while it is made."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from ...common.checking import instance_of
from ...common.shapes import video_frames
from ...engine.causal.streaming import StreamedVideo
from ...engine.memory import AUTOMATIC, MemorySettings
from ...engine.sampling.settings import SamplerSettings
from ..api import io, one_sentence
from ..loaders import WanModelType
from ..options.memory import memory_input
from ..sampler import cfg_input, schedule_input, seed_input, shift_input, solver_input, steps_input
from ..saving.rescue import keep_latent
from ..saving.result import FileOptions, check_file, saved_result
from ..sockets.latents import native_latent
from ..sockets.models import WanVAE
from ..sockets.sampling import ready_sampling
from ..video import audio_input, file_inputs


class WanDirectorStreamVideo(io.ComfyNode):
    """A causal model's video goes into its file chunk by chunk."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorStreamVideo",
            display_name="Wan Stream Video",
            category="Wan Director/video",
            description="Samples a video with a causal model, decodes and saves it at once: the frames of a chunk go "
            "into the file as soon as it is finished. With a window in Wan Causal a video of any length takes the "
            "memory of a short one.",
            search_aliases=[
                "stream", "streaming", "real time", "causal forcing", "self forcing", "krea realtime", "long video",
                "infinite video", "SamplerARVideo", "SaveVideo", "save mp4", "wan stream video",
            ],
            inputs=[
                WanModelType.Input("model", tooltip="A causal model, through Wan Causal."),
                io.Conditioning.Input("positive", tooltip="What the video should show."),
                io.Conditioning.Input("negative", tooltip="What it should not show; not used at cfg 1."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model, from Load Wan VAE."),
                io.Latent.Input(
                    "latent", tooltip="Size and length of the video, of Wan Empty Latent or Wan Causal Start."
                ),
                *_run_inputs(),
                *file_inputs(),
                memory_input("How much of the GPU to use, and how many blocks to swap."),
                audio_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The finished video as a latent.")
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None, format: str | None = None) -> bool:
        check_file(filename_prefix, format)  # raised, not answered, as in Wan Save Video
        return True

    @classmethod
    @one_sentence
    def execute(
        cls, model: Any, positive: list, negative: list, vae: Any, latent: dict, seed: int, steps: int, cfg: float,
        shift: float, solver: str, schedule: str, fps: float, filename_prefix: str, format: str, quality: int,
        memory: MemorySettings | None = None, audio: Any = None,
    ) -> Any:  # fmt: skip
        memory = AUTOMATIC if memory is None else memory
        instance_of(memory, MemorySettings, "memory", "the settings of Wan Memory")
        instance_of(vae, WanVAE, "vae", "the VAE of Load Wan VAE")
        settings = SamplerSettings(seed, steps, cfg, shift, solver, schedule)
        run = ready_sampling(model, (positive, negative), latent, settings, memory)
        stream = StreamedVideo(run, vae.placed, memory)
        count, height, width = run.whole.latent.shape[2:]
        stride = vae.spacial_compression_decode()
        options = FileOptions(fps, filename_prefix, format, quality).with_sound(audio, video_frames(count))
        with contextlib.closing(stream.frames()) as frames:
            size = (height * stride, width * stride)
            shown = saved_result(frames, size, options, cls.hidden, partial(_keep, stream))
        made = native_latent(model, latent, run.whole.latent)
        return io.NodeOutput({**made, "samples": stream.latent}, ui=shown)


def _keep(stream: StreamedVideo, metadata: dict[str, Any]) -> str:
    """Keeps what is finished of a video; nothing where nothing is."""
    return keep_latent(stream.latent[:, :, : stream.done], metadata) if stream.done else ""


def _run_inputs() -> list[Any]:
    return [
        seed_input("The noise to start from; the same seed and settings give the same video."),
        steps_input("How often the model is asked for each chunk; causal models are made for 4.", default=4),
        cfg_input("How strongly the prompt counts. Causal models are made for 1.", default=1.0),
        shift_input("How much time is spent at high noise. Causal models are made for 5."),
        solver_input(
            "How a step is computed: lcm, which noises the guess afresh, as causal models are trained. See Wan "
            "Sampler.",
            default="lcm",
        ),
        schedule_input("Where the steps lie between noise and video; simple for causal models. See Wan Sampler."),
    ]
