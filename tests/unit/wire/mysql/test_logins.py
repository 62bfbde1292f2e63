"""Our two ends of a login against each other, whole and byte by byte: every method, with TLS and
without. What each end computes alone is held against PyMySQL's in `test_auth`."""

from typing import Any

import pytest

from appliance.identity.native import native_digest, parse_native_digest
from appliance.identity.password_key import new_private_key
from appliance.model.errors import ProtocolViolation, Refused
from appliance.model.principal import AuthMethod
from appliance.wire.conversation import (
    Asks,
    Certificate,
    Disproved,
    Identify,
    Meet,
    Met,
    Password,
    Proved,
    Recall,
    Remember,
    Stored,
    Token,
    Unacceptable,
    UpstreamRejected,
)
from appliance.wire.mysql import auth
from appliance.wire.mysql.client_login import ClientLogin
from appliance.wire.mysql.startup import (
    OURS,
    SHARED,
    Capability,
    Response,
    greeting_payload,
    parse_greeting,
    parse_response,
    response_payload,
)
from appliance.wire.mysql.upstream_login import Established, UpstreamLogin, Wanted
from tests.unit.wire.mysql.conversing import End, packets, talk

KEY = new_private_key()
EVERYTHING = Met("10.11.19-MariaDB", int(OURS | SHARED | Capability.SSL))
ENTROPY = bytes(range(64))
ROW_OK = bytes.fromhex("00000002000000")


class Wrong(Exception):
    """The proof was not believed."""


class Identities:
    """Answers the steps of a client's login that are about identity."""

    def __init__(self, asks: Asks = Asks.PASSWORD, *, native: bytes | None = None) -> None:
        self.asks = asks
        self.native = native
        self.remembered: bytes | None = None
        self.password = b"geheim"
        self.proved: list[Any] = []
        self.named: Identify | None = None

    def __call__(self, step: Any) -> Any:
        match step:
            case Meet():
                return EVERYTHING
            case Identify():
                self.named = step
                return self.asks
            case Recall():
                return self.remembered
            case Remember(digest=digest):
                self.remembered = digest
            case Stored():
                return self.native
            case Password(text=text):
                if text != self.password:
                    raise Wrong
                self.proved.append(step)
            case Disproved():
                raise Wrong
            case Token() | Certificate() | Proved():
                self.proved.append(step)
        return None


def client_login(*, tls: bool = False, native: bool = False) -> ClientLogin:
    return ClientLogin(
        thread=1 << 31, entropy=ENTROPY, tls=tls, native=native, private_key=lambda: KEY
    )


def wanted(password: bytes | None = b"geheim", tls: str = "prefer", **settings: str) -> Wanted:
    return Wanted("alice", password, "shop", tls, {"capabilities": str(int(SHARED)), **settings})


class Stage:
    """One login from end to end: `ClientLogin` plays the server for `UpstreamLogin`."""

    def __init__(self, identities: Identities, want: Wanted, **terms: bool) -> None:
        self.login = client_login(**terms)
        self.server = End(self.login.steps(), identities)
        self.client = End(UpstreamLogin(want).steps())

    def run(self, piece: int = 0) -> Established:
        talk(self.server, self.client, piece)
        assert self.server.ended
        self.client.hear(self.login.welcome({"status": "2"}))
        self._variables()
        assert self.client.ended
        result: Established = self.client.result
        return result

    def _variables(self) -> None:
        """The client asks for its session's variables; one row of NULLs is an answer."""
        ((_, asked),) = packets(self.client.speak())
        count = asked.count(b"@@")
        payloads = [bytes((count,)), *[b"c"] * count]
        rows = [bytes((0xFB,)) * count, b"\xfe\0\0\2\0\0\0"]
        for sequence, payload in enumerate([*payloads, *rows], 1):
            self.client.hear(len(payload).to_bytes(3, "little") + bytes((sequence,)) + payload)


