"""What a worker and its analyzer process tell each other, framed by `link/codec`.

`dataplane/analyzer` (the worker's side) keeps account of which catalogs its child holds and drops
them by name; `dataplane/analyzer_child` answers one request at a time, in order. Rule: neither side
trusts the other's lengths; the child is expected to die at any moment.
"""

import msgspec

from appliance.link.codec import MessageReader
from appliance.model.catalog import Catalog, SessionSettings
from appliance.model.decision import Mask
from appliance.model.facts import Facts

ANALYSIS_FRAME_BYTES_MAX = 512 * 1024 * 1024
"""Ceiling of one message; the largest is a catalog of some hundred thousand columns."""

CatalogName = tuple[str, str, str]
"""(target, database, version)."""


class Learn(msgspec.Struct, frozen=True, tag=True):
    """Keep this catalog; requests name it by (target, database, version)."""

    catalog: Catalog


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Drop a catalog that was learnt."""

    name: CatalogName


class Analyse(msgspec.Struct, frozen=True, tag=True):
    """Turn `text` into facts; `catalog` was learnt before, None when there is none."""

    number: int
    text: bytes
    settings: SessionSettings
    catalog: CatalogName | None
    owed: tuple[tuple[int, int, Mask], ...]
    """(table OID, attribute number, mask): what its forms over masked relations are made for."""
    cpu_seconds: int
    """Processor time after which the child is ended by the kernel, should its parent be stalled."""


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The child has imported everything and waits for requests."""

    pid: int


class Answer(msgspec.Struct, frozen=True, tag=True):
    """Facts of the request with that number."""

    number: int
    facts: Facts
    forms: tuple[tuple[bytes, str], ...] = ()
    """Per statement: its text over masked relations, or b"" and why there is none."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The analysis raised, which it must never do. `reason` is the exception's type, no text."""

    number: int
    reason: str


AnalyzerRequest = Learn | Forget | Analyse
AnalyzerAnswer = Hello | Answer | Failed


def analyzer_requests() -> MessageReader[AnalyzerRequest]:
    """Reader for the child's end."""
    return MessageReader(AnalyzerRequest, ANALYSIS_FRAME_BYTES_MAX)  # type: ignore[arg-type]


def analyzer_answers() -> MessageReader[AnalyzerAnswer]:
    """Reader for the worker's end."""
    return MessageReader(AnalyzerAnswer, ANALYSIS_FRAME_BYTES_MAX)  # type: ignore[arg-type]
