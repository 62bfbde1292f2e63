"""Teaches a session's hit path what another session's was taught (`lessons`), before its own
machine has seen such a text.

Part of `machine`. Rule: the session's own judge decides; a lesson says only that the database need
not be asked, and what its answer is described like.
"""

from collections.abc import Callable
from functools import partial

from _speedups.hitcycle import Hit
from appliance.model.errors import ProtocolViolation
from appliance.session import flow
from appliance.session.decisions import Decisions
from appliance.session.inflight import Prepared
from appliance.session.lessons import Key, Lesson, learner_of
from appliance.session.results import are_alike
from appliance.session.state import HEADER, SessionState
from appliance.wire.postgres import messages as m

Known = Callable[[Key], Lesson | None]


class Learning:
    """One session's."""

    __slots__ = ("_decisions", "_state")

    def __init__(self, state: SessionState, decisions: Decisions) -> None:
        self._state, self._decisions = state, decisions

    def hears(self, chunk: bytes) -> bool:
        """Whether the path, which is armed, knows from here on what this chunk begins with: a whole
        Query, or a Parse of what has no name."""
        state, length = self._state, int.from_bytes(chunk[1:HEADER], "big") + 1
        lessons = state.hits.lessons
        learner = learner_of(state.judge.principal, state.settings)
        if lessons is None or learner is None:
            return False
        if not lessons.any_for(learner) or length > len(chunk):
            return False
        known = partial(lessons.get, learner)
        if chunk[0] == m.PARSE:
            hit = self._parse(chunk[HEADER:length], known)
        elif length == len(chunk) and not chunk[-1]:
            hit = self._query(chunk[HEADER:-1], known)
        else:
            return False
        lessons.heard += hit is not None
        return hit is not None

    def _query(self, text: bytes, known: Known) -> Hit | None:
        found = self._found(text, known)
        if found is None:
            return None
        key, verdict, lesson = found
        if lesson.query_tail is None or not self._holds(key, verdict, lesson):
            return None
        return self._state.hits.learned(key, text, verdict, lesson)

    def _parse(self, body: bytes, known: Known) -> Hit | None:
        try:
            message = m.parse_parse(body)
        except ProtocolViolation:
            return None
        text, key = message.text, Key(message.text, False)
        lesson = None if message.name else known(key)
        if lesson is None or not self._decisions.reads_as_we_do(text):
            return None
        verdict = self._state.judge.recall(text, self._state.settings.current, self._state.now)
        if verdict is None or not self._holds(key, verdict, lesson):
            return None
        prepared = Prepared(b"", text, message.parameter_types, verdict)
        return self._state.hits.learned_prepared(prepared, verdict, lesson)

    def _holds(self, key: Key, verdict: flow.Verdict, lesson: Lesson) -> bool:
        """Whether it is of this very verdict, under the lease and the epoch of now, and not known
        already: what is known and was not taken is the machine's."""
        state = self._state
        path = state.hits.path
        if path is None or state.hits.knows(key) or verdict.pins:
            return False
        if lesson.leased not in (0, state.hits.held) or verdict.epoch != path.epoch:
            return False
        return are_alike(lesson.verdict, verdict) and state.locks.takes(verdict, lesson.made_with)

    def _found(self, text: bytes, known: Known) -> tuple[Key, flow.Verdict, Lesson] | None:
        """What this session's judge says of the text, and the lesson there is about it."""
        state = self._state
        if not self._decisions.reads_as_we_do(text):
            return None
        settings = state.settings.current
        alike = state.judge.recall_alike(text, settings)
        if alike is not None:
            key, verdict = Key(alike[0], True), alike[1]
        else:
            recalled = state.judge.recall(text, settings, state.now)
            if recalled is None:
                return None
            key, verdict = Key(text, False), recalled
        lesson = known(key)
        return None if lesson is None else (key, verdict, lesson)
