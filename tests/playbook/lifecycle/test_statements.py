"""Statements through the machine: recorded before forwarded, planned before a row, refused in
place."""

from collections.abc import Callable

import pytest

from appliance.audit.record import Outcome
from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.limits import Limits
from appliance.session.effects import (
    AnalyseText,
    ArmTimeout,
    CancelStatement,
    EndSession,
    NoteSchemaChange,
    RefreshCatalog,
)
from appliance.wire.postgres import refusals
from tests.playbook.lifecycle.book import (
    ANALYSED,
    CATALOG_READY,
    CLIENT_GONE,
    MASKS,
    NOTHING,
    POLICY,
    TIMED_OUT,
    Book,
    FakeCatalog,
    client,
    decided,
    error,
    finished,
    notice,
    requested,
    to_client,
    to_upstream,
    unrecorded,
    upstream,
)
from tests.playbook.lifecycle.lines import (
    BOUND,
    CLOSED,
    COPY_ENDS,
    COPY_IN,
    COPY_OUT,
    FAILED,
    IN_TRANSACTION,
    NAME,
    NO_DATA,
    ONE,
    PARSED,
    READY,
    SSN,
    SUSPENDED,
    complete,
    described,
    failed,
    row,
)
from tests.wireclient import (
    COPY_DONE,
    FLUSH,
    SYNC,
    TERMINATE,
    bind,
    close,
    copy_data,
    describe,
    execute,
    message,
    parse,
    query,
)

Play = Callable[..., Book]
REJECTED_QUERY = refusals.rejected_query()
REJECTED_PARSE = refusals.rejected_parse()
REJECTED_EXECUTE = refusals.rejected_execute()
REJECTED_BIND = refusals.rejected_bind()
SYNTAX = failed("42601", 'syntax error at or near "sallyport"')
SELECT_SSN = "SELECT ssn FROM customers"


class TestSimple:
    def test_recorded_and_forwarded(self, play: Play) -> None:
        text = query("SELECT 1")
        book = play() >> client(text) << decided("SELECT") << to_upstream(text)
        answer = (described(ONE), row(b"1"), complete("SELECT 1"), READY)
        book >> upstream(*answer) << finished(rows=1, cells_masked=0) << to_client(*answer)

    def test_masked(self, play: Play) -> None:
        book = play() >> client(query(SELECT_SSN)) << decided() << to_upstream(query(SELECT_SSN))
        book >> upstream(described(SSN)) << to_client(described(SSN))
        (
            book
            >> upstream(row(b"123-45-6789"), row(None))
            << to_client(row(b"*******6789"), row(None))
        )
        (
            book
            >> upstream(complete("SELECT 2"), READY)
            << finished(rows=2, cells_masked=1, command_tag="SELECT 2")
            << to_client(complete("SELECT 2"), READY)
        )

    def test_refused(self, play: Play) -> None:
        book = play() >> client(query("DROP TABLE notes")) << decided("DROP", refused=True)
        book << to_upstream(REJECTED_QUERY)
        book >> upstream(SYNTAX, READY) << error("42501", "no-drop") << to_client(READY)

    def test_refused_in_a_transaction(self, play: Play) -> None:
        book = play() >> client(query("BEGIN")) << decided() << to_upstream(query("BEGIN"))
        book >> upstream(complete("BEGIN"), IN_TRANSACTION) << finished()
        book << to_client(complete("BEGIN"), IN_TRANSACTION)
        book >> client(query("DROP TABLE notes")) << decided(refused=True)
        book << to_upstream(REJECTED_QUERY)
        book >> upstream(SYNTAX, FAILED) << error("42501") << to_client(FAILED)

    def test_rows_that_nobody_described(self, play: Play) -> None:
        book = play() >> client(query(SELECT_SSN)) << decided() << to_upstream(query(SELECT_SSN))
        with pytest.raises(InvariantBroken):
            book >> upstream(row(b"123-45-6789"))

    def test_a_result_from_another_place(self, play: Play) -> None:
        text = query("SELECT name FROM customers")
        book = play() >> client(text) << decided() << to_upstream(text)
        with pytest.raises(Refused):
            book >> upstream(described(SSN))

    def test_its_error_is_worded_without_values(self, play: Play) -> None:
        book = play() >> client(query(SELECT_SSN)) << decided() << to_upstream(query(SELECT_SSN))
        book >> upstream(failed("22P02", "invalid 123-45-6789", D="123-45-6789"), READY)
        book << finished(Outcome.FAILED, sqlstate="22P02") << error("22P02", "withheld")
        book << to_client(READY)

    def test_other_errors_are_the_server_s(self, play: Play) -> None:
        book = (
            play() >> client(query("SELECT 1/0")) << decided() << to_upstream(query("SELECT 1/0"))
        )
        answer = (failed("22012", "division by zero"), READY)
        (
            book
            >> upstream(*answer)
            << finished(Outcome.FAILED, sqlstate="22012")
            << to_client(*answer)
        )

    def test_schema_changes_are_noted(self, play: Play) -> None:
        text = query("CREATE TABLE t (a int)")
        policy = POLICY + "  - {id: ddl, effect: allow, actions: [create]}\n"
        book = play(policy=policy) >> client(text) << decided() << to_upstream(text)
        answer = (complete("CREATE TABLE"), READY)
        book >> upstream(*answer) << finished() << to_client(*answer)
        # Once for whoever reads inside the transaction, once more when it has ended.
        book << requested(NoteSchemaChange) << requested(NoteSchemaChange)

    def test_terminate(self, play: Play) -> None:
        book = play() >> client(TERMINATE, query("SELECT 1"))
        book << to_upstream(TERMINATE) << requested(EndSession)

    def test_a_client_that_leaves(self, play: Play) -> None:
        text = query("SELECT 1")
        book = play() >> client(text) << decided() << to_upstream(text)
        book >> CLIENT_GONE << finished(Outcome.DISCONNECTED)


