"""ComfyUI's guidance nodes on the command line: what they set, and what does not go together."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.sampling.ask import NEGATIVE, POSITIVE, SkippedBlocks
from wan_director.sampling.guidance import CFG, PartOfNoise
from wan_director.sampling.guidance.skip_layers import WeakNegative
from wan_director.sampling.step import NoiseLevel

from .conftest import core, unet

pytestmark = pytest.mark.usefixtures("inference")
WHOLE = {"start_percent": 0.0, "end_percent": 1.0}


def simple(model, double_layers: str = "1", **changes):
    return core(
        "SkipLayerGuidanceDiTSimple", model=model, double_layers=double_layers, single_layers="", **WHOLE | changes
    )


def level(sigma: float) -> NoiseLevel:
    return NoiseLevel(0, 4, sigma, 1000.0 * sigma)


def test_the_negative_side_alone_is_asked_without_the_blocks():
    weak = WeakNegative(CFG(3.0), frozenset({1}), PartOfNoise(1.0, 0.5))
    positive, negative = weak.asks(level(0.7))
    assert positive == POSITIVE and negative.perturbations == (SkippedBlocks(frozenset({1})),)
    assert weak.asks(level(0.3)) == (POSITIVE, NEGATIVE)
    answers = torch.ones(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1)
    assert weak.velocity(answers, level(0.7), answers[0], {}).item() == 3.0


def test_no_block_leaves_the_model_as_it_is():
    model = unet()
    assert simple(model, "") is model
    assert simple(model).model.policies.guidance(3.0).asks(level(0.5)) != CFG(3.0).asks(level(0.5))


REFUSED = {
    "TCFG comes after a node": lambda: core("TCFG", model=core("CFGZeroStar", model=unet())),
    r"another formula \(tcfg\)": lambda: core("CFGZeroStar", model=core("TCFG", model=unet())),
    "leave out block 77": lambda: simple(unet(), "77"),
    "cannot be joined along t": lambda: core("LatentConcat", samples1=latent(6), samples2=latent(8), dim="t"),
}


def latent(height: int) -> dict:
    return {"samples": torch.zeros(1, 16, 3, height, 8)}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_go_together_is_refused(sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        REFUSED[sentence]()


@pytest.mark.parametrize(("index", "amount", "kept"), [(0, 1, [0]), (1, 9, [1, 2]), (-2, 9, [1, 2]), (-9, 1, [0])])
def test_a_latent_is_cut_from_either_end(index, amount, kept):
    whole = {"samples": torch.arange(3.0).reshape(1, 1, 3, 1, 1)}
    assert core("LatentCut", samples=whole, dim="t", index=index, amount=amount)["samples"].flatten().tolist() == kept


def test_a_crop_ends_with_the_picture():
    image = torch.rand(2, 6, 8, 3)
    assert torch.equal(core("ImageCrop", image=image, width=9, height=2, x=5, y=1), image[:, 1:3, 5:])
    assert core("ImageCrop", image=image, width=9, height=9, x=99, y=99).shape == (2, 1, 1, 3)
    assert CORE_NODES["ImageCrop"].define_schema().display_name == "Crop Image (DEPRECATED)"
