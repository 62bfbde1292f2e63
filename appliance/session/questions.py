"""What the machine asks the server itself, in the client's session: settings, temporary relations,
whether what a statement rests on is as it was judged, whether its writes spare any row, and what
the planner expects of it.

Used by `decisions` and `parking`; replies come through `from_upstream`. Rules: one question at a
time, asked when no reply is due; in the extended protocol under names of its own (a Query would
take the client's unnamed statement and portal away). A Sync ends it, unless it stands amid the
client's pipeline, or what it or one before it locked must be kept: then the client's own message
follows in the same transaction.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from appliance.approval.request import Effect
from appliance.model.errors import ProtocolViolation
from appliance.session import changes, dry_runs, estimates, told
from appliance.session.blast import affected
from appliance.session.effects import Bytes
from appliance.session.flow import Verdict
from appliance.session.inflight import Bound, Execution
from appliance.session.own_statements import (
    CHECK_CALLS_NAME,
    CHECK_NAME,
    PROOF_CALLS_NAME,
    PROOF_NAME,
    STILL_NAME,
    parse_of,
)
from appliance.session.settings import LEASED_PINNING, PINNING, PROBE
from appliance.session.state import Question, SessionState, Sparing, Waiting
from appliance.sql.footing import Footing
from appliance.sql.stamps import TEMPORARIES_QUERY
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind

LOCK_NAME = refusals.RESERVED + b"lock"
PROVED = (PROOF_NAME, PROOF_CALLS_NAME)
"""Of replies to a proof, whose subject is the error that the client gets if it fails."""
BLOCK_NAME = refusals.RESERVED + b"block"
"""Of what begins and ends a transaction of ours around a text."""
DRY_RUN = "dry run"
"""Subject of such a question."""
COUNTED = b"count"
"""Marks the reply whose command tag says how many rows a dry run affected."""


class Questions:
    """The asking part of one session's machine. `answered` gets each question with its answers."""

    __slots__ = ("_answered", "_state")

    def __init__(self, state: SessionState, answered: Callable[[Question], None]) -> None:
        self._state = state
        self._answered = answered

    def ask_settings(self, waiting: Waiting) -> None:
        state = self._state
        pins = state.may_pin
        question = self._begin("settings", waiting, len(PROBE))
        question.pins = pins and question.ends
        if question.pins:
            leased = state.hits.want_lease is not None and not state.shares
            pinning = LEASED_PINNING if leased else PINNING
            question.due = pinning.width
        self._simple((pinning.probe,) if question.pins else PROBE)

    def ask_temporaries(self, waiting: Waiting) -> None:
        self._begin("temporaries", waiting, 1)
        self._simple((TEMPORARIES_QUERY.encode(),))

    def ask_announced(self, waiting: Waiting, texts: Sequence[bytes]) -> None:
        """No question: these SETs give no rows."""
        self._begin("announced", waiting, 0)
        self._simple(texts)

    def ask_scrubbed(self, waiting: Waiting) -> None:
        """No question: what others prepared is gone behind it."""
        self._state.backend.forget_all()
        self._state.own_statements.clear()
        self._begin("scrubbed", waiting, 0)
        self._simple((b"DEALLOCATE ALL",))

    def announce_behind(self, texts: Sequence[bytes]) -> None:
        """The same right behind a message of the client's pipeline, in its transaction."""
        name = refusals.PROBE_NAME
        for text in texts:
            self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
            self._run(name, m.parse(name, text), m.bind_unparameterised(name, name))
        self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)

    def ask_check(
        self, waiting: Waiting, verdict: Verdict, footing: Footing, hold: bool, discards: bool
    ) -> None:
        """`discards`: what the server has planned for anything that is prepared (`Backend`).
        `hold`: the relations stay locked for the message that follows. Where they do not, the
        lock is asked for all the same: a schema that this role may not use is left out of its
        search_path, and only then refused by its name. (LOCK TABLE shows no rows, and may be for a
        role that must not read the table by now: `row_security`.)
        """
        state = self._state
        question = self._begin("check", waiting, 1)
        state.backend.unasked = 0
        question.verdict, question.footing, question.holds = verdict, footing, hold
        question.in_transaction = state.in_pipeline or state.status != ord("I")
        question.ends = question.ends and not hold
        question.leased = state.hits.leased
        if not question.leased and not footing.calls and changes.is_repeatable(verdict.facts):
            state.hits.missed()
        question.discards = discards
        if discards:
            name = refusals.QUESTION_NAME
            self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)  # of one that ended in an error
            self.tell(name, b"DISCARD PLANS")
        if footing.lock and not changes.only_locks(verdict.facts):
            self._inject(m.parse(LOCK_NAME, footing.lock.encode()), Kind.PARSE)
            self._inject(m.close(m.STATEMENT, LOCK_NAME), Kind.CLOSE)
        name = CHECK_CALLS_NAME if footing.calls else CHECK_NAME
        if name not in state.own_statements:
            self._prepare(name)
        if state.hits.path is not None and STILL_NAME not in state.own_statements:
            self._prepare(STILL_NAME)
        positions = (state.unchanged.position(footing).encode(), state.unchanged.last.encode())
        asked = (array(footing.names), array(map(str, footing.oids)), *positions)
        values = (*asked, state.settings.believed.encode(), array(footing.called))
        self._inject(m.bind_texts(name, name, values), Kind.BIND)
        self._inject(m.execute(name), Kind.EXECUTE)
        self._end(m.close(m.PORTAL, name))

    def prove(
        self, footing: Footing, looked_up: str, since: int, error: bytes, within: Execution
    ) -> None:
        """No question: what is sent behind it runs only if all is as it was judged, now that its
        names were looked up; else the client gets `error`. `since`: as `Unchanged.since` before
        they were."""
        state = self._state
        name = PROOF_CALLS_NAME if footing.calls else PROOF_NAME
        if name not in state.own_statements or state.forgetting is not None:
            self._prepare(name)
        position = state.unchanged.position(footing).encode()
        asked = (array(footing.names), array(map(str, footing.oids)), position)
        believed = state.settings.believed.encode()
        values = (*asked, footing.expected.encode(), believed, array(footing.called))
        before = looked_up.encode(), str(since).encode()
        self._inject(m.bind_texts(name, name, (*values, *before)), Kind.BIND)
        proof = Expected(Kind.EXECUTE, error, name, injected=True, within=within)
        state.send(m.execute(name), proof)
        proved = Expected(Kind.CLOSE, within.portal, name, injected=True)
        state.send(m.close(m.PORTAL, name), proved)

    def lose(self, execution: Execution) -> None:
        """A statement that ran without any of this failed with the transaction, and it is not known
        under which schema: what the upstream says of it next is taken for the error of a proof.
        """
        refusal = msgspec.structs.replace(told.schema_let_go(), reference=execution.record_id)
        error = refusals.error_response(refusal)
        expected = self._state.expected
        proof = Expected(Kind.EXECUTE, error, PROOF_NAME, injected=True, within=execution)
        for due in (proof, Expected(Kind.EXECUTE, execution), Expected(Kind.SYNC)):
            expected.push(due)

    def ask_sparing(self, waiting: Waiting, sparing: Sparing) -> None:
        """One answer, true or false, per check; with the values of the client's Bind."""
        name, checks = refusals.QUESTION_NAME, sparing.verdict.checks
        self._begin("sparing", waiting, len(checks)).verdict = sparing.verdict
        for check in checks:
            self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)  # of one that ended in an error
            given, bind = sparing.types, sparing.bind
            types = tuple(given[n - 1] if n <= len(given) else 0 for n in check.parameters)
            bound = m.bind_unparameterised(name, name)
            if bind is not None:
                bound = m.bind_again(bind, name, check.parameters)
            self._run(name, m.parse(name, check.sql.encode(), types), bound)
            if check is not checks[-1]:
                self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
        self._end(m.close(m.STATEMENT, name))

    # For `parking`. The questions end in a Sync of ours, amid the client's pipeline, too.

    unrehearsed = ""

    def objection(self, _verdict: Verdict, _bound: Bound) -> str:
        return ""

    def foreseen(self, _verdict: Verdict, _bound: Bound) -> Effect | None:
        return None

    def keeps_snapshot(self, isolation: Question) -> bool:
        return isolation.answers != ["read committed"]

    def effect_of(self, estimate: Question, _verdict: Verdict, _bound: Bound) -> Effect:
        return estimates.effect_of(bytes(estimate.whole or b""), estimate.error)

    def counted(self, dry_run: Question) -> dry_runs.Counted:
        if dry_run.replaced is None or dry_run.replaced.error:
            return dry_runs.Counted(False, None, "")
        sqlstate = "" if dry_run.error is None else dry_run.error.get("C", "XX000")
        return dry_runs.Counted(True, None if sqlstate else affected(dry_run.tag), sqlstate)

    def ask_isolation(self, waiting: Waiting) -> None:
        self._begin("isolation", waiting, 1, ends=True)
        self._simple((estimates.ISOLATION,))

    def ask_estimate(self, waiting: Waiting, text: bytes, bound: Bound) -> None:
        """One answer, in pieces; with the values of the client's Bind. Of what would be sent: the
        figure is for whoever asked, too, and where masked columns are masked at the source the
        planner's statistics of them must not be in it.
        """
        state, name = self._state, refusals.QUESTION_NAME
        inside = state.status != ord("I")
        self._begin("estimate", waiting, 0, ends=True).whole = bytearray()
        state.gather_rows(False)
        self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)  # of one that ended in an error
        for before in estimates.BEFORE_INSIDE if inside else estimates.BEFORE:
            self.tell(name, before)
        parse = m.parse(name, estimates.EXPLAIN + text, bound.types)
        self._run(name, parse, self._values(name, bound))
        self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
        self._undo(name, inside)

    def ask_dry_run(self, waiting: Waiting, text: bytes, bound: Bound) -> None:
        """Runs what would be sent, and takes it back. Its record is the last of this turn's."""
        state, name = self._state, refusals.QUESTION_NAME
        inside = state.status != ord("I")
        question = self._begin(DRY_RUN, waiting, 0, ends=True)
        state.gather_rows(False)
        self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
        for before in dry_runs.BEFORE_INSIDE if inside else dry_runs.BEFORE:
            self.tell(name, before)
        question.replaced = Expected(Kind.PARSE, injected=True)
        state.gate(question.replaced, refusals.rejected_parse)
        state.send(m.parse(name, text, bound.types), question.replaced)
        self._inject(self._values(name, bound), Kind.BIND)
        self._inject(m.execute(name), Kind.EXECUTE, COUNTED)
        self._inject(m.close(m.PORTAL, name), Kind.CLOSE)
        self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
        self._undo(name, inside)

    @staticmethod
    def _values(name: bytes, bound: Bound) -> bytes:
        """The client's Bind, to a statement of ours."""
        if bound.body is None:
            return m.bind_unparameterised(name, name)
        count = len(m.bind_values(bound.body)[1])
        return m.bind_again(bound.body, name, range(1, count + 1))

    def undo_estimate(self, waiting: Waiting, inside: bool) -> None:
        """Ends what an estimate or a dry run that failed left open: a transaction, or (`inside`) a
        savepoint."""
        name = refusals.QUESTION_NAME
        self._begin("estimate undone", waiting, 0, ends=True)
        self._inject(m.close(m.PORTAL, name), Kind.CLOSE)  # one that failed as it ran is there yet
        self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
        self._undo(name, inside)

    def _undo(self, name: bytes, inside: bool) -> None:
        for text in estimates.AFTER_INSIDE if inside else estimates.AFTER:
            self.tell(name, text)
        self._end(m.close(m.STATEMENT, name))

    def tell(self, name: bytes, text: bytes) -> None:
        """No question: a statement that gives no rows."""
        self._run(name, m.parse(name, text), m.bind_unparameterised(name, name))
        self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)

    def _begin(self, subject: str, waiting: Waiting, due: int, *, ends: bool = False) -> Question:
        state = self._state
        amid = state.client_in_pipeline and not waiting.simple and not ends
        question = Question(subject, waiting, due, amid)
        # In front of a Query no pipeline may be left open: it would stay so behind it.
        question.ends = ends or waiting.simple or not state.in_pipeline
        state.waiting, state.question = waiting, question
        state.gather_rows(True)
        return question

    def _simple(self, texts: Sequence[bytes]) -> None:
        name = refusals.PROBE_NAME
        for text in texts:
            self._run(name, m.parse(name, text), m.bind_unparameterised(name, name))
            if text is not texts[-1]:
                self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
        self._end(m.close(m.STATEMENT, name))

    def _run(self, name: bytes, parse: bytes, bind: bytes) -> None:
        self._inject(parse, Kind.PARSE)
        self._inject(bind, Kind.BIND)
        self._inject(m.execute(name), Kind.EXECUTE, name)
        self._inject(m.close(m.PORTAL, name), Kind.CLOSE)

    def _end(self, last: bytes) -> None:
        """The last message of a question, and what makes the server answer."""
        question = self._state.question
        assert question is not None
        if not question.ends:
            self._inject(last, Kind.CLOSE, refusals.PROBE_NAME)
            self._state.turn.upstream.append(m.FLUSH_FRAME)
        else:
            self._inject(last, Kind.CLOSE)
            self._inject(m.SYNC_FRAME, Kind.SYNC, refusals.PROBE_NAME)

    def _prepare(self, name: bytes) -> None:
        """One of `own_statements.OWN`; it may be there already."""
        self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
        self._inject(parse_of(name), Kind.PARSE, name)

    def _inject(self, message: bytes, kind: Kind, name: bytes = b"") -> None:
        self._state.send(message, Expected(kind, name=name, injected=True))

    def parsed(self, done: Expected) -> None:
        """One of our own statements is prepared."""
        if done.name:
            self._state.own_statements.add(done.name)

    def passed(self, done: Expected) -> None:
        """One reply to a question came; after the last one whoever asked goes on."""
        if done.name != refusals.PROBE_NAME:
            return
        question, self._state.question = self._state.question, None
        if question is None:
            raise ProtocolViolation("upstream", "an answer to no question")
        self._state.waiting = None
        self._answered(question)

    def failed(self, fields: dict[str, str], error: Bytes) -> Bytes | None:
        """The upstream answered a question with an error. -> what the client is to read of it: amid
        its pipeline, which the upstream now skips.
        """
        question = self._state.question
        assert question is not None
        question.error = fields
        self._state.own_statements.clear()  # whether they are there is no longer known
        if not self._state.expected.skipping:
            return None  # our own Sync is still due: see `passed`
        if question.amid:
            self._state.question = self._state.waiting = None
            sparing = question.waiting.sparing
            return error if sparing is None else sparing.refuse(answered(sparing.verdict, True))
        self.release()
        return None

    def let_go(self, waiting: Waiting, verdict: Verdict) -> None:
        """No question: ends the transaction of a check, whose locks nothing needs while its
        statement waits for people."""
        question = Question("let go", waiting, 0, False)
        question.verdict = verdict
        self._state.waiting, self._state.question = waiting, question
        self.release()

    def release(self) -> None:
        """Ends, by a Sync of ours, the transaction in which a question left locks; the question is
        answered when that is done.
        """
        self._state.expected.skipping = False
        self._inject(m.SYNC_FRAME, Kind.SYNC, refusals.PROBE_NAME)


def answered(verdict: Verdict, sweeping: bool) -> Verdict:
    """A verdict once the database has said whether the writes spare no row."""
    return verdict.sweeping if sweeping and verdict.sweeping is not None else verdict


def array(values: Iterable[str]) -> bytes:
    """A one-dimensional array in text form ("Array Input and Output Syntax")."""
    quoted = ('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values)
    return ("{" + ",".join(quoted) + "}").encode()