class TestExtended:
    PREPARE = parse("s", SELECT_SSN)

    def prepared(self, book: Book) -> Book:
        book >> client(self.PREPARE, SYNC) << decided(SELECT_SSN) << to_upstream(self.PREPARE, SYNC)
        return book >> upstream(PARSED, READY) << to_client(PARSED, READY)

    def test_a_describe_of_ours_for_a_client_without_one(self, play: Play) -> None:
        book = self.prepared(play())
        book >> client(bind("", "s"), execute(), SYNC) << decided(SELECT_SSN)
        book << to_upstream(bind("", "s"), describe("P"), execute(), SYNC)
        book >> upstream(BOUND) << to_client(BOUND)
        book >> upstream(described(SSN)) << NOTHING
        book >> upstream(row(b"123-45-6789")) << to_client(row(b"*******6789"))
        book >> upstream(complete("SELECT 1")) << finished(cells_masked=1)
        book << to_client(complete("SELECT 1"))
        book >> upstream(READY) << to_client(READY)

    def test_none_where_the_client_asks_itself(self, play: Play) -> None:
        book = self.prepared(play())
        book >> client(bind("", "s"), describe("P"), execute(), SYNC) << decided()
        book << to_upstream(bind("", "s"), describe("P"), execute(), SYNC)
        book >> upstream(BOUND, described(SSN)) << to_client(BOUND, described(SSN))
        book >> upstream(row(b"123-45-6789")) << to_client(row(b"*******6789"))
        book >> upstream(complete("SELECT 1"), READY) << finished()
        book << to_client(complete("SELECT 1"), READY)

    def test_a_suspended_portal_keeps_its_plan(self, play: Play) -> None:
        book = self.prepared(play())
        book >> client(bind("p", "s"), execute("p", 1), FLUSH) << decided()
        book << to_upstream(bind("p", "s"), describe("P", "p"), execute("p", 1), FLUSH)
        book >> upstream(BOUND, described(SSN), row(b"123-45-6789"), SUSPENDED) << finished(rows=1)
        book << to_client(BOUND, row(b"*******6789"), SUSPENDED)
        book >> client(execute("p"), SYNC) << decided() << to_upstream(execute("p"), SYNC)
        book >> upstream(row(b"987-65-4321"), complete("SELECT 1"), READY) << finished(rows=1)
        book << to_client(row(b"*******4321"), complete("SELECT 1"), READY)

    def test_a_pipeline(self, play: Play) -> None:
        pieces = (parse("", "SELECT 1"), bind(), describe("P"), execute())
        book = play() >> client(*pieces, *pieces, SYNC) << decided() << decided() << decided()
        book << decided() << to_upstream(*pieces, *pieces, SYNC)
        answer = (PARSED, BOUND, described(ONE), row(b"1"), complete("SELECT 1"))
        book >> upstream(*answer, *answer, READY) << finished() << finished()
        book << to_client(*answer, *answer, READY)

    def test_refused_at_parse_and_skipped_to_sync(self, play: Play) -> None:
        drop = parse("", "DROP TABLE notes")
        book = play() >> client(drop) << decided(refused=True) << to_upstream(REJECTED_PARSE)
        book >> upstream(SYNTAX) << error("42501")
        book >> client(bind(), describe("P"), execute(), close("S"), FLUSH) << NOTHING
        book >> client(SYNC) << to_upstream(SYNC)
        book >> upstream(READY) << to_client(READY)

    def test_refused_at_parse_in_a_pipeline(self, play: Play) -> None:
        drop = (parse("", "DROP TABLE notes"), bind(), execute())
        one = parse("x", "SELECT 1")
        book = play() >> client(*drop, one, SYNC) << decided(refused=True) << decided()
        # Bind and Execute name nothing: they are replaced, too, and the server skips them.
        book << to_upstream(REJECTED_PARSE, REJECTED_BIND, REJECTED_EXECUTE, one, SYNC)
        book >> upstream(SYNTAX) << error("42501", "no-drop")
        book >> upstream(READY) << to_client(READY)
        book >> client(bind("", "x"), SYNC) << to_upstream(REJECTED_BIND, SYNC)
        book >> upstream(failed("26000"), READY) << error("26000", "does not exist")
        book << to_client(READY)

    def test_refused_since_it_was_parsed(self, play: Play) -> None:
        """The policy changed since it was parsed."""
        from appliance.policy.compile import compile_documents

        book = self.prepared(play())
        other = POLICY.replace("read, ", "") + MASKS
        book.machine.take_policy(compile_documents([("other.yaml", other.encode())]))
        book >> client(bind("", "s"), execute(), SYNC) << decided(refused=True)
        book << to_upstream(REJECTED_BIND, REJECTED_EXECUTE, SYNC)
        book >> upstream(failed("26000"), READY) << error("42501") << to_client(READY)

    def test_a_mask_that_came_since(self, play: Play) -> None:
        from appliance.policy.compile import compile_documents

        book = self.prepared(play(policy=POLICY))
        book.machine.take_policy(compile_documents([("other.yaml", (POLICY + MASKS).encode())]))
        book >> client(bind("", "s"), execute(), SYNC) << decided(refused=True)
        book << to_upstream(bind("", "s"), REJECTED_EXECUTE, SYNC)
        book >> upstream(BOUND, failed("34000"), READY)
        book << to_client(BOUND) << error("26000", "changed") << to_client(READY)

    def test_unknown_names(self, play: Play) -> None:
        for sent, stand_in, state in (
            (bind("", "nobody"), REJECTED_BIND, "26000"),
            (execute("nobody"), REJECTED_EXECUTE, "34000"),
        ):
            book = play() >> client(sent, SYNC) << to_upstream(stand_in, SYNC)
            book >> upstream(failed(state), READY) << error(state, "nobody") << to_client(READY)

    def test_a_refused_statement_that_is_accepted(self, play: Play) -> None:
        book = play() >> client(parse("", "DROP TABLE notes")) << decided(refused=True)
        book << to_upstream(REJECTED_PARSE)
        with pytest.raises(ProtocolViolation):
            book >> upstream(PARSED)

    def test_close_and_prepare_again(self, play: Play) -> None:
        book = self.prepared(play())
        again = parse("s", "SELECT name FROM customers")
        book >> client(close("S", "s"), again, SYNC) << decided("name")
        book << to_upstream(close("S", "s"), again, SYNC)
        book >> upstream(CLOSED, PARSED, READY) << to_client(CLOSED, PARSED, READY)
        book >> client(bind("", "s"), execute(), SYNC) << decided("name")
        book << to_upstream(bind("", "s"), describe("P"), execute(), SYNC)
        answer = (row(b"Ada"), complete("SELECT 1"), READY)
        book >> upstream(BOUND, described(NAME), *answer) << finished() << to_client(BOUND, *answer)

    def test_no_rows(self, play: Play) -> None:
        text = parse("", "INSERT INTO notes VALUES (1, 'x')")
        book = play() >> client(text, bind(), execute(), SYNC) << decided() << decided()
        book << to_upstream(text, bind(), describe("P"), execute(), SYNC)
        answer = (complete("INSERT 0 1"), READY)
        book >> upstream(PARSED, BOUND, NO_DATA, *answer) << finished()
        book << to_client(PARSED, BOUND, *answer)


