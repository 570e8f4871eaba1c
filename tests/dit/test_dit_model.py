"""What the transformer promises beside parity: optional inputs, odd sizes, hooks, precision, thrift with memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import PairingError
from wan_director.dit import precise, tokens
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, LowRank, adapted
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.model import WanDiT
from wan_director.weights import layers
from wan_director.weights.stored import StoredWeight

SIZES = {"dim": 64, "ffn_dim": 160, "heads": 2, "layers": 3, "text_dim": 24, "text_tokens": 16}
T2V = DiTConfig(**SIZES)
I2V = DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(20),))
FLF2V = DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(20, 34),))


LEAN = Execution(may_overwrite=True)


def build(config: DiTConfig, **options) -> WanDiT:
    torch.manual_seed(0)
    return WanDiT(config, **options).eval().requires_grad_(False)


def relative_l2(result: torch.Tensor, reference: torch.Tensor) -> float:
    return ((result.double() - reference.double()).norm() / reference.double().norm()).item()


def test_without_clip_features_the_image_branch_is_absent(make_inputs):
    with_branch, without_branch = build(I2V), build(replace(I2V, branches=()))
    state = with_branch.state_dict()
    without_branch.load_state_dict({key: state[key] for key in without_branch.state_dict()})
    inputs = replace(make_inputs(I2V), steering=())
    assert torch.equal(with_branch(inputs), without_branch(inputs))


def test_no_image_channels_equal_zero_image_channels(make_inputs):
    model, inputs = build(I2V), make_inputs(I2V)
    zeros = replace(inputs, image_channels=torch.zeros_like(inputs.image_channels))
    assert torch.equal(model(replace(inputs, image_channels=None)), model(zeros))


def test_an_image_model_given_nothing_equals_the_text_model_sliced_from_it(make_inputs):
    config = replace(I2V, branches=())
    image_model, text_model = build(config), build(T2V)
    state = image_model.state_dict()
    text_model.load_state_dict(state | {"patch_embedding.weight": state["patch_embedding.weight"][:, :16]})
    inputs = replace(make_inputs(config), image_channels=None)
    torch.testing.assert_close(image_model(inputs), text_model(inputs), rtol=0, atol=1e-6)


def test_first_frame_features_alone_take_the_first_position_embeddings(make_inputs):
    model, inputs = build(FLF2V), make_inputs(FLF2V)
    model.img_emb.emb_pos.normal_()
    half = replace(inputs, steering=(ClipInput(inputs.steering[0].features[:, :17]),))
    tokens_of_half = model.embed(half).context.image
    torch.testing.assert_close(tokens_of_half, model.embed(inputs).context.image[:, :17])


@pytest.mark.parametrize("size", [(5, 8), (6, 7), (3, 3)], ids=str)
def test_odd_latent_sizes_are_padded_from_the_other_side_and_cropped(size, make_inputs):
    model, inputs = build(I2V), make_inputs(I2V, shape=(2, *size))
    rows = torch.arange(size[0] + size[0] % 2) % size[0]
    columns = torch.arange(size[1] + size[1] % 2) % size[1]
    padded = replace(
        inputs,
        latent=inputs.latent[..., rows, :][..., columns],
        image_channels=inputs.image_channels[..., rows, :][..., columns],
    )
    velocity = model(inputs)
    assert velocity.shape == inputs.latent.shape
    assert torch.equal(velocity, model(padded)[..., : size[0], : size[1]])


def test_on_block_sees_every_block_once_and_can_interrupt(make_inputs):
    seen = []
    build(T2V)(make_inputs(T2V), Execution(on_block=lambda index, _tokens: seen.append(index)))
    assert seen == [0, 1, 2]

    class InterruptError(Exception):
        pass

    def interrupt(index, _tokens):
        if index == 1:
            raise InterruptError

    with pytest.raises(InterruptError):
        build(T2V)(make_inputs(T2V), Execution(on_block=interrupt))


def test_block_stream_can_be_replaced(make_inputs):
    model, inputs = build(T2V), make_inputs(T2V)
    expected, lent = model(inputs), []

    def lend(blocks):
        for block in blocks:
            lent.append(block)
            yield block

    assert torch.equal(model(inputs, Execution(stream=lend)), expected)
    assert lent == list(model.blocks)


@pytest.mark.parametrize(
    ("gradients", "execution"),
    [(False, LEAN), (False, Execution()), (True, Execution())],
    ids=["lean", "plain", "grad"],
)
def test_inputs_are_never_written_into(gradients, execution, make_inputs):
    model, inputs = build(FLF2V).requires_grad_(gradients), make_inputs(FLF2V)
    tensors = (inputs.latent, inputs.timestep, inputs.text, inputs.image_channels, inputs.steering[0].features)
    copies = [tensor.clone() for tensor in tensors]
    with torch.set_grad_enabled(gradients):
        model(inputs, execution)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies))


@pytest.mark.parametrize("batch", [1, 2])
def test_velocity_is_the_same_with_and_without_autograd(batch, make_inputs):
    model, inputs = build(I2V), make_inputs(I2V, batch=batch)
    with_autograd = model.requires_grad_(True)(inputs)
    for execution in (LEAN, Execution()):
        with torch.no_grad():
            torch.testing.assert_close(model(inputs, execution), with_autograd, rtol=0, atol=1e-6)
        with torch.inference_mode():
            torch.testing.assert_close(model(inputs, execution), with_autograd, rtol=0, atol=1e-6)


@pytest.mark.parametrize("fp32_residual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_velocity_does_not_depend_on_the_run_length(dtype, fp32_residual, make_inputs, monkeypatch):
    model, inputs = build(I2V, fp32_residual=fp32_residual).to(dtype), make_inputs(I2V, batch=2)
    with torch.no_grad():
        whole = model(inputs, LEAN)
        monkeypatch.setattr(tokens, "CPU_ELEMENTS", 64 * 2 * 5)  # 5 tokens at a time, 72 in all
        monkeypatch.setattr(tokens, "MATRIX_RUN", 7)
        in_runs = model(inputs, LEAN)
    assert relative_l2(in_runs, whole) <= (1e-6 if dtype == torch.float32 else 5e-3)


def test_samples_of_a_batch_do_not_see_each_other(make_inputs):
    model, inputs = build(FLF2V), replace(make_inputs(FLF2V, batch=2), timestep=torch.tensor([900.0, 30.0]))
    both = model(inputs)
    for sample in range(2):
        part = slice(sample, sample + 1)
        alone = model(
            replace(
                inputs,
                latent=inputs.latent[part],
                timestep=inputs.timestep[part],
                text=inputs.text[part],
                image_channels=inputs.image_channels[part],
                steering=(ClipInput(inputs.steering[0].features[part]),),
            )
        )
        assert (both[part] - alone).abs().max() <= 1e-6 * alone.abs().max()


@pytest.mark.parametrize(("fp32_residual", "limit"), [(False, 1.3e-2), (True, 5e-3)])
def test_bf16_distance_to_float32(fp32_residual, limit, make_pair, make_inputs, run_diffusers):
    config = DiTConfig(dim=256, ffn_dim=768, heads=2, layers=12, text_dim=64)
    exact, theirs = make_pair(config)
    model = WanDiT(config, fp32_residual=fp32_residual).eval().requires_grad_(False)
    model.load_state_dict(exact.state_dict())
    inputs = make_inputs(config, timestep=700.0)
    velocity = model.to(torch.bfloat16)(inputs)
    assert velocity.dtype == torch.float32  # the latent's
    assert relative_l2(velocity, run_diffusers(theirs, inputs)) <= limit


def test_time_in_float32_brings_a_16_bit_model_nearer_at_the_noisiest_timestep(make_inputs):
    """What is left is little beside the rounding of the weights; with the time in bfloat16 it was 1.7 times that."""
    config = DiTConfig(dim=128, ffn_dim=256, heads=2, layers=4, text_dim=24, text_tokens=16)
    exact, model, rounded = build(config), build(config), build(config)
    for layer in (exact.time_embedding[0], exact.time_embedding[2], exact.time_projection[1]):
        layer.weight.mul_(6)
    model.to(torch.bfloat16).load_state_dict(exact.state_dict())
    rounded.load_state_dict(model.state_dict())
    inputs = make_inputs(config, timestep=999.0)
    of_weights = relative_l2(rounded(inputs), exact(inputs))
    assert relative_l2(model(inputs), exact(inputs)) <= 1.35 * of_weights


def on_plain_layers(model: WanDiT) -> WanDiT:
    return model


def on_stored_layers(model: WanDiT) -> WanDiT:
    """All time layers kept as bfloat16 under another name, as quantised formats keep theirs in 8 bits."""
    for layer in (model.time_embedding[0], model.time_embedding[2], model.time_projection[1]):
        layer.store(StoredWeight(Bfloat16Codec(), {"weight": layer.weight.detach()}, tuple(layer.weight.shape)))
    return model


class Bfloat16Codec:
    name = "bfloat16"

    def dequantize(self, parts, shape, dtype):
        return parts["weight"].to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kept", [on_plain_layers, on_stored_layers])
def test_time_is_embedded_in_float32_whatever_the_weights_are(dtype, kept, make_inputs, monkeypatch):
    """As the official code does under its autocast; only the weights themselves are rounded."""
    monkeypatch.setattr(precise, "ROWS", 48)  # runs that do not divide the rows
    rounded = build(T2V, operations=layers).to(dtype)
    exact = build(T2V)
    exact.load_state_dict(rounded.float().state_dict())
    model, inputs = kept(rounded.to(dtype)), make_inputs(T2V, batch=2, timestep=999.0)
    ours, expected = model.embed(inputs), exact.embed(inputs)
    for part, reference in ((ours.time, expected.time), (ours.context.modulation, expected.context.modulation)):
        assert part.dtype == torch.float32
        torch.testing.assert_close(part, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("merges", [False, True])
def test_time_layers_with_a_lora_are_computed_in_float32_too(merges, make_inputs):
    rounded = build(T2V).to(torch.bfloat16)
    exact = build(T2V)
    exact.load_state_dict(rounded.float().state_dict())
    delta = LowRank(torch.randn(4, 64) * 0.1, torch.randn(6 * 64, 4) * 0.1, 1.0)
    exact.time_projection[1].weight += delta.up @ delta.down
    adapter = Adapter("lora", {"time_projection.1.weight": (Change(delta),)})
    inputs = make_inputs(T2V, timestep=999.0)
    model = rounded.to(torch.bfloat16)
    with adapted(model, [AppliedAdapter(adapter, 1.0, merge=merges)]):
        modulation = model.embed(inputs).context.modulation
    # The factors beside a layer are rounded to bfloat16 as its weights are.
    torch.testing.assert_close(modulation, exact.embed(inputs).context.modulation, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("fp32_residual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_parameter_gets_a_gradient(dtype, fp32_residual, make_inputs):
    model = build(FLF2V, fp32_residual=fp32_residual).to(dtype).requires_grad_(True)
    model(make_inputs(FLF2V, batch=2)).square().mean().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_wrong_channels_are_refused_with_numbers(make_inputs):
    image_channels = make_inputs(I2V).image_channels
    with pytest.raises(PairingError, match="16 channels and the image conditioning 20, but this model takes 16"):
        build(T2V)(replace(make_inputs(T2V), image_channels=image_channels))
    with pytest.raises(PairingError, match="48 channels"):
        build(T2V)(replace(make_inputs(T2V), latent=torch.zeros(1, 48, 3, 8, 12)))


def test_clip_features_for_a_model_without_the_branch_are_refused(make_inputs):
    with pytest.raises(PairingError, match="This model takes no CLIP vision features"):
        build(T2V)(replace(make_inputs(T2V), steering=(ClipInput(torch.zeros(1, 17, 20)),)))


def test_a_text_of_another_width_is_refused(make_inputs):
    with pytest.raises(PairingError, match="has the width 32, but this model needs 24"):
        build(T2V)(replace(make_inputs(T2V), text=torch.zeros(1, 16, 32)))


def test_a_skipped_block_is_a_block_that_is_not_there(make_inputs):
    model, inputs = build(T2V), make_inputs(T2V)
    shorter = build(replace(T2V, layers=2))
    state = model.state_dict()
    renamed = {key.replace("blocks.2.", "blocks.1."): value for key, value in state.items() if "blocks.1." not in key}
    shorter.load_state_dict(renamed)
    assert torch.equal(model(replace(inputs, skipped=frozenset({1}))), shorter(inputs))


def test_of_passes_that_go_together_each_skips_its_own_blocks(make_inputs):
    model, inputs = build(T2V), make_inputs(T2V)
    passes = [replace(inputs, skipped=frozenset(numbers)) for numbers in ((), (0,), (1, 2))]
    with torch.no_grad():
        for execution in (LEAN, Execution()):
            together = model.forward_together(passes, execution)
            assert all(torch.equal(velocity, model(each)) for velocity, each in zip(together, passes))
