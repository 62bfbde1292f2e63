"""The eight probes that the reference product fails (field study, 3.3), each on this one.

An analyst owes masks on customers.email, .ssn and .score (an int). Whatever is tried, the raw value
never arrives, and the session goes on afterwards.
"""

import struct

import asyncpg
import psycopg
import pytest

from tests.adversity.stage import Proxy, clean
from tests.wireclient import (
    SYNC,
    Message,
    bind,
    close,
    describe,
    error,
    execute,
    kinds,
    message,
    parse,
    query,
    rows,
    status,
)


def usable(client, state: str = "I") -> None:
    got = client.query("SELECT 41 + 1")
    assert rows(got) == [[b"42"]] and status(got) == state


def content(messages: list[Message]) -> bytes:
    return b"".join(one.body for one in messages)


class TestAlias:
    @pytest.mark.parametrize(
        "text",
        [
            "SELECT ssn AS x FROM customers WHERE id = 1",
            "SELECT c.ssn x FROM public.customers AS c WHERE id = 1",
            'SELECT x AS "ssn of nobody" FROM (SELECT ssn AS x FROM customers WHERE id = 1) t',
            "WITH t(x) AS (SELECT ssn FROM customers WHERE id = 1) SELECT x AS name FROM t",
        ],
    )
    def test_is_masked(self, masked: Proxy, text: str) -> None:
        with masked.login() as client:
            got = client.query(text)
            clean(content(got))
            assert rows(got) == [[b"*******6789"]]

    @pytest.mark.parametrize(
        "text",
        [
            "SELECT upper(email) FROM customers",
            "SELECT ssn || '' FROM customers",
            "SELECT customers FROM customers",
            "SELECT row_to_json(c) FROM customers c",
            "SELECT email FROM customers UNION SELECT 'x'",
            "SELECT max(ssn) FROM customers",
            "SELECT name FROM customers WHERE ssn LIKE '123%'",
            "SELECT name FROM customers ORDER BY ssn",
        ],
    )
    def test_what_is_computed_is_computed_from_masks(self, masked: Proxy, text: str) -> None:
        with masked.login() as client:
            got = client.query(text)
            clean(content(got))
            assert kinds(got).startswith("T") and kinds(got).endswith("CZ")
            assert bool(rows(got)) is ("LIKE" not in text)
            usable(client)


