"""The invariants, held against every turn of every conversation, whatever it is about."""

import hashlib
from typing import Any

from appliance.audit.record import (
    DryRunBegun,
    DryRunEnded,
    ProtocolKind,
    StatementDecided,
    StatementFinished,
)
from appliance.session.effects import Turn
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.transcript import frames
from tests.playbook.world import SECRET, Session

_PROTOCOLS = {
    m.QUERY: ProtocolKind.SIMPLE,
    m.PARSE: ProtocolKind.PARSE,
    m.EXECUTE: ProtocolKind.EXECUTE,
}


def _writes(text: bytes) -> bool:
    return text.split()[0].upper() in (b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"WITH")


class Guard:
    """Watches one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._upstream = b""
        self._read = b""
        self._open: set[str] = set()
        """Ids of statements that were forwarded and have not finished."""

    def watch(self, turn: Turn, recorded: bool, over: bool = False) -> None:
        """Record before forward: what goes upstream in a turn has its record in this turn. When it
        is `over`, records are paid that are owed, and nothing may be open any more.
        """
        forwarded = list(self._forwarded(b"".join(bytes(part) for part in turn.upstream)))
        rehearsed = [text for kind, text in forwarded if kind is None]
        forwarded = [(kind, text) for kind, text in forwarded if kind is not None]
        begun = [r for r in turn.records if isinstance(r, DryRunBegun)]
        if recorded:
            digests = [record.statement.text_digest for record in begun]
            assert [hashlib.sha256(text).hexdigest() for text in rehearsed] == digests
        else:
            assert not rehearsed, "run to be rolled back without a record"
        allowed = [r for r in turn.records if isinstance(r, StatementDecided) and not r.refusal]
        if over:
            assert not forwarded
        elif not recorded:
            assert not forwarded or not turn.records, "forwarded without a record"
            allowed = []
        else:
            assert [kind for kind, _ in forwarded] == [r.protocol for r in allowed]
            for (kind, text), record in zip(forwarded, allowed, strict=True):
                if kind is not ProtocolKind.EXECUTE and b"application_name" not in text:
                    digest = record.statement.sent_digest or record.statement.text_digest
                    assert hashlib.sha256(text).hexdigest() == digest
            assert [r for _, _, r in turn.gated if r not in begun] == allowed
            assert [r for _, _, r in turn.gated if r in begun] == begun
        for record in turn.records:
            self._follow(record, allowed, recorded)
        assert not over or not self._open, f"statements that never finished: {self._open}"

    def _follow(self, record: Any, allowed: list[StatementDecided], recorded: bool) -> None:
        if isinstance(record, StatementFinished):
            self._open.remove(record.decided)  # KeyError: finished twice, or never decided
        elif isinstance(record, DryRunEnded):
            self._open.remove(record.begun)
        elif (isinstance(record, DryRunBegun) and recorded) or (
            record in allowed and record.protocol is not ProtocolKind.PARSE
        ):
            self._open.add(record.id)

    def _forwarded(self, content: bytes) -> Any:
        """(protocol, text) of each statement that the database will take for the client's; None as
        the protocol of one that is run by us."""
        self._upstream += content
        for frame in frames(self._upstream):
            if len(frame) < 5 or len(frame) < 1 + int.from_bytes(frame[1:5], "big"):
                self._upstream = frame  # a long message is still coming
                return
            kind, reader = frame[0], m.Reader(frame[5:], "client")
            if kind not in _PROTOCOLS:
                continue
            name = b"" if kind == m.QUERY else reader.cstring()
            text = b"" if kind == m.EXECUTE else reader.cstring()
            if kind == m.PARSE and name == refusals.QUERY_NAME:  # it stands for a Query
                yield ProtocolKind.SIMPLE, text
            elif kind == m.PARSE and name == refusals.QUESTION_NAME and _writes(text):
                yield None, text
            elif text != refusals.REFUSED_TEXT and not name.startswith(refusals.RESERVED):
                yield _PROTOCOLS[kind], text
        self._upstream = b""

    def kept(self, turn: Turn) -> list[Any]:
        """The records of a turn that reach the trail."""
        gated = {id(record) for _, _, record in turn.gated}
        lost = self._refused(turn)
        return [record for record in turn.records if not (lost and id(record) in gated)]

    def _refused(self, turn: Turn) -> bool:
        return any(
            bytes(turn.upstream[index])
            in (
                refusals.rejected_query(),
                refusals.rejected_parse(),
                refusals.rejected_execute(),
            )
            for index, _, _ in turn.gated
        )

    def read(self, content: bytes) -> None:
        """Whoever owes masks never reads what they cover."""
        self._read = self._read[-len(SECRET) :] + content
        if self._session.judge.entitlements.owes:
            assert SECRET.encode() not in self._read, "a masked value reached the client"
