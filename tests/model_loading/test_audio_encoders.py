"""Files of audio encoders are recognised by their tensors, and read with the readers of all models."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from wan_director.audio_encoder.config import (
    WAV2VEC2_BASE,
    WAV2VEC2_LARGE,
    WHISPER_LARGE_V3,
    SpeechConfig,
    WhisperConfig,
)
from wan_director.audio_encoder.encode import encode_sound
from wan_director.audio_encoder.encoder import build_audio_encoder
from wan_director.common.errors import CheckpointError
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import AUDIO_ENCODER, CLIP_VISION
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_as, inspect_checkpoint

from .conftest import random_weights, shapes_of

SMALL = SpeechConfig(128, 192, 2, 2, conv_dims=(16,) * 7, position_kernel=16, position_groups=8)
BASE = SpeechConfig(128, 192, 2, 2, (16,) * 7, position_kernel=16, position_groups=8, conv_bias=False, is_stable=False)
WHISPER = WhisperConfig(128, 192, 2, 2, mels=80)
OLD_NAMES = {
    "encoder.pos_conv_embed.conv.parametrizations.weight.original0": "encoder.pos_conv_embed.conv.weight_g",
    "encoder.pos_conv_embed.conv.parametrizations.weight.original1": "encoder.pos_conv_embed.conv.weight_v",
}


def names_of(config, prefix: str, *, is_old: bool = False) -> dict[str, str]:
    """Our names -> those of a file."""
    with torch.device("meta"):
        ours = build_audio_encoder(config).state_dict()
    bare = {key: key.removeprefix("wav2vec2.") for key in ours}
    return {key: prefix + (OLD_NAMES.get(name, name) if is_old else name) for key, name in bare.items()}


def save(path, config, prefix: str = "", dtype: torch.dtype = torch.float32, **more):
    weights = random_weights(build_audio_encoder(config))
    names = names_of(config, prefix)
    save_file({names[key]: value.to(dtype) for key, value in weights.items()} | more, path)
    return weights


@pytest.mark.parametrize(
    ("config", "prefix", "is_old", "title"),
    [
        (WAV2VEC2_LARGE, "wav2vec2.", False, "wav2vec2 large"),
        (WAV2VEC2_LARGE, "wav2vec2.", True, "wav2vec2 large"),
        (WAV2VEC2_LARGE, "", False, "wav2vec2 large"),
        (WAV2VEC2_BASE, "", True, "wav2vec2 base"),
        (WAV2VEC2_BASE, "wav2vec2.", False, "wav2vec2 base"),
        (WHISPER_LARGE_V3, "model.", False, "the encoder of whisper large v3"),
        (WHISPER_LARGE_V3, "", False, "the encoder of whisper large v3"),
        (SMALL, "wav2vec2.", False, "wav2vec2 of width 128"),
        (WHISPER, "model.", False, "whisper's encoder of width 128"),
    ],
)
def test_it_is_known_by_its_tensors(header_file, config, prefix, is_old, title):
    with torch.device("meta"):
        state = build_audio_encoder(config).state_dict()
    names = names_of(config, prefix, is_old=is_old)
    entries = shapes_of({names[key]: value for key, value in state.items()}, "F16")
    spec = inspect_checkpoint(open_checkpoint(header_file(entries)))
    assert (spec.kind, spec.config, spec.title) == (AUDIO_ENCODER, config, title)
    assert spec.sources.keys() == state.keys()
    assert spec.kind.folder == "models/audio_encoders"


def test_what_published_files_have_beside_it_is_left_out(header_file):
    with torch.device("meta"):
        speech, whisper = (build_audio_encoder(config).state_dict() for config in (WAV2VEC2_LARGE, WHISPER_LARGE_V3))
    entries = shapes_of(speech, "F16")
    beside = {"lm_head.weight": (33, 1024), "lm_head.bias": (33,), "wav2vec2.masked_spec_embed": (1024,)}
    spec = inspect_checkpoint(
        open_checkpoint(header_file(entries | {name: ("F16", shape) for name, shape in beside.items()}))
    )
    assert set(spec.extras) == set(beside) and spec.sources.keys() == speech.keys()
    entries = shapes_of(whisper, "F16", "model.")
    beside = {
        "model.decoder.layers.0.fc1.weight": (5120, 1280), "model.decoder.embed_tokens.weight": (51866, 1280),
        "model.decoder.embed_positions.weight": (448, 1280), "model.decoder.layer_norm.bias": (1280,),
        "proj_out.weight": (51866, 1280),
    }  # fmt: skip
    spec = inspect_checkpoint(
        open_checkpoint(header_file(entries | {name: ("F16", shape) for name, shape in beside.items()}))
    )
    assert set(spec.extras) == set(beside) and spec.sources.keys() == whisper.keys()


@pytest.mark.parametrize(("config", "prefix"), [(SMALL, "wav2vec2."), (BASE, ""), (WHISPER, "model.")])
def test_it_is_read_whole(tmp_path, config, prefix):
    path = tmp_path / "sound.safetensors"
    weights = save(path, config, prefix)
    loaded = load(AUDIO_ENCODER, path, precision="fp32")
    reference = build_audio_encoder(config).eval()
    reference.load_state_dict(weights)
    samples = torch.randn(1, 4000, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        pairs = zip(*(encode_sound(encoder, samples, lambda: None).layers for encoder in (loaded.module, reference)))
    assert all(torch.equal(one, other) for one, other in pairs)


def test_fp16_is_near_and_fp8_is_the_numbers_of_the_file(tmp_path):
    samples = torch.randn(1, 4000, generator=torch.Generator().manual_seed(3))
    weights = save(tmp_path / "half.safetensors", SMALL, dtype=torch.float16)
    names = names_of(SMALL, "")
    matrices = {key for key, value in weights.items() if value.ndim == 2 and "layers" in key and "conv" not in key}
    stored = {
        names[key]: value.to(torch.float8_e4m3fn if key in matrices else torch.float16)
        for key, value in weights.items()
    }
    save_file(stored, tmp_path / "small.safetensors")
    reference = build_audio_encoder(SMALL).eval()
    results = []
    for name, file in (("half", None), ("small", stored)):
        module = load(AUDIO_ENCODER, tmp_path / f"{name}.safetensors", precision="fp32").module
        plain = {key: (weights[key].half() if file is None else file[names[key]]).float() for key in weights}
        reference.load_state_dict(plain)
        with torch.no_grad():
            found, expected = (
                torch.cat(encode_sound(each, samples, lambda: None).layers) for each in (module, reference)
            )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
        results.append(found)
    assert not torch.equal(*results)


def test_one_of_another_form_is_refused_in_a_sentence(header_file):
    with torch.device("meta"):
        state = build_audio_encoder(SMALL).state_dict()
    entries = {key: value for key, value in shapes_of(state).items() if "conv_layers.6" not in key}
    with pytest.raises(CheckpointError, match="has 6 convolutions before its blocks, where every wav2vec2 has 7"):
        inspect_checkpoint(open_checkpoint(header_file(entries)))
    with pytest.raises(
        CheckpointError, match="is an audio encoder .* put it into models/audio_encoders and choose it in"
    ):
        inspect_as(open_checkpoint(header_file(shapes_of(state))), CLIP_VISION)