class TestWaits:
    LONG = "SELECT ssn FROM customers --" + "x" * 5_000

    def test_for_an_analysis(self, play: Play) -> None:
        """What comes behind it stays in order."""
        book = play() >> client(query(self.LONG), query("SELECT 1")) << requested(AnalyseText)
        assert book.machine.waiting
        book >> client(SYNC) << NOTHING
        book >> ANALYSED << decided("ssn") << decided("SELECT")
        book << to_upstream(query(self.LONG), query("SELECT 1"), SYNC)
        assert not book.machine.waiting
        answer = (described(SSN), row(b"123-45-6789"), complete("SELECT 1"), READY)
        book >> upstream(*answer) << finished(cells_masked=1)
        book << to_client(described(SSN), row(b"*******6789"), *answer[2:])
        answer = (described(ONE), row(b"1"), complete("SELECT 1"), READY, READY)
        book >> upstream(*answer) << finished() << to_client(*answer)

    def test_a_statement_that_is_refused_after_it(self, play: Play) -> None:
        text = query("DROP TABLE notes --" + "x" * 5_000)
        book = play() >> client(text) << requested(AnalyseText)
        book >> ANALYSED << decided(refused=True) << to_upstream(REJECTED_QUERY)
        book >> upstream(SYNTAX, READY) << error("42501") << to_client(READY)

    def test_for_the_catalog(self, play: Play) -> None:
        catalog = FakeCatalog()
        lineage, catalog.lineage = catalog.lineage, None
        book = play(catalog=catalog) >> client(query(SELECT_SSN)) << requested(RefreshCatalog)
        catalog.lineage = lineage
        book >> CATALOG_READY << decided() << to_upstream(query(SELECT_SSN))
        book >> CLIENT_GONE << finished(Outcome.DISCONNECTED)

    def test_a_catalog_that_cannot_be_read(self, play: Play) -> None:
        catalog = FakeCatalog()
        catalog.lineage, catalog.failure = None, "it took too long"
        book = play(catalog=catalog) >> client(query(SELECT_SSN)) << requested(RefreshCatalog)
        book >> CATALOG_READY << decided(refused=True) << to_upstream(REJECTED_QUERY)
        book >> upstream(SYNTAX, READY) << error("57P03", "took too long") << to_client(READY)

    def test_an_unknown_name_is_looked_up_once_more(self, play: Play) -> None:
        text = query("SELECT * FROM nowhere")
        book = play() >> client(text) << requested(RefreshCatalog)
        book >> CATALOG_READY << decided(refused=True) << to_upstream(REJECTED_QUERY)
        book >> CLIENT_GONE << NOTHING

    def test_too_long_to_be_kept(self, play: Play) -> None:
        limits = Limits(statement_bytes_max=1_000)
        long = query("SELECT '" + "x" * 300_000 + "'")
        book = play(limits=limits) >> client(long[:200_000]) << decided(refused=True)
        book << to_upstream(REJECTED_QUERY)
        book >> client(long[200_000:]) << NOTHING
        book >> upstream(SYNTAX, READY) << error("54000") << to_client(READY)


