"""What the stage shows: requests of every kind, sessions, grants, records; and hostile ones."""

import math

from appliance.approval.request import Asked, Effect, Parameter, Person, State, Touched, Vote
from appliance.approval.standing import GrantState, Scope, StandingGrant
from appliance.audit.query import Story
from appliance.audit.record import (
    ClientPart,
    DecisionPart,
    LoginFailed,
    MaskPart,
    Outcome,
    ProtocolKind,
    RefusalPart,
    RequestMade,
    RequestVoted,
    RulePart,
    SessionOpened,
    StatementDecided,
    StatementFinished,
    StatementPart,
)
from appliance.console.metering import Sample
from appliance.control.desk import LiveSession
from appliance.link.approvals import SessionSeen
from appliance.model.approval import HoldTerms, Need, OnHold
from appliance.model.decision import Effect as Decided
from appliance.model.decision import MaskMethod
from appliance.model.facts import Action
from appliance.model.principal import AuthMethod, PrincipalKind
from appliance.model.refusal import RefusalCode
from tests.browser.desk import MemoryDesk

PEOPLE = {
    "bob": ("dba", "staff", "audit", "privacy"),
    "dana": ("privacy", "staff"),
    "alice": ("analysts",),
    "otto": ("oncall", "staff"),
    "wim": ("staff",),
}
BUSY = (
    ("svc-checkout", 41_208, 0, 0, 402_118, 0),
    ("alice", 812, 31, 2, 61_502, 0),
    ("copilot", 640, 88, 9, 12_040, 0),
    ("bob", 122, 3, 1, 9_871, 4_410),
    ("metabase", 96, 0, 0, 88_000, 0),
)
TABLES = {
    "public.customers": ("id int", "name text", "email text", "phone text"),
    "public.orders": ("id int", "customer_id int", "status text", "total numeric(10,2)"),
    "public.payments": ("id int", "customer_id int", "card_number text"),
    "hr.employees": ("id int", "name text", "salary int"),
}
POLICY = """version: 1
description: The shop.
classifications:
  contact: [shop.public.customers.email, shop.public.customers.phone]
  payment: [shop.public.payments.card_number]
  salary: [shop.hr.employees.salary]
rules:
  - id: analysts-read
    effect: allow
    description: Analysts read the shop.
    principals: {groups: [analysts]}
    targets: {environments: [production]}
    actions: [read, session]
    resources: [shop.public.*]
  - id: dba-everything
    effect: allow
    principals: {groups: [dba], kinds: [human]}
    actions: [everything]
  - id: agents-read-for-analysts
    effect: allow
    principals: {kinds: [agent], on_behalf_of: ["*"]}
    actions: [select, explain, session]
    resources: [shop.public.*]
  - id: agent-writes-need-approval
    effect: hold
    principals: {kinds: [agent]}
    actions: [write]
    resources: [shop.public.*]
    message: Writes by agents in production wait for a person.
    hold: {approvals: 2, groups: [dba, privacy], expires: 15min}
  - id: no-whole-table-writes
    effect: deny
    actions: [update, delete]
    flags: [no_where, trivial_where]
    message: This changes every row of the table. Add a WHERE that names the rows.
  - id: no-writes-at-night
    effect: deny
    mode: observe
    actions: [write, ddl]
    when: time.hour >= 22 || time.hour < 6
    message: No changes at night.
  - id: mask-contact
    effect: mask
    principals: {not_groups: [privacy]}
    classifications: [contact]
    mask: {method: email}
  - id: mask-cards
    effect: mask
    principals: {not_groups: [privacy]}
    classifications: [payment]
    mask: {method: keep_last, keep: 4}
"""
LONG = (
    "update public.orders o set status = 'refunded', note = $2 from public.customers c where "
    "c.id = o.customer_id and o.id in (select order_id from public.returns where state = 'accepted'"
    " and received_at between now() - interval '30 days' and now()) and c.email = $1"
    " and o.total < 250.00 returning o.id, o.status"
)
INSERT = "insert into orders (customer_id, total) values ($1, $2) returning id"
COUNT = "select status, count(*) from orders group by status order by count(*) desc"
RENAME = "alter table orders_2019 rename to orders_old"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\u202eevil\u200b\x07"
HOSTILE_SQL = (
    f"select '{HOSTILE}' /* </code></pre><script>alert(3)</script> */ from \"p\u0430yments\""
)


