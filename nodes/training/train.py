"""The node that trains a LoRA."""

from __future__ import annotations

from typing import Any

from ...engine.runtime import Work
from ...memory.budget import GB, LEAVE_FREE_BYTES
from ...tuning.settings import ModelFiles
from ..api import io, one_sentence
from ..hosts.host import host
from ..loaders import WanModelType
from .clips import ClipsType, TrainingClips
from .dataset import CATEGORY
from .inputs import adapter_inputs, file_inputs, main_inputs, noise_inputs, optimiser_inputs, prior_inputs
from .settings import TrainWidgets


class WanDirectorTrainLora(io.ComfyNode):
    """A LoRA of clips of one's own."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorTrainLora",
            display_name="Wan Train LoRA",
            category=CATEGORY,
            description="Teaches a Wan model a subject or a style from your pictures and clips, and puts the LoRA into "
            "models/loras. Cancel stops within a step, and Run goes on after the last one made. Quantised models stay "
            "as they are stored.",
            search_aliases=[
                "training", "trainer", "TrainLoraNode", "finetune", "dreambooth", "dora", "musubi", "teach",
            ],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model, without LoRAs."),
                io.Clip.Input("text_encoder", tooltip="From Load Wan Text Encoder."),
                io.Vae.Input("vae", tooltip="From Load Wan VAE."),
                ClipsType.Input("dataset", tooltip="From Wan Dataset, or from Wan Prepare Clips."),
                *main_inputs(),
                *adapter_inputs(),
                *noise_inputs(),
                *optimiser_inputs(),
                *prior_inputs(),
                *file_inputs(),
            ],
            outputs=[
                io.Combo.Output(
                    display_name="lora_name",
                    tooltip="The file's name in models/loras, for lora_name of Wan LoRA or of any LoRA loader.",
                ),
                io.Image.Output(display_name="loss_curve", tooltip="The loss of each step as a picture."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls,
        name: str | None = None,
        blocks: str | None = None,
        lowest: float | None = None,
        highest: float | None = None,
    ) -> bool:
        from .naming import check_name, check_ranges  # as in execute

        # Raised, not answered: ComfyUI shows an answer once for each of the widgets, an exception only once.
        if name is not None:
            one_sentence(check_name)(name)
        one_sentence(check_ranges)(blocks, lowest, highest)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls, model: Any, text_encoder: Any, vae: Any, dataset: TrainingClips, name: str, trigger: str, steps: int,
        learning_rate: float, rank: int, given: str, prior_prompts: str, training_seed: int, alpha: float, kind: str,
        targets: str, blocks: str, norms: bool, biases: bool, noise: str, shift: float, lowest: float, highest: float,
        weighting: str, optimiser: str, warm_up: int, decay: str, weight_decay: float, clip: float, average: float,
        turns: int, caption_drop: float, prior_copies: int, prior_weight: float, prior_batch: int, prior_width: int,
        prior_height: int, prior_frames: int, prior_steps: int, prior_cfg: float, prior_shift: float, save_every: int,
        replace: bool, budget: str = "leave free", gigabytes: float = LEAVE_FREE_BYTES / GB,
    ) -> Any:  # fmt: skip
        from .models import training_models  # loaded when they are used: they are many
        from .naming import places_of
        from .running import NodeTraining

        widgets = TrainWidgets(
            name, trigger, steps, learning_rate, rank, given, prior_prompts, training_seed, alpha, kind, targets,
            blocks, norms, biases, noise, shift, lowest, highest, weighting, optimiser, warm_up, decay, weight_decay,
            clip, average, turns, caption_drop, prior_copies, prior_weight, prior_batch, prior_width, prior_height,
            prior_frames, prior_steps, prior_cfg, prior_shift, save_every, budget, gigabytes,
        )  # fmt: skip
        models, places = training_models(model, text_encoder, vae), places_of(name)
        settings = widgets.settings(ModelFiles(models.model.file, models.text.file, models.vae.file))
        training = NodeTraining(settings, models, dataset, places, may_replace=replace)
        training.check()
        curve = host().runtime.perform(Work(training.run, training.outline, training.jobs))
        return io.NodeOutput(training.file_name, curve)
