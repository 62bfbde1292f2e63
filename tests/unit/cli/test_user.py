"""`sallyport user`: only verifiers are stored, files stay private, mistakes change nothing."""

import io
import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.identity.scram import Verifier, verify_password
from appliance.identity.verifiers import parse_users
from appliance.model.principal import PrincipalKind


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return tmp_path / "users.yaml"


NATIVE = "0E8F21E4240F5AD5A07D088F9C93890D13D78A4E"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["user", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def password_file(folder: Path, content: bytes = b"correct horse\n") -> Path:
    (folder / "password").write_bytes(content)
    return folder / "password"


def test_add_stores_only_a_verifier(users: Path) -> None:
    path = password_file(users.parent)
    arguments = ["--kind", "agent", "--group", "a", "--group", "b", "--on-behalf-of", "alice"]
    assert run("add", "copilot", *arguments, "--users", users, "--password-file", path) == 0
    assert "correct horse" not in users.read_text()
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    found = parse_users(users.read_text()).find("copilot")
    assert found is not None
    assert (found.kind, found.groups, found.on_behalf_of) == (
        PrincipalKind.AGENT,
        ("a", "b"),
        "alice",
    )
    assert verify_password(Verifier.parse(found.verifier or ""), "correct horse")
    assert [p.name for p in users.parent.iterdir() if p.name.startswith(".")] == []


def test_a_digest_for_old_clients_only_when_asked_for(users: Path) -> None:
    path = password_file(users.parent)
    given = ("--users", users, "--password-file", path)
    assert run("add", "old", "--native", *given) == 0
    assert run("add", "new", *given) == 0
    directory = parse_users(users.read_text())
    # SELECT PASSWORD('correct horse'), of MariaDB
    assert directory.native_digest("old") == bytes.fromhex(NATIVE)
    assert directory.native_digest("new") is None and directory.native_digest("none") is None
    assert run("password", "old", *given) == 0
    assert parse_users(users.read_text()).native_digest("old") is None


def test_generated_password_is_printed_once(
    users: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("add", "bob", "--generate", "--users", users) == 0
    output = capsys.readouterr()
    password = output.out.strip()
    assert len(password) >= 32
    assert password not in output.err
    found = parse_users(users.read_text()).find("bob")
    assert found is not None
    assert verify_password(Verifier.parse(found.verifier or ""), password)


def test_standard_input(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe\n")))
    assert run("add", "bob", "--password-stdin", "--users", users) == 0
    found = parse_users(users.read_text()).find("bob")
    assert found is not None
    assert verify_password(Verifier.parse(found.verifier or ""), "from a pipe")


def test_life_of_a_user(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "bob", "--no-password", "--users", users) == 0
    assert run("add", "bob", "--no-password", "--users", users) == 1
    assert run("add", "bob", "--no-password", "--group", "x", "--replace", "--users", users) == 0
    assert run("disable", "bob", "--users", users) == 0
    capsys.readouterr()
    assert run("list", "--json", "--users", users) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "bob",
        "kind": "human",
        "groups": ["x"],
        "on_behalf_of": None,
        "disabled": True,
        "password": False,
    }
    assert run("enable", "bob", "--users", users) == 0
    assert run("password", "bob", "--generate", "--users", users) == 0
    capsys.readouterr()
    assert run("list", "--users", users) == 0
    listed = capsys.readouterr().out
    assert listed.split() == ["bob", "human", "active", "password", "x"]
    assert "SCRAM" not in listed
    assert run("remove", "bob", "--users", users) == 0
    assert parse_users(users.read_text()).users == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "bob"],  # no terminal to ask on
        ["add", "bob", "--generate", "--password-stdin"],
        ["add", "bob", "--password-file", "/nowhere"],
        ["add", " bob", "--no-password"],
        ["add", "bob", "--generate", "--iterations", "10"],
        ["remove", "nobody"],
        ["disable", "nobody"],
        ["password", "nobody", "--generate"],
        ["list"],
    ],
)
def test_mistakes_change_nothing(
    users: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run(*arguments, "--users", users) == 1
    assert not users.exists()


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 5_000, b"has\0a nul in it"])
def test_bad_passwords(users: Path, content: bytes) -> None:
    path = password_file(users.parent, content)
    assert run("add", "bob", "--users", users, "--password-file", path) == 1


def test_a_missing_folder_names_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("add", "bob", "--no-password", "--users", tmp_path / "no" / "users.yaml") == 1
    assert "--users FILE" in capsys.readouterr().err


def test_damaged_file_is_left_alone(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users.write_text("users: [{nme: x}]")
    assert run("add", "bob", "--no-password", "--users", users) == 1
    assert users.read_text() == "users: [{nme: x}]"
    assert "unknown key" in capsys.readouterr().err


def test_prompt(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["correct horse", "correct horse", "one thing", "and another"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert run("add", "bob", "--users", users) == 0
    assert run("add", "eve", "--users", users) == 1


def test_writers_at_the_same_time_lose_nothing(users: Path) -> None:
    def add(name: str) -> int:
        command = [sys.executable, "-m", "appliance.cli.main", "user", "add", name]
        return subprocess.run(
            [*command, "--no-password", "--users", str(users)], check=False, capture_output=True
        ).returncode

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(add, [f"u{i}" for i in range(6)])) == {0}
    assert len(parse_users(users.read_text()).users) == 6
