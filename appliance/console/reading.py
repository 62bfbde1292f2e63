"""What console and API show beside the desk: trail, policy, masking map, figures; one interface.

`reading_*` implements it over the data folder and the documents in use; the pages' tests bring their
own. Rules: nothing here changes anything; every method checks the `Person` it is given by itself
(auditor for the trail, viewer for the rest) and raises the kinds of `DeskError`, nothing else.
"""

from typing import Protocol

import msgspec

from appliance.approval.request import Person, Touched
from appliance.audit.query import Criteria, Story
from appliance.model.decision import Reason
from appliance.model.principal import PrincipalKind
from appliance.policy.document import RuleSpec


class ChainState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One chain of the audit trail as last verified."""

    worker: int
    records: int = 0
    signed: int = 0
    """Highest sequence number under a good signature."""
    last: int = 0
    segments: int = 0
    errors: tuple[str, ...] = ()


class TrailState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the last verification found. `checked` 0 = none was made yet."""

    checked: float = 0.0
    """Unix seconds."""
    chains: tuple[ChainState, ...] = ()
    problem: str = ""
    """Why it could not be verified, for people."""

    @property
    def sound(self) -> bool:
        return bool(self.checked) and not self.problem and not any(c.errors for c in self.chains)


class PolicyText(msgspec.Struct, frozen=True):
    """One policy document as it is in force."""

    name: str
    text: str
    rules: tuple[RuleSpec, ...] = ()


class PolicyShown(msgspec.Struct, frozen=True, omit_defaults=True):
    """The policy in force. No document: everything is denied."""

    version: str = ""
    mode: str = "enforce"
    documents: tuple[PolicyText, ...] = ()


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """A governed database server and the databases known on it."""

    target: str
    environment: str = ""
    databases: tuple[str, ...] = ()


class Hypothesis(msgspec.Struct, frozen=True, omit_defaults=True):
    """What if somebody sent this: the question behind `explain`."""

    sql: str
    principal: str
    target: str
    database: str
    kind: PrincipalKind = PrincipalKind.HUMAN
    groups: tuple[str, ...] = ()
    on_behalf_of: str | None = None


class Explained(msgspec.Struct, frozen=True, omit_defaults=True):
    """What would become of it."""

    outcome: str
    """allow, hold, deny"""
    reasons: tuple[Reason, ...] = ()
    touched: tuple[Touched, ...] = ()
    flags: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    """schema.relation.column of what would come masked."""
    refusal: str = ""
    remedy: str = ""
    sent: str = ""
    """What the database would be sent in its place; '' = the text itself, or nothing."""
    note: str = ""
    """What this answer rests on or leaves out, for people."""


class ClassifiedColumn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column (or, where no catalog is at hand, the glob of columns) that policy speaks of."""

    target: str
    column: str
    """database.schema.relation.column"""
    classifications: tuple[str, ...] = ()
    masks: tuple["MaskRule", ...] = ()


class MaskRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule that masks a column, and who it leaves alone."""

    rule: str
    method: str
    owed_by: str = ""
    """Whom the rule speaks of, in words."""
    raw_for: str = ""
    """Who sees the column as it is, in words."""
    observed: bool = False


class Slice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Statements of one span of time."""

    start: float
    """Unix seconds."""
    allowed: int = 0
    denied: int = 0
    held: int = 0
    refused: int = 0
    rows: int = 0
    cells_masked: int = 0
    cells_raw: int = 0
    """Sensitive cells that left unmasked, because somebody may see them."""
    median_ms: float | None = None
    """Of the statements' durations, the database's part included."""
    slow_ms: float | None = None
    """Their 95th percentile."""


class Share(msgspec.Struct, frozen=True, omit_defaults=True):
    """One principal's part."""

    principal: str
    statements: int = 0
    denied: int = 0
    rows: int = 0
    cells_raw: int = 0


class Latency(msgspec.Struct, frozen=True, omit_defaults=True):
    """Time that statements spend with us before they go on, in milliseconds; None = not known."""

    median_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


class Figures(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the dashboard draws."""

    span_seconds: float
    """Of each slice."""
    slices: tuple[Slice, ...] = ()
    top: tuple[Share, ...] = ()
    """Busiest first."""
    added: Latency = Latency()
    note: str = ""
    """What is not in the figures, for people."""


class Reading(Protocol):
    """See the module's docstring."""

    async def stories(self, person: Person, criteria: Criteria, count: int) -> list[Story]:
        """Newest first."""
        ...

    async def story(self, person: Person, reference: str) -> list[Story]:
        """A record by id or `worker:sequence number`, or all of a session. Raises Unknown."""
        ...

    async def trail_state(self, person: Person) -> TrailState: ...

    async def verify(self, person: Person) -> TrailState:
        """Verifies all chains now; may take long."""
        ...

    async def policy(self, person: Person) -> PolicyShown: ...

    async def places(self, person: Person) -> tuple[Place, ...]: ...

    async def explain(self, person: Person, hypothesis: Hypothesis) -> Explained:
        """Nothing is run. Raises Unknown for a target that there is not, Conflict for a text that
        cannot be studied."""
        ...

    async def classified(self, person: Person) -> tuple[ClassifiedColumn, ...]: ...

    async def figures(self, person: Person, hours: int) -> Figures: ...
