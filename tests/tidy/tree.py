"""The project's own files, for the tests in this folder."""

import ast
import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Every file that is committed or about to be, relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    names = sorted(name for name in listing.decode().split("\0") if name)
    return tuple(Path(name) for name in names if (ROOT / name).is_file())


def below(folder: str, suffix: str) -> list[Path]:
    return [path for path in tracked() if path.parts[0] == folder and path.suffix == suffix]


def text(path: Path) -> str:
    return (ROOT / path).read_text()


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path), str(path))
