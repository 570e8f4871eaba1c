"""The networks, built of the modules of the transformers package. Attribute names equal the keys of its checkpoints."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..common.errors import MissingPackageError
from .config import STRIDES, WHISPER_S, AudioEncoderConfig, SpeechConfig, WhisperConfig

_NORM_EPS = 1e-7
"""Added to the variance of a sound, by all feature extractors of wav2vec2."""


class AudioEncoder(nn.Module):
    """Sound -> what each of its layers makes of it."""

    config: AudioEncoderConfig

    @property
    def layers(self) -> list[nn.Module]:
        """Its blocks in order."""
        raise NotImplementedError

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        """What enters each layer, and what leaves the last one, normed.

        Args:
            samples: [B, n], float32, 16,000 a second.

        Returns:
            layers + 1 times [B, steps, dim], 50 steps a second.
        """
        raise NotImplementedError


def build_audio_encoder(config: AudioEncoderConfig, operations: ModuleType = nn) -> AudioEncoder:
    """The encoder of a configuration; `operations`: namespace that gives Linear and Embedding.

    Raises:
        MissingPackageError: transformers is not installed.
    """
    if isinstance(config, SpeechConfig):
        return SpeechEncoder(config, operations)
    return SpokenEncoder(config, operations)


class SpeechEncoder(AudioEncoder):
    """A wav2vec2.

    Source: Baevski et al., "wav2vec 2.0", arXiv 2006.11477; transformers, Wav2Vec2Model.
    """

    def __init__(self, config: SpeechConfig, operations: ModuleType = nn) -> None:
        super().__init__()
        transformers = _transformers()
        self.config = config
        self.takes_normed = config.is_stable
        sizes = transformers.Wav2Vec2Config(
            hidden_size=config.dim,
            intermediate_size=config.ffn_dim,
            num_attention_heads=config.heads,
            num_hidden_layers=config.layers,
            conv_dim=list(config.conv_dims),
            conv_kernel=list(config.conv_kernels),
            conv_stride=list(STRIDES),
            conv_bias=config.conv_bias,
            num_conv_pos_embeddings=config.position_kernel,
            num_conv_pos_embedding_groups=config.position_groups,
            feat_extract_norm="layer" if config.is_stable else "group",
            do_stable_layer_norm=config.is_stable,
            mask_time_prob=0.0,  # nothing is masked, so that there is no vector for it
            mask_feature_prob=0.0,
        )
        self.wav2vec2 = with_layers(transformers.Wav2Vec2Model(sizes), operations)

    @property
    def layers(self) -> list[nn.Module]:
        """See `AudioEncoder.layers`."""
        return list(self.wav2vec2.encoder.layers)

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        """See `AudioEncoder.forward`."""
        if self.takes_normed:
            samples = _normed(samples)
        dtype = self.wav2vec2.feature_projection.layer_norm.weight.dtype
        return _of_layers(self.wav2vec2(samples.to(dtype), output_hidden_states=True))


class SpokenEncoder(AudioEncoder):
    """The encoder of whisper.

    Source: Radford et al., "Robust speech recognition via large-scale weak supervision", 2022; transformers,
        WhisperEncoder.
    """

    def __init__(self, config: WhisperConfig, operations: ModuleType = nn) -> None:
        super().__init__()
        transformers = _transformers()
        self.config = config
        sizes = transformers.WhisperConfig(
            d_model=config.dim,
            encoder_ffn_dim=config.ffn_dim,
            encoder_attention_heads=config.heads,
            encoder_layers=config.layers,
            num_mel_bins=config.mels,
            max_source_positions=config.positions,
            dropout=0.0,
        )
        self.spectrogram = transformers.WhisperFeatureExtractor(feature_size=config.mels, chunk_length=WHISPER_S)
        network = transformers.models.whisper.modeling_whisper.WhisperEncoder(sizes)
        self.encoder = with_layers(network, operations)

    @property
    def layers(self) -> list[nn.Module]:
        """See `AudioEncoder.layers`."""
        return list(self.encoder.layers)

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        """See `AudioEncoder.forward`; of at most 30 seconds, which silence fills up."""
        rate, sounds = self.spectrogram.sampling_rate, list(samples.cpu().numpy())
        bands = self.spectrogram(sounds, sampling_rate=rate, return_tensors="pt").input_features
        weight = self.encoder.conv1.weight
        return _of_layers(self.encoder(bands.to(weight), output_hidden_states=True))


def with_layers(network: Any, operations: ModuleType) -> Any:
    """A network whose linear layers are those of `operations`, which may keep their matrices in a stored form."""
    if operations is nn:
        return network
    plain = [(name, layer) for name, layer in network.named_modules() if type(layer) is nn.Linear]
    for name, layer in plain:
        has_bias = layer.bias is not None
        network.set_submodule(name, operations.Linear(layer.in_features, layer.out_features, bias=has_bias))
    return network


def _of_layers(output: Any) -> tuple[Tensor, ...]:
    """What transformers calls hidden states; the last of them, in some versions, is not normed."""
    return (*output.hidden_states[:-1], output.last_hidden_state)


def _normed(samples: Tensor) -> Tensor:
    """Each sound [B, n] with mean 0 and variance 1."""
    centred = samples - samples.mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(dim=-1, keepdim=True) + _NORM_EPS)


def _transformers() -> Any:
    try:
        import transformers
        from transformers.models.whisper import modeling_whisper  # noqa: F401
    except ImportError:
        raise MissingPackageError(
            "transformers is not installed, which encodes the sound for talking models. Install it."
        ) from None
    return transformers
