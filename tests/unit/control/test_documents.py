"""What is read is validated, and errors say where."""

from pathlib import Path

import pytest

from appliance.config.schema import Configuration
from appliance.control.documents import read, unchangeable, validate
from appliance.link.messages import Documents, PolicyDocument

TEXT = """
listeners: [{name: main, address: '127.0.0.1:0', target: shop, tls: {mode: disable}}]
targets: [{name: shop, host: localhost, roles: [{principals: ['*'], user: app}]}]
"""


def written(folder: Path, more: str = "") -> Path:
    path = folder / "sallyport.yaml"
    path.write_text(TEXT + more)
    return path


def test_bytes_travel_and_paths_are_resolved(tmp_path: Path) -> None:
    found = read(written(tmp_path, "data: state\n"), 3)
    assert found.documents.generation == 3
    assert found.documents.configuration == (TEXT + "data: state\n").encode()
    assert found.configuration.data == tmp_path / "state"
    assert found.policy_version == ""
    assert validate(found.documents).configuration == found.configuration


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("nonsense: 1\n", "nonsense"),
        ("policy: {files: [gone.yaml]}\n", "gone.yaml: cannot be read"),
        ("policy: {files: [bad.yaml]}\n", "bad.yaml"),
        ("policy: {tests: [gone.cases.yaml]}\n", "gone.cases.yaml: cannot be read"),
    ],
)
def test_errors_name_the_place(tmp_path: Path, more: str, says: str) -> None:
    (tmp_path / "bad.yaml").write_text("rules: [{}]")
    with pytest.raises(ValueError, match=says):
        read(written(tmp_path, more), 1)


def test_test_cases_come_along_for_control(tmp_path: Path) -> None:
    """Not for workers: their documents are as they were."""
    (tmp_path / "c.yaml").write_text("cases: []")
    found = read(written(tmp_path, "policy: {tests: [c.yaml]}\n"), 1)
    assert found.tests == (PolicyDocument(str(tmp_path / "c.yaml"), b"cases: []"),)
    assert found.documents.policies == ()


def test_not_text() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        validate(Documents(1, b"\xff", "", ()))


def test_checks_run(tmp_path: Path) -> None:
    def refuse(_: Configuration) -> None:
        raise ValueError("certificate expired")

    with pytest.raises(ValueError, match="expired"):
        read(written(tmp_path), 1, [refuse])


def test_what_takes_a_restart(tmp_path: Path) -> None:
    old = read(written(tmp_path), 1).configuration
    assert unchangeable(old, read(written(tmp_path, "log_level: debug\n"), 2).configuration) == ""
    new = read(written(tmp_path, "workers: 3\nadmin: 127.0.0.1:1\n"), 2).configuration
    assert unchangeable(old, new) == "workers, admin"
