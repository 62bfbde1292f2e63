"""The policy in force, what it would say to a statement, and the masking map. See `frame`."""

import re
from collections.abc import Iterator
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from appliance.console.api.policy import SQL_CHARACTERS_MAX, ExplainWanted, principal_of
from appliance.console.pages.frame import asked, commas, draw, get, post
from appliance.console.problems import Problem
from appliance.console.studies import ColumnShown, Explained
from appliance.console.table import ANY_ROLE, Call
from appliance.control.desk import Conflict, DeskError, Unavailable, Unknown
from appliance.model.approval import OnHold
from appliance.model.principal import PrincipalKind
from appliance.policy.document import (
    HoldSpec,
    PrincipalSelector,
    RuleEffect,
    RuleSpec,
    TargetSelector,
)


async def policy(call: Call) -> Response:
    wanted = asked(call, "q")
    shown = call.services.studies.policy()
    rules = [(one.name, rule) for one in shown.documents for rule in one.document.rules]
    return draw(
        call,
        "policy.html",
        "policy",
        policy=shown,
        rules=[(name, rule) for name, rule in rules if _speaks_of(rule, wanted)],
        total=len(rules),
        q=wanted,
        who=who,
        where=where,
        what=what,
        terms=terms,
    )


def _speaks_of(rule: RuleSpec, wanted: str) -> bool:
    return not wanted or wanted.casefold() in msgspec.json.encode(rule).decode().casefold()


def who(chosen: PrincipalSelector) -> str:
    """A selector in words."""
    return "; ".join(_who(chosen)) or "everybody"


def _who(chosen: PrincipalSelector) -> Iterator[str]:
    if chosen.names:
        yield ", ".join(chosen.names)
    if chosen.groups:
        yield "in " + " or ".join(chosen.groups)
    if chosen.not_groups:
        named = chosen.names or chosen.groups
        yield ("" if named else "everybody ") + "not in " + " or ".join(chosen.not_groups)
    if chosen.kinds:
        yield " or ".join(f"{kind.value}s" for kind in chosen.kinds)
    if chosen.on_behalf_of:
        yield "on behalf of " + " or ".join(chosen.on_behalf_of)


def where(chosen: TargetSelector) -> str:
    """A selector in words."""
    parts = [*chosen.names, *chosen.environments]
    parts += [f"{name}={value}" for name, value in chosen.labels.items()]
    parts += [f"database {name}" for name in chosen.databases]
    return ", ".join(parts) or "everywhere"


def what(rule: RuleSpec) -> str:
    """Actions, resources and the rest that a statement has to have."""
    on = [*rule.resources, *(f"classified {name}" for name in rule.classifications)]
    parts = [", ".join(rule.actions), f"on {', '.join(on)}" if on else ""]
    if rule.flags:
        parts.append("if " + " or ".join(f.value.replace("_", " ") for f in rule.flags))
    if rule.source:
        parts.append(f"from {', '.join(rule.source)}")
    return " ".join(filter(None, parts)) or "any statement"


class Hypothesis(msgspec.Struct, frozen=True):
    """The form: a statement, and as whom."""

    sql: str = ""
    principal: str = ""
    place: str = ""
    """target/database, one of those offered"""
    database: str = ""
    """Another one there."""
    kind: str = ""
    groups: str = ""
    """Divided by commas; '' = those that the users file says."""
    on_behalf_of: str = ""


def terms(rule: RuleSpec) -> str:
    """What comes with a rule's effect, in words: mask, approvals, limits."""
    parts = []
    if rule.mask is not None:
        parts.append("null" if rule.mask.method is None else rule.mask.method.value)
    if rule.effect is RuleEffect.HOLD:
        held = rule.hold or HoldSpec()
        parts.append(f"{held.approvals} from {' or '.join(held.groups) or 'any approver'}")
        parts.append(f"within {held.expires}")
        if held.on_hold is OnHold.TICKET:
            parts.append("by ticket")
    if rule.row_limit is not None:
        parts.append(f"at most {rule.row_limit} rows read")
    if rule.max_rows is not None:
        parts.append(f"at most {rule.max_rows} rows written")
    if rule.statement_timeout:
        parts.append(f"at most {rule.statement_timeout}")
    return ", ".join(parts)


