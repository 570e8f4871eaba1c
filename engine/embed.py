"""Prompts and pictures as the embeddings that a video model looks at."""

from __future__ import annotations

from torch import Tensor

from ..memory.policy import streamed_blocks
from ..text_encoder.clip_vision import ClipVisionOutput, encode_image
from ..text_encoder.encode import PromptTokens, encode_tokens, tokenize_weighted_prompt
from ..weights.casting import CASTINGS
from ..weights.multiplication import multiplication_of
from .memory import AUTOMATIC, MemorySettings, check_for_cpu, tell
from .models import PlacedModel
from .tasks import bytes_of, text_task


def embed_prompt(encoder: PlacedModel, prompt: str | PromptTokens, memory: MemorySettings = AUTOMATIC) -> Tensor:
    """The embedding [1, 512, D] of a prompt, float32, CPU.

    Args:
        prompt: as text, with weights in parentheses, or as the tokens of `tokenize_weighted_prompt`.

    Raises:
        OutOfMemory: the encoder does not fit.
    """
    residence, runtime = encoder.residence, encoder.runtime
    runtime.check_interrupt()
    if isinstance(prompt, str):
        assert encoder.tokenizer is not None, "it comes with the text encoder"
        prompt = tokenize_weighted_prompt(encoder.tokenizer, prompt)
    how = multiplication_of(residence.module, CASTINGS.get(encoder.recipe.precision))
    if memory.text_encoder == "cpu":
        check_for_cpu(encoder.dtype, encoder.file)
        residence.unload()
        return encode_tokens(residence.module, prompt, how=how)
    task = text_task(bytes_of(residence.module, encoder.dtype), encoder.spec.config, len(prompt.ids))
    advice = ("computed on the CPU: choose text_encoder 'cpu'",)
    choice = memory.choose(task, residence.device, lambda _limit: advice, runtime)
    policy = memory.policy(choice)
    tell(choice)
    with (
        residence.loaded(choice.way.working_bytes, policy) as module,
        policy.streaming(streamed_blocks(module), residence.device, residence.slabs) as stream,
    ):
        return encode_tokens(module, prompt, stream=stream, how=how).cpu()


def embed_picture(encoder: PlacedModel, image: Tensor, *, crop: bool = True) -> ClipVisionOutput:
    """Features of pictures [B, H, W, 3] in 0..1, float32, CPU; see `text_encoder.clip_vision.preprocess`."""
    with encoder.residence.loaded() as module:
        features = encode_image(module, image, crop=crop)
    parts = (features.penultimate_hidden_states, features.last_hidden_state, features.image_embeds)
    return ClipVisionOutput(*(part.cpu() for part in parts))
