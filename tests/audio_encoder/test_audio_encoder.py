"""Audio encoders equal transformers' models and ComfyUI's, and resampling equals torchaudio's."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from wan_director.audio_encoder.config import (
    WAV2VEC2_BASE,
    WAV2VEC2_LARGE,
    WHISPER_LARGE_V3,
    AudioEncoderConfig,
    SpeechConfig,
)
from wan_director.audio_encoder.encode import (
    SHORTEST,
    encode_sound,
    passes_of,
    prepared,
    prepared_length,
    steps_of,
)
from wan_director.audio_encoder.encoder import AudioEncoder, build_audio_encoder
from wan_director.audio_encoder.resampling import resampled
from wan_director.weights import layers

FIXTURES = Path(__file__).parent / "fixtures"
MODELS = runpy.run_path(str(FIXTURES / "audio_models.py"))
EXPECTED = load_file(FIXTURES / "comfyui_outputs.safetensors")
SIZES = {"dim": MODELS["DIM"], "ffn_dim": 4 * MODELS["DIM"], "heads": MODELS["HEADS"], "layers": MODELS["LAYERS"]}
LARGE, BASE, WHISPER = (replace(each, **SIZES) for each in (WAV2VEC2_LARGE, WAV2VEC2_BASE, WHISPER_LARGE_V3))
TOLERANCE = 1e-5  # of the largest value


def build(config: AudioEncoderConfig) -> AudioEncoder:
    encoder = build_audio_encoder(config).eval().requires_grad_(False)
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    encoder.load_state_dict(MODELS["random_like"](shapes))
    return encoder


def features(encoder: AudioEncoder, samples: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(encode_sound(encoder, samples, lambda: None).layers)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("rate", MODELS["RATES"])
def test_a_sound_at_another_rate_equals_torchaudio(rate):
    """Its places are rounded to float32, which gives 1.3e-6 at 22,050; ours are not."""
    found, expected = resampled(MODELS["sound"](rate, 0.4), rate, 16000), EXPECTED[f"resampled {rate}"]
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-6


def test_a_sound_at_its_rate_stays_as_it_is():
    sound = MODELS["sound"](16000)
    assert resampled(sound, 16000, 16000) is sound


@pytest.mark.parametrize(("name", "config"), [("large", LARGE), ("base", BASE)])
def test_every_layer_of_wav2vec2_equals_comfyui(name, config):
    """The large one's sound ComfyUI divides by the variance of a sample less: 2.4e-5 of 20,800 samples, and the first
    norm takes it away again."""
    assert_same(features(build(config), prepared(MODELS["sound"](16000), 16000)), EXPECTED[name])


def test_every_layer_of_whisper_equals_comfyui():
    found = features(build(WHISPER), prepared(MODELS["sound"](16000), 16000))
    assert found.shape[1] == 1500
    assert_same(found[:, MODELS["SHOWN_STEPS"]], EXPECTED["whisper"])


@pytest.mark.parametrize("config", [LARGE, BASE])
def test_every_layer_of_wav2vec2_equals_transformers(config: SpeechConfig):
    encoder, sound = build(config), MODELS["sound"](48000)
    reference = transformers.Wav2Vec2Model(encoder.wav2vec2.config).eval()
    reference.load_state_dict(encoder.wav2vec2.state_dict())
    samples = prepared(sound, 48000)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=config.is_stable)
    values = extractor(samples[0].numpy(), sampling_rate=16000, return_tensors="pt").input_values
    with torch.no_grad():
        output = reference(values, output_hidden_states=True)
    expected = torch.cat([*output.hidden_states[:-1], output.last_hidden_state])
    assert_same(features(encoder, samples), expected)


def test_whisper_takes_a_long_sound_in_pieces_of_half_a_minute():
    encoder = build(WHISPER)
    sound = torch.randn(1, 16000 * 31, generator=torch.Generator().manual_seed(1))
    both = features(encoder, sound)
    assert both.shape[1] == 3000 == steps_of(sound.shape[1], WHISPER) and passes_of(sound.shape[1], WHISPER) == 2
    assert torch.equal(both[:, :1500], features(encoder, sound[:, : 16000 * 30]))
    assert torch.equal(both[:, 1500:], features(encoder, sound[:, 16000 * 30 :]))


@pytest.mark.parametrize("config", [LARGE, BASE, WHISPER])
@pytest.mark.parametrize(("length", "rate"), [(1, 48000), (4000, 8000), (21000, 16000), (30001, 44100)])
def test_lengths_are_known_before(config, length, rate):
    samples = prepared(torch.randn(2, length), rate)
    assert samples.shape == (1, prepared_length(length, rate)) and samples.shape[1] >= SHORTEST
    assert features(build(config), samples).shape == (config.layers + 1, steps_of(samples.shape[1], config), config.dim)


def test_published_encoders_have_the_sizes_of_their_files():
    with torch.device("meta"):
        sizes = [
            sum(value.numel() for value in build_audio_encoder(config, layers).state_dict().values())
            for config in (WAV2VEC2_LARGE, WAV2VEC2_BASE, WHISPER_LARGE_V3)
        ]
    assert sizes == [315_437_696, 94_370_944, 636_968_960]


def test_whoever_is_told_of_layers_may_stop():
    encoder, told = build(LARGE), []

    def stop() -> None:
        told.append(1)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_sound(encoder, torch.zeros(1, 4000), stop)
    features(encoder, torch.zeros(1, 4000))  # whose hooks are gone
    assert len(told) == 2
