"""`sallyport serve`: a configuration that would not work never starts anything."""

from pathlib import Path

import pytest

from appliance.cli import serve as module
from appliance.cli.serve import serve
from appliance.control.supervisor import Service

TEXT = """
data: {folder}
listeners: [{{name: main, address: '127.0.0.1:0', target: shop, tls: {{mode: disable}}}}]
targets: [{{name: shop, host: localhost, roles: [{{principals: ['*'], user: app}}]}}]
identities: {{users: {users}}}
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    services: list[Service] = []

    def run(service: Service) -> int:
        services.append(service)
        return 0

    monkeypatch.setattr(module, "run_service", run)
    return services


def configuration(folder: Path, users: str) -> Path:
    path = folder / "sallyport.yaml"
    path.write_text(TEXT.format(folder=folder, users=users))
    return path


def test_a_missing_or_broken_file(
    tmp_path: Path, started: list[Service], capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(tmp_path / "gone.yaml") == 2
    assert "gone.yaml" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("nonsense: 1")
    assert serve(tmp_path / "bad.yaml") == 2
    assert not started


def test_what_check_config_finds_keeps_it_from_starting(
    tmp_path: Path, started: list[Service], capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(configuration(tmp_path, "no-such-file")) == 2
    assert "users" in capsys.readouterr().err
    assert not started


def test_a_sound_file_is_run(
    tmp_path: Path, started: list[Service], capsys: pytest.CaptureFixture[str]
) -> None:
    users = tmp_path / "users.yaml"
    users.write_text("version: 1\nusers: []\n")
    users.chmod(0o600)
    assert serve(configuration(tmp_path, "users.yaml"), workers=3, log_format="json") == 0
    (service,) = started
    assert service.workers == 3
    assert service.log_json
    assert service.first.documents.generation == 1
    assert "everything is denied" in capsys.readouterr().err
