"""Every record of the audit trail, one Struct each, told apart by the field `event`.

Built by the worker (`compose` helps with the statement ones), written by `spool`, read
back by `query` and `verify`; what a session repeats may stand in brief lines (`brief`). The rule:
no literal, parameter or cell value ever goes into a record; strings that a client chose pass
through `redact` first. Fields that equal their default are left out of the line.
Renaming or retyping a field breaks old trails: only add, with a default.
"""

import enum

import msgspec

from appliance.model.decision import Effect, MaskMethod
from appliance.model.facts import Action, Confidence, Flag
from appliance.model.members import plain_members
from appliance.model.principal import AuthMethod, PrincipalKind
from appliance.model.refusal import RefusalCode


@plain_members
class ProtocolKind(enum.Enum):
    """By which protocol step a statement came."""

    SIMPLE = "simple"  # Query
    PARSE = "parse"  # Parse: prepared, nothing run yet, never finishes
    EXECUTE = "execute"  # Execute of a portal
    COPY = "copy"
    FUNCTION_CALL = "function_call"


@plain_members
class Outcome(enum.Enum):
    """How a forwarded statement ended."""

    COMPLETED = "completed"
    FAILED = "failed"  # the database answered an error
    CANCELLED = "cancelled"  # SQLSTATE 57014, by the client, a timeout or an administrator
    DISCONNECTED = "disconnected"  # a peer left before the end
    ROLLED_BACK = "rolled_back"  # it affected more rows than it may, and was undone by us
    WITHHELD = "withheld"  # recorded as allowed, not forwarded after all (not durable, drained)


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """What all records have."""

    id: str
    """Unique, sorts by time (`new_id`)."""
    time: float
    """Unix seconds."""
    session: str = ""
    """Id of the session it belongs to, '' for none."""


class ClientPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a client came from. `application` is its own word, cleaned and bounded."""

    address: str
    port: int
    listener: str
    tls: bool
    application: str = ""


class RulePart(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule or built-in guard that matched."""

    rule: str
    effect: str
    """allow, deny, hold, mask, limit"""
    message: str = ""
    observed: bool = False
    """True: recorded only, not applied."""


class MaskPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """One masked column the statement touches."""

    column: str
    """schema.relation.column, or oid:attnum where the catalog has no name for it."""
    method: MaskMethod
    rule: str = ""


class StatementPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked. The same object serves every execution of the same text: build once, keep."""

    sql: str
    """Literals redacted unless the configuration says otherwise; cut at AUDIT_TEXT_BYTES_MAX."""
    text_digest: str
    """SHA-256 (hex) of the client's exact bytes."""
    text_bytes: int
    sent_digest: str = ""
    """SHA-256 (hex) of what was sent in its place: the statement over masked relations."""
    fingerprint: str = ""
    """Groups lines for people, decides nothing."""
    kinds: tuple[str, ...] = ()
    """Parse-tree names of the statements in the text."""
    actions: tuple[Action, ...] = ()
    relations: tuple[str, ...] = ()
    """`action schema.name`, in order of first appearance."""
    functions: tuple[str, ...] = ()
    """Functions that are not on the allow-list of harmless ones."""
    flags: tuple[Flag, ...] = ()
    """Sorted by value."""
    confidence: Confidence = Confidence.EXACT
    failure: str = ""
    """Code of the parse failure."""
    catalog_version: str = ""


class DecisionPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """What policy answered. May be kept and reused like `StatementPart`."""

    effect: Effect
    rules: tuple[RulePart, ...] = ()
    masks: tuple[MaskPart, ...] = ()
    row_limit: int | None = None
    timeout_ms: int | None = None
    rows_written_max: int | None = None
    would_be: Effect | None = None
    policy_version: str = ""


class RefusalPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why the appliance answered in place of the database."""

    code: RefusalCode
    rule: str = ""
    sqlstate: str = "42501"


class SessionOpened(Record, frozen=True, kw_only=True, tag="session_opened"):
    """A client proved who it is and reached its database."""

    principal: str
    kind: PrincipalKind
    auth: AuthMethod
    client: ClientPart
    target: str
    database: str
    upstream_user: str
    groups: tuple[str, ...] = ()
    on_behalf_of: str | None = None


class LoginFailed(Record, frozen=True, kw_only=True, tag="login_failed"):
    """`claimed` is what the client said, unproved."""

    claimed: str
    reason: str
    """A code: unknown_user, bad_proof, expired, no_target, forbidden, deadline, upstream_refused,
    ..."""
    client: ClientPart
    auth: AuthMethod | None = None
    target: str = ""
    database: str = ""


class SessionClosed(Record, frozen=True, kw_only=True, tag="session_closed"):
    """The end of a session, with its sums."""

    reason: str
    """A code: client_closed, client_lost, upstream_closed, upstream_lost, violation, drained,
    deadline, ..."""
    statements: int = 0
    rows: int = 0
    bytes_out: int = 0
    """Sent to the client."""
    duration_ms: float = 0.0


class StatementDecided(Record, frozen=True, kw_only=True, tag="statement_decided"):
    """Appended before anything of the statement is forwarded (DESIGN invariant 1)."""

    sequence: int
    """1, 2, ... within the session."""
    principal: str
    kind: PrincipalKind
    target: str
    database: str
    protocol: ProtocolKind
    statement: StatementPart
    decision: DecisionPart
    refusal: RefusalPart | None = None
    """Set when it was not forwarded."""
    on_behalf_of: str | None = None
    prepared: str = ""
    """Name of the prepared statement, '' for the unnamed one or none."""
    parameters: int = 0
    parameter_types: tuple[int, ...] = ()
    """Type OIDs as the client declared them, 0 = left to the database."""
    request: str = ""
    """Id of the approval request under which it was let through."""
    approved_by: str = ""
    """Who agreed, or which standing grant."""


class StatementFinished(Record, frozen=True, kw_only=True, tag="statement_finished"):
    """What came of a forwarded statement."""

    decided: str
    """Id of its StatementDecided."""
    outcome: Outcome
    rows: int = 0
    bytes_out: int = 0
    """Row bytes sent to the client."""
    cells_masked: int = 0
    sensitive_unmasked_cells: int = 0
    """Cells of classified columns sent raw because this principal may see them."""
    duration_ms: float = 0.0
    sqlstate: str = ""
    command_tag: str = ""


class DryRunBegun(Record, frozen=True, kw_only=True, tag="dry_run_begun"):
    """A held statement is about to be run by us in a transaction that is rolled back, to count its
    rows. Appended before anything of it is sent."""

    request: str
    """Id of the approval request that the count is for."""
    principal: str
    kind: PrincipalKind
    target: str
    database: str
    statement: StatementPart
    on_behalf_of: str | None = None


class DryRunEnded(Record, frozen=True, kw_only=True, tag="dry_run_ended"):
    """What came of it; nothing stayed."""

    begun: str
    """Id of its DryRunBegun."""
    outcome: Outcome
    rows: int = 0
    sqlstate: str = ""


class ClassificationProposed(Record, frozen=True, kw_only=True, tag="classification_proposed"):
    """Samples of an unclassified column look like something that ought to be classified. An alarm:
    nothing was refused or masked because of it. Counts only, no value.
    """

    target: str
    database: str
    column: str
    """schema.relation.column, each quoted where a policy's glob would need it."""
    classification: str
    """E.g. pii.email; see `appliance/detect/patterns`."""
    share: float
    """Of the sampled values, 0 to 1."""
    sampled: int
    """Non-null values looked at."""
    evidence: tuple[str, ...] = ("sample",)
    """What else speaks for it: name."""


class PolicyChanged(Record, frozen=True, kw_only=True, tag="policy_changed"):
    """A policy came into force in this worker, or was rejected and the old one stays."""

    version: str
    previous: str = ""
    accepted: bool = True
    documents: tuple[str, ...] = ()
    reason: str = ""


class ConfigurationChanged(Record, frozen=True, kw_only=True, tag="configuration_changed"):
    """Likewise for the configuration; `digest` is SHA-256 (hex) of the file."""

    digest: str
    previous: str = ""
    accepted: bool = True
    reason: str = ""


class WorkerStarted(Record, frozen=True, kw_only=True, tag="worker_started"):
    worker: int
    pid: int
    version: str
    policy_version: str = ""
    configuration_digest: str = ""


