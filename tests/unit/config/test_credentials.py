"""Credential references: where secrets are found, and that they never show."""

import pickle
from pathlib import Path

import pytest

from appliance.config.credentials import Credentials, CredentialUnavailable, Secret, resolve
from appliance.config.values import CredentialReference


def private(path: Path, content: bytes) -> CredentialReference:
    path.write_bytes(content)
    path.chmod(0o600)
    return CredentialReference(f"file:{path}")


def test_three_sources(tmp_path: Path) -> None:
    reference = private(tmp_path / "s", b"one\n")
    environment = {"PW": "two", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    references = [reference, CredentialReference("env:PW"), CredentialReference("credential:s")]
    found = Credentials(references, environment=environment)
    assert [found[r].reveal() for r in references] == [b"one", b"two", b"one"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"a\n", b"a"), (b"a\r\n", b"a"), (b"a\n\n", b"a\n"), (b" a ", b" a "), (b"\xff", b"\xff")],
)
def test_one_trailing_line_feed_goes(tmp_path: Path, content: bytes, expected: bytes) -> None:
    assert resolve(private(tmp_path / "s", content), {}).reveal() == expected


def test_secrets_do_not_show() -> None:
    secret = Secret(b"hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>9}", repr([secret]), "%s" % secret]  # noqa: UP031
    assert not any("hunter2" in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret == Secret(b"hunter2")
    assert secret != Secret(b"other")


@pytest.mark.parametrize("text", ["env:NONE", "env:EMPTY", "credential:x", "file:/nowhere/x"])
def test_unavailable(text: str) -> None:
    with pytest.raises(CredentialUnavailable, match=text):
        resolve(CredentialReference(text), {"EMPTY": ""})


def test_odd_files(tmp_path: Path) -> None:
    for content in (b"", b"\n", b"a\0b", b"x" * 70_000):
        with pytest.raises(CredentialUnavailable):
            resolve(private(tmp_path / "s", content), {})
    with pytest.raises(CredentialUnavailable):
        resolve(CredentialReference(f"file:{tmp_path}"), {})
    with pytest.raises(CredentialUnavailable, match="regular"):
        resolve(CredentialReference("file:/dev/null"), {})


def test_readable_by_others_is_warned_about(tmp_path: Path) -> None:
    reference = private(tmp_path / "s", b"hunter2")
    warnings: list[str] = []
    resolve(reference, {}, warnings.append)
    assert warnings == []
    (tmp_path / "s").chmod(0o644)
    resolve(reference, {}, warnings.append)
    assert len(warnings) == 1
    assert "hunter2" not in warnings[0]


def test_reload_is_all_or_nothing(tmp_path: Path) -> None:
    one, two = private(tmp_path / "1", b"a"), private(tmp_path / "2", b"b")
    found = Credentials([one, two])
    (tmp_path / "1").write_bytes(b"new")
    (tmp_path / "2").unlink()
    with pytest.raises(CredentialUnavailable):
        found.reload([one, two])
    assert found[one].reveal() == b"a"
    found.reload([one])
    assert found[one].reveal() == b"new"
    with pytest.raises(CredentialUnavailable):
        found[two]
