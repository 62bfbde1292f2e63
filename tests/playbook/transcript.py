"""What a session did, in lines a person can compare: records, bytes upstream, bytes to the client,
requests, and how it was cut.

`Seen` is what happened, the subclasses of `Expectation` what a conversation says should have.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from appliance.audit.record import StatementDecided, StatementFinished
from appliance.model.errors import ProtocolViolation, Refused
from appliance.session.effects import ArmTimeout
from appliance.wire.postgres import messages as m

CHANNELS = ("record", "upstream", "client", "request", "cut")
"""In the order the conductor carries a turn out."""

_FROM_CLIENT = (
    "QUERY PARSE BIND DESCRIBE EXECUTE CLOSE SYNC FLUSH TERMINATE COPY_DATA COPY_DONE COPY_FAIL"
)
_FROM_UPSTREAM = (
    "PARAMETER_STATUS READY_FOR_QUERY ERROR_RESPONSE NOTICE_RESPONSE NOTIFICATION_RESPONSE "
    "PARSE_COMPLETE BIND_COMPLETE CLOSE_COMPLETE NO_DATA PARAMETER_DESCRIPTION ROW_DESCRIPTION "
    "DATA_ROW COMMAND_COMPLETE EMPTY_QUERY_RESPONSE PORTAL_SUSPENDED COPY_IN_RESPONSE "
    "COPY_OUT_RESPONSE COPY_DATA COPY_DONE"
)


def _by_type(names: str) -> dict[int, str]:
    return {getattr(m, name): name for name in names.split(" ")}


CLIENT_TYPES, UPSTREAM_TYPES = _by_type(_FROM_CLIENT), _by_type(_FROM_UPSTREAM)


class Seen(NamedTuple):
    """One effect: `thing` is the frame, the record, the request or the exception itself."""

    channel: str
    thing: Any

    @property
    def line(self) -> str:
        return f"{self.channel:>8}  {_shown(self.channel, self.thing)}"


def frames(content: bytes) -> Iterator[bytes]:
    """Whole frames, and what is left as the last."""
    at = 0
    while at < len(content):
        end = len(content)
        if len(content) - at >= 5:
            end = at + 1 + int(struct.unpack_from("!I", content, at + 1)[0])
        yield content[at:end]
        at = end


def _shown(channel: str, thing: Any) -> str:
    if channel in ("upstream", "client"):
        names = CLIENT_TYPES if channel == "upstream" else UPSTREAM_TYPES
        name = names.get(thing[0], f"type {thing[:1]!r}")
        if thing[0] in (m.ERROR_RESPONSE, m.NOTICE_RESPONSE) and channel == "client":
            return f"{name} {m.parse_error_fields(thing[5:])}"
        return f"{name} {thing[5:]!r}" if len(thing) > 5 else name
    if isinstance(thing, StatementDecided):
        refused = f" refused: {thing.refusal.code.value}" if thing.refusal else ""
        return f"decided {thing.protocol.value} {thing.statement.sql!r}{refused}"
    if isinstance(thing, StatementFinished):
        return (
            f"finished {thing.outcome.value} rows={thing.rows} masked={thing.cells_masked} "
            f"raw={thing.sensitive_unmasked_cells} state={thing.sqlstate!r} "
            f"tag={thing.command_tag!r}"
        )
    if isinstance(thing, ArmTimeout):
        return f"ArmTimeout {thing.milliseconds} ms for {thing.execution.record_id}"
    return f"{type(thing).__name__}({thing})"


class Expectation:
    """What should happen in one channel."""

    channel = ""

    def matches(self, thing: Any) -> bool:
        raise NotImplementedError

    def words(self) -> str:
        raise NotImplementedError

    @property
    def line(self) -> str:
        return f"{self.channel:>8}  {self.words()}"


class Exactly(Expectation):
    """One frame, byte for byte."""

    def __init__(self, channel: str, frame: bytes) -> None:
        self.channel = channel
        self._frame = frame

    def matches(self, thing: Any) -> bool:
        return bool(thing == self._frame)

    def words(self) -> str:
        return _shown(self.channel, self._frame)


class Sent(Expectation):
    """A Query or Parse that goes upstream in place of the client's: its text holds these parts."""

    channel = "upstream"

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def matches(self, thing: Any) -> bool:
        text = bytes(thing[5:]).strip(b"\0").decode("utf-8", "replace")
        return thing[0] in (m.QUERY, m.PARSE) and all(part in text for part in self._parts)

    def words(self) -> str:
        return f"QUERY or PARSE with {self._parts}"


