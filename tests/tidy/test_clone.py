"""A clone must work on a machine that is not ours: no paths, no hosts, everything pinned."""

import os
import re
import subprocess
import tomllib

import pytest

from tests.tidy.tree import ROOT, text, tracked

# Put together, so that this file does not find itself.
MACHINE_PATHS = [f"/{top}/" for top in ("work", "farm", "mnt/farm")] + ["/tmp/" + "bash_jobs"]
REGISTRIES = ["--index" + "-url", "--extra-index" + "-url", "--find" + "-links", "file:" + "//"]
BINARY = {".png", ".gz", ".so", ".ico", ".woff2"}


@pytest.mark.parametrize("path", MACHINE_PATHS)
def test_no_path_of_one_machine(path: str) -> None:
    assert not [str(name) for name in tracked() if name.suffix not in BINARY and path in text(name)]


def test_constraints_name_versions_and_nothing_else() -> None:
    lines = text(ROOT / "constraints.txt").splitlines()
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0].lower())
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line
    assert not [mark for mark in REGISTRIES if mark in "\n".join(lines)]


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    wanted = list(project["dependencies"])
    for extra in ("demo", "dev"):
        wanted += project["optional-dependencies"][extra]
    pinned = {line.split("==")[0].lower() for line in text(ROOT / "constraints.txt").splitlines()}
    names = {re.split(r"[\[<>=~! ;]", line)[0].lower() for line in wanted} - {"sallyport"}
    assert not names - pinned


@pytest.mark.parametrize(
    "script", ["scripts/setup.sh", "scripts/test-programs.sh", "scripts/mariadb.sh", ".ci/run"]
)
def test_scripts_are_plain_shell_that_parses(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert path.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", path], check=True)


def test_setup_has_nothing_to_do_twice() -> None:
    """A stamp that never fits would rebuild at each `make`. Within `make test`, setup has just run;
    elsewhere somebody may be in the middle of changing an extension."""
    done = subprocess.run(
        [ROOT / "scripts" / "setup.sh", "--check"], capture_output=True, timeout=60, check=False
    )
    if done.returncode == 3 and "MAKELEVEL" not in os.environ:
        pytest.skip("this environment is not what `make setup` would make")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
