"""`sallyport check-config` and `config schema`, as an administrator runs them."""

import json
from pathlib import Path

import pytest

from appliance.cli.main import main

SOUND = """
data: data
listeners:
  - {name: l, address: "127.0.0.1:6432", target: t, tls: {mode: disable}}
targets:
  - name: t
    host: 127.0.0.1
    tls: {mode: disable}
    roles: [{principals: ["*"], user: u, credential: "env:SALLYPORT_TEST_PASSWORD"}]
identities: {users: users.yaml}
"""


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SALLYPORT_TEST_PASSWORD", "secret word")
    (tmp_path / "users.yaml").write_text("users: []")
    (tmp_path / "users.yaml").chmod(0o600)
    (tmp_path / "sallyport.yaml").write_text(SOUND)
    return tmp_path / "sallyport.yaml"


def test_sound(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check-config", file) == 0
    output = capsys.readouterr()
    assert "no policy: every statement is refused" in output.out  # a warning
    assert output.err.endswith("sallyport.yaml: ok\n")
    assert "secret word" not in output.out + output.err
    assert run("check-config", file, "--strict") == 1
    assert run("config", "check", file) == 0


def test_errors_name_place_and_remedy(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(SOUND.replace("host:", "hots:"))
    assert run("check-config", file) == 1
    assert "$.targets[0].hots: unknown key (did you mean `host`?)" in capsys.readouterr().out


def test_policy_is_compiled(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "policy.yaml").write_text("surely: not a policy")
    file.write_text(SOUND + "policy: {files: [policy.yaml]}\n")
    assert run("check-config", file, "--json") == 1
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["path"] for e in entries if e["severity"] == "error"] == ["$.policy.files"]


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "schema") == 0
    published = Path(__file__).parents[3] / "config" / "sallyport.schema.json"
    assert capsys.readouterr().out == published.read_text()
