"""Prompts, pictures and sounds as the embeddings that a video model looks at and listens to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from torch import Tensor

from ..audio_encoder.encode import (
    AudioFeatures,
    encode_sound,
    passes_of,
    prepared,
    prepared_length,
    steps_of,
    working_bytes,
)
from ..common.empty_tensors import empty
from ..common.streaming import BlockStream
from ..memory.policy import streamed_blocks
from ..text_encoder.clip_vision import ClipVisionOutput, encode_image
from ..text_encoder.encode import MAX_TOKENS, PromptTokens, encode_tokens, passes, tokenize_weighted_prompt
from ..text_encoder.umt5 import UMT5Encoder
from ..weights.casting import CASTINGS
from ..weights.multiplication import multiplication_of
from .loaded import PlacedModel
from .memory import AUTOMATIC, Job, MemorySettings, check_for_cpu, tell
from .progress import Counted
from .runtime import Work, counting, watched_stream
from .tasks import clip_task, sound_task, text_task


def embed_prompt(encoder: PlacedModel, prompt: str | PromptTokens, memory: MemorySettings = AUTOMATIC) -> Tensor:
    """The embedding [1, 512, D] of a prompt, float32, CPU.

    Args:
        prompt: as text, with weights in parentheses, or as the tokens of `tokenize_weighted_prompt`.

    Raises:
        OutOfMemory: the encoder does not fit.
    """
    encoder.runtime.check_interrupt()
    if isinstance(prompt, str):
        assert encoder.tokenizer is not None, "it comes with the text encoder"
        prompt = tokenize_weighted_prompt(encoder.tokenizer, prompt)
    if memory.text_encoder == "cpu":
        check_for_cpu(encoder.dtype, encoder.file)
    config, tokens = encoder.spec.config, len(prompt.ids)
    job = Job(
        "text", encoder.recipe, encoder.spec, encoder.weights, memory,
        lambda weights, _: text_task(weights, config, tokens),
        is_on_cpu="cpu" in (memory.text_encoder, encoder.recipe.device),
    )  # fmt: skip
    run = partial(_embed_prompt, encoder, prompt, job)
    return encoder.runtime.perform(Work(run, partial(empty, 1, MAX_TOKENS, config.dim), (job,)))


def embed_picture(encoder: PlacedModel, image: Tensor, *, crop: bool = True) -> ClipVisionOutput:
    """Features of pictures [B, H, W, 3] in 0..1, float32, CPU; see `text_encoder.clip_vision.preprocess`."""
    config, batch = encoder.spec.config, len(image)
    job = Job("clip", encoder.recipe, encoder.spec, encoder.weights, AUTOMATIC, lambda weights, _: clip_task(weights))

    def outline() -> ClipVisionOutput:
        tokens = empty(batch, config.tokens, config.dim)
        return ClipVisionOutput(tokens, tokens, empty(batch, config.embed_dim))

    return encoder.runtime.perform(Work(partial(_embed_picture, encoder, image, crop), outline, (job,)))


def embed_sound(encoder: PlacedModel, waveform: Tensor, sample_rate: int) -> AudioFeatures:
    """Features of a sound [C, n], float32, CPU; its channels are mixed.

    Raises:
        OutOfMemory: it does not fit.
    """
    config = encoder.spec.config
    samples = prepared_length(waveform.shape[1], sample_rate)
    job = Job(
        "sound", encoder.recipe, encoder.spec, encoder.weights, AUTOMATIC,
        lambda weights, _: sound_task(weights, config, samples),
    )  # fmt: skip

    def outline() -> AudioFeatures:
        layer = empty(1, steps_of(samples, config), config.dim)
        return AudioFeatures((layer,) * (config.layers + 1), samples)

    run = partial(_embed_sound, encoder, waveform, sample_rate)
    return encoder.runtime.perform(Work(run, outline, (job,)))


def _embed_prompt(encoder: PlacedModel, prompt: PromptTokens, job: Job) -> Tensor:
    residence, runtime, memory = encoder.residence, encoder.runtime, job.memory
    how = multiplication_of(residence.module, CASTINGS.get(encoder.recipe.precision))
    layers = len(streamed_blocks(residence.module)) * passes(prompt)
    with runtime.progress(Counted("Encoding the prompt", "layer", layers)) as progress:
        watched = partial(watched_stream, runtime, progress)
        if memory.text_encoder == "cpu":
            residence.unload()
            return encode_tokens(residence.module, prompt, stream=watched(iter), how=how)
        with _ready(encoder, job) as (module, stream):
            return encode_tokens(module, prompt, stream=watched(stream), how=how).cpu()


@contextlib.contextmanager
def _ready(encoder: PlacedModel, job: Job) -> Iterator[tuple[UMT5Encoder, BlockStream]]:
    """The encoder where it is to compute, and what brings its blocks."""
    residence, memory = encoder.residence, job.memory
    advice = ("computed on the CPU: choose text_encoder 'cpu'",)
    choice = memory.choose(job.task, residence.device, lambda _limit: advice, encoder.runtime)
    policy = memory.policy(choice)
    tell(choice)
    with (
        residence.loaded(choice.way.working_bytes, policy) as module,
        policy.streaming(streamed_blocks(module), residence.device, residence.slabs) as stream,
    ):
        yield module, stream


def _embed_picture(encoder: PlacedModel, image: Tensor, crop: bool) -> ClipVisionOutput:
    runtime = encoder.runtime
    counted = Counted("Encoding the picture", "layer", encoder.spec.config.layers)
    with runtime.progress(counted) as progress, encoder.residence.loaded() as module:
        features = encode_image(module, image, crop=crop, stream=watched_stream(runtime, progress, iter))
    parts = (features.penultimate_hidden_states, features.last_hidden_state, features.image_embeds)
    return ClipVisionOutput(*(part.cpu() for part in parts))


def _embed_sound(encoder: PlacedModel, waveform: Tensor, sample_rate: int) -> AudioFeatures:
    runtime, config = encoder.runtime, encoder.spec.config
    runtime.check_interrupt()
    samples = prepared(waveform, sample_rate)
    length = samples.shape[1]
    counted = Counted("Encoding the sound", "layer", config.layers * passes_of(length, config))
    needed = working_bytes(length, config, encoder.weights.itemsize)
    with runtime.progress(counted) as progress, encoder.residence.loaded(needed) as module:
        before_layer = counting(progress, runtime.check_interrupt)
        features = encode_sound(module, samples.to(encoder.residence.device), before_layer)
        progress.update(counted.total)
    return features._replace(layers=tuple(layer.cpu() for layer in features.layers))
