"""From the spelling of a layer in a LoRA file to the official name of the model's layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ...dit.branches.branch import Branch
from ...dit.branches.known import BRANCHES
from ...dit.config import DiTConfig
from ..key_maps.renaming import Renaming

_BLOCK = r"((?:\w+_)?blocks\.\d+)\."

# Official layers and free parameters -> diffusers'. Source: huggingface/diffusers, scripts/convert_wan_to_diffusers.py;
# the inverse of key_maps.diffusers_dit, which a test holds it to. norm2 and norm3 have swapped names there.
_TO_DIFFUSERS = Renaming(
    (r"time_embedding\.0", r"condition_embedder.time_embedder.linear_1"),
    (r"time_embedding\.2", r"condition_embedder.time_embedder.linear_2"),
    (r"text_embedding\.0", r"condition_embedder.text_embedder.linear_1"),
    (r"text_embedding\.2", r"condition_embedder.text_embedder.linear_2"),
    (r"time_projection\.1", r"condition_embedder.time_proj"),
    (r"img_emb\.proj\.0", r"condition_embedder.image_embedder.norm1"),
    (r"img_emb\.proj\.1", r"condition_embedder.image_embedder.ff.net.0.proj"),
    (r"img_emb\.proj\.3", r"condition_embedder.image_embedder.ff.net.2"),
    (r"img_emb\.proj\.4", r"condition_embedder.image_embedder.norm2"),
    (r"img_emb\.emb_pos", r"condition_embedder.image_embedder.pos_embed"),
    (r"head\.modulation", r"scale_shift_table"),
    (r"head\.head", r"proj_out"),
    (_BLOCK + r"modulation", r"\1.scale_shift_table"),
    (_BLOCK + r"self_attn\.([qkv])", r"\1.attn1.to_\2"),
    (_BLOCK + r"self_attn\.o", r"\1.attn1.to_out.0"),
    (_BLOCK + r"self_attn\.norm_([qk])", r"\1.attn1.norm_\2"),
    (_BLOCK + r"cross_attn\.([qkv])", r"\1.attn2.to_\2"),
    (_BLOCK + r"cross_attn\.o", r"\1.attn2.to_out.0"),
    (_BLOCK + r"cross_attn\.norm_([qk])", r"\1.attn2.norm_\2"),
    (_BLOCK + r"cross_attn\.([kv])_img", r"\1.attn2.add_\2_proj"),
    (_BLOCK + r"cross_attn\.norm_k_img", r"\1.attn2.norm_added_k"),
    (_BLOCK + r"norm3", r"\1.norm2"),
    (_BLOCK + r"ffn\.0", r"\1.ffn.net.0.proj"),
    (_BLOCK + r"ffn\.2", r"\1.ffn.net.2"),
    (_BLOCK + r"before_proj", r"\1.proj_in"),
    (_BLOCK + r"after_proj", r"\1.proj_out"),
)
_DIFFUSERS_MARKS = re.compile(r"[._]attn[12][._]|[._]ffn[._]net[._]|condition_embedder|scale_shift_table")

_PREFIX = re.compile(
    r"(?:base_model\.model\.|(?:model\.)?diffusion_model[._]|transformer(?:_2)?\.|unet\.|pipe\.dit2?\.|dit2?\.|model\."
    r"|module\.|lora_unet_+|lora_transformer_+|lycoris_+)"
)
_TEXT_ENCODER = re.compile(r"(?:base_model\.model\.)?(?:lora_te\d?_|text_encoders?(?:_\d)?[._]|te\d?\.|text_model\.)")
# How diffusers calls layers of a branch whose official names have other marks.
_DIFFUSERS_BRANCHES = {"clip": ("add_k_proj", "add_v_proj", "norm_added_k", "image_embedder")}
# Of a pair of experts in one file, as diffusers and DiffSynth name their two transformers.
_FIRST_EXPERT = re.compile(r"transformer\.|(?:pipe\.)?dit\.")
_SECOND_EXPERT = re.compile(r"transformer_2\.|(?:pipe\.)?dit2\.")
_MARKS_IN_NAMES = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


class LayerNames:
    """Finds the layers and free parameters of one model under the spellings of one file.

    Dots and underscores count alike, which covers the names that kohya and musubi write (`lora_unet_blocks_0_...`);
    no two layers of a Wan model are spelled alike then.

    Args:
        parameters: names of the model's parameters.
        paths: all spellings in the file; they tell whether it uses diffusers' names, which could otherwise be
            mistaken (`norm2`), and whether it holds the second expert of a Wan 2.2 pair beside the first.
        is_second_expert: which part of such a file the model takes.
    """

    def __init__(self, parameters: Iterable[str], paths: Iterable[str], *, is_second_expert: bool = False) -> None:
        layers = {layer_of(name) for name in parameters}
        paths = list(paths)
        if any(_DIFFUSERS_MARKS.search(path) for path in paths):
            spelled = {_flat(_TO_DIFFUSERS.official(layer)): layer for layer in layers}
            # Some trainers leave out the number of the only layer of `to_out`.
            short = {name.removesuffix("_0"): layer for name, layer in spelled.items() if name.endswith("_to_out_0")}
            self._official: Mapping[str, str] = spelled | short
        else:
            self._official = {_flat(layer): layer for layer in layers}
        self.holds_two_experts = all(
            any(expert.match(path) for path in paths) for expert in (_FIRST_EXPERT, _SECOND_EXPERT)
        )
        self._other_expert = _FIRST_EXPERT if is_second_expert else _SECOND_EXPERT

    def find(self, path: str) -> str | None:
        """The official layer ("blocks.0.self_attn.q") or free parameter ("blocks.0.modulation"), if there is one."""
        return self._official.get(_flat(strip_prefixes(path)))

    def reason_to_ignore(self, path: str, *, is_known: bool) -> str | None:
        """Why a layer may be left out without harm; None if it may not. `is_known`: the model has it."""
        if _TEXT_ENCODER.match(path):
            return "of a text encoder"
        if self.holds_two_experts and self._other_expert.match(path):
            second = self._other_expert is _SECOND_EXPERT
            return "of a second expert (transformer_2)" if second else "of the first expert (transformer)"
        branch = None if is_known else _branch_of(path)
        return None if branch is None else f"of {branch.words}, which this model does not have"


def _branch_of(path: str) -> type[Branch[DiTConfig]] | None:
    """The kind of branch that a layer is of, if it is of one."""
    for kind in BRANCHES:
        if any(mark in path for mark in (*kind.roots, *kind.in_blocks, *_DIFFUSERS_BRANCHES.get(kind.name, ()))):
            return kind
    return None


def layer_of(parameter: str) -> str:
    """'blocks.0.norm3.bias' -> 'blocks.0.norm3'; free parameters keep their name."""
    path, _, leaf = parameter.rpartition(".")
    return path if leaf in ("weight", "bias") else parameter


def strip_prefixes(path: str) -> str:
    """The spelling without what trainers put before and into it."""
    for mark in _MARKS_IN_NAMES:
        path = path.replace(mark, "")
    while (found := _PREFIX.match(path)) is not None:
        path = path[found.end() :]
    return path


def _flat(path: str) -> str:
    return path.replace(".", "_")
