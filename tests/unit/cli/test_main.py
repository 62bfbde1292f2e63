"""The entry point: quick, and it knows its commands."""

import subprocess
import sys
import time

import pytest

from appliance import __version__
from appliance.cli.main import COMMANDS, main, root_with


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == run() == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in [*COMMANDS, "version"])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == run("version") == 0
    assert capsys.readouterr().out == f"sallyport {__version__}\n" * 2


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    """`sallyport config schema | head -1`, with more to say than a pipe holds."""
    program = "from appliance.cli.main import main; main(['config', 'schema'])"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (141, b"")


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("usr") == 2
    assert "Did you mean `user`?" in capsys.readouterr().err


def test_wrong_arguments() -> None:
    assert run("user", "add", "x", "--kind", "robot") != 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    root_with(name)  # importable
    assert run(name, "--help") == 0
    assert f"sallyport {name}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    """The wall time is bounded by what is imported, and that can be told without a clock."""
    code = (
        "import sys\nfrom appliance.cli.main import main\ntry:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print({'cyclopts', 'rich', 'msgspec', 'yaml', 'asyncio'} & set(sys.modules))"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert time.monotonic() - begun < 5