class TestCopy:
    TEXT = query("COPY notes FROM STDIN")

    def begun(self, book: Book) -> Book:
        book >> client(self.TEXT) << decided() << to_upstream(self.TEXT)
        return book >> upstream(COPY_IN) << to_client(COPY_IN)

    def test_in(self, play: Play) -> None:
        book = self.begun(play())
        book >> client(copy_data(b"1\tx\n"), SYNC, FLUSH, COPY_DONE)
        book << to_upstream(copy_data(b"1\tx\n"), COPY_DONE)
        answer = (complete("COPY 1"), READY)
        book >> upstream(*answer) << finished(command_tag="COPY 1") << to_client(*answer)

    def test_other_messages_during_it(self, play: Play) -> None:
        for other in (query("SELECT 1"), parse("", "SELECT 1"), bind(), execute(), close("S")):
            book = self.begun(play())
            with pytest.raises(ProtocolViolation):
                book >> client(other)

    def test_a_frame_goes_up_whole_even_behind_an_error(self, play: Play) -> None:
        pieces = (parse("", "COPY notes FROM STDIN"), bind(), execute(), SYNC)
        book = play() >> client(*pieces) << decided() << decided()
        book << to_upstream(*pieces[:2], describe("P"), *pieces[2:])
        book >> upstream(PARSED, BOUND, NO_DATA, COPY_IN) << to_client(PARSED, BOUND, COPY_IN)
        frame = copy_data(b"x" * 400_000)
        book >> client(frame[:100_000]) << to_upstream(frame[:100_000])
        book >> upstream(failed("22P02")) << finished(Outcome.FAILED)
        book << error("22P02")
        (
            book
            >> client(frame[100_000:])
            << [effect for piece in (frame[100_000:],) for effect in _raw(piece)]
        )
        book >> client(copy_data(b"y" * 10), SYNC) << to_upstream(SYNC)
        book >> upstream(READY) << to_client(READY)

    def test_out(self, play: Play) -> None:
        text = query("COPY notes TO STDOUT")
        book = play() >> client(text) << decided() << to_upstream(text)
        answer = (COPY_OUT, copy_data(b"1\tx\n"), COPY_ENDS, complete("COPY 1"), READY)
        book >> upstream(*answer) << finished(rows=1) << to_client(*answer)

    def test_out_of_masked_columns(self, play: Play) -> None:
        book = play() >> client(query("COPY customers TO STDOUT")) << decided(refused=True)
        book << to_upstream(REJECTED_QUERY)
        book >> CLIENT_GONE << NOTHING

    def test_both_ways_at_once(self, play: Play) -> None:
        book = play() >> client(query("SELECT 1")) << decided() << to_upstream(query("SELECT 1"))
        with pytest.raises(ProtocolViolation):
            book >> upstream(message("W", b"\0\0\0"))


