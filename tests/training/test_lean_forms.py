"""What is trained is what is shipped: the fast forward passes of training/ against the pack's modules."""

from __future__ import annotations

import torch
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.training import lean_dit, lean_vae
from wan_director.training.export import text_to_video_part
from wan_director.training.vae_stage import with_family_statistics
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

CONFIG = DiTConfig(dim=48, ffn_dim=96, heads=4, layers=2, in_channels=36, text_dim=32, branches=(ClipBranch(16),))


def random_vae() -> CausalVAE:
    torch.manual_seed(0)
    return CausalVAE(VAEConfig(base_channels=8, residual_blocks=1)).requires_grad_(False)


def random_dit() -> WanDiT:
    torch.manual_seed(0)
    model = WanDiT(CONFIG).requires_grad_(False)
    for name, weight in model.named_parameters():
        if "norm_" in name:
            weight.uniform_(0.5, 2)
    return model


def test_lean_vae_equals_the_module():
    vae, video = random_vae(), torch.rand(2, 3, 9, 32, 48) * 2 - 1
    weights = dict(vae.named_parameters())
    mean, log_variance = lean_vae.encode(weights, video)
    expected = vae.encode_distribution(video)
    torch.testing.assert_close((mean, log_variance), expected, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(lean_vae.decode(weights, mean), vae.decode(mean), atol=2e-5, rtol=1e-4)


def test_lean_vae_equals_the_module_on_one_picture():
    vae, video = random_vae(), torch.rand(2, 3, 1, 32, 48) * 2 - 1
    weights = dict(vae.named_parameters())
    mean, _ = lean_vae.encode(weights, video)
    torch.testing.assert_close(mean, vae.encode(video), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(lean_vae.decode(weights, mean), vae.decode(mean), atol=2e-5, rtol=1e-4)


def test_giving_latents_the_family_statistics_does_not_change_reconstructions():
    weights = {name: weight.detach() for name, weight in random_vae().named_parameters()}
    video = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    folded = with_family_statistics(weights, clips=4)
    before = lean_vae.decode(weights, lean_vae.encode(weights, video)[0])
    after = lean_vae.decode(folded, lean_vae.encode(folded, video)[0])
    torch.testing.assert_close(after, before, atol=2e-5, rtol=1e-4)


def test_lean_transformer_with_padding_taken_once_equals_the_module_with_512_tokens():
    model, batch = random_dit(), 3
    latent, timestep = torch.randn(batch, 36, 3, 4, 6), torch.tensor([900.0, 500.0, 20.0])
    embedding, clip = torch.randn(batch, 10, 32), torch.randn(batch, 17, 16)
    mask = (torch.arange(10)[None] < torch.tensor([[10], [4], [1]])).long()
    prompt = lean_dit.make_prompt(embedding, mask, torch.full((batch,), 512))
    output = lean_dit.velocity(dict(model.named_parameters()), CONFIG, latent, timestep, prompt, clip)
    text = torch.zeros(batch, 512, 32)
    text[:, :10] = embedding * mask.unsqueeze(-1)
    expected = model(DitInputs(latent[:, :16], timestep, text, latent[:, 16:], (ClipInput(clip),)))
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)


def test_clip_features_reach_only_the_samples_that_have_them():
    model = random_dit()
    weights = dict(model.named_parameters())
    latent, timestep = torch.randn(2, 36, 2, 4, 4), torch.tensor([500.0, 500.0])
    prompt = lean_dit.make_prompt(torch.randn(2, 4, 32), torch.ones(2, 4), torch.full((2,), 64))
    without = lean_dit.velocity(weights, CONFIG, latent, timestep, prompt)
    with_first = lean_dit.velocity(weights, CONFIG, latent, timestep, prompt, torch.randn(1, 17, 16))
    assert not torch.allclose(with_first[0], without[0], atol=1e-4)
    torch.testing.assert_close(with_first[1], without[1], atol=1e-5, rtol=1e-4)


def test_the_text_to_video_part_is_exact():
    model = random_dit()
    part = WanDiT(DiTConfig(dim=48, ffn_dim=96, heads=4, layers=2, text_dim=32)).requires_grad_(False)
    part.load_state_dict(text_to_video_part(model.state_dict(), 16), strict=True)
    inputs = DitInputs(torch.randn(2, 16, 3, 4, 4), torch.tensor([700.0, 100.0]), torch.randn(2, 20, 32))
    assert (part(inputs) - model(inputs)).abs().max() == 0.0
