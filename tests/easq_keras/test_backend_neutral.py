"""Layers, losses and metrics know Keras and NumPy and no backend."""

import ast
import sys
from pathlib import Path

import pytest

import easq_keras

ROOT = Path(easq_keras.__file__).parent
FILES = sorted(
    path for room in ("layers", "losses", "metrics") for path in (ROOT / room).glob("*.py")
)
ALLOWED = {"easq_keras", "keras", "numpy", *sys.stdlib_module_names}


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, and `keras.src` if it reaches in there."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return {name if name.startswith("keras.src") else name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_imports_no_backend(path: Path) -> None:
    assert imported(path) <= ALLOWED
