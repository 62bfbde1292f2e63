"""Dangers of the protocol itself (red team's soundness study, section 6): the client's side.

Every test says what must not happen; the session either goes on or ends with a clear error, and the
database's log is asked where it matters.
"""

import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.adversity import stage
from tests.adversity.stage import DATABASE, PASSWORD, ROLE, Cluster, Proxy, clean
from tests.clusters import Authority
from tests.wireclient import (
    COPY_DONE,
    FLUSH,
    SYNC,
    VERSION_30,
    VERSION_32,
    Closed,
    Message,
    WireClient,
    bind,
    close,
    copy_data,
    describe,
    error,
    execute,
    kinds,
    message,
    parse,
    query,
    rows,
    startup,
    status,
    wait_for,
)

SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)
EVIL = r"SELECT 'a\', '; DROP TABLE doomed; --'"
"""One string constant and another to whoever reads backslashes plainly, a DROP to all others."""


def fresh(proxy: Proxy) -> WireClient:
    return WireClient(proxy.running.host, proxy.running.port)


def usable(client: WireClient, state: str = "I") -> None:
    got = client.query("SELECT 41 + 1")
    assert rows(got) == [[b"42"]] and status(got) == state


def content(messages: list[Message]) -> bytes:
    return b"".join(one.body for one in messages)


def cut(client: WireClient, sqlstate: str = "08P01") -> None:
    """The session ends with this error."""
    seen = client.rest()
    assert seen and seen[-1].kind == "E", [str(one) for one in seen]
    assert seen[-1].fields["C"] == sqlstate and seen[-1].fields["S"] == "FATAL"


def doomed(proxy: Proxy) -> bool:
    """Whether the table that nobody may drop is gone."""
    return proxy.cluster.ask("SELECT to_regclass('doomed') IS NULL") == [(True,)]


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


