"""Everything the demo stands on, below one folder: database, certificates, people, configuration,
and Sallyport itself.

`app` opens it, `tour` walks on it. What is in the folder is made anew at each start; two demos in
one folder at once are refused. Leaving the `with` block ends everything that was started.
"""

import contextlib
import fcntl
import secrets
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec
import yaml
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from appliance.cli.authority import issue, make_authority
from appliance.cli.demo import shop
from appliance.cli.demo.child import Child, NotReady, ready_fields
from appliance.cli.demo.sample import Sample, Way, sample
from appliance.cli.files import write_private
from appliance.cli.login import token_by_password
from appliance.cli.remote import Failed, Login, Remote
from appliance.config.spoken import SpokenName
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users

ISSUER = "https://idp.shop.example"
AUDIENCE = "sallyport"
TOKEN_SECONDS = 12 * 3600
TOKEN_DAYS = 1
APPROVER = "bob"
CONSOLE_PORT = 8480
CERTIFICATE_DAYS = 30
SALLYPORT = Path(sys.executable).with_name("sallyport")
LOCK_NAME = "demo.lock"


class StageTaken(RuntimeError):
    """The folder is another demo's, or holds what no demo put there."""


@dataclass(frozen=True)
class Person:
    """One principal of the tour. `secret` is a password, or a token for an agent."""

    name: str
    what: str
    secret: str


@dataclass
class Stage:
    """Paths and URIs of a running demo."""

    folder: Path
    sample: Sample
    people: dict[str, Person]
    passwords: dict[str, str]
    listen: str
    port: int = 0
    pid: int = 0
    """Of `sallyport serve`."""
    fields: dict[str, str] = field(default_factory=dict)
    login: Login = field(default_factory=lambda: Login("", ""))
    """APPROVER's, for API and commands: the console's URL, a token of theirs, the authority."""

    @property
    def ca(self) -> Path:
        return self.folder / "ca" / "ca.crt"

    @property
    def trail(self) -> Path:
        """Sallyport's data folder: the audit trail is in it."""
        return self.folder / "data"

    @property
    def config(self) -> Path:
        return self.folder / "sallyport.yaml"

    @property
    def policy(self) -> Path:
        return self.folder / "policy.yaml"

    def way(self, person: str) -> Way:
        """Through Sallyport, over TLS that checks certificate and host name."""
        return Way(person, self.people[person].secret, self.port, self.ca)

    def direct_way(self, role: str = shop.OWNER) -> Way:
        """Round Sallyport, straight to the database."""
        return Way(role, self.passwords[role], self.sample.server.port)


@contextlib.contextmanager
def stage(folder: Path, dialect: SpokenName = "postgresql", listen: str = "") -> Iterator[Stage]:
    """Build all in `folder` and start it; `listen` is host:port, '' for the sample's port on
    127.0.0.1, or a free one. Raises StageTaken, CannotRun (the database), NotReady (Sallyport)."""
    folder = folder.absolute()
    with _alone(folder), contextlib.ExitStack() as stack:
        database = sample(dialect, folder)
        stack.enter_context(database.server)
        passwords = {role: secrets.token_urlsafe(18) for role in shop.ROLES}
        database.load(passwords)
        built = Stage(folder, database, {}, passwords, listen or _free_listen(database.PORT))
        _write(built)
        command: list[str | Path] = [SALLYPORT, "serve", "--config", built.config]
        with Child(command, folder / "sallyport.log", {"NO_COLOR": "1"}) as child:
            _, built.port, built.fields = ready_fields(child.wait_line("ready "))
            built.pid = child.pid
            built.login = _login(built)
            _write_environment(built)
            yield built


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """An empty `folder` that is this process's alone."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / LOCK_NAME).exists():
        raise StageTaken(f"{folder} is not empty and no demo made it: nothing is deleted")
    folder.chmod(0o700)
    with (folder / LOCK_NAME).open("w") as lock:
        _lock(lock, folder)
        for entry in folder.iterdir():
            if entry.name == LOCK_NAME:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        yield


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StageTaken(f"a demo is running in {folder} already") from None


def _free_listen(preferred: int) -> str:
    """That port on loopback, or any when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return "127.0.0.1:0"
    return f"127.0.0.1:{preferred}"