class WorkerStopped(Record, frozen=True, kw_only=True, tag="worker_stopped"):
    worker: int
    reason: str
    """drained, terminated, failed"""
    sessions: int = 0
    """Sessions cut off."""


class RequestMade(Record, frozen=True, kw_only=True, tag="request_made"):
    """A statement was held (its own record is the worker's) and a request for it is kept."""

    request: str
    principal: str
    kind: PrincipalKind
    target: str
    database: str
    sql: str
    """Literals redacted; cut at AUDIT_TEXT_BYTES_MAX."""
    binding: str
    """SHA-256 (hex) of everything that an approval of it holds for."""
    node: str = ""
    on_behalf_of: str | None = None
    rules: tuple[str, ...] = ()
    """Rules that hold it."""
    waits: bool = True
    """False: refused with a ticket, to be sent again."""
    policy_version: str = ""
    source: str = ""
    """What knows the principal: users file, client certificates, an identity provider."""


class RequestVoted(Record, frozen=True, kw_only=True, tag="request_voted"):
    """One person's word on a request."""

    request: str
    person: str
    approve: bool
    groups: tuple[str, ...] = ()
    """What the vote counts for."""
    reason: str = ""
    via: str = ""
    break_glass: bool = False
    """In an emergency, on a request of the person's own: look at it."""
    source: str = ""
    """What knows the person."""


class RequestRuled(Record, frozen=True, kw_only=True, tag="request_ruled"):
    """A request left the state it was in: decided, expired, withdrawn."""

    request: str
    state: str
    """approved, denied, expired, withdrawn"""
    by: str = ""
    """Who, `grant:ID`, or '' for nobody."""
    reason: str = ""
    break_glass: bool = False


class RequestEscalated(Record, frozen=True, kw_only=True, tag="request_escalated"):
    """Nobody decided for a while, so that more people may."""

    request: str
    groups: tuple[str, ...] = ()


class RequestUsed(Record, frozen=True, kw_only=True, tag="request_used"):
    """A session was told that its held statement may run now, once. `session` is that one."""

    request: str
    binding: str
    by: str = ""
    """Who approved."""
    used: int = 1
    uses: int = 1
    node: str = ""


class GrantProposed(Record, frozen=True, kw_only=True, tag="grant_proposed"):
    """Somebody asked for a standing grant."""

    grant: str
    person: str
    principals: tuple[str, ...]
    targets: tuple[str, ...]
    databases: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    until: float
    """Unix seconds."""
    rows_max: int | None = None
    reason: str = ""
    via: str = ""
    source: str = ""
    """What knows the person."""
    sources: tuple[str, ...] = ("*",)
    """What has to know the principals."""


class GrantRuled(Record, frozen=True, kw_only=True, tag="grant_ruled"):
    """A standing grant came into force or ended."""

    grant: str
    state: str
    """active, denied, revoked, expired"""
    by: str = ""
    reason: str = ""
    via: str = ""
    source: str = ""
    """What knows whoever did it."""


class SignedIn(Record, frozen=True, kw_only=True, tag="signed_in"):
    """A person or program proved to the control process who it is."""

    person: str
    kind: PrincipalKind
    method: str
    """password, oidc, device, token"""
    address: str = ""
    via: str = ""
    roles: tuple[str, ...] = ()


class SignInFailed(Record, frozen=True, kw_only=True, tag="sign_in_failed"):
    """`claimed` is what was said, unproved."""

    claimed: str
    reason: str
    """A code."""
    method: str = ""
    address: str = ""


class SignedOut(Record, frozen=True, kw_only=True, tag="signed_out"):
    person: str
    reason: str = ""
    """A code: asked, idle, revoked"""


class AdminActed(Record, frozen=True, kw_only=True, tag="admin_acted"):
    """Something was done through the control process that is none of the above. A session that
    was ended is in `session`."""

    person: str
    action: str
    """A code: session_ended, token_made, token_revoked, sign_in_revoked, ..."""
    subject: str = ""
    """What it was done to."""
    reason: str = ""
    via: str = ""
    source: str = ""
    """What knows the person."""


