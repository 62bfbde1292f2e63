"""SIGHUP and `check-config`: what is valid is taken, in live sessions too; what is not changes
nothing and is told."""

import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509

from appliance.cli.config import check_config
from appliance.identity.verifiers import User
from tests.clusters import SALLYPORT, Authority, EmbeddedPostgres
from tests.endtoend.stage import ALLOWED, Estate, Running, listener, one, verifier, wait_for
from tests.wireclient import SYNC, WireClient, bind, error, execute, parse, rows

MakeEstate = Callable[[], Estate]
NO_NOTES = (
    ALLOWED
    + """
  - {id: no-notes, effect: deny, actions: [any], resources: [vault.public.notes], message: Not now.}
"""
)


@pytest.fixture(scope="module")
def living(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[tuple[Estate, Running]]:
    made = Estate(tmp_path_factory.mktemp("living"), vault, authority)
    with made.serve("--workers", "2") as running:
        yield made, running


@pytest.fixture
def live(living: tuple[Estate, Running]) -> Iterator[tuple[Estate, Running]]:
    """Two workers; what a test writes is taken back after it."""
    made, running = living
    files = {name: (made.folder / name).read_bytes() for name in ("policy.yaml", "users.yaml")}
    yield living
    for name, content in files.items():
        made.write(name, content)
    assert running.reload()


def logged(proxy: Running, event: str) -> list[str]:
    return [line for line in proxy.child.text().splitlines() if f'"{event}"' in line]


def test_a_new_deny_bites_on_live_sessions(live: tuple[Estate, Running]) -> None:
    made, proxy = live
    before = len(proxy.records("policy_changed"))
    reloads = proxy.metric("reloads_total", outcome="ok")
    sessions = [proxy.connect("alice", "alice-password") for _ in range(6)]
    cursors = [session.cursor() for session in sessions]
    for cursor in cursors:
        cursor.execute("SELECT id FROM notes WHERE id = %s", (1,), prepare=True)
        cursor.execute("SELECT id FROM notes WHERE id = %s", (2,), prepare=True)
    made.write("policy.yaml", NO_NOTES)
    assert proxy.reload()
    for cursor in cursors:
        with pytest.raises(psycopg.Error, match="Not now"):
            cursor.execute("SELECT id FROM notes WHERE id = %s", (3,), prepare=True)
        with pytest.raises(psycopg.Error, match="Not now"):
            cursor.execute("SELECT id FROM notes")
        assert cursor.execute("SELECT 1").fetchone() == (1,)
    made.write("policy.yaml", ALLOWED)
    assert proxy.reload()
    for session, cursor in zip(sessions, cursors, strict=True):
        cursor.execute("SELECT id FROM notes WHERE id = %s", (4,), prepare=True)
        session.close()
    changes = proxy.records("policy_changed")[before:]
    assert len(changes) == 4  # two workers, twice
    assert len({change["version"] for change in changes}) == 2
    decided = proxy.records("statement_decided")[-1]
    assert decided["decision"]["policy_version"] == changes[-1]["version"]
    assert proxy.metric("reloads_total", outcome="ok") == reloads + 2
    assert proxy.get("/readyz")[0] == 200


def test_a_cursor_that_is_being_read(live: tuple[Estate, Running]) -> None:
    """When the deny comes it gives no further row: neither by FETCH nor by Execute."""
    made, proxy = live
    uri = f"postgresql://alice:alice-password@127.0.0.1:{proxy.ports['main']}/vault"
    with WireClient.login(uri) as portal, WireClient.login(uri) as cursor:
        portal.query("BEGIN")
        text = "SELECT id FROM notes"
        part = portal.ask(parse("", text), bind("p"), execute("p", 5), SYNC)
        assert len(rows(part)) == 5
        cursor.query(f"BEGIN; DECLARE c CURSOR FOR {text}")
        assert len(cursor.rows("FETCH 5 FROM c")) == 5
        made.write("policy.yaml", NO_NOTES)
        assert proxy.reload()
        assert "Not now" in error(portal.ask(execute("p", 5), SYNC))["M"]
        assert "not known under the present policy" in error(cursor.query("FETCH 5 FROM c"))["M"]


def test_what_sql_prepared(live: tuple[Estate, Running]) -> None:
    """PREPARE under one policy is not EXECUTE under another; but under the same one it is."""
    made, proxy = live
    with proxy.connect("alice", "alice-password") as alice:
        alice.execute("PREPARE p AS SELECT id FROM notes")
        assert proxy.reload()
        assert alice.execute("EXECUTE p").fetchone()
        made.write("policy.yaml", NO_NOTES)
        assert proxy.reload()
        for text in ("EXECUTE p", "EXPLAIN ANALYZE EXECUTE p", "CREATE TEMP TABLE t AS EXECUTE p"):
            with pytest.raises(psycopg.Error, match="not known under the present policy"):
                alice.execute(text)  # type: ignore[arg-type]
        alice.execute("DEALLOCATE p; PREPARE p AS SELECT 1")
        assert one(alice, "EXECUTE p") == 1


def test_users(live: tuple[Estate, Running]) -> None:
    made, proxy = live
    assert "authentication failed" in proxy.refusal("erin", "erin-password")
    made.users(User(name="erin", verifier=verifier("erin-password")))
    assert proxy.reload()
    proxy.connect("erin", "erin-password").close()
    assert "authentication failed" in proxy.refusal("alice", "alice-password")


def test_a_disabled_users_sessions_end(live: tuple[Estate, Running]) -> None:
    made, proxy = live
    alice = proxy.connect("alice", "alice-password")
    bob = proxy.connect("bob", "bob-password")
    made.users(
        User(name="alice", verifier=verifier("alice-password"), disabled=True),
        User(name="bob", groups=("dba",), verifier=verifier("new-password")),
    )
    assert proxy.reload()
    with pytest.raises(psycopg.OperationalError, match="no longer"):
        alice.execute("SELECT 1")
    assert one(bob, "SELECT 1") == 1
    bob.close()
    assert proxy.recorded("session_closed", reason="revoked")


def test_a_new_certificate_is_for_new_connections(
    estate: MakeEstate, authority: Authority, tmp_path: Path
) -> None:
    made = estate()
    authority.issue("renewed-1", "127.0.0.1")
    authority.issue("renewed-2", "127.0.0.1")

    def install(name: str) -> None:
        for suffix in ("crt", "key"):
            made.write(f"tls.{suffix}", (authority.folder / f"{name}.{suffix}").read_bytes())
        (made.folder / "tls.key").chmod(0o600)

    install("renewed-1")
    tls = {"mode": "require", "certificate": "tls.crt", "key": "tls.key"}
    made.configuration["listeners"] = [listener("main", tls=tls)]
    plus = {"sslmode": "require", "channel_binding": "require"}
    with made.serve() as proxy:
        old = proxy.connect("alice", "alice-password", **plus)
        assert subject(proxy) == "renewed-1"
        install("renewed-2")
        assert subject(proxy) == "renewed-1"
        assert proxy.reload()
        assert subject(proxy) == "renewed-2"
        with proxy.connect("alice", "alice-password", **plus) as new:
            assert one(new, "SELECT 1") == 1
        assert one(old, "SELECT 1") == 1
        old.close()
        made.write("tls.key", (authority.folder / "renewed-1.key").read_bytes())
        assert not proxy.reload()  # certificate and key do not go together
        assert subject(proxy) == "renewed-2"


def subject(proxy: Running) -> str:
    pem = certificate_of(proxy.ports["main"])
    (name,) = x509.load_pem_x509_certificate(pem).subject
    return str(name.value)


def certificate_of(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as client,
    ):
        shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown).encode()