class TestReexecution:
    TEXT = "SELECT id, ssn, score FROM customers WHERE id = $1"

    def test_without_a_new_describe(self, masked: Proxy) -> None:
        with masked.login() as client:
            first = client.ask(
                parse("s", self.TEXT), describe("S", "s"), bind("", "s", (b"1",)), execute(), SYNC
            )
            assert kinds(first) == "1tT2DCZ"
            for number, shown in ((b"1", b"*******6789"), (b"2", b"*******4321"), (b"3", None)):
                again = client.ask(bind("", "s", (number,)), execute(), SYNC)
                assert kinds(again) == "2DCZ"
                assert rows(again)[0][:2] == [number, shown]
                clean(content(again))

    def test_described_in_text_and_executed_in_binary(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.ask(parse("s", self.TEXT), describe("S", "s"), SYNC)
            got = client.ask(bind("", "s", (b"2",), (0, 0, 1)), execute(), SYNC)
            assert rows(got) == [[b"2", b"*******4321", struct.pack("!i", 40_000)]]

    def test_portal_in_batches(self, masked: Proxy) -> None:
        with masked.login() as client:
            text = "SELECT ssn FROM customers ORDER BY id"
            got = client.ask(
                parse("", text), bind("p"), execute("p", 1), execute("p", 1), execute("p"), SYNC
            )
            assert kinds(got) == "12DsDsDCZ"
            assert rows(got) == [[b"*******6789"], [b"*******4321"], [None]]

    async def test_asyncpg_statement_cache(self, masked: Proxy) -> None:
        connection = await asyncpg.connect(masked.uri)
        try:
            for number, ssn, score in ((1, "*******6789", 30_000), (2, "*******4321", 40_000)):
                row = await connection.fetchrow(self.TEXT, number)
                assert tuple(row) == (number, ssn, score)
        finally:
            await connection.close()


class TestCopy:
    @pytest.mark.parametrize("form", ["text", "csv", "binary"])
    @pytest.mark.parametrize(
        "what", ["customers", "customers (id, ssn)", "(SELECT ssn FROM customers)"]
    )
    def test_of_masked_columns_holds_masks(self, masked: Proxy, what: str, form: str) -> None:
        with masked.login() as client:
            got = client.query(f"COPY {what} TO STDOUT (FORMAT {form})")
            clean(content(got))
            assert kinds(got).startswith("Hd") and kinds(got).endswith("cCZ")
            usable(client)

    @pytest.mark.parametrize("form", ["text", "csv", "binary"])
    def test_of_other_columns_flows(self, masked: Proxy, form: str) -> None:
        with masked.login() as client:
            got = client.query(f"COPY customers (id, name) TO STDOUT (FORMAT {form})")
            assert kinds(got).startswith("Hd") and kinds(got).endswith("cCZ")
            assert b"Ada" in content(got)

    def test_in_extended_protocol(self, masked: Proxy) -> None:
        with masked.login() as client:
            text = "COPY customers TO STDOUT"
            got = client.ask(parse("", text), bind(), execute(), SYNC)
            clean(content(got))
            assert kinds(got).startswith("12Hd") and kinds(got).endswith("cCZ")
            usable(client)


class TestErrorText:
    def test_a_cast_that_fails_fails_on_the_mask(self, masked: Proxy) -> None:
        """Neither the client nor the server's own log reads the value."""
        with masked.login() as client:
            before = len(masked.cluster.logged())
            got = client.query("SELECT ssn::int FROM customers")
            clean(content(got))
            assert error(got)["C"] == "22P02"
            logged = masked.cluster.logged()[before:]
            assert "invalid input syntax" in logged and "123-45" not in logged
            usable(client)

    @pytest.mark.parametrize(
        "text",
        [
            "UPDATE customers SET name = NULL WHERE id = 1",  # "Failing row contains (...)"
            "INSERT INTO customers VALUES (9, 'Mia', 'ada@example.org', '1-1', 5)",
            "UPDATE customers SET ssn = 'no dash' WHERE id = 2",
            "UPDATE customers SET id = 2 WHERE id = 1",
        ],
    )
    def test_a_constraint_error_carries_no_value(self, masked: Proxy, text: str) -> None:
        with masked.login() as client:
            got = client.query(text)
            failure = error(got)
            assert failure["C"] in ("23502", "23505", "23514")
            clean(content(got))
            assert "Failing row" not in str(failure) and "already exists" not in str(failure)
            usable(client)

    def test_in_extended_protocol(self, masked: Proxy) -> None:
        with masked.login() as client:
            text = "UPDATE customers SET name = NULL WHERE id = $1"
            got = client.ask(parse("", text), bind("", "", (b"1",)), execute(), SYNC)
            clean(content(got))
            assert error(got)["C"] == "23502" and "Ada" not in str(error(got))

    def test_a_trigger_that_chooses_its_words(self, masked: Proxy) -> None:
        """SQLSTATE, message and even constraint name of an error may be anybody's."""
        masked.cluster.ask(
            """
            CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              RAISE unique_violation USING MESSAGE = OLD.ssn, CONSTRAINT = OLD.email,
                DETAIL = OLD.ssn, HINT = OLD.ssn, TABLE = OLD.ssn;
            END $$;
            CREATE TRIGGER tell BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION tell();
            """
        )
        try:
            with masked.login() as client:
                got = client.query("UPDATE customers SET name = 'x' WHERE id = 1")
                clean(content(got))
                assert error(got)
                usable(client)
        finally:
            masked.cluster.ask("DROP TRIGGER tell ON customers; DROP FUNCTION tell")


class TestBinary:
    def test_a_masked_integer_stays_one(self, masked: Proxy) -> None:
        with psycopg.connect(masked.uri) as connection, connection.cursor(binary=True) as cursor:
            cursor.execute("SELECT id, score, score AS again FROM customers ORDER BY id")
            assert cursor.fetchall() == [(1, 30_000, 30_000), (2, 40_000, 40_000), (3, None, None)]

    def test_raw(self, masked: Proxy) -> None:
        with masked.login() as client:
            got = client.ask(
                parse("", "SELECT score FROM customers WHERE id = 1"),
                bind("", "", (), (1,)),
                execute(),
                SYNC,
            )
            assert rows(got) == [[struct.pack("!i", 30_000)]]


class TestNineMegabytesOfComment:
    @pytest.mark.parametrize("extended", [False, True])
    def test_before_a_drop(self, masked: Proxy, extended: bool) -> None:
        text = b"/*" + b"x" * (9 << 20) + b"*/ DROP TABLE doomed"
        with masked.login() as client:
            before = len(masked.cluster.logged())
            got = client.ask(parse("", text), SYNC) if extended else client.query(text)
            assert kinds(got) == "EZ" and error(got)["C"] == "54000"
            usable(client)
            assert "DROP TABLE doomed" not in masked.cluster.logged()[before:]
        assert masked.cluster.ask("SELECT count(*) FROM doomed") == [(1,)]

    def test_within_the_limit_is_read_and_refused(self, masked: Proxy) -> None:
        text = b"/*" + b"x" * 900_000 + b"*/ DROP TABLE doomed"
        with masked.login() as client:
            before = len(masked.cluster.logged())
            got = client.query(text)
            assert error(got)["C"] == "42501" and "no-drop" in error(got)["D"]
            usable(client)
            assert "DROP TABLE doomed" not in masked.cluster.logged()[before:]


class TestFunctionCall:
    BODY = struct.pack("!I", 1598) + b"\0\0\0\0\0\0"

    def test_is_refused_and_the_session_goes_on(self, masked: Proxy) -> None:
        with masked.login() as client:
            got = client.ask(message("F", self.BODY))
            assert kinds(got) == "EZ" and error(got)["C"] == "0A000"
            usable(client)

    def test_in_a_transaction(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.query("BEGIN")
            assert status(client.ask(message("F", self.BODY))) == "E"
            assert status(client.query("ROLLBACK")) == "I"

    def test_the_server_never_sees_it(self, masked: Proxy) -> None:
        with masked.login() as client:
            before = len(masked.cluster.logged())
            client.ask(message("F", self.BODY))
            usable(client)
            assert "fastpath" not in masked.cluster.logged()[before:]


class TestRefusalIsHonest:
    DROP = "DROP TABLE doomed"

    def test_when_idle(self, masked: Proxy) -> None:
        with masked.login() as client:
            got = client.query(self.DROP)
            assert kinds(got) == "EZ" and status(got) == "I"
            failure = error(got)
            assert failure["C"] == "42501" and failure["S"] == "ERROR"
            assert failure["M"] == "Nothing is dropped here."
            assert "rule: no-drop" in failure["D"] and failure["H"]
            usable(client)

    def test_in_a_transaction_it_fails_the_transaction(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.query("BEGIN")
            client.query("INSERT INTO notes VALUES (1000, 'x')")
            assert status(client.query(self.DROP)) == "E"
            after = client.query("SELECT 1")
            assert error(after)["C"] == "25P02" and status(after) == "E"
            got = client.query("COMMIT")
            assert kinds(got) == "CZ" and got[0].tag == "ROLLBACK" and status(got) == "I"
        assert masked.cluster.ask("SELECT FROM notes WHERE id = 1000") == []

    def test_after_rollback_to_a_savepoint(self, masked: Proxy) -> None:
        with masked.login() as client:
            for text in ("BEGIN", "INSERT INTO notes VALUES (1001, 'x')", "SAVEPOINT s"):
                client.query(text)
            assert status(client.query(self.DROP)) == "E"
            assert status(client.query("ROLLBACK TO s")) == "T"
            usable(client, "T")
            assert client.query("COMMIT")[0].tag == "COMMIT"
        assert masked.cluster.ask("DELETE FROM notes WHERE id = 1001 RETURNING id") == [(1001,)]

    def test_in_a_pipeline(self, masked: Proxy) -> None:
        with masked.login() as client:
            got = client.ask(
                *(parse("", "INSERT INTO notes VALUES (1002, 'x')"), bind(), execute()),
                *(parse("", self.DROP), bind(), execute()),
                *(parse("", "SELECT 1"), bind(), execute(), SYNC),
                *(parse("", "SELECT 2"), bind(), execute(), SYNC),
                ready=2,
            )
            assert kinds(got) == "12CEZ12DCZ"
            assert rows(got) == [[b"2"]] and status(got) == "I"
        assert masked.cluster.ask("SELECT FROM notes WHERE id = 1002") == []

    def test_until_sync_in_extended_protocol(self, masked: Proxy) -> None:
        with masked.login() as client:
            client.send(parse("", self.DROP))
            assert kinds(client.until("E")) == "E"
            client.send(bind(), describe("P"), execute(), close("S"))
            assert client.silent()
            got = client.ask(SYNC)
            assert kinds(got) == "Z" and status(got) == "I"
            usable(client)

    def test_all_or_nothing(self, masked: Proxy) -> None:
        with masked.login() as client:
            before = len(masked.cluster.logged())
            got = client.query(f"INSERT INTO notes VALUES (7331003, 'x'); {self.DROP}; SELECT 1")
            assert kinds(got) == "EZ" and status(got) == "I"
            usable(client)
            assert "7331003" not in masked.cluster.logged()[before:]

    def test_drivers_keep_their_connection(self, masked: Proxy) -> None:
        with psycopg.connect(masked.uri, autocommit=True) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="Nothing is dropped"):
                connection.execute(self.DROP)
            assert connection.execute("SELECT 1").fetchone() == (1,)
            with pytest.raises(psycopg.Error, match="Nothing is dropped"), connection.pipeline():
                connection.execute("SELECT 1")
                connection.execute(self.DROP).fetchall()
            assert connection.execute("SELECT 2").fetchone() == (2,)
            with pytest.raises(psycopg.Error), connection.transaction():
                connection.execute(self.DROP)
            assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE

    def test_refused_execute_and_describe(self, masked: Proxy) -> None:
        """Statements prepared in SQL, executed by name."""
        with masked.login() as client:
            got = client.ask(query(f"PREPARE d AS {self.DROP}"))
            assert "E" in kinds(got)
            usable(client)