def _raw(content: bytes):  # type: ignore[no-untyped-def]
    """Bytes that are no whole frames, as the playbook cuts them."""
    from tests.playbook.lifecycle.book import frames

    return to_upstream(*frames(content))


class TestObligations:
    LIMITED = POLICY + "  - {id: few, effect: limit, row_limit: 2}\n"
    TIMED = POLICY + "  - {id: brief, effect: limit, statement_timeout: 5s}\n"

    def test_row_limit(self, play: Play) -> None:
        text = query("SELECT 1")
        book = play(policy=self.LIMITED) >> client(text) << decided() << to_upstream(text)
        book >> upstream(described(ONE), row(b"1"), row(b"2"), row(b"3"))
        book << to_client(described(ONE), row(b"1"), row(b"2"))
        book >> upstream(row(b"4")) << NOTHING
        book >> upstream(complete("SELECT 4"), READY) << finished(rows=2)
        book << notice("after 2 rows") << to_client(complete("SELECT 2"), READY)

    def test_row_limit_over_batches_of_a_portal(self, play: Play) -> None:
        pieces = (parse("", "SELECT 1"), bind("p"), execute("p", 2), execute("p", 2), SYNC)
        book = play(policy=self.LIMITED) >> client(*pieces) << decided() << decided() << decided()
        book << to_upstream(*pieces)
        book >> upstream(PARSED, BOUND, row(b"1"), row(b"2"), SUSPENDED) << finished(rows=2)
        book << to_client(PARSED, BOUND, row(b"1"), row(b"2"), SUSPENDED)
        book >> upstream(row(b"3"), complete("SELECT 1"), READY) << finished(rows=0)
        book << notice("policy limits") << to_client(complete("SELECT 0"), READY)

    def test_timeout(self, play: Play) -> None:
        text = query("SELECT 1")
        book = play(policy=self.TIMED) >> client(text) << decided() << to_upstream(text)
        book << requested(ArmTimeout)
        book >> TIMED_OUT << requested(CancelStatement)
        book >> upstream(failed("57014", "canceling statement due to user request"), READY)
        book << finished(Outcome.CANCELLED) << error("57014", "5000 ms") << to_client(READY)

    def test_timeout_of_what_is_done(self, play: Play) -> None:
        text = query("SELECT 1")
        book = play(policy=self.TIMED) >> client(text) << decided() << to_upstream(text)
        book << requested(ArmTimeout)
        answer = (described(ONE), row(b"1"), complete("SELECT 1"), READY)
        book >> upstream(*answer) << finished() << to_client(*answer)
        book >> TIMED_OUT << NOTHING


