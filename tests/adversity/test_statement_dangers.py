"""Dangers of the protocol, the client's side: names, COPY, lexing, identity, messages.

Every test says what must not happen; the session either goes on or ends with a clear error, and the
database's log is asked where it matters.
"""

import struct
from pathlib import Path

import psycopg
import pytest

from tests.adversity import stage
from tests.adversity.stage import ROLE, Cluster, Proxy, clean
from tests.adversity.talk import EVIL, content, cut, doomed, usable
from tests.clusters import Authority
from tests.wireclient import (
    COPY_DONE,
    FLUSH,
    SYNC,
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
    status,
    wait_for,
)


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
            # What names a relation after the end of a transaction, in the same text, is refused.
            states = ("42501", "25P02") if "; BEGIN" in swap else ("34000",)
            assert error(got)["C"] in states

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
            client.query("BEGIN")
            got = client.query(text)
            clean(content(got))
            assert kinds(got) in ("CZ", "EZ")
            for written in ("t", "notes"):
                clean(content(client.query(f"SELECT * FROM {written}")))
            client.query("ROLLBACK")
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

    @pytest.mark.parametrize(
        "before",
        [
            (),
            ("BEGIN", "DECLARE k CURSOR FOR SELECT ssn FROM customers WHERE id = 1"),
            ("PREPARE p AS SELECT ssn FROM customers WHERE id = 1",),
        ],
    )
    def test_what_has_no_place_in_an_encoding(self, masked: Proxy, before: tuple[str, ...]) -> None:
        """That a raw cell cannot be converted is an error, which tells of its letters."""
        change = "UPDATE customers SET ssn = '123-\u20ac-6789' WHERE id = 1"
        asked = "SELECT ssn FROM customers WHERE id = 1"
        if before:
            asked = "FETCH k" if "BEGIN" in before else "EXECUTE p"
        for encoding in ("LATIN1", "SJIS"):
            with masked.login() as client:
                client.query("BEGIN")
                client.query(change)
                for text in before[-1:]:
                    client.query(text)
                client.query(f"SET client_encoding = '{encoding}'")
                got = client.query(asked)
                if before:
                    unknown = "34000" if "BEGIN" in before else "26000"  # a cursor, a statement
                    assert error(got)["C"] == unknown, "it was to send them as they are"
                else:
                    assert rows(got) == [[b"******6789"]]

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
            usable(client)


def test_sessions_vanish_with_their_clients(masked: Proxy) -> None:
    """Nothing of this file's cut connections is left at the server."""
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'analyst'"
        " AND application_name <> 'sallyport catalog'"
    )
    assert wait_for(lambda: masked.cluster.ask(count) == [(0,)])
