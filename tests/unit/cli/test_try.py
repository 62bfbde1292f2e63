"""`sallyport try`: what it is told is looked at before anything starts."""

from pathlib import Path

import pytest

from appliance.cli.try_ import try_


@pytest.mark.parametrize("asked", ["transaction:", "transaction:x", "session:-1", "session:1.5"])
def test_how_many_connections_is_a_number(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    uri = "postgresql://somebody@127.0.0.1:1/somewhere"
    assert try_(uri, data=tmp_path, listen="127.0.0.1:0", pooling=asked) == 2
    said = capsys.readouterr().err
    assert f"--pooling {asked}: " in said and "transaction:8" in said
    assert "secret" not in said