def _free_port() -> int:
    """For the admin listener: the console's dashboards ask for its figures at a port by number."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _console_listen(listen: str) -> str:
    """Where the console goes: a free port when clients get one, too."""
    return "127.0.0.1:0" if listen.endswith(":0") else _free_listen(CONSOLE_PORT)


def _write(built: Stage) -> None:
    folder = built.folder
    make_authority(folder / "ca", "Sallyport demo CA", CERTIFICATE_DAYS)
    issue(folder / "ca", "proxy", ("localhost", "127.0.0.1", "::1"), days=CERTIFICATE_DAYS)
    secrets_folder = folder / "secrets"
    secrets_folder.mkdir()
    for role, password in built.passwords.items():
        write_private(secrets_folder / role, password.encode())
    write_private(secrets_folder / "token.key", secrets.token_hex(32).encode())
    built.people = {person.name: person for person in (*_local_people(folder), _agent(folder))}
    policy = Path(__file__).with_name("policy.yaml").read_text("utf-8")
    built.policy.write_text(built.sample.policy(policy), "utf-8")
    built.config.write_text(_HEADING + yaml.safe_dump(_configuration(built), sort_keys=False))


def _local_people(folder: Path) -> list[Person]:
    """alice and bob, whose SCRAM verifiers (never passwords) go into the users file."""
    people = [
        Person("alice", "analyst", secrets.token_urlsafe(12)),
        Person(
            "bob", "DBA, group privacy; approves what agents ask for", secrets.token_urlsafe(12)
        ),
    ]
    groups = {"alice": ("analysts",), "bob": ("dba", "privacy")}
    users = [
        User(
            name=person.name,
            groups=groups[person.name],
            verifier=make_verifier(person.secret, secrets.token_bytes(16)).render(),
        )
        for person in people
    ]
    write_private(folder / "users.yaml", render_users(Directory(users)).encode())
    return people


def _agent(folder: Path) -> Person:
    """copilot, an AI agent that acts for alice: a token of the demo's own identity provider says so
    (RFC 8693, 4.1: `act` names who acts, `sub` for whom)."""
    key = ECKey.generate_key("P-256", {"kid": "demo", "use": "sig", "alg": "ES256"})
    public = KeySet([key]).as_dict(private=False)
    (folder / "jwks.json").write_bytes(msgspec.json.format(msgspec.json.encode(public)))
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "act": {"sub": "copilot"},
        "groups": ["analysts"],
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "jti": secrets.token_hex(8),
    }
    token = jwt.encode({"alg": "ES256", "kid": "demo", "typ": "JWT"}, claims, key)
    return Person("copilot", "AI agent, acts for alice", token)


_HEADING = """\
# Written by `sallyport demo`. Paths are relative to this file.
# `sallyport check-config` checks it, config/sallyport.example.yaml says what else there is.
"""


def _configuration(built: Stage) -> dict[str, object]:
    def role(user: str, **who: object) -> dict[str, object]:
        return {**who, "user": user, "credential": f"file:secrets/{user}"}

    return {
        "version": 1,
        "data": built.trail.name,
        "workers": 1,
        "admin": f"127.0.0.1:{_free_port()}",
        "control": {
            "listen": _console_listen(built.listen),
            "tls": {"certificate": "ca/proxy.crt", "key": "ca/proxy.key"},
            "roles": {
                "viewer": ["analysts"],
                "approver": ["dba"],
                "admin": ["dba"],
                "auditor": ["dba"],
            },
        },
        "listeners": [
            {
                "name": built.sample.DIALECT,
                "address": built.listen,
                "target": "shop",
                "tls": {"mode": "require", "certificate": "ca/proxy.crt", "key": "ca/proxy.key"},
                "authentication": ["scram", "oidc"],
            }
        ],
        "targets": [
            {
                "name": "shop",
                "host": "127.0.0.1",
                "port": built.sample.server.port,
                "dialect": built.sample.DIALECT,
                "environment": "production",
                "tls": {"mode": "disable"},  # the embedded server has none, and it is loopback
                **built.sample.TARGET,
                "databases": [shop.DATABASE],
                "roles": [
                    role("app_agent", principals=["*"], kinds=["agent"]),
                    role("app_dba", groups=["dba"]),
                    role("app_analyst", groups=["analysts"]),
                ],
            }
        ],
        "identities": {
            "users": "users.yaml",
            "oidc": [
                {
                    "name": "demo",
                    "issuer": ISSUER,
                    "audience": [AUDIENCE],
                    "jwks_file": "jwks.json",
                    "algorithms": ["ES256"],
                    "login_names": ["copilot"],
                }
            ],
        },
        "policy": {"files": ["policy.yaml"]},
        "token_keys": {"default": "file:secrets/token.key"},
    }


def _login(built: Stage) -> Login:
    """Raises NotReady."""
    stranger = Login(f"https://{built.fields['control']}", "", str(built.ca))
    password = built.people[APPROVER].secret
    try:
        token = token_by_password(Remote(stranger), APPROVER, password, "demo", TOKEN_DAYS)
    except Failed as error:
        raise NotReady(f"{APPROVER} cannot sign in: {error}") from None
    return Login(stranger.url, token, stranger.ca)


def _write_environment(built: Stage) -> None:
    """`.demo/env`: `. .demo/env` in a shell, then `psql "$ALICE_URI"`, or `sallyport approvals` as
    APPROVER."""
    ways = {**{name: built.way(name) for name in built.people}, "direct": built.direct_way()}
    variables = {
        **{f"{name.upper()}_URI": built.sample.uri(way) for name, way in ways.items()},
        "SUPERUSER_URI": built.sample.superuser_uri(),
        "SALLYPORT_CA": str(built.ca),
        "SALLYPORT_DATA": str(built.trail),
        "SALLYPORT_CONFIG": str(built.config),
        "SALLYPORT_ADMIN": built.fields.get("admin", ""),
        "SALLYPORT_URL": built.login.url,
        "SALLYPORT_TOKEN": built.login.token,
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    lines += [f"{line}\n" for line in built.sample.environment(ways)]
    write_private(built.folder / "env", "".join(lines).encode())