class TestUnrecorded:
    def test_query(self, play: Play) -> None:
        book = play() >> unrecorded(client(query("SELECT 1"))) << to_upstream(REJECTED_QUERY)
        book >> upstream(SYNTAX, READY) << error("58030") << to_client(READY)

    def test_parse(self, play: Play) -> None:
        pieces = (parse("s", "SELECT 1"), bind("", "s"), SYNC)
        book = play() >> unrecorded(client(*pieces))
        book << to_upstream(REJECTED_PARSE, bind("", "s"), SYNC)
        book >> upstream(SYNTAX, READY) << error("58030") << to_client(READY)
        book >> client(bind("", "s"), SYNC) << to_upstream(REJECTED_BIND, SYNC)
        book >> upstream(failed("26000"), READY) << error("26000") << to_client(READY)

    def test_execute(self, play: Play) -> None:
        book = play() >> client(parse("", "SELECT 1"), SYNC) << decided()
        book << to_upstream(parse("", "SELECT 1"), SYNC)
        book >> upstream(PARSED, READY) << to_client(PARSED, READY)
        book >> unrecorded(client(bind(), describe("P"), execute(), SYNC))
        book << to_upstream(bind(), describe("P"), REJECTED_EXECUTE, SYNC)
        book >> upstream(BOUND, described(ONE), failed("34000"), READY)
        book << to_client(BOUND, described(ONE)) << error("58030") << to_client(READY)

    def test_the_names_it_would_have_let_go_of_stay(self, play: Play) -> None:
        book = play() >> client(parse("s", "SELECT 1"), SYNC) << decided()
        book << to_upstream(parse("s", "SELECT 1"), SYNC)
        book >> upstream(PARSED, READY) << to_client(PARSED, READY)
        book >> unrecorded(client(query("DEALLOCATE s"))) << to_upstream(REJECTED_QUERY)
        book >> upstream(SYNTAX, READY) << error("58030") << to_client(READY)
        book >> client(bind("", "s"), SYNC) << to_upstream(bind("", "s"), SYNC)
        book >> upstream(BOUND, READY) << to_client(BOUND, READY)
