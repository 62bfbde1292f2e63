"""Test files of `sallyport policy test`: cases in YAML, with the tables they speak of. The control
process runs those that the configuration names (`policy.tests`) before it takes a policy.

policy: [read-only-masked.yaml]          # beside this file; or --policy
target: {name: shop, environment: production}
database: shop
tables:
  public.customers: [id int, name text, email text]
principals:
  alice: {groups: [analysts]}
cases:
  - {as: alice, sql: "select email from customers", expect: allow,
     masked: [public.customers.email]}
  - {as: alice, sql: "drop table customers", expect: deny, rule: default}
"""

import datetime
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Annotated

import msgspec
import yaml

from appliance.console.policy_catalog import Tables, catalog_from_tables
from appliance.console.policy_study import Question, Study, study
from appliance.control.desk import Tested
from appliance.link.messages import PolicyDocument
from appliance.model.catalog import Catalog
from appliance.model.principal import Client, Principal, PrincipalKind, Target
from appliance.policy.compile import compile_documents
from appliance.policy.snapshot import Snapshot


class PrincipalSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: PrincipalKind = PrincipalKind.HUMAN
    groups: tuple[str, ...] = ()
    on_behalf_of: str | None = None


class TargetSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = "test"
    environment: str = ""
    labels: dict[str, str] = {}


class ClientSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: str = "127.0.0.1"
    application: str = ""
    listener: str = "test"
    tls: bool = True


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"principal": "as"}):
    """One text and what must become of it."""

    sql: str
    expect: Annotated[str, msgspec.Meta(pattern="^(allow|deny|hold)$")]
    principal: str
    name: str = ""
    rule: str = ""
    """A rule that must be among the reasons, or the guard that refuses."""
    masked: tuple[str, ...] | None = None
    """schema.relation.column of exactly the columns that are masked, in the result or already for
    the statement."""
    would_be: str = ""
    client: ClientSpec | None = None
    target: TargetSpec | None = None
    database: str = ""
    at: datetime.datetime | None = None
    """The moment it is asked; without a zone it is UTC."""


class CaseFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cases: tuple[Case, ...]
    policy: tuple[str, ...] = ()
    """Policy files, relative to this file."""
    database: str = "test"
    target: TargetSpec = TargetSpec()
    client: ClientSpec = ClientSpec()
    tables: Tables = {}
    principals: dict[str, PrincipalSpec] = {}


class Outcome(msgspec.Struct, frozen=True):
    """What became of one case. `failures` is empty when it passed."""

    name: str
    failures: tuple[str, ...]
    study: Study


FAILURES_MAX = 20
"""That are kept in words."""
NOON = datetime.datetime(2026, 1, 7, 12, tzinfo=datetime.UTC)
"""A Wednesday; what `now` is in cases that do not say."""


def read_cases(path: Path) -> CaseFile:
    """Raises OSError, or ValueError with words for a person."""
    return parse_cases(str(path), path.read_bytes())


def parse_cases(name: str, text: bytes) -> CaseFile:
    """Raises ValueError with words for a person."""
    try:
        return msgspec.convert(yaml.safe_load(text.decode()), CaseFile)
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: {error}") from None


def run_cases(path: Path, policies: list[Path]) -> list[Outcome]:
    """Run every case of a file. Raises OSError or ValueError for what can not be run at all."""
    cases = read_cases(path)
    files = policies or [path.parent / name for name in cases.policy]
    snapshot = compile_documents([(str(file), file.read_bytes()) for file in files])
    return outcomes_of(str(path), cases, snapshot)


def examine(policy: Sequence[PolicyDocument], tests: Sequence[PolicyDocument]) -> Tested:
    """All cases of these files for this policy, whatever policy files they name."""
    try:
        snapshot = compile_documents([(one.name, one.text) for one in policy])
        parsed = [(one.name, parse_cases(one.name, one.text)) for one in tests]
        found = [(n, one) for n, cases in parsed for one in outcomes_of(n, cases, snapshot)]
    except (ValueError, OSError) as error:
        return Tested(error=str(error))
    failed = [(name, one) for name, one in found if one.failures]
    words = [f"{PurePath(name).name}: {one.name}: {one.failures[0]}" for name, one in failed]
    return Tested(len(found), len(failed), tuple(words[:FAILURES_MAX]))


def outcomes_of(path: str, cases: CaseFile, snapshot: Snapshot) -> list[Outcome]:
    """Raises ValueError."""
    catalogs: dict[tuple[str, str], Catalog] = {}
    outcomes = []
    for number, case in enumerate(cases.cases, start=1):
        if case.principal not in cases.principals:
            raise ValueError(f"{path}: case {number}: no principal {case.principal!r}")
        place = ((case.target or cases.target).name, case.database or cases.database)
        if place not in catalogs:
            catalogs[place] = catalog_from_tables(*place, cases.tables)
        outcomes.append(_run(case, number, cases, snapshot, catalogs[place]))
    return outcomes


def _run(case: Case, number: int, cases: CaseFile, snapshot: Snapshot, catalog: Catalog) -> Outcome:
    found = study(snapshot, _question(case, cases), catalog)
    return Outcome(case.name or f"case {number}", tuple(_failures(case, found)), found)


def _question(case: Case, cases: CaseFile) -> Question:
    who = cases.principals[case.principal]
    client = case.client or cases.client
    target = case.target or cases.target
    at = case.at or NOON
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.UTC)
    return Question(
        sql=case.sql,
        principal=Principal(case.principal, who.kind, who.groups, who.on_behalf_of),
        client=Client(client.address, 0, client.listener, client.tls, client.application),
        target=Target(
            target.name, environment=target.environment, labels=tuple(target.labels.items())
        ),
        database=case.database or cases.database,
        now=at.timestamp(),
    )


def _failures(case: Case, found: Study) -> list[str]:
    failures = []
    if found.outcome != case.expect:
        why = found.refusal.message if found.refusal else "allowed"
        failures.append(f"expected {case.expect}, got {found.outcome}: {why}")
    rules = {reason.rule for reason in found.decision.reasons}
    if found.refusal is not None:
        rules.add(found.refusal.rule)
    if case.rule and case.rule not in rules:
        failures.append(f"expected rule {case.rule}, got {', '.join(sorted(rules)) or 'none'}")
    if case.masked is not None and set(case.masked) != set(found.masked):
        failures.append(
            f"expected masked {_names(case.masked)}, got {_names(found.masked)}",
        )
    would_be = found.decision.would_be
    if case.would_be and case.would_be != (would_be.value if would_be else found.outcome):
        failures.append(f"expected would_be {case.would_be}, got {would_be}")
    return failures


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(sorted(names)) or "nothing"