@pytest.mark.parametrize("piece", [0, 1])
@pytest.mark.parametrize("tls", [True, False])
def test_full_then_fast(tls: bool, piece: int) -> None:
    identities = Identities()
    want = wanted(capabilities=str(int(SHARED)), collation="45")
    first = Stage(identities, want, tls=tls)
    established = first.run(piece)
    assert first.server.secured == tls and first.client.secured == tls
    assert [type(step) for step in identities.proved] == [Password]
    assert established.thread == 1 << 31 and established.capabilities & SHARED == SHARED
    second = Stage(identities, want, tls=tls)
    second.run(piece)
    assert identities.proved[1:] == [Proved(AuthMethod.CACHING_SHA2)]


def test_what_a_client_says_of_itself() -> None:
    identities = Identities()
    Stage(identities, wanted(application_name="report", collation="45"), tls=True).run()
    assert identities.named is not None
    assert (identities.named.user, identities.named.database) == ("alice", "shop")
    assert identities.named.application == "report"
    assert identities.named.settings["collation"] == "45"


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("remembered", [True, False])
def test_a_wrong_password_is_asked_for_whole_and_not_believed(tls: bool, remembered: bool) -> None:
    identities = Identities()
    if remembered:
        identities.remembered = auth.sha2_digest(b"geheim")
    stage = Stage(identities, wanted(b"falsch"), tls=tls)
    with pytest.raises(Wrong):
        talk(stage.server, stage.client)


def test_no_password_is_not_believed() -> None:
    stage = Stage(Identities(), wanted(None), tls=True)
    with pytest.raises(Wrong):
        talk(stage.server, stage.client)


def test_a_token_comes_over_tls_only() -> None:
    identities = Identities(Asks.TOKEN)
    Stage(identities, wanted(b"e30.e30.c2ln"), tls=True).run()
    assert identities.proved == [Token(b"e30.e30.c2ln")]
    stage = Stage(Identities(Asks.TOKEN), wanted(b"e30.e30.c2ln"), tls=False)
    with pytest.raises(Unacceptable):
        talk(stage.server, stage.client)


def test_a_certificate_needs_no_answer() -> None:
    identities = Identities(Asks.CERTIFICATE)
    Stage(identities, wanted(None), tls=True).run()
    assert identities.proved == [Certificate()]


def old_client(password: bytes) -> "OldClient":
    return OldClient(password)


class OldClient:
    """Knows mysql_native_password, and switches when asked to."""

    def __init__(self, password: bytes) -> None:
        self._password = password
        self.heard: list[bytes] = []

    def answer(self, greeting: bytes) -> bytes:
        ((_, payload),) = packets(greeting)
        met = parse_greeting(payload)
        response = Response(
            int(Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION | Capability.PLUGIN_AUTH),
            1 << 24,
            45,
            "alice",
            auth.native_answer(self._password, met.nonce),
            "",
            auth.NATIVE,
            {},
        )
        said = response_payload(response)
        return len(said).to_bytes(3, "little") + b"\1" + said


def test_native_only_where_it_is_enabled_and_stored() -> None:
    digest = parse_native_digest(native_digest(b"geheim"))
    cases = [(True, digest, b"geheim"), (False, digest, b"geheim")]
    cases += [(True, None, b"geheim"), (True, digest, b"falsch")]
    seen = []
    for native, stored, password in cases:
        identities = Identities(native=stored)
        server = End(client_login(native=native).steps(), identities)
        server.hear(old_client(password).answer(server.speak()))
        seen.append((server.ended, [sequence for sequence, _ in packets(server.speak())]))
        if server.ended:
            assert identities.proved == [Proved(AuthMethod.NATIVE_PASSWORD)]
    # Refused, unknown and wrong look the same: all are switched to the other method.
    assert seen == [(True, []), (False, [2]), (False, [2]), (False, [2])]