def asked(id: str, time: float, **more: object) -> Asked:
    plain: dict[str, object] = {
        "binding": "0" * 64,
        "node": "edge-1",
        "worker": 1,
        "session": "s" + id,
        "principal": "copilot",
        "kind": PrincipalKind.AGENT,
        "on_behalf_of": "alice",
        "groups": ("agents",),
        "address": "10.4.2.18",
        "application": "claude-tools/1.4",
        "target": "shop",
        "environment": "production",
        "database": "shop",
        "sql": LONG,
        "redacted": LONG.replace("'refunded'", "$3"),
        "touched": (
            Touched("update", "public", "orders", ("status", "note")),
            Touched("select", "public", "customers", ("id", "email")),
            Touched("select", "public", "returns", ("order_id", "state", "received_at")),
        ),
        "terms": HoldTerms(
            needs=(Need("agent-writes-need-approval", 2, ("dba", "privacy")),), wait_seconds=900
        ),
        "reasons": ("Writes by agents in production wait for a person.",),
        "effect": Effect(
            rows_estimated=42, rows_allowed=47, note="Planned with today's statistics."
        ),
        "policy_version": "7f3a9c21d4e8b650",
    }
    return Asked(id=id, time=time, **{**plain, **more})


def fill(desk: MemoryDesk, now: float) -> None:
    _requests(desk, now)
    _sessions(desk, now)
    _grants(desk, now)


def _requests(desk: MemoryDesk, now: float) -> None:
    shown = (Parameter("text", None), Parameter("text", "customer returned the goods"))
    agreed = (
        Vote("dana", True, now - 40, "Checked with support, ticket 4411.", "slack", ("privacy",)),
    )
    desk.hold(asked("b1", now - 95, parameters=shown), votes=agreed)
    desk.hold(
        asked(
            "b2",
            now - 31,
            principal="erin",
            kind=PrincipalKind.HUMAN,
            on_behalf_of=None,
            application="psql",
            sql="drop table public.orders_2019",
            redacted="drop table public.orders_2019",
            touched=(Touched("drop", "public", "orders_2019"),),
            terms=HoldTerms(needs=(Need("drops-need-approval", 1, ("dba",)),), wait_seconds=300),
            reasons=("Dropping and truncating in production needs an approval.",),
            effect=Effect(note="The planner does not estimate DDL."),
            in_transaction=True,
            flags=("cascade",),
        )
    )
    desk.hold(
        asked(
            "b3",
            now - 12,
            principal="otto",
            kind=PrincipalKind.HUMAN,
            on_behalf_of=None,
            sql="delete from public.sessions\n where user_id = 5512\n   and expires_at < now()",
            redacted="delete from public.sessions\n where user_id = $1\n   and expires_at < now()",
            touched=(Touched("delete", "public", "sessions"),),
            terms=HoldTerms(needs=(Need("deletes", 1),), wait_seconds=600, on_hold=OnHold.TICKET),
            reasons=("Deletes in production are looked at.",),
            effect=Effect(rows_counted=3),
        )
    )
    desk.hold(
        asked(
            "a9",
            now - 9,
            principal=HOSTILE,
            on_behalf_of=HOSTILE,
            application=HOSTILE,
            address=HOSTILE,
            target=HOSTILE,
            environment=HOSTILE,
            database=HOSTILE,
            groups=(HOSTILE,),
            sql=HOSTILE_SQL,
            redacted=HOSTILE_SQL,
            parameters=(Parameter(HOSTILE, HOSTILE),),
            touched=(Touched(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,)),),
            functions=(HOSTILE,),
            complete=False,
            flags=(HOSTILE,),
            reasons=(HOSTILE,),
            effect=Effect(note=HOSTILE),
            terms=HoldTerms(needs=(Need(HOSTILE, 1, (HOSTILE,)),), wait_seconds=3600),
        )
    )
    done = (
        ("a1", State.USED, "bob", "Fine.", 4_000),
        ("a2", State.DENIED, "dana", "The filter misses the tenant.", 9_000),
        ("a3", State.EXPIRED, "", "", 20_000),
        ("a4", State.WITHDRAWN, "", "", 30_000),
    )
    for id, state, by, reason, before in done:
        at = now - before
        votes = (Vote(by, state is State.USED, at, reason, "console"),) if by else ()
        more = {"state": state, "ended": at + 60, "ended_by": by, "reason": reason}
        desk.hold(asked(id, at), votes=votes, **more)