class Says(Expectation):
    """An error or notice for the client: fields by letter, each of which must contain the words."""

    channel = "client"

    def __init__(self, kind: int, fields: dict[str, str], lacks: Sequence[str] = ()) -> None:
        self._kind, self._fields, self._lacks = kind, fields, lacks

    def matches(self, thing: Any) -> bool:
        if thing[0] != self._kind:
            return False
        said = m.parse_error_fields(thing[5:])
        return all(words in said.get(letter, "") for letter, words in self._fields.items()) and (
            not any(words in text for words in self._lacks for text in said.values())
        )

    def words(self) -> str:
        lacks = f" without {list(self._lacks)}" if self._lacks else ""
        return f"{UPSTREAM_TYPES[self._kind]} with {self._fields}{lacks}"


class Decided(Expectation):
    """A StatementDecided; `refused` is the code or None."""

    channel = "record"

    def __init__(self, protocol: str = "simple", refused: str | None = None) -> None:
        self._protocol, self._refused = protocol, refused

    def matches(self, thing: Any) -> bool:
        if not isinstance(thing, StatementDecided) or thing.protocol.value != self._protocol:
            return False
        return (thing.refusal.code.value if thing.refusal else None) == self._refused

    def words(self) -> str:
        return f"decided {self._protocol}" + (f" refused: {self._refused}" if self._refused else "")


class Finished(Expectation):
    """A StatementFinished; `sums` are its fields by name."""

    channel = "record"

    def __init__(self, outcome: str = "completed", **sums: Any) -> None:
        self._outcome, self._sums = outcome, sums

    def matches(self, thing: Any) -> bool:
        return (
            isinstance(thing, StatementFinished)
            and thing.outcome.value == self._outcome
            and all(getattr(thing, name) == value for name, value in self._sums.items())
        )

    def words(self) -> str:
        return f"finished {self._outcome} {self._sums or ''}"


class Asks(Expectation):
    """A request of the machine; `fields` are its attributes."""

    channel = "request"

    def __init__(self, kind: type, **fields: Any) -> None:
        self._kind, self._fields = kind, fields

    def matches(self, thing: Any) -> bool:
        return isinstance(thing, self._kind) and all(
            getattr(thing, name) == value for name, value in self._fields.items()
        )

    def words(self) -> str:
        return f"{self._kind.__name__} {self._fields or ''}"


class Cut(Expectation):
    """The session cannot go on: `why` is part of the violation's reason or of the refusal's
    code.
    """

    channel = "cut"

    def __init__(self, kind: type[Exception], why: str = "") -> None:
        self._kind, self._why = kind, why

    def matches(self, thing: Any) -> bool:
        said = str(thing)
        if isinstance(thing, ProtocolViolation):
            said = f"{thing.side}: {thing.reason}"
        if isinstance(thing, Refused):
            said = f"{thing.refusal.code.value}: {thing.refusal.message}"
        return isinstance(thing, self._kind) and self._why in said

    def words(self) -> str:
        return f"{self._kind.__name__} {self._why}"


def upstream(*content: bytes) -> list[Expectation]:
    """These frames go to the database."""
    return [Exactly("upstream", frame) for frame in frames(b"".join(content))]


def client(*content: bytes) -> list[Expectation]:
    """These frames go to the client."""
    return [Exactly("client", frame) for frame in frames(b"".join(content))]


def error(sqlstate: str = "", says: str = "", lacks: Sequence[str] = (), **more: str) -> Says:
    return Says(m.ERROR_RESPONSE, {"C": sqlstate, "M": says, **more}, lacks)


def refusal(code: str) -> Says:
    """An error of our own."""
    return Says(m.ERROR_RESPONSE, {"D": f"code: {code}", "R": "sallyport"})


def notice(says: str = "", lacks: Sequence[str] = ()) -> Says:
    return Says(m.NOTICE_RESPONSE, {"M": says}, lacks)
