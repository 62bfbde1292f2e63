"""The systemd units: well-formed, well sandboxed, and true to the program."""

import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from appliance.cli.serve import DEFAULT_CONFIGURATION

SERVICES = ("sallyport.service", "sallyport-control.service")
UNITS = Path(__file__).parents[3] / "systemd"
EXPOSURE_TENTHS_MAX = 15
"""`systemd-analyze security` gives 0.0 (safe) to 10.0; its threshold is in tenths."""

ANALYZE = shutil.which("systemd-analyze")
with_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed here")


class Unit(RawConfigParser):
    """A unit file, whose keys may repeat (the last is kept, which is enough here)."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, interpolation=None)
        self.optionxform = str  # type: ignore[assignment, method-assign]
        self.read(UNITS / name)


def analyzed(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as if the program were where they say."""
    program = tmp_path / "sallyport"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in (*SERVICES, "sallyport.socket"):
        text = (UNITS / name).read_text().replace("/opt/sallyport/bin/sallyport", str(program))
        (tmp_path / name).write_text(text.replace("man:sallyport(1)", "https://example.org"))
    return tmp_path


@with_systemd
def test_units_verify(installed: Path) -> None:
    units = [str(installed / name) for name in (*SERVICES, "sallyport.socket")]
    found = analyzed("verify", *units)
    assert found.returncode == 0, found.stderr
    assert "sallyport" not in found.stderr, found.stderr


@with_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_the_sandbox_is_tight(installed: Path, name: str) -> None:
    found = analyzed(
        "security", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}",
        str(installed / name),
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr


@with_systemd
def test_the_analyzer_would_notice_a_loose_one(installed: Path) -> None:
    text = (installed / "sallyport.service").read_text()
    loose = "\n".join(line for line in text.splitlines() if "Protect" not in line)
    (installed / "sallyport.service").write_text(loose)
    found = analyzed(
        "security", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}",
        str(installed / "sallyport.service"),
    )  # fmt: skip
    assert found.returncode != 0


def test_units_say_what_the_program_does() -> None:
    service = Unit("sallyport.service")["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"  # workers do not speak for the service
    assert service["KillMode"] == "mixed"  # only the supervisor gets SIGTERM
    assert str(DEFAULT_CONFIGURATION) in service["ExecStart"]
    assert service["RuntimeDirectory"] == service["StateDirectory"] == "sallyport"
    control = Unit("sallyport-control.service")["Service"]
    assert (
        str(DEFAULT_CONFIGURATION) in control["ExecStart"] and " control " in control["ExecStart"]
    )
    assert control["StateDirectory"] == "sallyport"  # keys and the trail are shared
    assert Unit("sallyport.socket")["Socket"]["Service"] == "sallyport.service"


@pytest.mark.parametrize("name", ["sallyport.sysusers", "sallyport.tmpfiles"])
def test_fragments_are_of_the_expected_shape(name: str) -> None:
    lines = [
        line.split()
        for line in (UNITS / name).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines
    assert all(line[0] in ("u", "d") for line in lines)
