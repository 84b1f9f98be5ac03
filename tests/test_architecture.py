"""Which room may import which: the ground floor nothing, everything else only what lies below."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "easq_keras": set(),
    "serving": set(),
    "simulator": set(),
    "pipeline": {"easq_keras"},
    "experiments": {"easq_keras", "serving", "simulator", "pipeline"},
    "cli": {"easq_keras", "serving", "simulator", "pipeline", "experiments"},
    "environment": set(),
}
ROOMS = set(MAY_IMPORT)
# The library works with Keras alone; what knows TFX, Beam or file formats is the pipeline.
LIBRARY_MAY_IMPORT = {"keras", "keras_rs", "numpy", "tensorflow", "easq_keras"}
# The one module for TensorFlow Recommenders, which works on Keras 2 only.
TFRS_BRIDGE = ROOT / "easq_keras" / "tfrs.py"
# The command line imports a room when its command runs, not when it starts.
SLOW_TO_IMPORT = {"tensorflow", "keras", "tfx", "apache_beam", "tensorflow_model_analysis"}


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported_modules(tree: ast.AST) -> set[str]:
    """The modules, and names out of modules, imported anywhere in a tree, dotted."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imported(tree: ast.AST) -> set[str]:
    """The top-level packages imported anywhere in a tree."""
    return {name.split(".")[0] for name in imported_modules(tree)}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_rooms_below_it(room):
    allowed = MAY_IMPORT[room] | {room}
    wrong = {name_of(path): imported(parsed(path)) & ROOMS - allowed for path in sources(room)}

    assert {name: rooms for name, rooms in wrong.items() if rooms} == {}


def test_the_library_needs_keras_and_no_pipeline_framework():
    allowed = LIBRARY_MAY_IMPORT | sys.stdlib_module_names
    modules = set(sources("easq_keras")) - {TFRS_BRIDGE}
    wrong = {name_of(path): imported(parsed(path)) - allowed for path in modules}

    assert {name: found for name, found in wrong.items() if found} == {}


def test_nothing_needs_the_bridge_to_tensorflow_recommenders():
    """It is there for those who import it; it brings Keras 2 with it."""
    users = [
        name_of(path)
        for room in MAY_IMPORT
        for path in sources(room)
        if path != TFRS_BRIDGE and "easq_keras.tfrs" in imported_modules(parsed(path))
    ]

    assert users == []


@pytest.mark.parametrize("room", ["easq_keras", "pipeline", "serving"])
def test_keras_is_keras_3_and_never_tf_keras(room):
    """tf.keras becomes Keras 2 as soon as tensorflow_transform is imported."""
    uses = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources(room)
        if path != TFRS_BRIDGE
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
        and node.attr == "keras"
        and isinstance(node.value, ast.Name)
        and node.value.id in ("tf", "tensorflow")
    ]

    assert uses == []


def test_the_rooms_are_all_the_packages_there_are():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert packages <= ROOMS | {"tests", "benchmarks"}
    assert {"easq_keras", "serving", "simulator", "pipeline", "cli"} <= packages


def test_the_command_line_starts_without_the_frameworks():
    top_level = [node for node in parsed(ROOT / "cli" / "main.py").body if is_import(node)]
    names = set().union(*(imported(node) for node in top_level))

    assert names & (SLOW_TO_IMPORT | ROOMS - {"cli"}) == set()


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))
