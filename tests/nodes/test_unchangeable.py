"""Our models in the hands of native nodes that want to change or open them."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.sockets.models import WanTextEncoder

from .conftest import call

pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture
def clip(inference) -> WanTextEncoder:
    return call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")


def test_whoever_asks_gets_no_and_whoever_takes_gets_a_sentence(clip):
    assert not hasattr(clip, "patcher") and getattr(clip, "get_models", None) is None
    with pytest.raises(
        InvalidInputError, match=r"The text encoder .* cannot change or open \('patcher'\). Load the file"
    ):
        _ = clip.patcher


@pytest.mark.parametrize(
    ("node", "file", "what"),
    [
        ("LoadVAE", {"vae_name": "vae.safetensors", "precision": "auto"}, "The VAE .* with Load VAE for it"),
        (
            "LoadClipVision",
            {"clip_vision_name": "clip.safetensors"},
            "The CLIP vision encoder .* Load CLIP Vision for it",
        ),
    ],
)
def test_each_kind_names_its_native_loader(node, file, what):
    with pytest.raises(InvalidInputError, match=what):
        _ = call(node, **file).first_stage_model


def test_a_clone_encodes_the_same_and_cannot_be_changed(clip):
    clone = clip.clone(disable_dynamic=True)
    assert isinstance(clone, WanTextEncoder)
    assert torch.equal(clone.encode("a red ball"), clip.encode("a red ball"))
    with pytest.raises(InvalidInputError, match=r"\('use_clip_schedule'\)"):
        clone.use_clip_schedule = True


def test_a_lora_for_the_video_model_changes_nothing_and_says_so(clip, caplog):
    caplog.set_level("INFO", logger="wan_director")
    patches = {
        "diffusion_model.blocks.0.self_attn.q.weight": object(),
        ("diffusion_model.head.head.weight", (0, 0, 1)): 1,
    }
    assert clip.clone().add_patches(patches, 0.5) == [] and not clip.cond_stage_model.state_dict()
    assert "The LoRA goes onto the video model alone (2 layers)" in caplog.text


def test_a_change_of_its_own_layers_is_refused(clip):
    with pytest.raises(InvalidInputError, match="add_patches"):
        clip.add_patches({"umt5xxl.transformer.shared.weight": object()}, 0.5, 0.5)


def test_leaving_out_layers_is_refused(clip):
    with pytest.raises(InvalidInputError, match="CLIP Set Last Layer leaves out layers"):
        clip.clone().clip_layer(-2)


def test_tokens_of_another_encoder_are_refused(clip):
    with pytest.raises(InvalidInputError, match="encodes for the text encoder 't5xxl' of another kind of model"):
        clip.tokenize("a red ball")["t5xxl"]