INVALID: dict[str, Callable[[Estate], Any]] = {
    "policy": lambda e: e.write("policy.yaml", NO_NOTES.replace("effect: deny", "effect: deni")),
    "policy-condition": lambda e: e.write(
        "policy.yaml", NO_NOTES.replace("id: no-notes,", "id: no-notes, when: 'time.hour + 1',")
    ),
    "policy-gone": lambda e: (e.folder / "policy.yaml").unlink(),
    "users": lambda e: e.write("users.yaml", "users: [{nam: x}]"),
    "credential": lambda e: (e.folder / "app.secret").unlink(),
    "unknown-key": lambda e: e.write("sallyport.yaml", e.config_path.read_text() + "\nglitter: 1"),
    "yaml": lambda e: e.write("sallyport.yaml", "listeners: [\n"),
    "address": lambda e: e.write(
        "sallyport.yaml", e.config_path.read_text().replace("name: main", "name: other")
    ),
}


def test_what_is_invalid_changes_nothing(estate: MakeEstate) -> None:
    made = estate()
    with made.serve() as proxy, proxy.connect("alice", "alice-password") as alice:
        files = {p: p.read_bytes() for p in made.folder.iterdir() if p.is_file()}
        for count, (name, spoil) in enumerate(INVALID.items(), 1):
            spoil(made)
            assert not proxy.reload(), name
            assert proxy.metric("reloads_total", outcome="failed") == count
            shown = min(count, 5)  # repeated events are thinned out
            wait_for(lambda n=shown: len(logged(proxy, "reload_refused")) == n, f"a line: {name}")  # type: ignore[misc]
            assert one(alice, "SELECT count(*) FROM notes") == 100
            proxy.connect("bob", "bob-password").close()
            for path, content in files.items():
                if path.suffix != ".out":
                    path.write_bytes(content)
        assert proxy.metric("configuration_generation") >= 1
        assert proxy.get("/readyz")[0] == 200
        assert not [r for r in proxy.records() if "password" in str(r.get("reason", ""))]
        assert proxy.reload()


