"""The node that says how much memory a run may take, and shows what it will take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...common.checking import instance_of
from ...common.errors import WanDirectorError
from ...common.log import logger
from ...engine.memory import PLACEMENTS, MemorySettings, MemoryWidgets
from ...memory.budget import GB, KINDS, LEAVE_FREE_BYTES
from ...vae3d.vae import STRIP_CHOICES
from ..api import ADVANCED, io, one_sentence
from ..files.places import sentence
from ..hosts.host import host
from ..sockets.models import WanTextEncoder, WanVAE

MemoryType = io.Custom("WAN_DIRECTOR_MEMORY")
MODES = ["auto", "manual"]
_MAX_GB, _MAX_BLOCKS, _MAX_RUN, _MAX_GPUS = 1024.0, 100, 1 << 20, 64


def memory_input(tooltip: str) -> Any:
    """The optional last input of the nodes that heed memory."""
    return MemoryType.Input("memory", optional=True, tooltip=f"From Wan Memory. {tooltip}")


def with_memory(model: Any, memory: MemorySettings | None) -> Any:
    """A VAE or text encoder of ours under these settings; anything else as it is."""
    if memory is None:
        return model
    instance_of(memory, MemorySettings, "memory", "the settings of Wan Memory")
    if not isinstance(model, (WanVAE, WanTextEncoder)):
        logger.warning("Wan Memory has no effect on models that ComfyUI loaded: it manages their memory itself.")
        return model
    return replace(model, memory=memory)


def budget_inputs(**more: Any) -> list[Any]:
    """What may be taken of the device; `more`: options of both widgets."""
    return [
        io.Combo.Input(
            "budget",
            options=list(KINDS),
            default="leave free",
            tooltip="What the gigabytes mean: memory of the GPU to leave alone, or the most to use of it. What does "
            "not fit into 'use at most' is refused, with what would fit.",
            **more,
        ),
        io.Float.Input(
            "gigabytes",
            default=LEAVE_FREE_BYTES / GB,
            min=0.0,
            max=_MAX_GB,
            step=0.1,
            round=0.001,
            tooltip="GPU memory to leave free, or to use at most. 1 GB left free is enough for the screen.",
            **more,
        ),
    ]


def _budget_widgets() -> list[Any]:
    """How much of the device."""
    return [
        io.Combo.Input(
            "mode",
            options=MODES,
            default="auto",
            tooltip="auto keeps as much of the models on the GPU as fits. manual swaps the number of blocks you say.",
        ),
        *budget_inputs(),
        io.Int.Input(
            "blocks_to_swap",
            default=0,
            min=0,
            max=_MAX_BLOCKS,
            tooltip="Only with mode manual: blocks of the video model that wait in RAM and come to the GPU for their "
            "turn. The 14B models have 40 blocks, the 1.3B and 5B models 30.",
        ),
        io.Float.Input(
            "pinned_ram",
            default=0.0,
            min=0.0,
            max=_MAX_GB,
            step=0.5,
            round=0.001,
            tooltip="The most RAM, in GB, that swapped blocks may take for good (pinned). What is beyond it is read "
            "from the file in each step, more slowly. 0: up to 45 % of the machine's.",
            **ADVANCED,
        ),
    ]


def _placement_widgets() -> list[Any]:
    """Where models compute, and in how many pieces."""
    return [
        io.Combo.Input(
            "text_encoder",
            options=list(PLACEMENTS),
            default="auto",
            tooltip="Where prompts are encoded: auto as its loader says, swapped in as needed; cpu on the processor.",
        ),
        io.Combo.Input(
            "vae",
            options=list(PLACEMENTS),
            default="auto",
            tooltip="Where the VAE computes: auto as ComfyUI says; cpu on the processor, which is slow.",
        ),
        io.Int.Input(
            "vae_strips",
            default=0,
            min=0,
            max=STRIP_CHOICES[-1],
            tooltip="Strips that the VAE cuts large frames into, exactly and without seams; each takes less memory and "
            "a little more time. 0: as few as fit.",
            **ADVANCED,
        ),
        io.Int.Input(
            "feed_forward_tokens",
            default=0,
            min=0,
            max=_MAX_RUN,
            step=256,
            tooltip="Tokens that the widest layers take at a time. 2048 saves memory in short videos; 0 is the usual "
            "number.",
            **ADVANCED,
        ),
        io.Int.Input(
            "gpus",
            default=1,
            min=1,
            max=_MAX_GPUS,
            optional=True,
            tooltip="GPUs of this machine that make each run together: 2 or 4 are best. The others load the model, "
            "too, and keep it in RAM for the next run. 1: this one alone.",
            **ADVANCED,
        ),
    ]


class WanDirectorMemory(io.ComfyNode):
    """How much memory to take, and a picture of what the workflow will take."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorMemory",
            display_name="Wan Memory",
            category="Wan Director/options",
            description="How much memory of the GPU a run may take: blocks of the model are swapped in from RAM, and "
            "frames are decoded in strips, as far as needed. Shows what each stage will take. Without this node all "
            "but 1 GB is used.",
            search_aliases=[
                "block swap",
                "vram",
                "low vram",
                "offload",
                "out of memory",
                "wanvideo block swap",
                "multi gpu",
            ],
            inputs=[*_budget_widgets(), *_placement_widgets()],
            outputs=[
                MemoryType.Output(display_name="memory", tooltip="For the sampler, the encoders and the decoders.")
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            # The plan is shown again after a reload of the page, when the node itself need not run.
            has_intermediate_output=True,
        )

    @classmethod
    @one_sentence
    def execute(
        cls,
        mode: str,
        budget: str,
        gigabytes: float,
        blocks_to_swap: int,
        pinned_ram: float,
        text_encoder: str,
        vae: str,
        vae_strips: int,
        feed_forward_tokens: int,
        gpus: int = 1,
    ) -> Any:
        runtime = host().runtime
        runtime.check_gpus(gpus, runtime.device("dit"))
        placed = (text_encoder, vae, vae_strips, feed_forward_tokens)
        widgets = MemoryWidgets(mode, budget, gigabytes, blocks_to_swap, pinned_ram, *placed, gpus)
        return io.NodeOutput(widgets.settings(), ui=_shown(cls.hidden))


def _shown(hidden: Any) -> dict[str, Any] | None:
    """What the node shows: the plan of the workflow that it is in; None where there is nothing to show it on."""
    from ..planning.picture import saved_picture
    from ..planning.plan import plan_prompt

    prompt = getattr(hidden, "prompt", None)
    if not prompt or host().preview_folder() is None:
        return None
    try:
        planned = plan_prompt(prompt)
    except WanDirectorError as error:
        return {"text": [sentence(error)]}
    return None if planned is None else {"text": [planned.text], "images": saved_picture(planned)}
