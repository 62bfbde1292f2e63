"""Teaches a session's hit path what another session's was taught (`lessons`), before its own
machine has seen such a text.

Part of `machine`. Rule: the session's own judge decides; a lesson says only that the database need
not be asked, and what its answer is described like.
"""

from appliance.session import flow
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
        lessons, path = state.hits.lessons, state.hits.path
        learner = learner_of(state.judge.principal, state.settings)
        if lessons is None or learner is None or path is None:
            return False
        if int.from_bytes(chunk[1:HEADER], "big") != len(chunk) - 1 or chunk[-1]:
            return False
        text, known = chunk[HEADER:-1], lessons.of(learner)
        if not known or not self._decisions.reads_as_we_do(text):
            return False
        found = self._found(text, known)
        if found is None or state.hits.knows(found[0]):
            return False
        key, verdict, lesson = found
        if lesson.leased != state.hits.held or verdict.epoch != path.epoch or verdict.pins:
            return False
        if not are_alike(lesson.verdict, verdict):
            return False
        if not state.locks.takes(verdict, lesson.made_with):
            return False
        hit = state.hits.learned(key, text, verdict, lesson)
        if hit is None:
            return False
        for frame, lock in lesson.locks:
            state.hits.described(hit, frame, lock)
        lessons.heard += 1
        return True

    def _found(
        self, text: bytes, known: dict[Key, Lesson]
    ) -> tuple[Key, flow.Verdict, Lesson] | None:
        """What this session's judge says of the text, and the lesson there is about it."""
        state = self._state
        settings = state.settings.current
        alike = state.judge.recall_alike(text, settings)
        if alike is not None:
            key, verdict = Key(alike[0], True), alike[1]
        else:
            recalled = state.judge.recall(text, settings, state.now)
            if recalled is None:
                return None
            key, verdict = Key(text, False), recalled
        lesson = known.get(key)
        return None if lesson is None else (key, verdict, lesson)
