# ruff: noqa: N802  (ComfyUI names its classes and their makers alike)
"""The part of `comfy_api.latest` that our nodes use, in plain Python, for running without ComfyUI.

The names and the node information are those of ComfyUI v0.33.0; a test compares them with a real server's
`/object_info`, of which older ones tell less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..common.records import record


def _present(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


class Input:
    """A socket of a node, or the base of a widget."""

    io_type = "*"
    widget_options: tuple[str, ...] = ()
    always: dict[str, Any] = {}

    def __init__(
        self,
        id: str,
        *,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        advanced: bool | None = None,
        **options: Any,
    ) -> None:
        unknown = set(options) - set(self.widget_options)
        if unknown:
            raise TypeError(f"{self.io_type} input {id!r} does not know {sorted(unknown)}")
        self.id = id
        self.display_name = display_name
        self.optional = optional
        self.tooltip = tooltip
        self.lazy = lazy
        self.advanced = advanced
        self.options = options

    def as_dict(self) -> dict[str, Any]:
        """The options as ComfyUI sends them to its canvas."""
        widget = {_CANVAS_NAMES.get(name, name): value for name, value in self.options.items()}
        widget = {name: value.value if isinstance(value, Enum) else value for name, value in widget.items()}
        if "upload" in widget:
            widget[widget.pop("upload")] = True
        shown = _present(display_name=self.display_name, tooltip=self.tooltip, lazy=self.lazy, advanced=self.advanced)
        return shown | self.always | _present(**widget)


_CANVAS_NAMES = {"dynamic_prompts": "dynamicPrompts", "force_input": "forceInput", "display_mode": "display"}


class Output:
    """A result of a node."""

    io_type = "*"

    def __init__(
        self,
        id: str | None = None,
        *,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.id = id
        self.display_name = display_name
        self.tooltip = tooltip
        self.is_output_list = is_output_list


def Custom(io_type: str, widget_options: tuple[str, ...] = (), **always: Any) -> type:
    """A socket type with the classes `Input` and `Output`."""
    attributes = {"io_type": io_type, "widget_options": widget_options, "always": always}
    return type(
        io_type.title().replace("_", ""),
        (),
        {
            "io_type": io_type,
            "Input": type("Input", (Input,), attributes),
            "Output": type("Output", (Output,), {"io_type": io_type}),
        },
    )


_WIDGET = ("default", "socketless", "force_input")
_NUMBER = (*_WIDGET, "min", "max", "step", "display_mode")
Boolean = Custom("BOOLEAN", (*_WIDGET, "label_on", "label_off"))
Int = Custom("INT", (*_NUMBER, "control_after_generate"))
Float = Custom("FLOAT", (*_NUMBER, "round"))
String = Custom("STRING", (*_WIDGET, "multiline", "placeholder", "dynamic_prompts"), multiline=False)
Combo = Custom("COMBO", (*_WIDGET, "options", "control_after_generate", "upload", "image_folder"), multiselect=False)
Image = Custom("IMAGE")
Mask = Custom("MASK")
Latent = Custom("LATENT")
Conditioning = Custom("CONDITIONING")
Sigmas = Custom("SIGMAS")
Audio = Custom("AUDIO")
Clip = Custom("CLIP")
Vae = Custom("VAE")
ClipVision = Custom("CLIP_VISION")
Model = Custom("MODEL")
ClipVisionOutput = Custom("CLIP_VISION_OUTPUT")
AudioEncoder = Custom("AUDIO_ENCODER")
AudioEncoderOutput = Custom("AUDIO_ENCODER_OUTPUT")


class UploadType(str, Enum):
    """What the upload button of a combo takes."""

    image = "image_upload"
    video = "video_upload"


class FolderType(str, Enum):
    """The host's three folders, as the canvas names them."""

    input = "input"
    output = "output"
    temp = "temp"


