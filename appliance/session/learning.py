"""Teaches a session's hit path what another session's was taught (`lessons`), before its own
machine has seen such a text.

Part of `machine`. Rule: the session's own judge decides; a lesson says only that the database need
not be asked, and what its answer is described like.
"""

from _speedups.hitcycle import Hit
from appliance.model.errors import Refused
from appliance.session.decisions import Decisions
from appliance.session.lessons import Key, Lesson, learner_of
from appliance.session.results import are_alike
from appliance.session.state import HEADER, SessionState


class Learning:
    """One session's."""

    __slots__ = ("_decisions", "_state")

    def __init__(self, state: SessionState, decisions: Decisions) -> None:
        self._state, self._decisions = state, decisions

    def query(self, chunk: bytes) -> bool:
        """Whether the path, which is armed, knows a Query from here on that it did not know."""
        state = self._state
        lessons = state.hits.lessons
        learner = learner_of(state.judge.principal, state.settings)
        if lessons is None or learner is None or not lessons.of(learner):
            return False
        if int.from_bytes(chunk[1:HEADER], "big") != len(chunk) - 1 or chunk[-1]:
            return False
        text = chunk[HEADER:-1]
        settings = state.settings.current
        if not self._decisions.reads_as_we_do(text):
            return False
        verdict = state.judge.recall(text, settings, state.now)
        if verdict is None or verdict.pins:
            return False
        folded = self._decisions.alike(text, verdict)
        key = Key(text, False) if folded is None else Key(folded, True)
        lesson = lessons.of(learner).get(key)
        if lesson is None or lesson.leased != state.hits.held or state.hits.knows(key):
            return False
        if verdict.epoch != self._decisions.epoch() or not are_alike(lesson.verdict, verdict):
            return False
        hit = state.hits.learned(key, text, verdict, lesson)
        if hit is None or not self._described(hit, lesson):
            return False
        lessons.heard += 1
        return True

    def _described(self, hit: Hit, lesson: Lesson) -> bool:
        """Locks of this session's own."""
        state = self._state
        try:
            for frame in lesson.descriptions:
                lock = state.locks.lock(hit.verdict, 0, frame[HEADER:])
                state.hits.described(hit, frame, lock)
        except Refused:
            return False
        return True
