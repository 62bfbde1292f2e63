"""A whole installation for the tests of this folder: certificates, users, configuration, policy,
and `sallyport serve` on it.

Used by the fixtures of `conftest.py` and by tests that need an installation of their own. What a
test asks for (the audit trail, metrics, readiness) is read the way an administrator would.
"""

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from appliance.audit import checkpoint
from appliance.audit.brief import Completer
from appliance.audit.encode import encode_record
from appliance.cli.demo.child import Child
from appliance.cli.files import write_private
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from appliance.spool.trail_folder import FolderTrail
from tests.clusters import READY_SECONDS_MAX, SALLYPORT, Authority, EmbeddedPostgres

DATABASE = "vault"
ROLE, PASSWORD = "app", "app-password"
ISSUER, AUDIENCE = "https://idp.example.com", "sallyport"
ALLOWED = """
version: 1
rules:
  - id: work
    effect: allow
    actions: [read, session, write, create_temporary, calls, set_role]
  - {id: no-drop, effect: deny, actions: [drop, truncate], message: Nothing is dropped here.}
"""

SCHEMA = f"""
CREATE TABLE notes (id int PRIMARY KEY, body text);
INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 100) n;
CREATE TABLE people (id int PRIMARY KEY, ssn text);
INSERT INTO people SELECT n, '123-45-' || (6000 + n) FROM generate_series(1, 10) n;
GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE};
"""


def furnish(server: EmbeddedPostgres, *roles: str) -> None:
    """The database `vault` and its roles; a role is `name` (password name-password) or SQL."""
    with psycopg.connect(server.uri(), autocommit=True) as root:
        if root.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
            return
        for role in (ROLE, *roles):
            sql = f"CREATE ROLE {role} LOGIN PASSWORD '{role}-password'"
            root.execute(role if " " in role else sql)  # type: ignore[arg-type]
        root.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(server.uri(database=DATABASE), autocommit=True) as vault:
        vault.execute(SCHEMA)


class Issuer:
    """An identity provider's signing side."""

    def __init__(self, kid: str = "one") -> None:
        self.kid = kid
        self.key = ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"})
        self.older: list[ECKey] = []

    def key_set(self) -> bytes:
        return json.dumps(KeySet([self.key, *self.older]).as_dict(private=False)).encode()

    def rotate(self, kid: str) -> None:
        self.older.append(self.key)
        self.kid = kid
        self.key = ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"})

    def token(
        self,
        sub: str = "carol",
        *,
        seconds: float = 600,
        header: Mapping[str, Any] | None = None,
        key: ECKey | None = None,
        **claims: object,
    ) -> str:
        """A good token but for what is given; a claim of None is left out."""
        now = int(time.time())
        full = {"iss": ISSUER, "aud": AUDIENCE, "sub": sub, "iat": now - 5, "exp": now + seconds}
        full = {name: value for name, value in {**full, **claims}.items() if value is not None}
        head = {"alg": "ES256", "kid": self.kid, "typ": "JWT", **(header or {})}
        return jwt.encode(head, full, key or self.key)


