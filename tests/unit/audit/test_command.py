"""`sallyport audit ...` over a real folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.audit import checkpoint
from appliance.audit.checkpoint import Ed25519Signer
from appliance.audit.query import Criteria
from appliance.cli.audit import audit_app
from appliance.spool.trail_folder import FolderTrail, Follower


@pytest.fixture
def data(tmp_path: Path, pristine: Any, signer: Ed25519Signer) -> Path:
    for worker, files in pristine.files.items():
        folder = tmp_path / "audit" / f"w{worker}"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "audit-ed25519.pub").write_bytes(signer.public_pem())
    return tmp_path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SALLYPORT_DATA", str(data))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = audit_app(list(arguments), exit_on_error=False, result_action="return_value")
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_tail(run: Run) -> None:
    code, out, _ = run("tail", "-n", "4")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 5
    assert lines[0].split()[:2] == ["REF", "TIME"]
    assert "copilot>alice" in out
    assert max(map(len, lines)) <= 120


def test_search_outputs(run: Run) -> None:
    code, out, _ = run("search", "--principal", "alice", "--action", "select", "--output", "json")
    found = json.loads(out)
    assert code == 0
    assert [f["record"]["id"] for f in found] == ["d1", "d2", "d4", "d5", "d6"]
    assert found[0]["finished"]["rows"] == 10
    _, out, _ = run("search", "--effect", "deny", "--output", "ndjson")
    assert [json.loads(line)["record"]["event"] for line in out.splitlines()] == [
        "statement_decided",
        "login_failed",
    ]
    _, out, err = run("search", "--limit", "2")
    assert len(out.splitlines()) == 3
    assert "--limit" in err
    assert run("search", "--since", "1d")[0] == 0
    _, out, _ = run("search", "--since", "2026-09-21T14:13:25", "--output", "ndjson")
    assert len(out.splitlines()) == 5
    code, _, err = run("search", "--since", "yesterday-ish")
    assert (code, "neither a time" in err) == (2, True)


def test_show(run: Run) -> None:
    code, out, _ = run("show", "0:3")
    assert code == 0
    assert '"id": "d1"' in out
    assert '"id": "f1"' in out
    assert '"event": "session_opened"' in out
    assert run("show", "0:999")[0] == 2


def test_verify(run: Run, data: Path, tmp_path: Path, signer: Ed25519Signer) -> None:
    code, out, _ = run("verify")
    assert code == 0
    assert out.splitlines()[-1] == "OK: complete and unaltered"
    assert "(from beside the trail)" in out
    copy = tmp_path / "elsewhere"
    shutil.copytree(data / "audit", copy)
    key = tmp_path / "auditor.pub"
    key.write_bytes(signer.public_pem())
    code, out, _ = run("verify", str(copy), "--public-key", str(key), "--output", "json")
    assert (code, json.loads(out)["errors"]) == (0, 0)
    witness = tmp_path / "witness.json"
    shutil.copy(copy / "w0" / "head.json", witness)
    assert run("verify", str(copy), "--public-key", str(key), "--witness", str(witness))[0] == 0
    segment = next(copy.glob("w0/*.ndjson"))
    segment.write_bytes(segment.read_bytes().replace(b"alice", b"mallo", 1))
    code, out, _ = run("verify", str(copy), "--public-key", str(key))
    assert code == 1
    assert out.splitlines()[-1].startswith("FAILED: ")
    assert "ERROR altered: worker 0" in out


def test_what_cannot_be_checked_is_not_ok(run: Run, data: Path, tmp_path: Path) -> None:
    assert run("verify", str(tmp_path / "nowhere"))[0] == 2
    (data / "keys" / "audit-ed25519.pub").unlink()
    code, _, err = run("verify")
    assert (code, "cannot check" in err) == (2, True)
    shutil.rmtree(data / "audit")
    for command in (["tail"], ["search"], ["show", "x"], ["verify"]):
        code, _, err = run(*command)
        assert (code, "--data" in err) == (2, True)


def test_follower_sees_each_new_story_once(data: Path, pristine: Any) -> None:
    files = pristine.files[0]
    name = checkpoint.segment_order(files)[-1]
    lines = files[name].splitlines(keepends=True)
    path = data / "audit" / "w0" / name
    path.write_bytes(b"".join(lines[:2]))  # d6 is decided, not finished
    follower = Follower(FolderTrail(data / "audit"), Criteria())
    assert list(follower.read()) == []
    with path.open("ab") as file:
        file.write(lines[2] + lines[3][:10])
    assert [s.record.id for s in follower.read()] == ["d6"]
    with path.open("ab") as file:
        file.write(lines[3][10:] + lines[4])
    assert [s.record.id for s in follower.read()] == ["sc", "so-s2"]
    assert list(follower.read()) == []


def test_follower_goes_on_in_new_segments_and_workers(data: Path, pristine: Any) -> None:
    files = pristine.files[0]
    last = checkpoint.segment_order(files)[-1]
    path = data / "audit" / "w0" / last
    content = path.read_bytes()
    path.unlink()
    follower = Follower(FolderTrail(data / "audit"), Criteria())
    path.write_bytes(content)
    other = data / "audit" / "w1"
    other.mkdir()
    (other / last).write_bytes(content)
    found = sorted(s.reference for s in follower.read())
    assert found == ["0:15", "0:17", "0:18", "1:15", "1:17", "1:18"]


def test_torn_line_gets_a_second_look(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = FolderTrail(data / "audit")
    path = data / "audit" / "w0" / checkpoint.segment_order(trail.names(0))[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])

    def arrive(seconds: float) -> None:
        path.write_bytes(whole)

    monkeypatch.setattr("appliance.spool.trail_folder.time.sleep", arrive)
    assert b"".join(trail.lines(0, path.name)) == whole


def test_so_does_each_of_several(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = FolderTrail(data / "audit")
    path = data / "audit" / "w0" / checkpoint.segment_order(trail.names(0))[-1]
    whole = path.read_bytes()
    cuts = [len(whole), whole.rfind(b"\n", 0, -1) + 9]
    path.write_bytes(whole[: whole.find(b"\n") + 9])

    def arrive(seconds: float) -> None:
        path.write_bytes(whole[: cuts.pop()])

    monkeypatch.setattr("appliance.spool.trail_folder.time.sleep", arrive)
    assert b"".join(trail.lines(0, path.name)) == whole
    assert not cuts
