"""The node that says how much a video moves."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from ...common.checking import check_number, check_string, choice_of
from ...common.errors import InvalidInputError, PairingError
from ...common.model_names import ModelNames
from ...dit.branches.speed import LARGEST_BUCKET, SpeedBranch, checked_bucket
from ...dit.conditioning.text import pad_text
from ...dit.inputs import check_text
from ...engine.models import VideoModel, with_policies
from ...engine.sampling.policies import StepPolicies
from ...model_loading.pairing import check_pair
from ...sampling.ask import OtherText
from ...sampling.guidance import BlurredFrames, LowPassSettings, PartOfSteps, SliderSettings
from ..api import ADVANCED, io, one_sentence
from ..loaders import WanModelType
from ..sockets.models import TEXT_TAG
from ..text import encoded_prompts

METHODS = ("time", "words", "both")
CALM, LIVELY = "static shot, still, barely moving", "dynamic motion, fast movement"


NO_BUCKET = -1
MOST_AMPLIFIED = 2.0


def _other_widgets() -> list[Any]:
    """Ways that change the start image, and the number of a model with speed control."""
    return [
        io.Float.Input(
            "low_pass",
            optional=True,
            default=1.0,
            min=0.05,
            max=1.0,
            step=0.05,
            round=0.001,
            tooltip="Image to video: the model sees the start image blurred in the first steps, so that it clings to "
            "it less. 0.4 is usual, 1 is off. Shown by its authors; no effect on flat shapes.",
            **ADVANCED,
        ),
        io.Float.Input(
            "low_pass_end",
            optional=True,
            default=0.2,
            min=0.0,
            max=1.0,
            step=0.05,
            round=0.001,
            tooltip="Up to which part of the steps the start image is blurred.",
            **ADVANCED,
        ),
        io.Float.Input(
            "amplify",
            optional=True,
            default=1.0,
            min=1.0,
            max=MOST_AMPLIFIED,
            step=0.05,
            round=0.001,
            tooltip="Image to video: the start image further from the grey frames that are filled, for LoRAs of 4 "
            "steps that hardly move. 1.15 is usual, 1 is off. Can cost likeness.",
            **ADVANCED,
        ),
        io.Int.Input(
            "motion_bucket",
            optional=True,
            default=NO_BUCKET,
            min=NO_BUCKET,
            max=LARGEST_BUCKET,
            tooltip="Only for a model with speed control, a speed_module of Load Wan Model: 0 is calm, 100 lively, -1 "
            "off.",
            **ADVANCED,
        ),
    ]


class WanDirectorMotion(io.ComfyNode):
    """How much the videos of a model move."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorMotion",
            display_name="Wan Motion",
            category="Wan Director/options",
            description="More or less motion, with the same subject and scene. At 0 it changes nothing.",
            search_aliases=[
                "motion amount", "more motion", "motion bucket", "speed", "slow motion", "scale rope", "painter",
            ],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model, Wan LoRA or Wan Two Experts."),
                io.Float.Input(
                    "amount",
                    default=0.0,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="-1 is calm, 0 as the model does it, 1 lively.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="words",
                    tooltip="words: towards lively or calm words, for two passes more in its steps. time: the model "
                    "sees the frames closer together or further apart, at no cost, and with less effect. both adds up.",
                ),
                io.Float.Input(
                    "words_end",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Up to which part of the steps the words count; 0.5 costs half as much and does half.",
                    **ADVANCED,
                ),
                io.String.Input("calm_words", default=CALM, tooltip="Put behind the prompt for less.", **ADVANCED),
                io.String.Input(
                    "lively_words", default=LIVELY, tooltip="Put behind the prompt for more.", **ADVANCED
                ),
                io.Clip.Input(
                    "text_encoder", optional=True, tooltip="From Load Wan Text Encoder; needed for words and both."
                ),
                io.String.Input(
                    "prompt",
                    optional=True,
                    multiline=True,
                    default="",
                    tooltip="The positive prompt again, for words and both.",
                ),
                *_other_widgets(),
            ],
            outputs=[
                WanModelType.Output(display_name="model", tooltip="The model, for the sampler or another option.")
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls,
        model: VideoModel,
        amount: float,
        method: str,
        words_end: float,
        calm_words: str,
        lively_words: str,
        text_encoder: Any = None,
        prompt: str = "",
        low_pass: float = 1.0,
        low_pass_end: float = 0.2,
        amplify: float = 1.0,
        motion_bucket: int = NO_BUCKET,
    ) -> Any:
        model = ByAmount(amount, method, words_end, (lively_words, calm_words)).of(model, text_encoder, prompt)
        return io.NodeOutput(_in_bucket(_image_changed(model, low_pass, low_pass_end, amplify), motion_bucket))