class TestNames:
    """Statement and portal maps change on completion only."""

    def test_an_error_takes_back_what_was_not_completed(self, masked: Proxy) -> None:
        with masked.login() as client:
            got = client.ask(
                parse("bad", "SELECT nothing FROM nowhere"),
                parse("s", "SELECT 1"),
                bind("p", "s"),
                SYNC,
            )
            assert kinds(got) == "EZ"
            got = client.ask(bind("", "s"), execute(), SYNC)
            assert error(got)["C"] == "26000"
            got = client.ask(execute("p"), SYNC)
            assert error(got)["C"] == "34000"
            usable(client)

    def test_parse_of_an_existing_name_keeps_the_old(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.ask(parse("s", "SELECT ssn FROM customers WHERE id = 1"), SYNC)
            got = client.ask(parse("s", "SELECT name FROM customers WHERE id = 1"), SYNC)
            assert error(got)["C"] == "42P05"
            got = client.ask(bind("", "s"), execute(), SYNC)
            clean(content(got))
            assert rows(got) == [[b"*******6789"]]

    def test_a_name_used_again_after_close(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.ask(parse("s", "SELECT name FROM customers WHERE id = 1"), SYNC)
            got = client.ask(
                *(bind("p", "s"), execute("p"), close("P", "p"), close("S", "s")),
                parse("s", "SELECT ssn FROM customers WHERE id = 1"),
                *(bind("p", "s"), execute("p"), SYNC),
            )
            clean(content(got))
            assert rows(got) == [[b"Ada"], [b"*******6789"]]

    def test_a_skipped_close_closed_nothing(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.ask(parse("s", "SELECT 7"), SYNC)
            got = client.ask(parse("", "DROP TABLE doomed"), close("S", "s"), SYNC)
            assert kinds(got) == "EZ"
            assert rows(client.ask(bind("", "s"), execute(), SYNC)) == [[b"7"]]

    @pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
    def test_portals_end_with_their_transaction(self, masked: Proxy, end: str) -> None:
        with masked.login() as client:
            client.query("BEGIN")
            client.ask(parse("s", "SELECT 1"), bind("p", "s"), SYNC)
            client.query(end)
            got = client.ask(execute("p"), SYNC)
            assert error(got)["C"] == "34000"

    @pytest.mark.parametrize("text", ["DISCARD ALL", "DEALLOCATE ALL", "DEALLOCATE s"])
    def test_sql_lets_go_of_statements(self, masked: Proxy, text: str) -> None:
        with masked.login() as client:
            client.ask(parse("s", "SELECT 1"), SYNC)
            client.query(text)
            assert error(client.ask(bind("", "s"), execute(), SYNC))["C"] == "26000"
            got = client.ask(
                parse("s", "SELECT ssn FROM customers WHERE id = 1"), bind("", "s"), execute(), SYNC
            )
            assert rows(got) == [[b"*******6789"]]

    @pytest.mark.parametrize(
        "swap",
        [
            "CLOSE c; DECLARE c CURSOR FOR SELECT ssn FROM customers",
            "CLOSE ALL; DECLARE c CURSOR FOR SELECT ssn FROM customers",
            "COMMIT; BEGIN; DECLARE c CURSOR FOR SELECT ssn FROM customers",
            "ROLLBACK; BEGIN; DECLARE c CURSOR FOR SELECT ssn FROM customers",
        ],
    )
    @pytest.mark.parametrize("pipelined", [False, True])
    def test_a_cursor_in_place_of_a_portal(self, masked: Proxy, swap: str, pipelined: bool) -> None:
        """The portal's plan says that nothing is masked; the cursor of its name gives secrets."""
        with masked.login() as client:
            client.query("BEGIN")
            client.ask(
                parse("s", "SELECT country FROM customers"),
                bind("c", "s"),
                describe("P", "c"),
                SYNC,
            )
            if pipelined:
                got = client.ask(query(swap), execute("c"), SYNC, ready=2)
            else:
                client.query(swap)
                got = client.ask(execute("c"), SYNC)
            clean(content(got))
            assert error(got)["C"] == "34000"

    def test_a_failed_declare_takes_no_portal_away(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.query("BEGIN")
            client.query("SAVEPOINT s")
            client.ask(parse("s", "SELECT country FROM customers LIMIT 1"), bind("c", "s"), SYNC)
            got = client.query("DECLARE c CURSOR FOR SELECT 1")
            assert error(got)["C"] == "42P03"
            client.query("ROLLBACK TO s")
            assert client.query("SELECT 1")

    def test_sql_prepare_in_place_of_a_statement(self, guarded: Proxy) -> None:
        """The trail would name the wrong text."""
        with guarded.login() as client:
            client.ask(parse("s", "SELECT 1"), SYNC)
            got = client.ask(
                query("DEALLOCATE s"),
                query("PREPARE s AS SELECT 2"),
                *(bind("", "s"), execute(), SYNC),
                ready=3,
            )
            assert error(got)["C"] == "26000" and not rows(got)
            assert rows(client.query("EXECUTE s")) == [[b"2"]]

    def test_names_cut_off_by_the_server(self, masked: Proxy) -> None:
        """Names are one to the server when their first 63 bytes are."""
        long = "p" * 63
        with masked.login() as client:
            client.query("BEGIN")
            got = client.ask(
                parse("a", "SELECT country FROM customers"),
                *(bind(long + "1", "a"), describe("P", long + "1"), SYNC),
            )
            assert error(got)["C"] == "42622"
            client.query("ROLLBACK")
            for sent in (
                parse(long + "1", "SELECT 1"),
                close("P", long + "2"),
                describe("S", long + "1"),
            ):
                got = client.ask(sent, SYNC)
                assert error(got)["C"] == "42622"
            got = client.ask(parse(long, "SELECT 1"), bind(long, long), execute(long), SYNC)
            assert rows(got) == [[b"1"]]

    def test_reserved_names(self, masked: Proxy) -> None:
        name = "sallyport: refused"
        with masked.login() as client:
            for sent in (
                parse(name, "SELECT 1"),
                parse("", "SELECT 1") + bind(name, ""),
                describe("S", name),
                close("S", name),
                execute(name),
            ):
                got = client.ask(sent, SYNC)
                assert kinds(got).lstrip("1") == "EZ"
            usable(client)

    def test_a_reserved_name_in_sql_is_of_no_use(self, masked: Proxy) -> None:
        with masked.login() as client:
            for text in (
                'PREPARE "sallyport: refused" AS SELECT name FROM customers',
                'DECLARE "sallyport: settings" CURSOR FOR SELECT 1',
                'EXECUTE "sallyport: refused"',
            ):
                assert error(client.query(text))["C"] == "42939"
            got = client.ask(bind("", "nobody"), execute(), SYNC)
            assert kinds(got) == "EZ" and error(got)["C"] == "26000"
            usable(client)

    def test_too_many(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.send(*(parse(f"s{n}", "SELECT 1") for n in range(4_200)), SYNC)
            got = client.until("Z")
            assert error(got)["C"] == "53400"
            usable(client)


class TestNamedInSql:
    def test_prepared_and_executed(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.query("PREPARE q(int) AS SELECT ssn, score FROM customers WHERE id = $1")
            got = client.query("EXECUTE q(1)")
            clean(content(got))
            assert rows(got) == [[b"*******6789", b"30000"]]
            assert kinds(client.query("EXPLAIN EXECUTE q(1)")).endswith("CZ")
            usable(client)

    @pytest.mark.parametrize(
        "text",
        [
            "CREATE TEMP TABLE t AS EXECUTE q(1)",
            "CREATE TEMP TABLE t AS SELECT ssn FROM customers",
            "SELECT ssn INTO TEMP t FROM customers",
            "INSERT INTO notes SELECT id + 5000, ssn FROM customers",
            "UPDATE notes SET body = ssn FROM customers WHERE notes.id = customers.id",
        ],
    )
    def test_written_elsewhere(self, masked: Proxy, text: str) -> None:
        with masked.login() as client:
            client.query("PREPARE q(int) AS SELECT ssn FROM customers WHERE id = $1")
            got = client.query(text)
            assert error(got)["C"] == "42501"
            got = client.query("SELECT * FROM t")
            clean(content(got))
            usable(client)

    def test_a_cursor_of_masked_columns(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.query("BEGIN")
            client.query("DECLARE c SCROLL CURSOR FOR SELECT ssn FROM customers ORDER BY id")
            for text, shown in (
                ("FETCH c", [[b"*******6789"]]),
                ("FETCH FORWARD ALL FROM c", [[b"*******4321"], [None]]),
                ("FETCH FIRST FROM c", [[b"*******6789"]]),
                ("FETCH ABSOLUTE 2 FROM c", [[b"*******4321"]]),
            ):
                got = client.query(text)
                clean(content(got))
                assert rows(got) == shown
            assert kinds(client.query("MOVE FIRST IN c")) == "CZ"

    def test_a_binary_cursor(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.query("BEGIN")
            client.query("DECLARE c BINARY CURSOR FOR SELECT score FROM customers ORDER BY id")
            got = client.query("FETCH c")
            assert rows(got) == [[struct.pack("!i", 30_000)]]

    def test_a_cursor_s_name_for_a_portal(self, masked: Proxy) -> None:
        """FETCH from a protocol portal: under that portal's plan, not under a cursor's of old."""
        with masked.login() as client:
            client.query("BEGIN")
            client.query("DECLARE c CURSOR FOR SELECT country FROM customers")
            client.query("CLOSE c")
            client.ask(parse("s", "SELECT ssn FROM customers"), bind("c", "s"), SYNC)
            got = client.query("FETCH c")
            clean(content(got))
            assert rows(got) == [[b"*******6789"]]

    def test_psycopg_server_side_cursor(self, masked: Proxy) -> None:
        with psycopg.connect(masked.uri) as connection, connection.cursor("c") as cursor:
            cursor.execute("SELECT ssn FROM customers ORDER BY id")
            assert cursor.fetchall() == [("*******6789",), ("*******4321",), (None,)]


class TestCopyIn:
    def start(self, client: WireClient, extended: bool) -> None:
        text = "COPY notes FROM STDIN"
        if extended:
            client.send(parse("", text), bind(), execute(), SYNC)
            assert kinds(client.until("G")) == "12G"
        else:
            client.send(query(text))
            assert kinds(client.until("G")) == "G"

    @pytest.mark.parametrize("extended", [False, True])
    def test_sync_and_flush_are_ignored_meanwhile(self, masked: Proxy, extended: bool) -> None:
        with masked.login() as client:
            self.start(client, extended)
            client.send(copy_data(b"7001\ta\n"), SYNC, FLUSH, SYNC, copy_data(b"7002\tb\n"))
            client.send(COPY_DONE, SYNC if extended else b"")
            got = client.until("Z")
            assert kinds(got) == "CZ" and got[0].tag == "COPY 2"
            assert client.silent()
            usable(client)
        masked.cluster.ask("DELETE FROM notes WHERE id > 7000 RETURNING 1")

    @pytest.mark.parametrize("extended", [False, True])
    def test_data_after_a_failure_is_data(self, masked: Proxy, extended: bool) -> None:
        """What follows a failed COPY looks like messages, and is not read as such."""
        with masked.login() as client:
            self.start(client, extended)
            client.send(copy_data(b"not a number\tx\n"))
            assert error(client.until("E"))["C"] == "22P02"
            client.send(copy_data(query("DROP TABLE doomed") * 3), copy_data(b"1\tz\n"), COPY_DONE)
            if extended:
                client.send(SYNC)
            got = client.until("Z")
            assert status(got) == "I"
            usable(client)
        assert not doomed(masked)

    def test_a_frame_begun_before_the_failure_is_finished_after_it(self, masked: Proxy) -> None:
        """Half a CopyData frame upstream and the rest dropped: the server would take what comes
        next, messages that were judged as such, for data, and then data for messages.
        """
        piece = 300_000
        smuggled = query("DROP TABLE doomed")
        with masked.login() as client:
            self.start(client, extended=True)
            client.send(copy_data(b"bad\tbad\n"))
            body = b"x" * piece + smuggled * 20_000
            frame = copy_data(body)
            client.send(frame[:piece])
            assert error(client.until("E"))["C"] == "22P02"
            client.send(frame[piece:], SYNC)
            assert kinds(client.until("Z")) == "Z"
            usable(client)
        assert not doomed(masked)

    @pytest.mark.parametrize(
        "sent", [query("SELECT 1"), parse("", "SELECT 1"), query(b"/*" + b"x" * (5 << 20))]
    )
    def test_other_messages_meanwhile(self, masked: Proxy, sent: bytes) -> None:
        with masked.login() as client:
            self.start(client, False)
            client.send(sent[:200_000])
            cut(client)

    def test_a_query_right_behind_copydone(self, masked: Proxy) -> None:
        with masked.login() as client:
            self.start(client, False)
            client.send(copy_data(b"7003\ta\n"), COPY_DONE, query("SELECT 5"))
            got = client.until("Z", 2)
            assert kinds(got) == "CZTDCZ" and rows(got) == [[b"5"]]
        masked.cluster.ask("DELETE FROM notes WHERE id > 7000 RETURNING 1")

    def test_copyfail(self, masked: Proxy) -> None:
        with masked.login() as client:
            self.start(client, False)
            client.send(copy_data(b"7004\ta\n"), message("f", b"changed my mind\0"))
            assert error(client.until("Z"))["C"] == "57014"
            usable(client)

    def test_stray_copy_messages_are_ignored(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.send(copy_data(query("DROP TABLE doomed")), COPY_DONE, message("f", b"x\0"))
            usable(client)
        assert not doomed(masked)

    def test_several_in_one_text(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.send(query("COPY notes FROM STDIN; COPY notes FROM STDIN; SELECT 3"))
            assert kinds(client.until("G")) == "G"
            client.send(copy_data(b"7005\ta\n"), COPY_DONE)
            assert kinds(client.until("G")) == "CG"
            client.send(copy_data(b"7006\ta\n"), COPY_DONE)
            assert kinds(client.until("Z")) == "CTDCZ"
        masked.cluster.ask("DELETE FROM notes WHERE id > 7000 RETURNING 1")


class TestLexing:
    """Texts that the server would read differently from us are refused."""

    def test_the_same_text_under_other_settings(self, guarded: Proxy) -> None:
        """A verdict made under one lexing is not used under another."""
        with guarded.login() as client:
            assert kinds(client.query(EVIL)) == "TDCZ"
            client.query("SET standard_conforming_strings = off")
            got = client.query(EVIL)
            assert error(got)["C"] == "22021" and kinds(got) == "EZ"
            assert rows(client.query("SELECT 'plain'")) == [[b"plain"]]
            client.query("RESET standard_conforming_strings")
            assert kinds(client.query(EVIL)) == "TDCZ"
        assert not doomed(guarded)

    @pytest.mark.parametrize(
        "setting",
        [
            "SET standard_conforming_strings = off",
            "SELECT set_config('standard_conforming_strings', 'off', false)",
            "SET SESSION standard_conforming_strings TO 'off'",
            "BEGIN; SET LOCAL standard_conforming_strings = off",
        ],
    )
    def test_in_the_same_breath(self, guarded: Proxy, setting: str) -> None:
        """The second message is read before the server could report the first one's effect."""
        with guarded.login() as client:
            client.send(query(setting), query(EVIL))
            got = client.until("Z", 2)
            assert error(got)["C"] == "22021"
        assert not doomed(guarded)

    def test_between_execute_and_sync(self, guarded: Proxy) -> None:
        """The server reports settings with ReadyForQuery only."""
        with guarded.login() as client:
            client.send(
                parse("", "SET standard_conforming_strings = off"), bind(), execute(), FLUSH
            )
            assert kinds(client.until("C")) == "12C"
            got = client.ask(parse("", r"SELECT 'a\', ', 1; --'"), SYNC)
            assert error(got)["C"] == "22021"

    def test_a_rollback_brings_it_back(self, guarded: Proxy) -> None:
        with guarded.login() as client:
            client.query("SET standard_conforming_strings = off")
            client.query("BEGIN")
            client.query("SET standard_conforming_strings = on")
            assert kinds(client.query(EVIL)) == "TDCZ"
            client.send(query("ROLLBACK"), query(EVIL))
            assert error(client.until("Z", 2))["C"] == "22021"
        assert not doomed(guarded)

    def test_settings_of_no_account_are_pipelined_freely(self, guarded: Proxy) -> None:
        with guarded.login() as client:
            client.send(query("SET work_mem = '8MB'"), query("SELECT 'ü', 'a\\'"))
            got = client.until("Z", 2)
            assert rows(got) == [["ü".encode(), b"a\\"]]

    @pytest.mark.parametrize("encoding", ["SJIS", "GBK", "BIG5", "LATIN1", "EUC_JP"])
    def test_client_encodings(self, masked: Proxy, encoding: str) -> None:
        trick = b"SELECT '\x95\\', ssn FROM customers --'"  # one character in SJIS, two in UTF-8
        for settings in ({"client_encoding": encoding}, {}):
            with masked.login(**settings) as client:
                if not settings:
                    client.query(f"SET client_encoding = '{encoding}'")
                got = client.query(trick)
                clean(content(got))
                assert error(got)
                got = client.query("SELECT name, ssn FROM customers WHERE id = 1")
                clean(content(got))
                assert rows(got) == [[b"Ada", b"*******6789"]]

    def test_one_session_s_refusal_is_not_another_s(self, masked: Proxy) -> None:
        text = "SELECT 'ü', name FROM customers WHERE id = 1"
        with masked.login(client_encoding="LATIN1") as odd, masked.login() as client:
            assert error(odd.query(text))["C"] == "22021"
            assert rows(client.query(text)) == [["ü".encode(), b"Ada"]]

    @pytest.mark.parametrize("text", [b"SELECT '\xff'", b"SELECT '\xc0\x80'", b"SELECT \xed\xa0"])
    def test_not_utf8(self, masked: Proxy, text: bytes) -> None:
        with masked.login() as client:
            assert error(client.query(text))["C"] == "22021"
            usable(client)


class TestIdentity:
    @pytest.mark.parametrize(
        "text",
        [
            "SET ROLE postgres",
            "SET SESSION AUTHORIZATION postgres",
            "SELECT set_config('role', 'postgres', false)",
            "SET sallyport.principal = 'root'",
            "SET LOCAL sallyport.session = 'x'",
            "SELECT set_config('sallyport.principal', 'root', false)",
            "SELECT set_config('sally' || 'port.principal', 'root', false)",
            "UPDATE pg_settings SET setting = 'root' WHERE name = 'sallyport.principal'",
            "SELECT 1; SET sallyport.principal = 'root'",
            "EXPLAIN ANALYZE SELECT set_config('sallyport.principal', 'root', false)",
            "PREPARE f AS SELECT set_config('sallyport.principal', 'root', false)",
            "ALTER ROLE analyst SET sallyport.principal = 'root'",
            "DO $$ BEGIN PERFORM set_config('sallyport.principal', 'root', false); END $$",
            'SET "sallyport".principal = 1',
            'SET "Sallyport.Principal" = 1',
        ],
    )
    def test_is_not_forged(self, masked: Proxy, text: str) -> None:
        with masked.login() as client:
            assert error(client.query(text))["C"] in ("42501", "42602", "42601")
            assert error(client.ask(parse("", text), bind(), execute(), SYNC))["C"]
            assert client.rows("SHOW sallyport.principal") == [[ROLE.encode()]]
            assert client.rows("SELECT current_user") == [[ROLE.encode()]]

    @pytest.mark.parametrize("text", ["RESET ALL", "DISCARD ALL", "ROLLBACK"])
    def test_stays(self, masked: Proxy, text: str) -> None:
        with masked.login() as client:
            client.query(text)
            assert client.rows("SHOW sallyport.principal") == [[ROLE.encode()]]

    def test_application_name(self, cluster: Cluster, authority: Authority, tmp_path: Path) -> None:
        """Where it is announced, the client's own words stand behind the identity."""
        with (
            stage.tls_proxy(cluster, tmp_path, authority, "allow", stage.GUARDED) as proxy,
            proxy.login(application_name="psql") as client,
        ):

            def seen() -> str:
                found = cluster.ask(
                    "SELECT application_name FROM pg_stat_activity WHERE pid = %s", client.pid
                )
                return str(found[0][0])

            tag = seen().removesuffix("psql")
            assert ROLE in tag and client.parameters["application_name"] == "psql"
            for text, shown in (
                ("SET application_name = 'me'", "me"),
                ("SET application_name = 'it''s'", "it's"),
                (r"SET application_name = 'a\'", "a\\"),
                (r"SET application_name = E'a\'; SET ROLE x; --'", "a'; SET ROLE x; --"),
            ):
                client.query(text)
                assert seen() == tag + shown
            client.query("BEGIN")
            client.query("SET LOCAL application_name = 'local'")
            assert seen() == tag + "local"
            client.query("ROLLBACK")
            assert seen() == tag + "a'; SET ROLE x; --"
            for text in (
                "SELECT set_config('application_name', 'root', false)",
                "SELECT 1; SET application_name = 'root'",
                "BEGIN; SET LOCAL application_name = 'root'; COMMIT",
            ):
                assert error(client.query(text))["C"] == "42501"
            client.query("RESET application_name")
            assert seen().startswith(tag.strip())


class TestSeveralStatements:
    def test_all_or_nothing(self, guarded: Proxy) -> None:
        with guarded.login() as client:
            before = len(guarded.cluster.logged())
            got = client.query("CREATE TABLE fresh (id int); DROP TABLE doomed; SELECT 1")
            assert kinds(got) == "EZ"
            usable(client)
            assert "CREATE TABLE fresh" not in guarded.cluster.logged()[before:]

    def test_masks_of_each(self, masked: Proxy) -> None:
        with masked.login() as client:
            got = client.query(
                "SELECT ssn FROM customers WHERE id = 1; SELECT name FROM customers WHERE id = 1;"
                "SELECT name, ssn FROM customers WHERE id = 2;;"
            )
            assert rows(got) == [[b"*******6789"], [b"Ada"], [b"Bob", b"*******4321"]]
            clean(content(got))

    def test_an_error_in_the_middle(self, masked: Proxy) -> None:
        with masked.login() as client:
            got = client.query("SELECT ssn FROM customers WHERE id = 1; SELECT 1/0; SELECT 2")
            assert kinds(got) == "TDCEZ" and error(got)["C"] == "22012"
            usable(client)

    def test_empty(self, masked: Proxy) -> None:
        with masked.login() as client:
            assert kinds(client.query("")) == "IZ"
            assert kinds(client.query(" ; -- nothing")) == "IZ"
            assert kinds(client.ask(parse("", ""), bind(), execute(), SYNC)) == "12IZ"


class TestSettingsProbe:
    def test_does_not_end_a_pipeline_s_transaction(self, masked: Proxy) -> None:
        """What we ask the server for ourselves must not commit what a client has not synced."""
        with masked.login() as client:
            client.ask(parse("set", "SET search_path = public"), SYNC)
            client.send(
                *(parse("", "INSERT INTO notes VALUES (8001, 'x')"), bind(), execute()),
                *(bind("", "set"), execute(), FLUSH),
            )
            assert kinds(client.until("C", 2)) == "12C2C"
            client.send(
                parse("", "SELECT body FROM public.notes LIMIT 1"), bind(), execute(), FLUSH
            )
            client.until("CE")
            client.ask(parse("", "SELECT 1/0"), bind(), execute(), SYNC)
        assert masked.cluster.ask("SELECT 1 FROM notes WHERE id = 8001") == []

    def test_search_path_is_followed(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.query("SET search_path = pg_catalog")
            assert error(client.query("SELECT ssn FROM customers"))
            client.query("SET search_path = public")
            assert rows(client.query("SELECT ssn FROM customers WHERE id = 1")) == [
                [b"*******6789"]
            ]

    def test_a_shadowing_temporary_table(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.query("CREATE TEMP TABLE customers (ssn text)")
            got = client.query("SELECT ssn FROM customers")
            clean(content(got))
            got = client.query("DROP TABLE pg_temp.customers")
            got = client.query("SELECT ssn FROM customers WHERE id = 1")
            clean(content(got))


class TestMessagesOutOfNowhere:
    def test_notifications_carry_no_payload_to_the_masked(
        self, masked: Proxy, guarded: Proxy
    ) -> None:
        with masked.login() as listener, guarded.login() as speaker:
            assert kinds(listener.query("LISTEN news")) == "CZ"
            speaker.query("SELECT pg_notify('news', '123-45-6789')")
            got = listener.read()
            assert got.kind == "A"
            clean(got.body)

    def test_parameter_status_is_no_channel(self, masked: Proxy) -> None:
        with masked.login() as client:
            got = client.query("SELECT set_config('application_name', ssn, false) FROM customers")
            assert error(got)["C"] == "42501"
            clean(content(got), *client.parameters.values())

    @pytest.mark.parametrize(
        "text",
        [
            "SELECT pg_notify('x', ssn) FROM customers",
            "SELECT 1 / (CASE WHEN ssn LIKE '1%' THEN 0 ELSE 1 END) FROM customers",
            "SELECT lo_from_bytea(0, ssn::bytea) FROM customers",
            "SELECT query_to_xml('select ssn from customers', true, true, '')",
            "SELECT * FROM pg_stats WHERE tablename = 'customers'",
            "SELECT nextval(ssn) FROM customers",
            "LOCK TABLE nosuch; SELECT ssn || 'x' FROM customers",
            "TABLE customers ORDER BY ssn",
            "VALUES ((SELECT ssn FROM customers LIMIT 1))",
            "MERGE INTO notes n USING customers c ON n.id = c.id"
            " WHEN MATCHED THEN UPDATE SET body = c.ssn",
            "DELETE FROM notes USING customers c WHERE c.ssn = body RETURNING c.ssn",
        ],
    )
    def test_channels(self, masked: Proxy, text: str) -> None:
        with masked.login() as client:
            for got in (client.query(text), client.ask(parse("", text), bind(), execute(), SYNC)):
                clean(content(got))
                assert error(got)
            usable(client)


def test_sessions_vanish_with_their_clients(masked: Proxy) -> None:
    """Nothing of this file's cut connections is left at the server."""
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'analyst'"
        " AND application_name <> 'sallyport catalog'"
    )
    assert wait_for(lambda: masked.cluster.ask(count) == [(0,)])
