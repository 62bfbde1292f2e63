"""What the demo has to know of one kind of database; the modules in KINDS say it.

`stage` starts one and writes it into the configuration, `tour` walks on its sessions. Rule: nothing
else of the demo asks which kind it is.
"""

import abc
import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from appliance.cli.demo.embedded import EmbeddedServer
from appliance.cli.demo.seen import Session
from appliance.cli.demo.steps import Step
from appliance.config.spoken import SpokenName

KINDS: Mapping[SpokenName, str] = {
    "postgresql": "appliance.cli.demo.postgres_sample",
    "mysql": "appliance.cli.demo.mariadb_sample",
}
"""Dialects as in configuration, and where their SAMPLE is: imported only when it is asked for."""


@dataclass(frozen=True)
class Way:
    """Who connects, and where to: through Sallyport, over TLS that `ca` vouches for, or, without
    one, straight to the database."""

    user: str
    secret: str
    port: int
    ca: Path | None = None


class Sample(abc.ABC):
    """One kind of database with the sample shop in it, below `folder`. The server is not started
    yet. Raises CannotRun where there is none."""

    DIALECT: ClassVar[SpokenName]
    PORT: ClassVar[int]
    """Where clients are taken, when it is free."""
    TARGET: ClassVar[Mapping[str, object]] = {}
    """More of its target in the configuration."""
    STEPS: ClassVar[Sequence[Step]]
    ESTIMATES: ClassVar[bool]
    """Whether approvers see how many rows the database expects a held statement to write."""
    NO_CLIENT: ClassVar[str]
    """Where to get the client that `shell` is about."""

    server: EmbeddedServer

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abc.abstractmethod
    def load(self, passwords: Mapping[str, str]) -> None:
        """Roles (with `passwords`, see shop.ROLES) and the shop; the server runs."""

    @abc.abstractmethod
    def superuser_uri(self) -> str:
        """Straight to the shop."""

    @abc.abstractmethod
    def uri(self, way: Way) -> str:
        """For drivers."""

    @abc.abstractmethod
    def session(self, way: Way) -> AbstractContextManager[Session]:
        """With an ordinary driver; its errors when there is no getting in."""

    @abc.abstractmethod
    def policy(self, text: str) -> str:
        """The demo's policy in this database's names; `text` has PostgreSQL's."""

    @abc.abstractmethod
    def shell(self, name: str, sql: str = "") -> str:
        """What `name` types after `. .demo/env`, to look around or to send one statement."""

    @abc.abstractmethod
    def environment(self, ways: Mapping[str, Way]) -> Sequence[str]:
        """More lines of `.demo/env`, for whoever `ways` names."""


def sample(dialect: SpokenName, folder: Path) -> Sample:
    """The one of that name."""
    made: Sample = importlib.import_module(KINDS[dialect]).SAMPLE(folder)
    return made
