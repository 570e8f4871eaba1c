"""The node that lets a video follow one that is rendered along a camera's path."""

from __future__ import annotations

from typing import Any

from ...common.checking import choice_of
from ...dit.conditioning.rendered import MOST_STRENGTH, RenderedVideo, as_long, check_following
from ...engine.memory import MemorySettings
from ...media.pictures import FITS, clean_clip, fit_pictures
from ..api import ADVANCED, io, one_sentence
from ..conditioning.items import with_item
from ..conditioning.reading import in_form
from ..options.memory import memory_input, with_memory
from ..sockets.latents import check_wan_2_1, family_of, video_samples


class WanDirectorUni3C(io.ComfyNode):
    """A rendered video in the conditioning."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorUni3C",
            display_name="Wan Uni3C",
            category="Wan Director/latent",
            description="Uni3C: the video follows one that is rendered along a camera's path, most often points of the "
            "start image seen from elsewhere. For 14B models with the module of Load Wan Uni3C.",
            search_aliases=[
                "uni3c", "WanUni3CControlnetApply", "Apply Wan Uni3C ControlNet", "camera control", "control net",
                "controlnet", "point cloud", "render", "wan uni3c",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The positive prompt, with a start image if there is one."),
                io.Conditioning.Input("negative", tooltip="The negative prompt, with the same."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE, which encodes the rendered video."),
                io.Latent.Input("latent", tooltip="The latent to sample: the rendered video comes to its size."),
                io.Image.Input(
                    "render_video",
                    tooltip="The rendered video. Frames beyond the end of the video are left out; of a shorter one the "
                    "last frame stands still.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-MOST_STRENGTH,
                    max=MOST_STRENGTH,
                    step=0.01,
                    tooltip="How strongly the video follows: 1 as trained, 0 not at all.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="From which part of the steps on it follows.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Up to which part of the steps it follows. Less leaves details to the model.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How a rendered video of another shape comes to the video's size: crop cuts off what "
                    "stands over (centred), pad adds black bars, stretch distorts.",
                    **ADVANCED,
                ),
                memory_input("How much of the GPU to use, and how many strips."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with the rendered video."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the rendered video."),
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        latent: dict,
        render_video: Any,
        strength: float,
        start_percent: float,
        end_percent: float,
        fit: str,
        memory: MemorySettings | None = None,
    ) -> Any:
        check_following(strength, start_percent, end_percent)
        check_wan_2_1(vae, "Uni3C")
        samples, stride = video_samples(latent), family_of(vae).spatial_stride
        count, height, width = samples.shape[2:]
        clip = as_long(clean_clip(render_video, "render_video"), count)
        shown = fit_pictures(clip, width * stride, height * stride, choice_of(fit, FITS, "fit"))
        render = family_of(vae).normalize(with_memory(vae, memory).encode(shown).float())
        item = RenderedVideo(render, float(strength), start=float(start_percent), end=float(end_percent))
        return io.NodeOutput(*(with_item(in_form(side), item) for side in (positive, negative)))
