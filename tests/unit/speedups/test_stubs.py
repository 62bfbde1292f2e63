"""Every extension has a stub that names what it has, and no more."""

import ast
import importlib
from pathlib import Path

import pytest

import _speedups

FOLDER = Path(_speedups.__file__).parent
EXTENSIONS = sorted(path.stem for path in FOLDER.glob("*.pyx"))


def declared(name: str) -> tuple[set[str], dict[str, set[str]]]:
    """Names of a stub, and of each of its classes."""
    tree = ast.parse((FOLDER / f"{name}.pyi").read_text())
    names: set[str] = set()
    classes: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
            members = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            classes[node.name] = {member for member in members if member != "__init__"}
    return names, classes


@pytest.mark.parametrize("name", EXTENSIONS)
def test_stub_says_what_the_extension_has(name: str) -> None:
    module = importlib.import_module(f"_speedups.{name}")
    names, classes = declared(name)
    assert {name for name in vars(module) if not name.startswith("_")} == names
    for owner, members in classes.items():
        found = {member for member in vars(getattr(module, owner)) if not member.startswith("_")}
        assert found == members


def test_there_are_extensions() -> None:
    assert {"pgframe", "pgrows", "maskops", "sqllex"} <= set(EXTENSIONS)