class Running:
    """A started installation."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child = child
        self.folder = folder
        self.fields: dict[str, str] = {}
        self.ports: dict[str, int] = {}

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def take_ready_lines(self, listeners: int) -> None:
        found = wait_for(
            lambda: self._places() if len(self._places()) == listeners else None, "ready lines"
        )
        for port, name, admin in found:
            self.ports[name] = int(port)
            self.fields["admin"] = admin

    def _places(self) -> list[tuple[str, str, str]]:
        pattern = r"^ready \S+ \S+:(\d+) listener=(\S+) admin=(\S*) data=.*\n"
        return re.findall(pattern, self.child.text(), re.MULTILINE)

    def connect(
        self, user: str, password: str | None, listener: str = "main", **parameters: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """By psycopg; plaintext unless `sslmode` says else."""
        wanted: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.ports[listener],
            "dbname": DATABASE,
            "user": user,
            "sslmode": "disable",
            "gssencmode": "disable",
            "sslcert": "/nonexistent",
            "autocommit": True,
            "connect_timeout": 10,
            "prepare_threshold": None,
            **parameters,
        }
        if wanted["sslcert"] is None:
            del wanted["sslcert"]
        if password is not None:
            wanted["password"] = password
        return psycopg.connect(**wanted)

    def refusal(self, user: str, password: str | None, **parameters: Any) -> str:
        """What a client that is not let in is told."""
        try:
            self.connect(user, password, **parameters).close()
        except psycopg.OperationalError as error:
            return str(error)
        raise AssertionError(f"{user} was let in")

    def records(self, event: str = "", **wanted: object) -> list[dict[str, Any]]:
        """Audit records of all workers, in order of time, that have these fields."""
        found: list[dict[str, Any]] = []
        trail = FolderTrail(self.data / "audit")
        for worker in trail.workers():
            for segment in checkpoint.segment_order(trail.names(worker)):
                completer = Completer()
                for line in trail.lines(worker, segment):
                    if line.endswith(b"\n"):
                        seq, record = completer.record(line)
                        found.append({"seq": seq, **json.loads(encode_record(record))})
        found.sort(key=lambda record: (record["time"], record["seq"]))
        return [
            record
            for record in found
            if (not event or record["event"] == event)
            and all(record.get(name) == value for name, value in wanted.items())
        ]

    def recorded(self, event: str, **wanted: object) -> dict[str, Any]:
        """The last such record, waited for."""
        return wait_for(lambda: self.records(event, **wanted), f"{event} {wanted}")[-1]

    def get(self, path: str) -> tuple[int, str]:
        """From the admin listener."""
        host, _, port = self.fields["admin"].rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """Of /metrics; 0.0 when it is not there."""
        inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
        series = f"sallyport_{name}" + (f"{{{inside}}}" if inside else "")
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(series + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def metric_reaches(self, least: float, name: str, **labels: str) -> float:
        """Waits for the next heartbeats."""
        wait_for(lambda: self.metric(name, **labels) >= least, f"{name} {labels} >= {least}")
        return self.metric(name, **labels)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def reload(self) -> bool:
        """SIGHUP; whether it was accepted. Returns when it has been answered."""
        before = self._reloads()
        self.signal(signal.SIGHUP)
        wait_for(lambda: self._reloads() != before, "an answer to SIGHUP")
        return self._reloads()[0] > before[0]

    def _reloads(self) -> tuple[float, float]:
        return (
            self.metric("reloads_total", outcome="ok"),
            self.metric("reloads_total", outcome="failed"),
        )

    def worker_pids(self) -> list[int]:
        listing = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in listing.split()]


@dataclass
class Estate:
    """Files of an installation; `serve()` runs it."""

    folder: Path
    server: EmbeddedPostgres
    authority: Authority
    issuer: Issuer = field(default_factory=Issuer)
    configuration: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.secret("app", PASSWORD)
        self.write("jwks.json", self.issuer.key_set())
        self.write("policy.yaml", ALLOWED)
        self.users(
            User(name="alice", groups=("analysts",), verifier=verifier("alice-password")),
            User(name="bob", groups=("dba",), verifier=verifier("bob-password")),
            User(name="mallory", verifier=verifier("mallory-password"), disabled=True),
        )
        self.configuration = {
            "data": str(self.folder / "data"),
            "workers": 1,
            "admin": "127.0.0.1:0",
            "listeners": [listener("main")],
            "targets": [self.target("vault")],
            "identities": {
                "users": "users.yaml",
                "oidc": [self.provider()],
            },
            "policy": {"files": ["policy.yaml"]},
        }

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def secret(self, name: str, content: str) -> str:
        write_private(self.folder / f"{name}.secret", content.encode())
        return f"file:{name}.secret"

    def users(self, *users: User) -> None:
        write_private(self.folder / "users.yaml", render_users(Directory(users)).encode())

    def certificate(self, name: str, *names: str, client: bool = False) -> tuple[str, str]:
        """Paths of (certificate, key); made once."""
        if not (self.authority.folder / f"{name}.crt").exists():
            self.authority.issue(name, *names, client=client)
        folder = self.authority.folder
        return str(folder / f"{name}.crt"), str(folder / f"{name}.key")

    def target(self, name: str, **changes: Any) -> dict[str, Any]:
        everybody = {"principals": ["*"], "user": ROLE, "credential": "file:app.secret"}
        plain = {
            "name": name,
            "host": "127.0.0.1",
            "port": self.server.port,
            "tls": {"mode": "disable"},
            "roles": [everybody],
        }
        return {**plain, **changes}

    def provider(self, **changes: Any) -> dict[str, Any]:
        plain = {
            "name": "idp",
            "issuer": ISSUER,
            "audience": [AUDIENCE],
            "jwks_file": "jwks.json",
            "algorithms": ["ES256"],
            "login_names": ["carol", "copilot", "*@*"],
            "leeway_s": 0,
        }
        return {**plain, **changes}

    def tls(self, mode: str, **changes: Any) -> dict[str, Any]:
        """Of a listener."""
        certificate, key = self.certificate("proxy", "127.0.0.1", "localhost")
        return {"mode": mode, "certificate": certificate, "key": key, **changes}

    @property
    def config_path(self) -> Path:
        return self.folder / "sallyport.yaml"

    def save(self) -> Path:
        self.config_path.write_text(yaml.safe_dump(self.configuration, sort_keys=False))
        return self.config_path

    @contextlib.contextmanager
    def serve(self, *options: str, ended: bool = False) -> Iterator[Running]:
        """Until the block ends; then SIGTERM must give exit status 0, unless the test `ended` it
        itself."""
        command = [SALLYPORT, "serve", "--config", self.save(), "--log-format", "json", *options]
        child = Child(command, self.folder / "sallyport.out", {"NO_COLOR": "1"})
        running = Running(child, self.folder)
        try:
            child.wait_line("ready ", READY_SECONDS_MAX)
            running.take_ready_lines(len(self.configuration["listeners"]))
            yield running
        except BaseException:
            child.stop()
            raise
        if not ended:
            status = child.stop()
            assert status == 0, f"exit status {status}:\n{child.text()[-4000:]}"


def listener(name: str, target: str = "vault", **changes: Any) -> dict[str, Any]:
    plain = {"name": name, "address": "127.0.0.1:0", "target": target, "tls": {"mode": "disable"}}
    return {**plain, **changes}


def verifier(password: str) -> str:
    return make_verifier(password, secrets.token_bytes(16)).render()


def wait_for(ask: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return answer


def one(connection: psycopg.Connection[Any], text: str, values: Sequence[object] = ()) -> Any:
    """The first cell of a statement's result."""
    row = connection.execute(text, values or None).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]
