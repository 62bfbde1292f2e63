"""The client leg by bearer token and by certificate, and how the database learns who it is."""

import base64
import hmac
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from joserfc.jwk import ECKey

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import (
    ISSUER,
    Estate,
    Issuer,
    Running,
    listener,
    one,
    wait_for,
)

URL_ISSUER = "https://other.example.com"


class KeyServer:
    """Serves whatever key set it holds."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.asked = 0
        outer = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                content = outer.issuer.key_set()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def key_server() -> Iterator[KeyServer]:
    server = KeyServer(Issuer("first"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    authority: Authority,
    issuer: Issuer,
    key_server: KeyServer,
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("tokens"), vault, authority, issuer)
    clients = {"client_ca": str(authority.certificate), "client_certificates": "optional"}
    optional = estate.tls("require", **clients)
    demanded = estate.tls("require", **{**clients, "client_certificates": "require"})
    estate.configuration["listeners"] = [
        listener("mixed", tls=estate.tls("allow"), authentication=["scram", "oidc"]),
        listener("tokens", tls=estate.tls("allow"), authentication=["oidc"]),
        listener("certificates", tls=optional, authentication=["certificate", "scram"]),
        listener("demanded", tls=demanded, authentication=["certificate"]),
        listener("quiet", target="quiet", tls=estate.tls("allow"), authentication=["oidc"]),
    ]
    estate.configuration["targets"].append(estate.target("quiet", announce="variable"))
    estate.configuration["identities"]["oidc"].append(
        estate.provider(name="other", issuer=URL_ISSUER, jwks_url=key_server.url, jwks_file=None)
    )
    estate.configuration["identities"]["certificates"] = [
        {"field": "san_email", "pattern": r"(?P<name>[a-z]+)@example\.com", "groups": ["mail"]},
        {"field": "subject_cn", "pattern": r"svc-(?P<name>.+)", "kind": "service"},
    ]
    for provider in estate.configuration["identities"]["oidc"]:
        if provider["jwks_file"] is None:
            del provider["jwks_file"]
    with estate.serve() as running:
        yield running


TLS = {"sslmode": "require", "require_auth": "password"}


def enter(
    proxy: Running, token: str, user: str = "carol", name: str = "mixed", **parameters: Any
) -> psycopg.Connection[tuple[Any, ...]]:
    return proxy.connect(user, token, name, **{**TLS, **parameters})


def refused(proxy: Running, token: str, reason: str, user: str = "carol") -> None:
    words = proxy.refusal(user, token, listener="mixed", **TLS)
    assert "authentication failed" in words
    assert reason not in words
    assert proxy.records("login_failed")[-1]["reason"] == reason
    assert token not in proxy.child.text()


# --- tokens -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mixed", "tokens"])
def test_a_token_is_a_password(proxy: Running, issuer: Issuer, name: str) -> None:
    token = issuer.token("carol", groups=["analysts", "berlin"])
    with enter(proxy, token, name=name) as carol:
        assert one(carol, "SELECT session_user") == "app"
        assert one(carol, "SELECT current_setting('sallyport.principal')") == "carol"
    opened = proxy.records("session_opened")[-1]
    assert (opened["principal"], opened["kind"], opened["auth"]) == ("carol", "human", "oidc")
    assert opened["groups"] == ["analysts", "berlin"]
    trail = "".join(map(str, proxy.records()))
    assert token not in trail
    assert token.split(".")[2] not in trail


def test_an_agent_on_behalf_of_somebody(proxy: Running, issuer: Issuer) -> None:
    token = issuer.token("alice", act={"sub": "copilot"}, groups=["analysts"])
    with enter(proxy, token, "copilot", application_name="ide") as agent:
        assert one(agent, "SELECT current_setting('sallyport.principal')") == "copilot"
        assert one(agent, "SELECT current_setting('sallyport.on_behalf_of')") == "alice"
        session = one(agent, "SELECT current_setting('sallyport.session')")
        name = one(agent, "SELECT current_setting('application_name')")
        assert name == f"copilot/{session} ide"
    opened = proxy.records("session_opened")[-1]
    assert (opened["principal"], opened["kind"]) == ("copilot", "agent")
    assert opened["on_behalf_of"] == "alice"
    assert opened["session"].endswith(session)
    assert opened["client"]["application"] == "ide"
    decided = proxy.records("statement_decided", session=opened["session"])
    assert decided
    assert all(r["on_behalf_of"] == "alice" and r["kind"] == "agent" for r in decided)


def test_the_other_claim_for_it(proxy: Running, issuer: Issuer) -> None:
    with enter(proxy, issuer.token("carol", on_behalf_of="dave")) as carol:
        assert one(carol, "SELECT current_setting('sallyport.on_behalf_of')") == "dave"
    assert proxy.records("session_opened")[-1]["on_behalf_of"] == "dave"


@pytest.mark.parametrize(
    ("reason", "claims"),
    [
        ("identity.token.issuer", {"iss": "https://evil.example.com"}),
        ("identity.token.issuer", {"iss": ISSUER + "/"}),
        ("identity.token.audience", {"aud": "something-else"}),
        ("identity.token.audience", {"aud": None}),
        ("identity.token.expired", {"exp": 1_000_000_000}),
        ("identity.token.expired", {"exp": None}),
        ("identity.token.not_yet", {"nbf": 9_000_000_000}),
        ("identity.token.lifetime", {"exp": int(time.time()) + 10 * 86_400}),
        ("identity.proof.name", {"sub": "eve"}),
        ("identity.token.actor", {"act": "copilot"}),
    ],
)
def test_claims_that_are_wrong(
    proxy: Running, issuer: Issuer, reason: str, claims: dict[str, object]
) -> None:
    refused(proxy, issuer.token(**claims), reason)  # type: ignore[arg-type]


def test_tokens_that_are_forged(proxy: Running, issuer: Issuer) -> None:
    public = issuer.key.as_pem(private=False)
    header, body, _ = issuer.token().split(".")
    other = ECKey.generate_key("P-256", {"kid": issuer.kid})
    refused(proxy, forged("none", body), "identity.token.algorithm")
    refused(proxy, forged("HS256", body, public), "identity.token.algorithm")
    refused(proxy, issuer.token(key=other), "identity.token.signature")
    refused(proxy, issuer.token(header={"kid": "unknown"}, key=other), "identity.token.key")
    refused(proxy, f"{header}.{body}.", "identity.token.signature")
    refused(proxy, "not-a-token", "identity.token.form")
    refused(proxy, issuer.token(header={"typ": "logout+jwt"}), "identity.token.type")


def forged(algorithm: str, body: str, secret: bytes = b"") -> str:
    """HS256 with a public key for a secret (RFC 8725, 2.1), or `none`."""
    head = b64(f'{{"alg":"{algorithm}","kid":"one"}}'.encode())
    digest = hmac.digest(secret, f"{head}.{body}".encode(), "sha256") if secret else b""
    return f"{head}.{body}.{b64(digest)}"


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def test_never_without_tls(proxy: Running, issuer: Issuer) -> None:
    """Without TLS nobody is asked for a token: SCRAM is, where it is accepted, else nothing."""
    plain = {"sslmode": "disable", "require_auth": "none,password,scram-sha-256"}
    words = proxy.refusal("carol", issuer.token(), listener="tokens", **plain)
    assert "authentication failed" in words
    words = proxy.refusal("carol", issuer.token(), listener="mixed", sslmode="disable")
    assert "authentication failed" in words
    assert proxy.records("login_failed")[-1]["auth"] == "scram-sha-256"


def test_passwords_beside_tokens(proxy: Running) -> None:
    with proxy.connect(
        "alice", "alice-password", "mixed", sslmode="require", channel_binding="require"
    ) as alice:
        assert one(alice, "SELECT 1") == 1


def test_keys_from_a_url_and_their_rotation(proxy: Running, key_server: KeyServer) -> None:
    issuer = key_server.issuer
    with enter(proxy, issuer.token("carol", iss=URL_ISSUER)) as carol:
        assert one(carol, "SELECT 1") == 1
    asked = key_server.asked
    with enter(proxy, issuer.token("carol", iss=URL_ISSUER)):
        assert key_server.asked == asked  # kept
    # An unknown key id asks again, but strangers cannot make it ask all the time.
    refused(
        proxy,
        issuer.token(iss=URL_ISSUER, header={"kid": "invented"}),
        "identity.token.key",
    )
    assert key_server.asked <= asked + 1
    issuer.rotate("second")
    token = issuer.token("carol", iss=URL_ISSUER)

    def enters() -> bool:
        try:
            enter(proxy, token).close()
        except psycopg.OperationalError:
            time.sleep(0.5)
            return False
        return True

    wait_for(enters, "the new key", 15)
    older = Issuer("first")
    older.key = issuer.older[0]
    with enter(proxy, older.token("carol", iss=URL_ISSUER)):
        pass  # tokens of the key before are good as long as the issuer publishes it


def test_a_session_ends_with_its_token(proxy: Running, issuer: Issuer) -> None:
    with (
        enter(proxy, issuer.token(seconds=3)) as idle,
        enter(proxy, issuer.token(seconds=3)) as busy,
    ):
        assert one(idle, "SELECT 1") == 1
        assert one(busy, "SELECT 'done' FROM pg_sleep(4)") == "done"  # what runs may finish
        for session in (idle, busy):
            with pytest.raises(psycopg.OperationalError) as told:
                session.execute("SELECT 2")
            assert "the token this session was opened with has expired" in str(told.value)
    closed = wait_for(
        lambda: [r for r in proxy.records("session_closed") if r["reason"] == "expired"][1:],
        "the records of their ends",
    )
    assert closed


# --- certificates -------------------------------------------------------------------------------


def with_certificate(
    proxy: Running, authority: Authority, name: str, *names: str, where: str = "certificates"
) -> dict[str, Any]:
    if not (authority.folder / f"{name}.crt").exists():
        authority.issue(name, *names, client=True)
    return {
        "listener": where,
        "sslmode": "require",
        "sslcert": str(authority.folder / f"{name}.crt"),
        "sslkey": str(authority.folder / f"{name}.key"),
    }


def test_a_certificates_common_name(proxy: Running, authority: Authority) -> None:
    shown = with_certificate(proxy, authority, "svc-billing")
    with proxy.connect("billing", None, **shown, require_auth="none") as billing:
        assert one(billing, "SELECT current_setting('sallyport.principal')") == "billing"
    opened = proxy.records("session_opened")[-1]
    assert (opened["principal"], opened["kind"]) == ("billing", "service")
    assert opened["auth"] == "certificate"


def test_a_certificates_mail_address(proxy: Running, authority: Authority) -> None:
    shown = with_certificate(proxy, authority, "Dora", "dora@example.com", where="demanded")
    with proxy.connect("dora", None, **shown) as dora:
        assert one(dora, "SELECT 1") == 1
    assert proxy.records("session_opened")[-1]["groups"] == ["mail"]


def test_certificates_that_do_not_do(
    proxy: Running, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shown = with_certificate(proxy, authority, "svc-billing")
    assert "authentication failed" in proxy.refusal("alice", None, **shown)
    assert proxy.records("login_failed")[-1]["reason"] == "identity.proof.name"
    shown = with_certificate(proxy, authority, "somebody", "x@elsewhere.org")
    assert "authentication failed" in proxy.refusal("somebody", None, **shown)
    assert proxy.records("login_failed")[-1]["reason"] == "identity.certificate.mapping"
    before = len(proxy.records("session_opened"))
    foreign = Authority.create(tmp_path_factory.mktemp("foreign") / "ca")
    strange = with_certificate(proxy, foreign, "svc-billing")
    proxy.refusal("billing", None, **strange)
    proxy.recorded("login_failed", reason="tls:certificate_verify_failed")
    proxy.refusal("billing", None, **strange, sslnegotiation="direct")
    wait_for(
        lambda: len(proxy.records("login_failed", reason="tls:certificate_verify_failed")) == 2,
        "its record",
    )
    servers = with_certificate(proxy, authority, "proxy", "127.0.0.1", "localhost")
    proxy.refusal("proxy", None, **servers)  # made for servers, not for clients
    proxy.refusal("billing", None, listener="demanded", sslmode="require")
    proxy.recorded("login_failed", reason="tls:peer_did_not_return_a_certificate")
    assert len(proxy.records("session_opened")) == before


def test_without_a_certificate_it_is_the_password(proxy: Running) -> None:
    with proxy.connect("alice", "alice-password", "certificates", sslmode="require") as alice:
        assert one(alice, "SELECT 1") == 1


# --- who it is cannot be forged -----------------------------------------------------------------


FORGERIES = [
    "SET sallyport.principal = 'bob'",
    "SET SESSION sallyport.on_behalf_of TO 'bob'",
    "SET LOCAL sallyport.principal = 'bob'",
    "SET \"sallyport.principal\" = 'bob'",
    "SET \"Sallyport.Principal\" = 'bob'",
    "SET SALLYPORT.PRINCIPAL = 'bob'",
    "SELECT set_config('sallyport.principal', 'bob', false)",
    "SELECT set_config('sally' || 'port.principal', 'bob', false)",
    "SELECT set_config('SALLYPORT.principal', 'bob', true)",
    "SELECT pg_catalog.set_config(name, 'bob', false) FROM pg_settings WHERE name ~ 'sally'",
    "SELECT set_config('application_name', 'bob/x', false)",
    "SELECT 1; SET application_name = 'bob/x'",
    "SET sallyport.session = ''",
    "RESET sallyport.principal",
    "SET sallyport.principal TO DEFAULT",
    "UPDATE pg_settings SET setting = 'bob' WHERE name = 'sallyport.principal'",
    "UPDATE pg_settings SET setting = 'bob' WHERE name = 'application_name'",
    "DO $$ BEGIN PERFORM set_config('sallyport.principal', 'bob', false); END $$",
]


@pytest.fixture
def agent(proxy: Running, issuer: Issuer) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    token = issuer.token("alice", act={"sub": "copilot"})
    with enter(proxy, token, "copilot", application_name="ide") as connection:
        yield connection


def announced(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[Any, ...]:
    row = connection.execute(
        "SELECT current_setting('sallyport.principal'), current_setting('sallyport.on_behalf_of'),"
        " split_part(current_setting('application_name'), '/', 1),"
        " (SELECT split_part(application_name, '/', 1) FROM pg_stat_activity"
        "  WHERE pid = pg_backend_pid())"
    ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgeries(agent: psycopg.Connection[tuple[Any, ...]], forgery: str) -> None:
    before = announced(agent)
    assert before == ("copilot", "alice", "copilot", "copilot")
    try:
        agent.execute(forgery)  # type: ignore[arg-type]
    except psycopg.Error as error:
        assert error.sqlstate is not None
        agent.rollback()
    assert announced(agent) == before


@pytest.mark.parametrize("local", [True, False])
def test_forgeries_by_parameter(agent: psycopg.Connection[tuple[Any, ...]], local: bool) -> None:
    """What is set is a value that only the database sees."""
    before = announced(agent)
    with pytest.raises(psycopg.Error):
        agent.execute("SELECT set_config(%s, %s, %s)", ("sallyport.principal", "bob", local))
    with pytest.raises(psycopg.Error):
        agent.execute("PREPARE forge(text) AS SELECT set_config($1, 'bob', false)")
        agent.execute("EXECUTE forge('sallyport.principal')")
    assert announced(agent) == before


def test_resets_bring_it_back(agent: psycopg.Connection[tuple[Any, ...]]) -> None:
    before = announced(agent)
    for reset in ("RESET ALL", "DISCARD ALL", "RESET application_name"):
        try:
            agent.execute(reset)  # type: ignore[arg-type]
        except psycopg.Error as error:
            assert error.sqlstate == "42501"
        assert announced(agent) == before
    agent.execute("BEGIN")
    agent.execute("SAVEPOINT s")
    agent.execute("ROLLBACK")
    assert announced(agent) == before


def test_its_own_words_are_kept_apart(agent: psycopg.Connection[tuple[Any, ...]]) -> None:
    agent.execute("SET application_name = 'bob/0123456789ab psql'")
    assert announced(agent)[2:] == ("copilot", "copilot")
    assert agent.info.parameter_status("application_name") == "bob/0123456789ab psql"


@pytest.mark.parametrize(
    "options",
    [
        "-c sallyport.principal=bob",
        "-csallyport.principal=bob",
        "--sallyport.principal=bob",
        "--sallyport.on-behalf-of=bob",
        "-c SALLYPORT.PRINCIPAL=bob",
        "-c role=postgres",
        "-c session_authorization=postgres",
        "-c session_preload_libraries=x",
        "-c log_statement=none",
        "-B 5",
    ],
)
def test_startup_options(proxy: Running, issuer: Issuer, options: str) -> None:
    before = len(proxy.records("session_opened"))
    proxy.refusal("carol", issuer.token(), listener="mixed", **TLS, options=options)
    assert len(proxy.records("session_opened")) == before


def test_startup_options_that_are_fine(proxy: Running, issuer: Issuer) -> None:
    options = r"-c search_path=pg_catalog\,public --work-mem=8MB -c application_name=ide"
    with enter(proxy, issuer.token(), options=options) as carol:
        assert one(carol, "SHOW work_mem") == "8MB"
        assert one(carol, "SHOW search_path") == "pg_catalog,public"
        assert one(carol, "SHOW application_name") == "ide"


def test_announced_by_variables_only(proxy: Running, issuer: Issuer) -> None:
    with enter(proxy, issuer.token(), name="quiet", application_name="ide") as carol:
        assert one(carol, "SHOW application_name") == "ide"
        assert one(carol, "SELECT current_setting('sallyport.principal')") == "carol"
        carol.execute("SET application_name = 'else'")
        assert one(carol, "SHOW application_name") == "else"
        with pytest.raises(psycopg.Error):
            carol.execute("SET sallyport.principal = 'bob'")


def test_names_that_could_confuse(proxy: Running, issuer: Issuer) -> None:
    token = issuer.token("bob/x y'; DROP--@example.com")
    with enter(proxy, token, "bob/x y'; DROP--@example.com") as strange:
        exact = one(strange, "SELECT current_setting('sallyport.principal')")
        assert exact == "bob/x y'; DROP--@example.com"
        assert not one(strange, "SHOW application_name").startswith("bob/")
