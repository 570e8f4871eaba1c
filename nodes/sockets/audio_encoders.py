"""Audio encoders and what they give, between nodes.

`WanAudioEncoder` answers the call that ComfyUI's own nodes make on its AUDIO_ENCODER; an AUDIO_ENCODER_OUTPUT is their
dictionary: `encoded_audio` [1, steps, dim], `encoded_audio_all_layers`, a tuple of such, and `audio_samples`, at 16,000
a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...audio_encoder.encode import AudioFeatures
from ...common.checking import is_finite, kind_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.records import record
from ...engine.embed import embed_sound
from ...engine.loaded import PlacedModel, place
from ...engine.recipe import ModelRecipe
from ...engine.runtime import Runtime
from ...media.sound.clip import clean_sound
from .ram_pressure import KeptUnderPressure
from .unchangeable import Unchangeable

_ADVICE = "Connect Wan Audio Encode or Audio Encoder Encode."


@record(eq=False, slots=False)
class WanAudioEncoder(Unchangeable, KeptUnderPressure):
    """An encoder of sound, on the socket AUDIO_ENCODER."""

    placed: PlacedModel

    what = "audio encoder"
    native_loader = "Load Audio Encoder"

    def encode_audio(self, audio: Tensor, sample_rate: int) -> dict[str, Any]:
        """The features of a sound [1, C, samples] as a native AUDIO_ENCODER_OUTPUT, float32, CPU."""
        sound = clean_sound(audio, sample_rate, "audio")
        features = embed_sound(self.placed, sound.waveform, sound.sample_rate)
        return {
            "encoded_audio": features.layers[-1],
            "encoded_audio_all_layers": features.layers,
            "audio_samples": features.samples,
        }


def audio_encoder(recipe: ModelRecipe, runtime: Runtime) -> WanAudioEncoder:
    """The audio encoder of a recipe, for the socket; the same object while it is in use and its file is unchanged."""
    return runtime.models.once((WanAudioEncoder, recipe.key()), lambda: WanAudioEncoder(place(recipe, runtime)))


def audio_features(output: Any, name: str) -> AudioFeatures:
    """What came over a socket of the type AUDIO_ENCODER_OUTPUT; of several sounds the first.

    Raises:
        InvalidInputError: it is none.
    """
    layers = output.get("encoded_audio_all_layers") if isinstance(output, Mapping) else None
    if not isinstance(layers, Sequence) or not layers or not all(isinstance(layer, Tensor) for layer in layers):
        raise InvalidInputError(f"{name} must be the features of a sound, got {kind_of(output)}. {_ADVICE}")
    shapes = {tuple(layer.shape) for layer in layers}
    shape = shapes.pop()
    if shapes or len(shape) != 3 or 0 in shape or not all(is_finite(layer) for layer in layers):
        raise InvalidInputError(
            f"{name} must have finite features [1, steps, width] of every layer, got {list(shape)}. {_ADVICE}"
        )
    if shape[0] > 1:
        logger.info("%s holds the features of %d sounds; those of the first are used.", name, shape[0])
    samples = output.get("audio_samples")
    samples = samples if isinstance(samples, int) and samples > 0 else shape[1] * 320
    return AudioFeatures(tuple(layer[:1].float().cpu() for layer in layers), samples)
