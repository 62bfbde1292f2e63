"""House rules that no linter knows. A rule that has to bend is bent here, with its reason."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.tree import below, text, tracked, tree

FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 70

BANNED = {"utils", "helpers", "common", "base", "manager", "handler", "data", "info", "src", "dst"}
BANNED_SUFFIXES = ("Manager", "Handler", "Helper", "Helpers", "Utils", "Base")

BENT = {("appliance/telemetry/log.py", "info")}  # a log level's own name

PRODUCT = below("appliance", ".py")
SOURCES = [path for path in tracked() if path.suffix in {".py", ".pyx", ".pxd", ".pyi"}]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, FUNCTIONS):
            yield node


def test_there_is_something_to_check() -> None:
    assert len(PRODUCT) > 20 and len(SOURCES) > len(PRODUCT)


def test_files_stay_readable() -> None:
    lengths = {str(path): len(text(path).splitlines()) for path in SOURCES}
    assert not {path: lines for path, lines in lengths.items() if lines > FILE_LINES_MAX}


def test_functions_stay_readable() -> None:
    long = [
        f"{path}:{node.lineno} {node.name}: {lines} lines"
        for path in PRODUCT
        for node in functions(path)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path) for path in PRODUCT if not ast.get_docstring(tree(path)) and text(path).strip()
    ]
    assert not silent


def test_modules_have_names_that_say_something() -> None:
    named = [path for path in SOURCES if {part.split(".")[0] for part in path.parts} & BANNED]
    assert not named
    assert not [path for path in SOURCES if path.stem.startswith("process_")]


def test_definitions_have_names_that_say_something() -> None:
    bad = [
        f"{path}:{node.lineno} {node.name}"
        for path in PRODUCT
        for node in ast.walk(tree(path))
        if isinstance(node, (*FUNCTIONS, ast.ClassDef))
        and (
            (node.name in BANNED and (str(path), node.name) not in BENT)
            or node.name.startswith("process_")
            or node.name.endswith(BANNED_SUFFIXES)
        )
    ]
    assert not bad


def test_arguments_have_names_that_say_something() -> None:
    """The command line is exempt: there a name is an option (`--data`)."""
    bad = [
        f"{path}:{argument.lineno} {argument.arg}"
        for path in PRODUCT
        if path.parts[1] != "cli"
        for node in functions(path)
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if argument.arg in BANNED
    ]
    assert not bad


def test_nothing_is_swallowed_or_left_for_later() -> None:
    swallowed = [
        f"{path}:{node.lineno}"
        for path in PRODUCT
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert not swallowed
    later = re.compile(r"\b(TODO|FIXME|XXX)\b")
    rules = Path("tests/tidy/test_house_rules.py")
    assert not [str(path) for path in SOURCES if path != rules and later.search(text(path))]


@pytest.mark.parametrize("module", ["time", "random", "secrets", "socket", "logging", "os"])
def test_pure_packages_take_time_and_chance_as_arguments(module: str) -> None:
    """import-linter sees modules; this sees a late import inside a function too."""
    pure = {"session", "link", "wire", "sql", "policy", "masking", "approval", "identity"}
    pure |= {"audit", "detect", "model"}
    bad = [
        f"{path}:{node.lineno}"
        for path in PRODUCT
        if path.parts[1] in pure
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Import) and module in {name.name for name in node.names})
        or (isinstance(node, ast.ImportFrom) and node.module == module)
    ]
    assert not bad