class ByAmount(NamedTuple):
    """What the widgets say of the amount; `words` are the lively and the calm ones."""

    amount: float
    method: str
    words_end: float
    words: tuple[str, str]

    def of(self, model: VideoModel, text_encoder: Any, prompt: str) -> VideoModel:
        """The model with so much motion; itself for none.

        Raises:
            InvalidInputError: a widget's value cannot work.
        """
        amount = self.amount
        for name, value in (("amount", amount), ("words_end", self.words_end)):
            check_number(value, name)
        for name, text in (("lively_words", self.words[0]), ("calm_words", self.words[1]), ("prompt", prompt)):
            check_string(text, name)
        choice_of(self.method, METHODS, "method")
        if not -1.0 <= amount <= 1.0:
            raise InvalidInputError(f"The amount of motion is from -1, calm, to 1, lively, got {amount:g}. 0 is off.")
        if not amount:
            return model
        if self.method != "words":
            model = with_policies(model, partial(_in_time, amount=amount))
        if self.method != "time":
            lively, calm = (_text(model, text_encoder, prompt, words) for words in self.words)
            slider = partial(SliderSettings, lively, calm, amount, PartOfSteps(0.0, self.words_end))
            model = with_policies(model, lambda policies: replace(policies, guidance=slider(policies.guidance)))
        return model


def _image_changed(model: VideoModel, low_pass: float, low_pass_end: float, amplify: float) -> VideoModel:
    """The model that sees a start image otherwise; itself where both are 1."""
    for name, value in (("low_pass", low_pass), ("low_pass_end", low_pass_end), ("amplify", amplify)):
        check_number(value, name)
    if not 1.0 <= amplify <= MOST_AMPLIFIED:
        raise InvalidInputError(
            f"The difference of the start image is amplified 1 (off) to {MOST_AMPLIFIED:g} times, got {amplify:g}. "
            "Usual is 1.15."
        )
    if low_pass != 1.0:
        _check_start_image(model, "low_pass")
        blurred = partial(LowPassSettings, BlurredFrames(low_pass), PartOfSteps(0.0, low_pass_end))
        model = with_policies(model, lambda policies: replace(policies, guidance=blurred(policies.guidance)))
    if amplify != 1.0:
        _check_start_image(model, "amplify")
        model = with_policies(model, lambda policies: replace(policies, amplify=policies.amplify * amplify))
    return model


def _check_start_image(model: VideoModel, name: str) -> None:
    """Refuses what changes given frames for a model that has no channels for them and their mask."""
    config = model.spec.config
    if not config.mask_channels or config.has_mask_alone:
        raise PairingError(
            f"{model.file} ({model.spec.title}) takes no start image in channels of its own, which {name} changes. Set "
            f"{name} to 1, or choose an image-to-video model."
        )


def _in_time(policies: StepPolicies, amount: float) -> StepPolicies:
    """Frames 2^amount times as far apart as they were."""
    frames, *others = policies.places.scale
    places = policies.places._replace(scale=(frames * 2.0**amount, *others))
    return replace(policies, places=places)


def _in_bucket(model: VideoModel, value: float) -> VideoModel:
    """The model with a motion bucket; itself where that is left out.

    Raises:
        InvalidInputError: it is out of its bounds, or there is one already.
        PairingError: the model has no speed control.
    """
    if value == NO_BUCKET:
        return model
    check_number(value, "motion_bucket")
    bucket = checked_bucket(value)
    if model.spec.config.branch(SpeedBranch) is None:
        raise SpeedBranch.lacking(ModelNames(f"{model.file} ({model.spec.title})"))
    if model.policies.steering:
        raise InvalidInputError(
            "Two motion options of one model both set a motion bucket, and only one can count. Set it to -1 in one."
        )
    return with_policies(model, lambda policies: replace(policies, steering=(bucket,)))


def _text(model: VideoModel, text_encoder: Any, prompt: str, words: str) -> OtherText:
    """The prompt with words behind it, as the model reads it.

    Raises:
        InvalidInputError: there is no text encoder.
        PairingError: it is one for another model.
    """
    if text_encoder is None:
        raise InvalidInputError(
            "Motion by words needs a text encoder and the prompt, and no encoder is connected. Connect Load Wan Text "
            "Encoder and write the prompt again, or choose the method time."
        )
    if not prompt.strip():
        raise InvalidInputError(
            "Motion by words needs the prompt, and it is empty: most of the effect would be lost. Write the positive "
            "prompt again as prompt, or choose the method time."
        )
    both = ", ".join(part for part in (prompt.strip(), words.strip()) if part)
    (encoded,) = encoded_prompts(text_encoder, (both,))
    embedding, values = encoded[0]
    if TEXT_TAG in values:
        check_pair(model.spec, values[TEXT_TAG].spec)
    check_text(model.spec.config, embedding.shape[-1])
    tokens = model.spec.config.text_tokens
    return OtherText(pad_text(embedding.float(), tokens) if embedding.shape[1] < tokens else embedding)
