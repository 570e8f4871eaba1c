"""The table of docs/models.md: the Wan models of `test_wan_2026`, and what is tested of each.

    python -m wan_director.tests.model_loading.model_table

writes it. What a file is called comes from `ROWS`, the distance from an independent implementation from its recorded
outputs, measured again, and the planned bytes from a count on the meta device; the tests of a column are named here and
have to exist.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from wan_director.dit.footprint import PLAIN, pass_bytes, pass_shape

from .test_wan_2026 import ROWS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- table -->", "<!-- end -->"
HEAD = """| model | its files | distance from a peer | swapped | LoRA | planned bytes |
|---|---|---|---|---|---|"""
LATENT = (9, 60, 104)

Pairs = Iterator[tuple[Tensor, Tensor]]


class Tested(NamedTuple):
    """What is tested of a model that runs.

    `peer`: the independent implementation; `parity`, `wired`, `swapped`, `lora`: tests (`file::name`), or none of its
    own; `preset`: whose bytes are counted; `pairs`: ours and the peer's recorded outputs.
    """

    peer: str
    parity: str
    wired: str
    swapped: str
    lora: str
    preset: str | None = None
    pairs: Callable[[], Pairs] | None = None


def _humo() -> Pairs:
    from ..dit import test_humo as of

    for name in of.CONFIGS:
        model = of.build(name)
        for words, given in (("given", True), ("silent", False)):
            yield model(of.inputs_of(name, given)), of.EXPECTED[f"{name} {words}"]


def _talk() -> Pairs:
    from ..dit import test_talk as of

    model = of.build()
    for people in (1, 2):
        for start in of.SMALL["START"]:
            yield model(of.inputs_of(people, start)), of.EXPECTED[f"{people} {start}"]


def _dancer() -> Pairs:
    from ..dit import test_dancer as of

    model = of.build()
    for name, (fps, _started, referred) in of.SMALL["CASES"].items():
        skipped = frozenset({9}) if "left out" in name else frozenset()
        yield model(of.inputs_of(of.dance(fps, referred), skipped=skipped)), of.EXPECTED[name]


def _s2v() -> Pairs:
    from ..dit import test_s2v as of

    model = of.build()
    for name in of.SMALL["CASES"]:
        yield model(of.inputs_of(name)), of.EXPECTED[name]


def _scail(version: int) -> Callable[[], Pairs]:
    def pairs() -> Pairs:
        from ..dit import test_scail as of

        model = of.build(version)
        for name, case in of.CASES.items():
            if case.version == version:
                yield model(of.inputs_of(name)), of.EXPECTED[name]

    return pairs


def _animate() -> Pairs:
    from ..dit import test_animate_models as of

    model, inputs = of.of_comfyui()
    yield model(inputs), of.EXPECTED["velocity"]


def _animate_2() -> Pairs:
    from ..dit import test_animate2 as of

    model = of.build(of.CONFIG)
    for reference, cases in of.KNOWS.items():
        for case in cases:
            yield model(of.inputs_of(of.CASES[case])), of.EXPECTED[f"{reference} {case}"]


def _uni3c() -> Pairs:
    from ..dit import test_uni3c as of

    for name in of.MADE["MODELS"]:
        yield of.build(name)(of.inputs_of(name)), of.EXPECTED[name]


def _phantom() -> Pairs:
    from ..dit import test_phantom_models as of

    model = of.build()
    for name, pictures in of.MODEL["CASES"].items():
        yield model(of.inputs_of(pictures)), of.EXPECTED[name]


def _fun(begins: str) -> Callable[[], Pairs]:
    def pairs() -> Pairs:
        from ..dit import test_fun_models as of

        for name, config in of.CONFIGS.items():
            if name.startswith(begins):
                yield of.build(config)(of.inputs_of(config)), of.EXPECTED[name]

    return pairs


_ANY = (
    "model_loading/test_pairing.py::test_wrong_inputs_are_refused",
    "memory/test_swapped_transformer.py::test_swapped_equals_resident",
    "dit/test_adapters_peft.py::test_equals_peft",
)
_DIFFUSERS = ("diffusers", "dit/test_dit_parity.py::test_velocity_equals_diffusers", *_ANY)


def _of(file: str, parity: str, wired: str, swapped: str, lora: str) -> tuple[str, str, str, str]:
    """The tests of a file in tests/dit, and one of the nodes."""
    return f"dit/{file}.py::{parity}", wired, f"dit/{file}.py::{swapped}", f"dit/{file}.py::{lora}"


_CHANGES = "test_changes_of_its_layers_equal_changed_weights"
_WITH_FUN = ("dit/test_fun_models.py::test_velocity_equals_diffsynth", _ANY[0])
_FUN_ALSO = (
    "nodes/test_fun_nodes.py::test_two_experts_and_swapped_blocks_follow_to_the_bit",
    f"dit/test_fun_models.py::{_CHANGES}",
)
TESTED: dict[str, Tested] = {
    "Wan 2.1": Tested(*_DIFFUSERS, "i2v-14B"), "Wan 2.2 I2V A14B": Tested(*_DIFFUSERS, "i2v-A14B"),
    "Wan 2.2 T2V A14B": Tested(*_DIFFUSERS, "t2v-14B"), "FLF2V": Tested(*_DIFFUSERS, "flf2v-14B"),
    "TI2V-5B": Tested(*_DIFFUSERS, "ti2v-5B"), "Lucy-Edit": Tested(*_DIFFUSERS, "lucy-edit-5B"),
    "VACE": Tested("diffusers", "dit/test_dit_vace.py::test_velocity_equals_diffusers", *_ANY, "vace-14B"),
    "Fun-Control": Tested("diffsynth", *_WITH_FUN, *_FUN_ALSO, "fun-control-A14B", _fun("fun-control")),
    "Fun-Camera": Tested("diffsynth", *_WITH_FUN, *_FUN_ALSO, "fun-camera-A14B", _fun("fun-camera")),
    "Fun-InP": Tested("diffsynth", *_WITH_FUN, *_FUN_ALSO, "fun-inp-5B", _fun("fun-inp")),
    "causal models": Tested(
        "diffusers (SkyReels-V2)",
        "dit/test_causal.py::test_the_velocity_equals_that_of_diffusers_with_its_own_causal_mask", _ANY[0],
        "dit/test_causal.py::test_swapped_blocks_give_the_same_bits",
        "dit/test_causal.py::test_stored_weights_and_a_lora_remember_what_plain_ones_do", "t2v-1.3B",
    ),
    "Phantom": Tested(
        "ComfyUI", "dit/test_phantom_models.py::test_velocity_equals_comfyui",
        "dit/test_phantom_models.py::test_what_does_not_go_together_is_refused", *_ANY[1:], "t2v-1.3B", _phantom,
    ),
    "Wan-Animate": Tested(
        "diffusers, ComfyUI",
        *_of("test_animate_models", "test_velocity_equals_comfyui",
             "dit/test_animate_models.py::test_another_model_takes_none", _CHANGES, _CHANGES),
        "animate-14B", _animate,
    ),
    "Wan-Animate-2": Tested(
        "ComfyUI, diffusers, diffsynth",
        *_of("test_animate2", "test_velocity_equals_the_reference",
             "dit/test_animate2.py::test_two_pose_videos_sparse_attention_and_other_models_are_refused",
             "test_blocks_that_are_swapped_give_the_same_bits", "test_a_lora_changes_the_way_of_the_poses_too"),
        "animate2-14B", _animate_2,
    ),
    "SCAIL-2": Tested(
        "ComfyUI",
        *_of("test_scail", "test_velocity_equals_comfyui",
             "dit/test_scail.py::test_other_models_and_texts_in_turn_are_refused",
             "test_swapped_blocks_give_the_same_bits", _CHANGES),
        "scail2-14B", _scail(2),
    ),
    "S2V": Tested(
        "diffsynth, ComfyUI",
        *_of("test_s2v", "test_velocity_equals_diffsynth_and_comfyui",
             "nodes/talking/test_speech_nodes.py::test_what_is_meant_for_another_model_is_refused",
             "test_swapped_blocks_change_nothing", _CHANGES),
        "s2v-14B", _s2v,
    ),
    "HuMo": Tested(
        "ComfyUI",
        *_of("test_humo", "test_velocity_equals_comfyui",
             "nodes/talking/test_humo_nodes.py::test_what_is_meant_for_another_model_is_refused",
             "test_swapped_blocks_change_nothing", _CHANGES),
        "humo-17B", _humo,
    ),
    "InfiniteTalk": Tested(
        "ComfyUI",
        *_of("test_talk", "test_velocity_equals_comfyui",
             "nodes/talking/test_talk_nodes.py::test_what_does_not_go_with_it_is_refused",
             "test_swapped_blocks_change_nothing", _CHANGES),
        "infinitetalk-14B", _talk,
    ),
    "Wan-Dancer": Tested(
        "diffsynth",
        *_of("test_dancer", "test_velocity_equals_diffsynth",
             "nodes/dancing/test_dancer_nodes.py::test_what_is_meant_for_another_model_is_refused",
             "test_swapped_blocks_change_nothing", _CHANGES),
        "dancer-14B", _dancer,
    ),
    "Uni3C": Tested(
        "ComfyUI",
        *_of("test_uni3c", "test_the_velocity_equals_comfyuis", "dit/test_uni3c.py::test_what_does_not_fit_is_refused",
             "test_swapped_blocks_give_the_same_bits", "test_swapped_blocks_give_the_same_bits"),
        None, _uni3c,
    ),
}  # fmt: skip
TESTED["SCAIL"] = TESTED["SCAIL-2"]._replace(preset=None, pairs=_scail(1))
"""Model of `ROWS` -> what is tested of it, where more is than of the plain model whose tensors it has."""


def distance(pairs: Callable[[], Pairs]) -> float:
    """The largest difference relative to the largest value, of all recorded outputs."""
    with torch.no_grad():
        return max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs())


def planned(preset: str) -> float:
    """The bytes of a pass by the arithmetic, by those that are counted; 1 is right."""
    from ..memory.test_plan_bytes import PRESETS, counted, steering

    predicted = pass_bytes(PRESETS[preset], pass_shape((1, *LATENT), steering(preset)), unpacking=PLAIN)
    return predicted / counted(preset, PLAIN, LATENT)


def fate(name: str) -> str:
    """What becomes of the files of a model."""
    fates = sorted({row.fate for row in ROWS[name]})
    words = {"runs": "known, run", "refused": "known, refused", "part": "known as a part, refused", "LoRA": "a LoRA"}
    return "; ".join(words[each] for each in fates)


def row(name: str, figures: bool = True) -> str:
    """The line of a model; without figures, these are left open."""
    tested = TESTED.get(name)
    if tested is None:
        return f"| {name} | {fate(name)} | | | | |"
    apart = "at most 1e-5" if tested.pairs is None else (f"{distance(tested.pairs):.1e}" if figures else "…")
    bytes_words = "–"
    if tested.preset is not None:
        bytes_words = f"{round(100 * (planned(tested.preset) - 1), 1) + 0.0:+.1f} %" if figures else "…"
    lora = "–" if tested.lora == tested.swapped and name == "Uni3C" else "exact"
    return f"| {name} | {fate(name)} | {apart} ({tested.peer}) | exact | {lora} | {bytes_words} |"


def write() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    rows = "\n".join(row(name) for name in ROWS)
    PAGE.write_text(f"{before}{BEGIN}\n{HEAD}\n{rows}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(write())