class Hidden(str, Enum):
    """What the host hands to a node that has no socket for it."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


@record(slots=False)
class HiddenHolder:
    """The hidden values of one execution."""

    unique_id: str | None = None
    prompt: dict | None = None
    extra_pnginfo: dict | None = None


@dataclass
class Schema:
    """What a node is called, takes and gives."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    search_aliases: list[str] | None = None
    has_intermediate_output: bool = False

    def __post_init__(self) -> None:
        self.hidden = list(self.hidden)
        if self.is_output_node:
            self.hidden += [name for name in (Hidden.prompt, Hidden.extra_pnginfo) if name not in self.hidden]

    def input_types(self) -> dict[str, dict]:
        """The inputs in the dictionary form of ComfyUI's first node interface."""
        types: dict[str, dict] = {"required": {}}
        for each in self.inputs:
            group = "optional" if each.optional else "required"
            types.setdefault(group, {})[each.id] = (each.io_type, each.as_dict())
        for hidden in self.hidden:
            types.setdefault("hidden", {})[hidden.name] = (hidden.value,)
        return types


class NodeOutput:
    """The results of one execution, in the order of the node's outputs, and what the canvas shows."""

    def __init__(self, *args: Any, ui: Any = None, block_execution: str | None = None) -> None:
        self.args = args
        self.ui = ui
        self.block_execution = block_execution

    @property
    def result(self) -> tuple | None:
        return self.args or None


class _FromSchema:
    """A class attribute of ComfyUI's first node interface, computed from the schema."""

    def __init__(self, read: Callable[[Schema], Any]) -> None:
        self.read = read

    def __get__(self, _: Any, owner: type[ComfyNode]) -> Any:
        return self.read(owner.define_schema())


class ComfyNode:
    """Base of a node: two class methods, `define_schema` and `execute`; optionally `validate_inputs` and
    `fingerprint_inputs`."""

    hidden: HiddenHolder = HiddenHolder()
    RELATIVE_PYTHON_MODULE: str | None = None
    FUNCTION = "execute"
    CATEGORY = _FromSchema(lambda schema: schema.category)
    DESCRIPTION = _FromSchema(lambda schema: schema.description)
    OUTPUT_NODE = _FromSchema(lambda schema: schema.is_output_node)
    INPUT_IS_LIST = _FromSchema(lambda schema: schema.is_input_list)
    OUTPUT_IS_LIST = _FromSchema(lambda schema: [output.is_output_list for output in schema.outputs])
    RETURN_TYPES = _FromSchema(lambda schema: [output.io_type for output in schema.outputs])
    RETURN_NAMES = _FromSchema(lambda schema: [output.display_name or output.io_type for output in schema.outputs])
    OUTPUT_TOOLTIPS = _FromSchema(lambda schema: [output.tooltip for output in schema.outputs])

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    if not TYPE_CHECKING:  # each node's has inputs of its own

        @classmethod
        def execute(cls, **inputs: Any) -> NodeOutput:
            raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        return cls.define_schema()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict]:
        return cls.define_schema().input_types()

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict[str, Any]:
        """What a server's `/object_info` says about the node."""
        schema = cls.define_schema()
        types = schema.input_types()
        return {
            "input": types,
            "input_order": {group: list(inputs) for group, inputs in types.items()},
            "output": cls.RETURN_TYPES,
            "output_is_list": cls.OUTPUT_IS_LIST,
            "output_name": cls.RETURN_NAMES,
            "output_tooltips": cls.OUTPUT_TOOLTIPS,
            "name": schema.node_id,
            "display_name": schema.display_name,
            "description": schema.description,
            "python_module": cls.RELATIVE_PYTHON_MODULE or "nodes",
            "category": schema.category,
            "output_node": schema.is_output_node,
            "deprecated": schema.is_deprecated,
            "experimental": schema.is_experimental,
            "api_node": schema.is_api_node,
            "is_input_list": schema.is_input_list,
            "has_intermediate_output": schema.has_intermediate_output,
            "search_aliases": schema.search_aliases,
            "output_matchtypes": None,
            "dev_only": False,
            "price_badge": None,
            "essentials_category": None,
        }


class SavedResult(dict):
    """Where a saved file lies, as the canvas asks for it."""

    def __init__(self, filename: str, subfolder: str, type: FolderType) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=type.value)


class SavedImages:
    """Saved pictures shown in the node."""

    def __init__(self, results: list[SavedResult], is_animated: bool = False) -> None:
        self.results = results
        self.is_animated = is_animated

    def as_dict(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"images": self.results}
        return shown | {"animated": (True,)} if self.is_animated else shown


class PreviewVideo:
    """A saved video shown in the node."""

    def __init__(self, values: list[SavedResult]) -> None:
        self.values = values

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (True,)}