def test_tls_is_asked_for_before_anything_else_is_said() -> None:
    client = End(UpstreamLogin(wanted(tls="require")).steps())
    server = End(client_login(tls=True).steps(), Identities())
    client.hear(server.speak())
    said = client.speak()
    ((_, request),) = packets(said)
    assert len(request) == 32 and client.waits_for_tls
    server.hear(said)
    assert server.waits_for_tls
    with pytest.raises(ProtocolViolation, match="TLS was not offered"):
        End(client_login(tls=False).steps(), Identities()).hear(said)


@pytest.mark.parametrize("collation", [28, 35, 54, 60, 101, 0])
def test_character_sets_that_hide_ascii_are_refused(collation: int) -> None:
    stage = Stage(Identities(), wanted(collation="45"), tls=False)
    said = bytearray(response_payload(_response(collation)))
    stage.server.speak()
    with pytest.raises(Refused) as caught:
        stage.server.hear(len(said).to_bytes(3, "little") + b"\1" + bytes(said))
    assert caught.value.refusal.rule == "builtin:startup-settings"


def _response(collation: int) -> Response:
    flags = Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION | Capability.PLUGIN_AUTH
    return Response(int(flags), 0, collation, "alice", b"\1" * 32, "", auth.CACHING_SHA2, {})


def test_what_was_not_offered_counts_as_not_asked_for() -> None:
    login = client_login()
    server = End(login.steps(), Identities())
    server.speak()
    everything = (1 << 28) - 1 & ~(Capability.SSL | Capability.ZSTD_COMPRESSION)
    everything &= ~(Capability.CONNECT_WITH_DB | Capability.CONNECT_ATTRS)
    response = Response(everything, 0, 45, "alice", b"\1" * 32, "", auth.CACHING_SHA2, {})
    said = response_payload(response)
    server.hear(len(said).to_bytes(3, "little") + b"\1" + said)
    refused = Capability.LOCAL_FILES | Capability.COMPRESS | Capability.NO_SCHEMA | Capability.SSL
    assert not login.capabilities & refused
    assert login.capabilities & SHARED == SHARED


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_truncated_responses_are_violations(cut: int) -> None:
    whole = response_payload(
        Response(int(OURS), 0, 45, "alice", b"\1" * 32, "shop", auth.CACHING_SHA2, {"a": "b"})
    )
    assert parse_response(whole).attributes == {"a": "b"}
    with pytest.raises(ProtocolViolation):
        parse_response(whole[:-cut])


def test_packets_out_of_order_are_violations() -> None:
    server = End(client_login().steps(), Identities())
    with pytest.raises(ProtocolViolation, match="out of order"):
        server.hear(b"\5\0\0\7hello")


def test_a_greeting_is_read_as_it_was_written() -> None:
    server = End(client_login(tls=True).steps(), Identities())
    ((sequence, payload),) = packets(server.speak())
    assert sequence == 0
    greeting = parse_greeting(payload)
    assert greeting.version == EVERYTHING.version and greeting.plugin == auth.CACHING_SHA2
    assert len(greeting.nonce) == 20 and 0 not in greeting.nonce and ord("$") not in greeting.nonce
    assert greeting_payload(greeting) == payload
    assert not greeting.capabilities & Capability.LOCAL_FILES


# --- what databases ask for -----------------------------------------------------------------------


class Server:
    """A database that says what it is told to, packet by packet."""

    def __init__(self, want: Wanted) -> None:
        self.client = End(UpstreamLogin(want).steps())
        self.sequence = 0

    def say(self, payload: bytes) -> bytes:
        """-> the client's answer."""
        head = len(payload).to_bytes(3, "little") + bytes((self.sequence,))
        self.client.hear(head + payload)
        answers = packets(self.client.speak())
        self.sequence = answers[-1][0] + 1 & 0xFF if answers else self.sequence + 1
        return answers[-1][1] if answers else b""

    def greet(self, plugin: str, *, tls: bool = False) -> Response:
        flags = OURS | SHARED | (Capability.SSL if tls else Capability(0))
        answer = self.say(client_greeting(plugin, int(flags)))
        if self.client.waits_for_tls:
            self.client.secure()
            ((sequence, answer),) = packets(self.client.speak())
            self.sequence = sequence + 1
        return parse_response(answer)


