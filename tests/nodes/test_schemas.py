"""What saved graphs rely on: ids, inputs and outputs never change; everything a user sees has a name and a tooltip."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path

import pytest
import wan_director

FROZEN = json.loads((Path(__file__).parent / "frozen_schemas.json").read_text(encoding="utf-8"))
SEARCHED = json.loads((Path(__file__).parent / "searched_words.json").read_text(encoding="utf-8"))
NODES = wan_director.NODE_CLASS_MAPPINGS
every_node = pytest.mark.parametrize("node_id", sorted(NODES))


def schema_of(node_id: str) -> dict:
    """The part of a node that saved graphs depend on."""
    info = NODES[node_id].GET_NODE_INFO_V1()
    types = {name: spec for group in ("required", "optional") for name, spec in info["input"].get(group, {}).items()}
    return {
        "inputs": [[name, spec[0], name in info["input"].get("optional", {})] for name, spec in types.items()],
        "outputs": [list(pair) for pair in zip(info["output"], info["output_name"])],
        "output_node": info["output_node"],
    }


def test_no_node_is_lost_or_renamed():
    assert set(FROZEN) <= set(NODES)


@every_node
def test_released_inputs_and_outputs_stay(node_id):
    """New inputs may come behind the released ones of their group, as saved values are positional."""
    now, released = schema_of(node_id), FROZEN[node_id]
    assert now["outputs"][: len(released["outputs"])] == released["outputs"]
    assert now["output_node"] == released["output_node"]
    for optional in (False, True):
        names = [each for each in now["inputs"] if each[2] is optional]
        before = [each for each in released["inputs"] if each[2] is optional]
        assert names[: len(before)] == before


@every_node
def test_ids_names_and_texts(node_id):
    info = NODES[node_id].GET_NODE_INFO_V1()
    assert info["name"] == node_id == NODES[node_id].__name__
    assert wan_director.NODE_DISPLAY_NAME_MAPPINGS[node_id] == info["display_name"]
    assert info["category"].split("/")[0] == "Wan Director"
    assert info["description"]
    inputs = {**info["input"]["required"], **info["input"].get("optional", {})}
    assert [name for name, spec in inputs.items() if not spec[1].get("tooltip")] == []
    assert all(info["output_tooltips"])


@every_node
def test_execute_takes_what_the_schema_offers(node_id):
    node = NODES[node_id]
    info = node.GET_NODE_INFO_V1()
    parameters = inspect.signature(node.execute).parameters
    assert list(parameters) == [*info["input"]["required"], *info["input"].get("optional", {})]
    optional = [name for name, parameter in parameters.items() if parameter.default is not parameter.empty]
    assert optional == list(info["input"].get("optional", {}))


@every_node
def test_execute_is_short(node_id):
    source = inspect.getsource(inspect.unwrap(NODES[node_id].execute.__func__))
    function = ast.parse(inspect.cleandoc(source)).body[0]
    assert function.end_lineno - function.lineno + 1 < 30


def test_mappings_are_literal():
    """Tools that list nodes read the file without importing it."""
    tree = ast.parse(Path(wan_director.__file__).read_text(encoding="utf-8"))
    names = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    }
    keys = [key.value for key in names["NODE_CLASS_MAPPINGS"].keys]
    assert keys == list(NODES)
    assert ast.literal_eval(names["NODE_DISPLAY_NAME_MAPPINGS"]) == wan_director.NODE_DISPLAY_NAME_MAPPINGS
    assert ast.literal_eval(names["WEB_DIRECTORY"]) == "./web"


def test_widgets_have_defaults_inside_their_limits():
    for node_id, node in NODES.items():
        for name, (kind, options) in node.GET_NODE_INFO_V1()["input"]["required"].items():
            if kind in ("INT", "FLOAT"):
                assert options["min"] <= options["default"] <= options["max"], (node_id, name)
            if kind == "COMBO" and "default" in options:
                assert options["default"] in options["options"], (node_id, name)


def test_inputs_that_are_rarely_changed_are_folded_away():
    folded = {}
    for node_id, node in NODES.items():
        inputs = node.GET_NODE_INFO_V1()["input"]
        names = {name for each in inputs.values() for name, spec in each.items() if "advanced" in (*spec, {})[1]}
        folded |= {node_id: names} if names else {}
    assert folded == {
        "WanDirectorLoadModel": {"attention", "vace_module", "residual", "speed_module"},
        "WanDirectorFromNative": {"attention"},
        "WanDirectorLora": {"blocks", "start_percent", "end_percent", "merge"},
        "WanDirectorPromptTravel": {"method"},
        "WanDirectorEnhancePrompt": {"temperature", "max_tokens", "instructions"},
        "WanDirectorSampler": {"add_noise"},
        "WanDirectorCausal": {"context_noise"},
        "WanDirectorUni3C": {"fit"},
        "WanDirectorMemory": {"pinned_ram", "vae_strips", "feed_forward_tokens", "gpus"},
        "WanDirectorGuidance": {
            "cfg_start", "cfg_end", "zero_steps", "apg_parallel", "apg_longest", "skip_start", "skip_end", "nag_alpha",
            "nag_tau", "nag_end", "apg_momentum", "staged_video", "staged_references",
            "negative_skip_blocks",
        },
        "WanDirectorCameraPath": {"fx", "fy", "cx", "cy"},
        "WanDirectorBernini": {"reference_max_size"},
        "WanDirectorAnimate": {"continue_motion_max_frames"},
        "WanDirectorInfiniteTalk": {"motion_frames"},
        "WanDirectorScail": {"pose_start_percent", "pose_end_percent", "previous_frame_count"},
        "WanDirectorColouredMasks": {"sort_by", "persons"},
        "WanDirectorAnimate2": {
            "pose_strength", "pose_start_percent", "pose_end_percent", "reference_image_strength", "first_frame_bias",
            "weak_negative",
        },
        "WanDirectorMotion": {
            "words_end", "calm_words", "lively_words", "low_pass", "low_pass_end", "amplify", "motion_bucket",
        },
        "WanDirectorStepCache": {"start", "end", "most_in_a_row", "table"},
        "WanDirectorWindows": {"from_sigma", "keep_first_frame", "frame_before"},
        "WanDirectorDataset": {"batch_size", "buckets", "enlarge", "extraction", "fps", "caption_ending"},
        "WanDirectorTrainLora": {
            "alpha", "kind", "targets", "blocks", "norms", "biases", "noise", "shift", "lowest", "highest", "weighting",
            "optimiser", "warm_up", "decay", "weight_decay", "clip", "average", "turns", "caption_drop", "prior_copies",
            "prior_weight", "prior_batch", "prior_width", "prior_height", "prior_frames", "prior_steps", "prior_cfg",
            "prior_shift", "save_every", "replace", "budget", "gigabytes",
        },
        "WanDirectorPrepareClips": {"filters", "soft_cuts", "keep_bars", "measure", "address", "server_model"},
        "WanDirectorSubmit": {"priority"},
    }  # fmt: skip


def test_a_plan_that_was_shown_is_shown_again_after_a_reload_of_the_page():
    """ComfyUI sends again what such a node showed, though it need not run."""
    resent = {node_id for node_id, node in NODES.items() if node.GET_NODE_INFO_V1()["has_intermediate_output"]}
    assert resent == {"WanDirectorMemory"}


@every_node
def test_people_find_the_node_by_the_names_of_what_it_stands_in_for(node_id):
    """Names of ComfyUI's own nodes, and words that people type; the canvas's search is tested with the same."""
    info = NODES[node_id].GET_NODE_INFO_V1()
    known = [info["display_name"].lower(), *(alias.lower() for alias in info["search_aliases"])]
    assert [word for word in SEARCHED[node_id] if not any(word.lower() in name for name in known)] == []