def _sessions(desk: MemoryDesk, now: float) -> None:
    rows = (
        ("5e01", "copilot", "agent", "alice", "claude-tools/1.4", "held", LONG[:160], "b1"),
        ("5e02", "svc-checkout", "service", None, "shop-checkout", "active", INSERT, ""),
        ("5e03", "alice", "human", None, "DBeaver 25.1", "idle", COUNT, ""),
        ("5e04", "erin", "human", None, "psql", "transaction", RENAME, ""),
        ("5e05", HOSTILE, "agent", HOSTILE, HOSTILE, "idle", HOSTILE_SQL, ""),
    )  # fmt: skip
    for place, (id, who, kind, behalf, client, state, sql, held) in enumerate(rows):
        seen = SessionSeen(
            *(id, who, kind, "shop", "shop", f"10.4.2.{18 + place}", now - 700 * (place + 1)),
            *(behalf, client, "app_rw", state, sql, 12 * place + 3, 410 * place, held),
        )
        desk.live[id] = LiveSession("edge-1", 1 + place % 2, seen)


def _grants(desk: MemoryDesk, now: float) -> None:
    scope = Scope(("copilot",), ("staging",), ("select", "update"), ("public.orders.status",))
    wide = Scope(("svc-migrate",), ("shop-*",), ("alter", "create"), ("public.*",), rows_max=1000)
    odd = Scope((HOSTILE,), (HOSTILE,), (HOSTILE,), (HOSTILE,), (HOSTILE,))
    rows = (
        ("g1", GrantState.PROPOSED, "alice", scope, 6 * 3600, "Clearing the backlog of returns."),
        ("g2", GrantState.ACTIVE, "dana", wide, 3 * 3600, "Release 44."),
        ("g3", GrantState.EXPIRED, "bob", scope, -3600, "Last week's incident."),
        ("g4", GrantState.PROPOSED, HOSTILE, odd, 3600, HOSTILE),
    )  # fmt: skip
    for id, state, by, what, left, reason in rows:
        decided = {} if state is GrantState.PROPOSED else {"decided_by": "bob", "decided": now - 50}
        desk.standing[id] = StandingGrant(
            *(), id=id, scope=what, state=state, reason=reason, proposed_by=by,
            proposed=now - 4000, until=now + left, used=7 if decided else 0, **decided,
        )  # fmt: skip