NONCE = auth.nonce_of(ENTROPY)


def client_greeting(plugin: str, flags: int) -> bytes:
    from appliance.wire.mysql.startup import Greeting

    return greeting_payload(Greeting("8.4.0", 7, NONCE, flags, 255, 2, plugin))


def test_native_and_switches() -> None:
    server = Server(wanted(tls="disable"))
    response = server.greet(auth.NATIVE)
    assert auth.native_proves(parse_native_digest(native_digest(b"geheim")), NONCE, response.answer)
    other = auth.nonce_of(ENTROPY[20:])
    answer = server.say(auth.switch(auth.CACHING_SHA2, other))
    assert auth.sha2_proves(auth.sha2_digest(b"geheim"), other, answer)
    assert server.say(auth.more(b"\4")) == auth.CACHING_SHA2_KEY_WANTED
    encrypted = server.say(auth.more(auth.public_key_text(KEY)))
    assert auth.decrypted(KEY, encrypted, other) == b"geheim\0"


def test_sha256_password() -> None:
    server = Server(wanted(tls="disable"))
    assert server.greet(auth.SHA256).answer == auth.SHA256_KEY_WANTED
    encrypted = server.say(auth.more(auth.public_key_text(KEY)))
    assert auth.decrypted(KEY, encrypted, NONCE) == b"geheim\0"
    assert Server(wanted()).greet(auth.SHA256, tls=True).answer == b"geheim\0"


def test_ed25519() -> None:
    server = Server(wanted(b"b" * 32, tls="disable"))
    server.greet("something_else")
    signed = server.say(auth.switch(auth.ED25519, b"n" * 32))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(b"b" * 32).public_key()
    public.verify(signed, b"n" * 32)  # SHA512 of 32 bytes is where RFC 8032 begins, too


@pytest.mark.parametrize("plugin", [auth.CLEAR, "dialog", "authentication_kerberos_client"])
def test_what_is_not_spoken_or_not_safe(plugin: str) -> None:
    server = Server(wanted(tls="disable"))
    server.greet(auth.NATIVE)
    with pytest.raises(Unacceptable):
        server.say(auth.switch(plugin, NONCE))


def test_the_old_switch_is_no_method() -> None:
    server = Server(wanted(tls="disable"))
    server.greet(auth.NATIVE)
    with pytest.raises(ProtocolViolation):
        server.say(b"\xfe")


def test_a_ladder_that_wants_tls_takes_nothing_less() -> None:
    with pytest.raises(Unacceptable, match="does not offer TLS"):
        Server(wanted(tls="require")).greet(auth.NATIVE, tls=False)


def test_refusals_are_the_databases_own() -> None:
    server = Server(wanted(tls="disable"))
    server.greet(auth.NATIVE)
    with pytest.raises(UpstreamRejected) as caught:
        server.say(b"\xff\x15\x04#28000Access denied")
    assert caught.value.fields == {"C": "28000", "M": "Access denied", "N": "1045"}
    with pytest.raises(UpstreamRejected) as caught:
        Server(wanted()).say(b"\xff\x10\x04Too many connections")
    assert caught.value.fields["N"] == "1040"


def test_it_ends() -> None:
    server = Server(wanted(tls="disable"))
    server.greet(auth.NATIVE)
    with pytest.raises(ProtocolViolation, match="does not end"):
        for _ in range(20):
            server.say(auth.switch(auth.NATIVE, NONCE))


def test_no_credential_says_so() -> None:
    server = Server(wanted(None, tls="disable"))
    assert server.greet(auth.NATIVE).answer == b""
    assert server.say(auth.switch(auth.CACHING_SHA2, NONCE)) == b""
