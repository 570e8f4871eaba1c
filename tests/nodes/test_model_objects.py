"""The model objects on the sockets: found, checked by their header, loaded once, and answering ComfyUI's calls."""

from __future__ import annotations

import gc
import logging
import re

import pytest
import torch
import wan_director
from safetensors.torch import load_file, save_file
from wan_director.common.errors import InvalidInputError, MissingFileError, WanDirectorError
from wan_director.engine import embed
from wan_director.nodes.hosts.host import BUNDLED_MODELS

from .conftest import call, load, load_vae, picture

NODES = wan_director.NODE_CLASS_MAPPINGS
pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture
def vae():
    return load_vae("vae.safetensors")


def refusal(node: str, name: str) -> str:
    """What a loader says of a file before it runs: an answer, or an error."""
    try:
        return NODES[f"WanDirector{node}"].validate_inputs(name)
    except WanDirectorError as error:
        return str(error)


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("LoadModel", "wan2.1_t2v_14B_fp16.safetensors"),
        ("LoadVAE", "wan_2.1_vae.safetensors"),
        ("LoadTextEncoder", "umt5_xxl_fp16.safetensors"),
        ("LoadClipVision", "clip_vision_h.safetensors"),
    ],
)
def test_missing_files_say_where_to_get_them_and_where_to_put_them(node, name, models):
    sentence = refusal(node, name)
    assert all(words in sentence for words in (name, "Comfy-Org/Wan_2.1_ComfyUI_repackaged", str(models)))
    first = next(iter(NODES[f"WanDirector{node}"].INPUT_TYPES()["required"]))
    rest = dict.fromkeys(("precision", "attention", "device"), "auto")
    accepted = NODES[f"WanDirector{node}"].INPUT_TYPES()["required"]
    with pytest.raises(MissingFileError, match=re.escape(name)):
        call(node, **{first: name}, **{key: value for key, value in rest.items() if key in accepted})


def test_damaged_and_foreign_files_are_refused_by_their_header(models, tiny_host, tmp_path):
    tiny_host.folders = {"diffusion_models": [tmp_path], "vae": [models / "vae"]}
    whole = (models / "diffusion_models" / "t2v.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html><html>404</html>")
    (tmp_path / "vae.safetensors").write_bytes((models / "vae" / "vae.safetensors").read_bytes())
    answers = {name: refusal("LoadModel", f"{name}.safetensors") for name in ("cut", "page", "vae")}
    assert "incomplete" in answers["cut"] and "download it again" in answers["cut"].lower()
    assert "web page" in answers["page"]
    assert "not a diffusion model" in answers["vae"]
    assert NODES["WanDirectorLoadVAE"].validate_inputs("vae.safetensors") is True
    assert NODES["WanDirectorLoadModel"].validate_inputs() is True


def test_another_part_of_a_split_model_is_loaded_anew(models):
    folder = models / "diffusion_models" / "split"
    folder.mkdir()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    weights = load_file(models / "diffusion_models" / "t2v.safetensors")
    keys = sorted(weights)
    for name, part in zip(names, (keys[::2], keys[1::2])):
        save_file(
            {key: weights[key] for key in part},
            folder / name,
            {"wan_director.family": "tiny", "wan_director.heads": "4"},
        )
    chosen = f"split/{names[0]}"
    first = load(chosen)
    before = NODES["WanDirectorLoadModel"].fingerprint_inputs(model_name=chosen)
    (folder / names[1]).touch()
    assert NODES["WanDirectorLoadModel"].fingerprint_inputs(model_name=chosen) != before
    assert load(chosen) is not first


def test_a_file_is_loaded_once_while_it_is_in_use(tiny_host, models):
    first = load("t2v.safetensors")
    assert load("t2v.safetensors") is first
    other = call("LoadModel", model_name="t2v.safetensors", precision="bf16", attention="auto")
    assert other is not first and other.dtype == torch.bfloat16
    path = models / "diffusion_models" / "t2v.safetensors"
    before = NODES["WanDirectorLoadModel"].fingerprint_inputs(model_name="t2v.safetensors")
    path.touch()
    assert NODES["WanDirectorLoadModel"].fingerprint_inputs(model_name="t2v.safetensors") != before
    assert load("t2v.safetensors") is not first
    del first, other
    gc.collect()
    assert not any("t2v" in str(key) for key in tiny_host.runtime.models)


def test_the_same_prompt_is_encoded_once(monkeypatch):
    calls = []
    original = embed.encode_tokens
    monkeypatch.setattr(embed, "encode_tokens", lambda *args, **how: calls.append(args) or original(*args, **how))
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="fp32", device="cpu")
    for prompt in ("a ball", "a box", "a ball"):
        call("TextEncode", text_encoder=encoder, positive=prompt, negative="bad")
    assert len(calls) == 3  # ball, bad, box


def test_long_prompts_are_cut_with_a_note(caplog):
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")
    with caplog.at_level(logging.WARNING, "wan_director"):
        positive, _ = call("TextEncode", text_encoder=encoder, positive="red " * 300, negative="")
    assert positive[0][0].shape == (1, 512, 128)
    assert "the last" in caplog.text and "left out" in caplog.text


def test_weights_act_on_their_words():
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")
    plain, weighted = call("TextEncode", text_encoder=encoder, positive="a (red:1) ball", negative="a (red:1.5) ball")
    changed = (weighted[0][0] - plain[0][0]).abs().amax(-1)[0].nonzero().flatten().tolist()
    assert changed == [1, 2, 3]  # one token per letter


def test_the_vae_answers_native_calls(vae):
    pixels = picture(9, 50, 70)
    assert vae.encode(pixels).shape == (1, 16, 3, 6, 8)
    assert torch.equal(vae.encode_tiled(pixels, tile_x=8, tile_y=8, overlap=2), vae.encode(pixels))
    latent = vae.encode(pixels[None])
    assert vae.decode(latent).shape == (1, 9, 48, 64, 3)
    assert torch.equal(
        vae.decode_tiled(latent, tile_x=8, tile_y=8, overlap=2, tile_t=4, overlap_t=1), vae.decode(latent)
    )
    assert (vae.latent_channels, vae.latent_dim) == (16, 3)
    with pytest.raises(
        InvalidInputError, match=r"decodes video latents \[batch, 16, frames, height, width\], got \[1, 4"
    ):
        vae.decode(torch.zeros(1, 4, 8, 8))
    assert (vae.spacial_compression_encode(), vae.temporal_compression_decode()) == (8, 4)
    assert vae.downscale_ratio[0](81) == 21 and vae.upscale_ratio[0](21) == 81


def test_the_text_encoder_answers_native_calls():
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")
    tokens = encoder.tokenize("a (red:1.2) ball")
    assert {weight for _, weight in tokens["umt5xxl"][0]} == {1.0, 1.2}
    cond, pooled = encoder.encode_from_tokens(tokens, return_pooled=True)
    assert cond.shape == (1, 512, 128) and pooled is None
    entry = encoder.encode_from_tokens(tokens, return_dict=True)
    assert torch.equal(entry["cond"], cond) and entry["pooled_output"] is None
    scheduled = encoder.encode_from_tokens_scheduled(tokens, add_dict={"start_percent": 0.1})
    assert torch.equal(scheduled[0][0], cond) and scheduled[0][1]["start_percent"] == 0.1


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InvalidInputError, match="on the CPU. Choose 'auto' or 'cpu'"):
        call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="gpu")


def test_bundled_models_are_in_every_list(tiny_host):
    assert tiny_host.model_folders("vae")[-1] == BUNDLED_MODELS / "vae"