def stories(now: float) -> list[Story]:
    """Oldest first."""
    client = ClientPart("10.4.2.18", 51_222, "main", True, "psql")
    opened = SessionOpened(
        *(), id="r0", time=now - 900, session="5e03", principal="alice", kind=PrincipalKind.HUMAN,
        auth=AuthMethod.OIDC, client=client, target="shop", database="shop", upstream_user="app_ro",
        groups=("analysts",),
    )  # fmt: skip
    failed = LoginFailed(
        *(), id="r1", time=now - 850, claimed="root", reason="unknown_user", client=client
    )  # fmt: skip
    made = RequestMade(
        *(), id="r1a", time=now - 840, session="5e01", request="b1", principal="copilot",
        kind=PrincipalKind.AGENT, target="shop", database="shop", sql=LONG, binding="0" * 64,
        on_behalf_of="alice", rules=("agent-writes-need-approval",),
    )  # fmt: skip
    broken = RequestVoted(
        *(), id="r1b", time=now - 830, request="b1", person="otto", approve=True,
        reason="The site is down.", break_glass=True,
    )  # fmt: skip
    found = [Story(1, 100, opened), Story(1, 101, failed)]
    found += [Story(0, 7, made), Story(0, 8, broken)]
    allow = RulePart("analysts-read", "allow")
    mask = RulePart("mask-contact", "mask")
    masks = (MaskPart("public.customers.email", MaskMethod.EMAIL, "mask-contact"),)
    deny = RulePart(
        "no-whole-table-writes", "deny", "This changes every row of the table. Add a WHERE."
    )
    dba = RulePart("dba-everything", "allow")
    hostile = RulePart(HOSTILE, "deny", HOSTILE)
    rows = (
        ("alice", "select name, email from customers where id = $1", (allow, mask), masks, 1, 0),
        ("alice", "delete from orders", (deny,), (), 0, 0),
        ("bob", "select * from customers limit $1", (dba,), (), 200, 400),
        (HOSTILE, HOSTILE_SQL, (hostile,), (), 0, 0),
        ("copilot", LONG, (allow,), masks, 42, 0),
    )  # fmt: skip
    for place in range(15):
        who, sql, rules, owed, count, raw = rows[place % len(rows)]
        refused = rules[0].effect == "deny"
        record = StatementDecided(
            *(), id=f"r{place + 2}", time=now - 800 + place * 19, session="5e03",
            sequence=place + 1, principal=who, kind=PrincipalKind.HUMAN, target="shop",
            database="shop", protocol=ProtocolKind.SIMPLE,
            statement=StatementPart(
                *(sql, "9" * 64, len(sql)), actions=(Action.SELECT,),
                relations=("select public.customers",),
            ),
            decision=DecisionPart(
                Decided.DENY if refused else Decided.ALLOW, rules, owed, policy_version="7f3a9c21"
            ),
            refusal=RefusalPart(RefusalCode.DENIED, rules[0].rule) if refused else None,
            on_behalf_of="alice" if who == "copilot" else None,
        )  # fmt: skip
        end = StatementFinished(
            *(), id=f"f{place}", time=now - 799 + place * 19, decided=record.id,
            outcome=Outcome.COMPLETED, rows=count, bytes_out=count * 60,
            cells_masked=count if owed else 0, sensitive_unmasked_cells=raw, duration_ms=1.4,
            command_tag=f"SELECT {count}",
        )  # fmt: skip
        found.append(Story(1 + place % 2, 102 + place, record, None if refused else end))
    return found


def history(now: float) -> tuple[Sample, ...]:
    """An hour of samples."""
    sums = dict.fromkeys(
        (
            'sallyport_statements_total{effect="allow"}',
            'sallyport_statements_total{effect="deny"}',
            'sallyport_statements_total{effect="hold"}',
            'sallyport_statements_total{effect="refuse"}',
            "sallyport_rows_total",
            "sallyport_cells_masked_total",
            "sallyport_cells_sensitive_unmasked_total",
            "sallyport_analysis_duration_seconds_count",
            "sallyport_analysis_duration_seconds_sum",
            'sallyport_analyses_total{place="cache"}',
            'sallyport_analyses_total{place="worker"}',
            "sallyport_added_latency_seconds_count",
            "sallyport_added_latency_seconds_sum",
        ),
        0.0,
    )
    found = []
    for place in range(360):
        wave = 1 + math.sin(place / 40) + 0.3 * math.sin(place * 1.7)
        grown = (int(60 * max(wave, 0.1)), place % 7 == 0, place % 31 == 0, place % 19 == 0)
        grown += (int(700 * max(wave, 0.1)), int(90 * max(wave, 0)), 12 * (place % 43 == 0))
        added = (grown[0], grown[0] * (0.0004 + 0.0001 * max(wave, 0.1)))
        for key, more in zip(
            sums, (*grown, 2, 0.0016 * max(wave, 0.2), 55, 2, *added), strict=True
        ):
            sums[key] += more
        lag = {"sallyport_loop_lag_seconds": 0.0008 + 0.003 * (place % 47 == 0)}
        found.append(Sample(now - (360 - place) * 10, {**sums, **lag, "sallyport_sessions": 14.0}))
    return tuple(found)


def newcomer(id: str, now: float) -> Asked:
    """One more request, for tests of live updates."""
    return asked(
        id, now, principal="newcomer", sql="truncate public.carts", redacted="truncate public.carts"
    )


def somebody(name: str) -> Person:
    return Person(name, groups=PEOPLE[name], roles=frozenset({"viewer", "approver"}))
