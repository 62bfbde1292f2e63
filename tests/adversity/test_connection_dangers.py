"""Dangers of the protocol, the client's side: frames, startup, cancel (soundness study, section 6).

Every test says what must not happen; the session either goes on or ends with a clear error, and the
database's log is asked where it matters.
"""

import ssl
import struct
from collections.abc import Iterator

import pytest

from tests.adversity import stage
from tests.adversity.stage import DATABASE, PASSWORD, ROLE, Cluster, Proxy
from tests.adversity.talk import (
    GSSENC_REQUEST,
    SSL_REQUEST,
    cut,
    doomed,
    fresh,
    usable,
)
from tests.clusters import Authority
from tests.wireclient import (
    SYNC,
    VERSION_30,
    VERSION_32,
    Closed,
    WireClient,
    error,
    kinds,
    message,
    parse,
    query,
    startup,
    status,
)


class TestLengths:
    @pytest.mark.parametrize("kind", "QPBDECSHXFpdcf")
    @pytest.mark.parametrize("length", [0, 3, -1, -(1 << 31), 0x7FFFFFFF, 0x40000000])
    def test_impossible(self, masked: Proxy, kind: str, length: int) -> None:
        with masked.login() as client:
            client.send(kind.encode() + struct.pack("!i", length) + b"x" * 100)
            cut(client)

    @pytest.mark.parametrize("length", [0, 4, 7, -1, 10_001, 0x7FFFFFFF])
    def test_of_the_startup_packet(self, masked: Proxy, length: int) -> None:
        with fresh(masked) as client:
            client.send(struct.pack("!iI", length, VERSION_30) + b"user\0x\0\0")
            cut(client)

    @pytest.mark.parametrize(
        "sent",
        [
            message("Q", b"SELECT 1\0x"),
            message("Q", b"SELECT 1\0\0"),
            message("Q", b"SELECT 1"),
            message("P", b"\0SELECT 1\0\0\0x"),
            message("P", b"\0SELECT 1\0\0\1\0\0\0"),
            message("P", b"\0SELECT 1"),
            message("B", b"\0\0\0\0\0\0\0\0x"),
            message("B", b"\0\0\0\0\0\1\0\0\0\x7fabc\0\0"),
            message("B", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"),
            message("B", b"\0\0\0\2\0\0\0\0\0\0\0\0"),
            message("B", b"\0\0\0\0\0\0\0\1\0\7"),
            message("D", b"S\0x"),
            message("D", b"X\0"),
            message("D", b""),
            message("E", b"\0\0\0\0\0x"),
            message("E", b"\0\0\0"),
            message("C", b"S\0x"),
            message("C", b"Q\0"),
            message("S", b"x"),
            message("H", b"x"),
            message("X", b"x"),
        ],
        ids=repr,
    )
    def test_bodies_that_do_not_add_up(self, masked: Proxy, sent: bytes) -> None:
        with masked.login() as client:
            client.send(parse("", "SELECT 1"), sent, SYNC)
            cut(client)

    def test_nul_inside_the_text(self, masked: Proxy) -> None:
        for sent in (query(b"SELECT 1\0; DROP TABLE doomed"), parse("", b"SELECT 1\0DROP")):
            with masked.login() as client:
                client.send(sent, SYNC)
                cut(client)
        assert not doomed(masked)

    @pytest.mark.parametrize("kind", "\0ARZTKWVGHgxyz~\xff")
    def test_unknown_types(self, masked: Proxy, kind: str) -> None:
        if kind == "H":
            pytest.skip("Flush")
        with masked.login() as client:
            client.send(kind.encode("latin-1") + struct.pack("!I", 8) + b"abcd")
            cut(client)

    def test_password_after_login(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.send(message("p", b"secret\0"))
            cut(client)


class TestBeforeLogin:
    @pytest.fixture(scope="class")
    @classmethod
    def tls(
        cls, cluster: Cluster, authority: Authority, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Proxy]:
        folder = tmp_path_factory.mktemp("tls")
        with stage.tls_proxy(cluster, folder, authority, "require", stage.MASKED) as running:
            yield running

    @staticmethod
    def context(authority: Authority, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def test_plaintext_behind_sslrequest(self, tls: Proxy) -> None:
        with fresh(tls) as client:
            client.send(SSL_REQUEST, startup({"user": ROLE, "database": DATABASE}))
            cut(client)

    def test_tls_is_required(self, tls: Proxy) -> None:
        with fresh(tls) as client:
            client.send(startup({"user": ROLE, "database": DATABASE}))
            cut(client, "28000")

    def test_tls_by_request(self, tls: Proxy, authority: Authority) -> None:
        with fresh(tls) as client:
            client.send(SSL_REQUEST)
            assert client.socket.recv(1) == b"S"
            client.start_tls(self.context(authority))
            client.send(startup({"user": ROLE, "database": DATABASE}))
            client.authenticate(PASSWORD)
            usable(client)
            assert client.query("SELECT ssn FROM customers WHERE id = 1")[1].row[0][-4:] == b"6789"

    def test_second_sslrequest_inside_tls(self, tls: Proxy, authority: Authority) -> None:
        with fresh(tls) as client:
            client.send(SSL_REQUEST)
            client.socket.recv(1)
            client.start_tls(self.context(authority))
            client.send(SSL_REQUEST)
            cut(client)

    def test_direct_tls_with_alpn(self, tls: Proxy, authority: Authority) -> None:
        with fresh(tls) as client:
            client.start_tls(self.context(authority, "postgresql"))
            client.send(startup({"user": ROLE, "database": DATABASE}))
            client.authenticate(PASSWORD)
            usable(client)

    @pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
    def test_direct_tls_without_alpn(
        self, tls: Proxy, authority: Authority, alpn: tuple[str, ...]
    ) -> None:
        with fresh(tls) as client:
            try:
                client.start_tls(self.context(authority, *alpn))
                client.send(startup({"user": ROLE, "database": DATABASE}))
                assert client.receive() == b""
            except (ssl.SSLError, ConnectionError):
                pass

    def test_direct_tls_where_there_is_none(self, masked: Proxy, authority: Authority) -> None:
        with fresh(masked) as client, pytest.raises((ssl.SSLError, OSError)):
            client.start_tls(self.context(authority, "postgresql"))

    def test_gssenc_and_ssl_are_answered_no(self, masked: Proxy) -> None:
        with fresh(masked) as client:
            client.send(GSSENC_REQUEST)
            assert client.socket.recv(10) == b"N"
            client.send(SSL_REQUEST)
            assert client.socket.recv(10) == b"N"
            client.send(startup({"user": ROLE, "database": DATABASE}))
            client.authenticate(PASSWORD)
            usable(client)

    @pytest.mark.parametrize("asked", [GSSENC_REQUEST, SSL_REQUEST])
    def test_the_same_request_again(self, masked: Proxy, asked: bytes) -> None:
        with fresh(masked) as client:
            client.send(asked)
            assert client.socket.recv(10) == b"N"
            client.send(asked)
            cut(client)

    def test_bytes_behind_gssenc(self, masked: Proxy) -> None:
        with fresh(masked) as client:
            client.send(GSSENC_REQUEST, startup({"user": ROLE}))
            cut(client)

    @pytest.mark.parametrize("version", [1 << 16, 2 << 16, 4 << 16, 0, 0xFFFFFFFF])
    def test_other_protocols(self, masked: Proxy, version: int) -> None:
        with fresh(masked) as client:
            client.send(startup({"user": ROLE, "database": DATABASE}, version))
            cut(client)

    def test_newer_minor_and_unknown_extensions_are_negotiated(self, masked: Proxy) -> None:
        with fresh(masked) as client:
            asked = {"user": ROLE, "database": DATABASE, "_pq_.colour": "blue"}
            client.send(startup(asked, 3 << 16 | 9999))
            first = client.read()
            assert first.kind == "v"
            newest, count = struct.unpack_from("!II", first.body)
            assert (newest, count) == (VERSION_32, 1) and first.body[8:] == b"_pq_.colour\0"
            client.authenticate(PASSWORD)
            assert len(client.key) == 32
            usable(client)

    @pytest.mark.parametrize("name", ["replication", "Replication", "REPLICATION", "replication "])
    @pytest.mark.parametrize("value", ["true", "database", "1", "on", "yes", "TRUE", "t", "2", ""])
    def test_replication(self, masked: Proxy, name: str, value: str) -> None:
        with fresh(masked) as client:
            client.send(startup({"user": ROLE, "database": DATABASE, name: value}))
            cut(client, "42501")

    def test_replication_off_is_a_session(self, masked: Proxy) -> None:
        with masked.login(replication="false") as client:
            usable(client)
            assert error(client.query("IDENTIFY_SYSTEM"))

    @pytest.mark.parametrize(
        "options",
        [
            "-c role=postgres",
            "-crole=postgres",
            "--role=postgres",
            "-c session_authorization=postgres",
            "--session-authorization=postgres",
            "-csallyport.principal=root",
            "-c sallyport.session=x",
            "-c Sallyport.Principal=root",
            "-c standard_conforming_strings=off",
            "-c session_preload_libraries=evil",
            "-c local_preload_libraries=evil",
            "-c log_statement=none",
            "-c search_path=public -c role=postgres",
            r"-c search_path=a\ -c -c role=postgres",
            r"-c ro\le=postgres",
            r"\-c role=postgres",
            "-c\trole=postgres",
            "-c\nrole=postgres",
            "-c row_security=off",
            "-c session_replication_role=replica",
        ],
    )
    def test_options_smuggle_nothing(self, masked: Proxy, options: str) -> None:
        with fresh(masked) as client:
            client.send(startup({"user": ROLE, "database": DATABASE, "options": options}))
            cut(client, "42501")

    @pytest.mark.parametrize("options", ["-e", "-d 5", "-p 1", "-c", "-c role", "postgres", "-W 9"])
    def test_other_switches(self, masked: Proxy, options: str) -> None:
        with fresh(masked) as client:
            client.send(startup({"user": ROLE, "database": DATABASE, "options": options}))
            cut(client)

    def test_a_backslash_joins_a_value(self, masked: Proxy) -> None:
        """It is one value, here and at the server."""
        options = r"-c application_name=a\ -c\ role=postgres"
        with masked.login(options=options) as client:
            assert client.rows("SHOW application_name") == [[b"a -c role=postgres"]]
            assert client.rows("SELECT current_user") == [[ROLE.encode()]]

    @pytest.mark.parametrize(
        "name", ["role", "session_authorization", "sallyport.principal", "ROLE", "is_superuser"]
    )
    def test_parameters_not_on_the_list(self, masked: Proxy, name: str) -> None:
        with fresh(masked) as client:
            client.send(startup({"user": ROLE, "database": DATABASE, name: "postgres"}))
            cut(client, "42501")

    def test_the_client_chooses_no_upstream_role(self, masked: Proxy) -> None:
        with masked.login(application_name="x") as client:
            assert client.rows("SELECT session_user, current_user") == [[ROLE.encode()] * 2]
            assert client.rows("SHOW sallyport.principal") == [[ROLE.encode()]]

    @pytest.mark.parametrize("user", ["postgres", "", "analyst'; --", "x" * 200, "ANALYST"])
    def test_other_users(self, masked: Proxy, user: str) -> None:
        with fresh(masked) as client:
            client.send(startup({"user": user, "database": DATABASE}))
            with pytest.raises(Closed):
                client.authenticate(PASSWORD)


class TestCancel:
    @pytest.fixture(scope="class")
    @classmethod
    def pair(cls, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
        folder = tmp_path_factory.mktemp("pair")
        with stage.proxy(cluster, folder, stage.GUARDED, "--workers", "2") as running:
            yield running

    @staticmethod
    def send_cancel(proxy: Proxy, pid: int, key: bytes) -> None:
        with fresh(proxy) as other:
            packet = struct.pack("!II", 80877102, pid) + key
            other.send(struct.pack("!I", len(packet) + 4) + packet)
            assert other.receive() == b""

    @pytest.mark.parametrize("version", [VERSION_30, VERSION_32])
    def test_right_key_from_any_worker(self, pair: Proxy, version: int) -> None:
        for _ in range(4):  # the kernel chooses the worker: some of these land on the other one
            with pair.login(version) as client:
                assert len(client.key) == (4 if version == VERSION_30 else 32)
                client.send(query("SELECT pg_sleep(20)"))
                assert client.silent(0.15)
                self.send_cancel(pair, client.pid, client.key)
                got = client.until("Z")
                assert error(got)["C"] == "57014" and status(got) == "I"
                usable(client)

    def test_wrong_keys_cancel_nothing(self, pair: Proxy) -> None:
        with pair.login(VERSION_32) as client:
            client.send(query("SELECT pg_sleep(1)"))
            flipped = bytes((client.key[0] ^ 1,)) + client.key[1:]
            for pid, key in (
                (client.pid, flipped),
                (client.pid, client.key[:4]),
                (client.pid, client.key + b"\0"),
                (client.pid, b"\0" * 256),
                (client.pid + 1, client.key),
            ):
                self.send_cancel(pair, pid, key)
            assert kinds(client.until("Z")) == "TDCZ"

    def test_the_key_is_not_the_server_s(self, pair: Proxy) -> None:
        """Sent straight to the database, it cancels nothing."""
        with pair.login() as client:
            client.send(query("SELECT pg_sleep(1)"))
            with WireClient("127.0.0.1", pair.cluster.server.port) as direct:
                packet = struct.pack("!II", 80877102, client.pid) + client.key
                direct.send(struct.pack("!I", len(packet) + 4) + packet)
                direct.receive()
            assert kinds(client.until("Z")) == "TDCZ"

    @pytest.mark.parametrize("length", [8, 15, 269, 300])
    def test_malformed(self, pair: Proxy, length: int) -> None:
        with fresh(pair) as other:
            packet = struct.pack("!III", length, 80877102, 1) + b"k" * 300
            other.send(packet[:length])
            cut(other)

    def test_own_session_as_well_when_it_waits_for_a_lock(self, pair: Proxy) -> None:
        with pair.login() as holder, pair.login() as waiter:
            holder.query("BEGIN")
            holder.query("UPDATE notes SET body = body WHERE id = 1")
            waiter.send(query("UPDATE notes SET body = body WHERE id = 1"))
            assert waiter.silent()
            self.send_cancel(pair, waiter.pid, waiter.key)
            assert error(waiter.until("Z"))["C"] == "57014"