class PolicyVersionStored(Record, frozen=True, kw_only=True, tag="policy_version_stored"):
    """Control keeps a policy that it did not have before."""

    version: str
    """SHA-256 (hex) of its documents; statements' records say its first 16 digits."""
    by: str
    """Who or what brought it."""
    node: str
    documents: tuple[str, ...] = ()
    """Their names."""
    cases: int = 0
    """Of its tests that were run."""
    cases_failed: int = 0


class PolicyVersionActivated(Record, frozen=True, kw_only=True, tag="policy_version_activated"):
    """From now on this version is the policy of every appliance on the store."""

    version: str
    previous: str = ""
    """'' for the first one ever."""
    serial: int
    """Grows with every activation."""
    by: str
    cause: str
    """files (they were changed), activated, rolled_back, or taken_back (workers refused it)"""
    reason: str = ""
    via: str = ""
    node: str = ""


class PolicyVersionRefused(Record, frozen=True, kw_only=True, tag="policy_version_refused"):
    """A policy that was brought is not taken: it does not validate, or its tests fail."""

    version: str
    by: str
    node: str
    reason: str


class TrailDoubted(Record, frozen=True, kw_only=True, tag="trail_doubted"):
    """An audit chain is not what control has seen of it."""

    node: str
    worker: int
    cause: str
    """gone, damaged, not_signed, behind, rewritten"""
    seen: int
    """How far it had come; 0 = it was never seen sound."""


class ControlStarted(Record, frozen=True, kw_only=True, tag="control_started"):
    node: str
    pid: int
    version: str
    store: str
    """sqlite or postgresql"""
    configuration_digest: str = ""


class ControlStopped(Record, frozen=True, kw_only=True, tag="control_stopped"):
    node: str
    reason: str


class ChangeUnstored(Record, frozen=True, kw_only=True, tag="change_unstored"):
    """What these records say did not become so, or nobody knows whether it did: the store failed
    after they were written."""

    records: tuple[str, ...]
    """Ids."""
    reason: str = ""


class SegmentOpened(Record, frozen=True, kw_only=True, tag="segment_opened"):
    """First line of every segment; written by the spool. Its `prev` is the final hash of
    `previous`."""

    worker: int
    segment: str
    """This segment's file name."""
    previous: str = ""
    """File name of the segment before it in this worker's chain, '' for the first one ever."""
    workers_seen: tuple[int, ...] = ()
    """Workers that had a chain at that moment: a chain removed as a whole is missed by the
    others."""
    format: int = 1


class SpoolRecovered(Record, frozen=True, kw_only=True, tag="spool_recovered"):
    """The spool could not go on as if nothing had happened; written by the spool, first thing
    after."""

    cause: str
    """torn_tail, records_lost (a signed checkpoint speaks of later ones), or the errno name of a
    failed write."""
    segment: str = ""
    torn_bytes: int = 0
    """Cut off and kept beside the segment as `.torn`."""
    torn_lines: int = 0
    """Line ends among them. A write cut short by a crash leaves none; more means damaged
    records."""
    lost_from: int = 0
    lost_to: int = 0
    """Sequence numbers that were signed for and are gone (0 = none)."""
    refused: int = 0
    """Appends refused since the failure began."""
    dropped: int = 0
    """After-the-fact records (finished, closed) that no longer fitted the backlog."""


Entry = (
    SessionOpened
    | LoginFailed
    | SessionClosed
    | StatementDecided
    | StatementFinished
    | DryRunBegun
    | DryRunEnded
    | ClassificationProposed
    | PolicyChanged
    | ConfigurationChanged
    | WorkerStarted
    | WorkerStopped
    | RequestMade
    | RequestVoted
    | RequestRuled
    | RequestEscalated
    | RequestUsed
    | GrantProposed
    | GrantRuled
    | SignedIn
    | SignInFailed
    | SignedOut
    | AdminActed
    | PolicyVersionStored
    | PolicyVersionActivated
    | PolicyVersionRefused
    | TrailDoubted
    | ControlStarted
    | ControlStopped
    | ChangeUnstored
    | SegmentOpened
    | SpoolRecovered
)
"""Any record, as read back."""


def new_id(now: float, entropy: bytes) -> str:
    """A record or session id: milliseconds (12 hex digits, sorts by time) and `entropy` (10 bytes
    advised), hex."""
    return f"{int(now * 1000):012x}{entropy.hex()}"