_LEFT_OUT = re.compile(r"(?<![\w$])\$_(?![\w$])")
"""What stands in the audit trail in place of a literal, and in no statement."""


async def explain_form(call: Call) -> Response:
    """Filled from the address, so that a record or a request can lead here."""
    given = {name: asked(call, name) for name in Hypothesis.__struct_fields__}
    given["sql"] = _LEFT_OUT.sub("'_'", call.request.query_params.get("sql", ""))
    target, _, database = given["place"].partition("/")
    if database and given["place"] not in dict(places(call)):  # of a target that offers them all
        given |= {"place": f"{target}/", "database": given["database"] or database}
    return _explained(call, Hypothesis(**given))


async def explain(call: Call) -> Response:
    given = call.body(Hypothesis)
    try:
        wanted = _wanted(given)
        found = await call.services.studies.explain(
            principal_of(call, wanted), wanted.sql, wanted.target, wanted.database
        )
    except (ValueError, DeskError) as error:
        return _explained(call, given, 422, str(error))
    except Problem as problem:
        if problem.status is not HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        return _explained(call, given, 422, problem.detail)
    return _explained(call, given, found=found)


def _explained(
    call: Call,
    given: Hypothesis,
    status: int = 200,
    mistake: str = "",
    found: Explained | None = None,
) -> Response:
    return draw(
        call,
        "explain.html",
        "policy",
        status,
        given=given,
        kinds=[kind.value for kind in PrincipalKind],
        places=places(call),
        found=found,
        mistake=mistake,
    )


def places(call: Call) -> list[tuple[str, str]]:
    """(target/database, environment) of what is governed. A target that offers all its databases
    has one without a name."""
    return [
        (f"{one.name}/{database}", one.environment)
        for one in call.services.current().configuration.targets
        for database in (("",) if one.databases == "*" else one.databases)
    ]


def _wanted(given: Hypothesis) -> ExplainWanted:
    """Raises ValueError with a text for the person."""
    if not given.sql.strip():
        raise ValueError("Give a statement.")
    if len(given.sql) > SQL_CHARACTERS_MAX:
        raise ValueError(f"The statement is longer than {SQL_CHARACTERS_MAX} characters.")
    if not given.principal.strip():
        raise ValueError("Say who sends it.")
    target, _, database = given.place.partition("/")
    database = given.database.strip() or database
    if not target or not database:
        raise ValueError("Choose a database.")
    groups = commas(given.groups)
    return ExplainWanted(
        sql=given.sql,
        principal=given.principal.strip(),
        target=target,
        database=database,
        groups=groups or None,
        kind=PrincipalKind(given.kind) if given.kind else None,
        on_behalf_of=given.on_behalf_of.strip() or None,
    )


async def masking(call: Call) -> Response:
    """Of one database: `place` is target/database, `database` another one there."""
    offered = places(call)
    place, wanted = asked(call, "place"), asked(call, "q").casefold()
    place = place or next((name for name, _ in offered if not name.endswith("/")), "")
    target, _, database = place.partition("/")
    database = asked(call, "database") or database
    found, mistake = None, ""
    if target and database:
        try:
            found = await call.services.studies.masking(target, database)
        except (Unknown, Unavailable, Conflict) as error:
            mistake = str(error)
    columns = () if found is None else found.columns
    return draw(
        call,
        "masking.html",
        "masking",
        found=found,
        columns=[one for one in columns if _column_speaks_of(one, wanted)],
        total=len(columns),
        q=asked(call, "q"),
        place=place,
        database=asked(call, "database"),
        places=offered,
        mistake=mistake,
        who=who,
    )


def _column_speaks_of(one: ColumnShown, wanted: str) -> bool:
    named = (one.column, *one.classifications, *(mask.rule for mask in one.masks), *one.raw)
    return not wanted or any(wanted in text.casefold() for text in named)


ROWS = (
    get("/policy", policy, ANY_ROLE),
    get("/policy/explain", explain_form, ANY_ROLE),
    post("/policy/explain", explain, ANY_ROLE, Hypothesis, 120.0),
    get("/masking", masking, ANY_ROLE, 120.0),
)
