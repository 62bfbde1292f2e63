"""Servers of this folder's tests: one PostgreSQL that logs, and proxies in front of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cli.demo.postgres import EmbeddedPostgres
from tests.adversity import stage
from tests.adversity.stage import Cluster, Proxy


@pytest.fixture(scope="session")
def logging_server(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    settings = {"log_statement": "all", "log_line_prefix": "%p "}
    with EmbeddedPostgres(server_folder / "log", 18, settings=settings) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(logging_server: EmbeddedPostgres) -> Cluster:
    """The vault, anew for every test file."""
    return Cluster(logging_server)


@pytest.fixture(scope="module")
def masked(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """For somebody who owes masks."""
    with stage.proxy(cluster, tmp_path_factory.mktemp("masked"), stage.MASKED) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """For somebody who owes no mask, but may not drop."""
    with stage.proxy(cluster, tmp_path_factory.mktemp("guarded"), stage.GUARDED) as running:
        yield running


@pytest.fixture(scope="module")
def permissive(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """For somebody who may do everything."""
    folder = tmp_path_factory.mktemp("permissive")
    from appliance.policy.presets import PERMISSIVE

    with stage.proxy(cluster, folder, PERMISSIVE.decode()) as running:
        yield running
