"""Rules for `_speedups` that import-linter cannot see, because it reads no `.pyx`."""

import ast
import re

from tests.tidy.tree import ROOT, below, text, tree

EXTENSIONS = below("_speedups", ".pyx")
SHARED = below("_speedups", ".pxd")
IMPORT = re.compile(r"^\s*(?:from|import|cimport)\s+([\w.]+)", re.MULTILINE)
ALLOWED = {"cpython", "libc", "posix", "cython", "_speedups"}


def test_there_are_extensions() -> None:
    assert EXTENSIONS


def test_they_import_nothing_of_ours_and_nothing_slow() -> None:
    foreign = {
        f"{path}: {module}"
        for path in [*EXTENSIONS, *SHARED]
        for module in IMPORT.findall(text(path))
        if module.split(".")[0] not in ALLOWED
    }
    assert not foreign


def test_each_has_a_stub_and_none_is_pasted_together() -> None:
    for path in EXTENSIONS:
        assert (ROOT / path.with_suffix(".pyi")).exists(), f"{path} has no .pyi"
        assert not re.search(r"^\s*include\s", text(path), re.MULTILINE), f"{path} includes a file"


def test_only_what_is_installed_imports_them_by_name() -> None:
    """`_speedups` is for wire, masking, audit, sql and whoever moves bytes; never for model."""
    for path in below("appliance", ".py"):
        if path.parts[1] != "model":
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("_speedups"), path
