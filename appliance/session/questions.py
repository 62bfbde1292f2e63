"""What the machine asks the server itself, in the client's session: settings, temporary relations,
and whether what a statement rests on is as it was judged.

Used by `decisions`; replies come through `from_upstream`. Rules: one question at a time, asked when
no reply is due; in the extended protocol under names of its own (a Query would take the client's
unnamed statement and portal away). A Sync ends it, unless it stands amid the client's pipeline, or
must keep what it locks: then the client's own message follows in the same transaction.
"""

from collections.abc import Callable, Iterable, Sequence

from appliance.model.errors import ProtocolViolation
from appliance.session.flow import Verdict
from appliance.session.settings import PROBE
from appliance.session.state import Question, SessionState, Waiting
from appliance.sql.footing import Footing
from appliance.sql.stamps import (
    CHECK_CALLS_QUERY,
    CHECK_QUERY,
    CHECK_TYPES,
    TEMPORARIES_QUERY,
)
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind

LOCK_NAME = refusals.RESERVED + b"lock"
CHECK_NAME = refusals.RESERVED + b"check"
CHECK_CALLS_NAME = refusals.RESERVED + b"check calls"


class Questions:
    """The asking part of one session's machine. `answered` gets each question with its answers."""

    def __init__(self, state: SessionState, answered: Callable[[Question], None]) -> None:
        self._state = state
        self._answered = answered

    def ask_settings(self, waiting: Waiting) -> None:
        self._begin(Question("settings", waiting, len(PROBE), self._amid(waiting)))
        self._simple(PROBE)

    def ask_temporaries(self, waiting: Waiting) -> None:
        self._begin(Question("temporaries", waiting, 1, self._amid(waiting)))
        self._simple((TEMPORARIES_QUERY.encode(),))

    def ask_check(self, waiting: Waiting, verdict: Verdict, footing: Footing, hold: bool) -> None:
        """`hold`: the relations stay locked for the message that follows."""
        state = self._state
        question = Question("check", waiting, 1, self._amid(waiting))
        question.verdict, question.footing, question.holds = verdict, footing, hold
        question.in_transaction = state.in_pipeline or state.status != ord("I")
        self._begin(question)
        if hold and footing.lock:
            self._inject(m.parse(LOCK_NAME, footing.lock.encode()), Kind.PARSE)
            self._inject(m.close(m.STATEMENT, LOCK_NAME), Kind.CLOSE)
        name = CHECK_CALLS_NAME if footing.calls else CHECK_NAME
        if name not in state.own_statements:
            text = CHECK_CALLS_QUERY if footing.calls else CHECK_QUERY
            self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
            self._inject(m.parse(name, text.encode(), CHECK_TYPES), Kind.PARSE, name)
        values = (array(footing.names), array(map(str, footing.oids)))
        self._inject(m.bind_texts(name, name, values), Kind.BIND)
        self._inject(m.execute(name), Kind.EXECUTE)
        self._end(m.close(m.PORTAL, name), not hold)

    def _amid(self, waiting: Waiting) -> bool:
        """Whether a Sync of ours would end a transaction too early. In front of a Query none may be
        left open: it would stay so behind the Query (see `from_client`).
        """
        return self._state.in_pipeline and not waiting.simple

    def _begin(self, question: Question) -> None:
        self._state.waiting = question.waiting
        self._state.question = question
        self._state.gather_rows(True)

    def _simple(self, texts: Sequence[bytes]) -> None:
        name = refusals.PROBE_NAME
        for text in texts:
            self._inject(m.parse(name, text), Kind.PARSE)
            self._inject(m.bind_unparameterised(name, name), Kind.BIND)
            self._inject(m.execute(name), Kind.EXECUTE)
            self._inject(m.close(m.PORTAL, name), Kind.CLOSE)
            if text is not texts[-1]:
                self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)
        self._end(m.close(m.STATEMENT, name), True)

    def _end(self, last: bytes, sync: bool) -> None:
        """The last message of a question, and what makes the server answer."""
        question = self._state.question
        assert question is not None
        if question.amid or not sync:
            self._inject(last, Kind.CLOSE, refusals.PROBE_NAME)
            self._state.turn.upstream.append(m.FLUSH_FRAME)
        else:
            self._inject(last, Kind.CLOSE)
            self._inject(m.SYNC_FRAME, Kind.SYNC, refusals.PROBE_NAME)

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

    def failed(self, fields: dict[str, str]) -> bool:
        """The upstream answered a question with an error. -> whether the client is to read it: amid
        its pipeline, which the upstream now skips.
        """
        question = self._state.question
        assert question is not None
        question.error = fields
        self._state.own_statements.clear()  # whether they are there is no longer known
        if not self._state.expected.skipping:
            return False  # our own Sync is still due: see `passed`
        if question.amid:
            self._state.question = self._state.waiting = None
            return True
        self.release()
        return False

    def release(self) -> None:
        """Ends, by a Sync of ours, the transaction in which a question left locks; the question is
        answered when that is done.
        """
        self._state.expected.skipping = False
        self._inject(m.SYNC_FRAME, Kind.SYNC, refusals.PROBE_NAME)


def array(values: Iterable[str]) -> bytes:
    """A one-dimensional array in text form ("Array Input and Output Syntax")."""
    quoted = ('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values)
    return ("{" + ",".join(quoted) + "}").encode()