def test_a_worker_that_comes_back_runs_what_was_validated(estate: MakeEstate) -> None:
    """Not what lies in the files now."""
    made = estate()
    with made.serve("--workers", "1") as proxy:
        made.write("policy.yaml", NO_NOTES)
        assert proxy.reload()
        made.write("policy.yaml", "broken: [")
        made.write("sallyport.yaml", "also: [")
        made.write("users.yaml", "users: [{nam: x}]")
        (before,) = proxy.worker_pids()
        subprocess.run(["kill", "-KILL", str(before)], check=True)
        wait_for(lambda: proxy.worker_pids() not in ([], [before]), "another worker")
        wait_for(lambda: proxy.get("/readyz")[0] == 200, "readiness", 60)
        with (
            proxy.connect("alice", "alice-password") as alice,
            pytest.raises(psycopg.Error, match="Not now"),
        ):
            alice.execute("SELECT id FROM notes")
        assert proxy.metric("worker_restarts_total") == 1
        started = proxy.records("worker_started")
        assert len(started) == 2


def test_signals_in_a_row(live: tuple[Estate, Running]) -> None:
    """Ten SIGHUPs at once are one or more reloads, and the last content counts."""
    made, proxy = live
    with proxy.connect("alice", "alice-password") as alice:
        made.write("policy.yaml", NO_NOTES)
        for _ in range(10):
            proxy.signal(signal.SIGHUP)
        wait_for(lambda: denied(alice), "the last content")
        time.sleep(0.3)


def denied(session: psycopg.Connection[tuple[Any, ...]]) -> bool:
    try:
        session.execute("SELECT id FROM notes")
    except psycopg.Error as told:
        assert "Not now" in str(told)
        return True
    return False


def test_keys_of_an_issuer_outlive_a_reload(estate: MakeEstate) -> None:
    """Where the issuer cannot be reached just then, tokens go on being checked."""
    made = estate()
    made.configuration["listeners"] = [
        listener("main", tls=made.tls("require"), authentication=["oidc"])
    ]
    with made.serve() as proxy:
        token = made.issuer.token("carol")
        proxy.connect("carol", token, sslmode="require").close()
        made.write("policy.yaml", NO_NOTES)
        assert proxy.reload()
        (made.folder / "jwks.json").rename(made.folder / "away.json")
        proxy.connect("carol", token, sslmode="require").close()


# --- check-config ---------------------------------------------------------------------------------


def checked(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """`check-config` without a process of its own."""
    status = check_config(path)
    told = capsys.readouterr()
    return status, told.out + told.err


def test_check_config(estate: MakeEstate) -> None:
    path = estate().save()
    done = subprocess.run(
        [SALLYPORT, "check-config", path], capture_output=True, text=True, check=False
    )
    status, text = done.returncode, done.stdout + done.stderr
    assert status == 0, text
    assert text.endswith(f"{path}: ok\n")


BROKEN: dict[str, tuple[Callable[[Estate], Any], str]] = {
    "unknown key": (lambda e: e.configuration.update(listenrs=[]), "listeners"),
    "no target": (
        lambda e: e.configuration["listeners"][0].update(target="valut"),
        "$.listeners[0]",
    ),
    "a secret in the file": (
        lambda e: e.configuration["targets"][0]["roles"][0].update(credential="hunter2"),
        "file:",
    ),
    "tls without certificate": (
        lambda e: e.configuration["listeners"][0].update(tls={"mode": "require"}),
        "certificate",
    ),
    "a token without tls": (
        lambda e: e.configuration["listeners"][0].update(authentication=["oidc"]),
        "never taken without TLS",
    ),
    "a missing file": (
        lambda e: e.configuration["policy"].update(files=["elsewhere.yaml"]),
        "elsewhere.yaml",
    ),
    "a policy with a mistake": (
        lambda e: e.write("policy.yaml", ALLOWED.replace("actions", "action")),
        "policy.yaml",
    ),
    "two of a name": (
        lambda e: e.configuration["targets"].append(e.configuration["targets"][0]),
        "vault",
    ),
    "an hmac algorithm": (
        lambda e: e.configuration["identities"]["oidc"][0].update(algorithms=["HS256"]),
        "algorithms",
    ),
    "keys over http": (
        lambda e: e.configuration["identities"]["oidc"][0].update(
            jwks_url="http://idp.example.com/keys"
        ),
        "jwks",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_check_config_of_what_is_broken(
    estate: MakeEstate, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = estate()
    spoil, hint = BROKEN[name]
    spoil(made)
    status, text = checked(made.save(), capsys)
    assert status == 1, text
    assert hint in text
    assert "hunter2" not in text


def test_check_config_of_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Its form is sound; what it names is not on this machine, and that is what is told."""
    example = Path(__file__).parents[2] / "config" / "sallyport.example.yaml"
    status, text = checked(example, capsys)
    assert status == 1
    complaints = [line for line in text.splitlines() if "error" in line.lower()]
    assert complaints
    assert all(
        "/etc/sallyport" in line or "credential" in line or "env:" in line.lower()
        for line in complaints
    ), text
