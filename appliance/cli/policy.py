"""`sallyport policy check | explain | test | schema | show | versions | ...`: a policy, tried
without a database; with `--url` the policy of a running appliance, with its databases' catalogs.

Wired into the command line by `cli/main` (`policy_app`). Everything heavy is imported where it is
used. Exit status: 0 fine, 1 the policy is wrong or a case failed, 2 something could not be read;
with `--url` as `cli/approvals`.
"""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from appliance.cli.policy_versions import activate, rollback, show_version, versions
from appliance.cli.remote import asking, plain, show_json

if TYPE_CHECKING:
    from rich.table import Table

    from appliance.console.policy_study import Question, Study
    from appliance.model.catalog import Catalog
    from appliance.model.principal import Principal, Target
    from appliance.policy.snapshot import Snapshot

policy_app = App(name="policy", help="Check, test and explain policies; which one is active.")
policy_app.command(versions)
policy_app.command(activate)
policy_app.command(rollback)

Output = Literal["table", "json"]
HERE = "login"
Where = Annotated[
    str,
    Parameter(
        name="--url",
        help="Ask the appliance there; `login` = where one is signed in.",
    ),
]
EXAMPLE_CASES = "config/policies/example.cases.yaml"
_STYLES = {"deny": "red", "hold": "yellow", "allow": "green", "mask": "cyan", "limit": "blue"}


@policy_app.command
def check(files: list[Path], /) -> int:
    """Check policy files: syntax, names, conditions. Several files are one policy.

    Parameters
    ----------
    files
        YAML documents.
    """
    snapshot = _compiled(files)
    if isinstance(snapshot, int):
        return snapshot
    counts: dict[str, int] = {}
    for rule in snapshot.rules:
        counts[rule.effect.value] = counts.get(rule.effect.value, 0) + 1
    rules = ", ".join(f"{count} {effect}" for effect, count in counts.items()) or "no rules"
    observed = sum(not rule.applied for rule in snapshot.rules)
    print(f"ok: version {snapshot.version}, mode {snapshot.mode.value}, {rules}")
    if observed:
        print(f"{observed} of {len(snapshot.rules)} rules are only observed")
    return 0


@policy_app.command
def schema() -> int:
    """Print the JSON Schema of policy documents."""
    from appliance.policy.jsonschema import schema_text

    sys.stdout.write(schema_text())
    return 0


@policy_app.command
def test(
    file: Path,
    /,
    *,
    policy: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    output: Output = "table",
) -> int:
    """Run the cases of a YAML file; exit status 1 when one fails.

    A commented example is config/policies/example.cases.yaml in Sallyport's source.

    Parameters
    ----------
    file
        The cases, with the tables and principals they speak of. `policy explain --catalog` takes
        the same file.
    policy
        Policy files, instead of those that the file names.
    """
    import msgspec

    from appliance.console.policy_cases import run_cases

    try:
        outcomes = run_cases(file, policy or [])
    except (OSError, ValueError) as error:
        print(_told(error), file=sys.stderr)
        print(f"a case file that works, with comments: {EXAMPLE_CASES}", file=sys.stderr)
        return 2
    failed = [outcome for outcome in outcomes if outcome.failures]
    if output == "json":
        cases = [
            {"name": o.name, "outcome": o.study.outcome, "failures": o.failures} for o in outcomes
        ]
        print(msgspec.json.encode({"failed": len(failed), "cases": cases}).decode())
        return 1 if failed else 0
    for outcome in outcomes:
        print(f"{'FAIL' if outcome.failures else 'pass'}  {outcome.name}")
        for failure in outcome.failures:
            print(f"      {failure}")
    print(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


@policy_app.command
@asking
def show(id: str = "", /, *, against: str = "", url: Where = HERE, output: Output = "table") -> int:
    """Print the policy that a running appliance enforces: its documents, one after another.

    Parameters
    ----------
    id
        Another version that it keeps, as `policy versions` shows it.
    against
        With `id`: only what that changes against this one.
    """
    from appliance.cli.elsewhere import appliance_at

    if id:
        return show_version("" if url == HERE else url, id, against, output)
    found = appliance_at(url).get("/api/v1/policy")
    if output == "json":
        show_json(found)
        return 0
    print(f"# version {plain(found['version'])}, mode {plain(found['mode'])}")
    for document in found["documents"]:
        print(f"# {plain(document['name'])}")
        sys.stdout.write(plain(document["text"]).rstrip("\n") + "\n")
    return 0


@policy_app.command
@asking
def explain(
    *,
    sql: str,
    principal: Annotated[str, Parameter(name="--as")],
    policy: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    target: str,
    database: str,
    groups: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    kind: Literal["human", "service", "agent"] | None = None,
    on_behalf_of: str | None = None,
    environment: str = "",
    label: list[str] | None = None,
    address: str = "127.0.0.1",
    application: str = "",
    listener: str = "explain",
    tls: bool = True,
    catalog: Path | None = None,
    url: Where = "",
    output: Output = "table",
) -> int:
    """Say what would become of a SQL text, and why; nothing is run.

    Parameters
    ----------
    sql
        The text; - reads it from standard input.
    principal
        Name of the principal who asks.
    policy
        Policy files; with --url none: the appliance's own.
    kind
        human where it is left out; with --url what the users file says, as with `groups`.
    groups
        Groups of the principal, separated by commas or spaces.
    on_behalf_of
        The person an agent acts for.
    label
        name=value of the target, may be repeated.
    catalog
        Where the tables are described: a case file of `policy test`, whose `tables` are used (as
        config/policies/example.cases.yaml in Sallyport's source), or a catalog as JSON. Without
        one names are not resolved, and whoever owes a mask is refused.
    """
    text = sys.stdin.read() if sql == "-" else sql
    if url:
        return _explained_elsewhere(
            url,
            output,
            sql=text,
            principal=principal,
            target=target,
            database=database,
            groups=_groups(groups) if groups is not None else None,
            kind=kind,
            on_behalf_of=on_behalf_of,
            address=address,
            application=application,
        )
    if not policy:
        print("sallyport policy: give --policy FILE, or --url", file=sys.stderr)
        return 2
    who = _principal(principal, kind or "human", groups or [], on_behalf_of)
    client = (address, 0, listener, tls, application)
    where = (target, environment, label or [])
    return _explained_here(text, who, client, where, database, policy, catalog, output)


def _explained_here(
    text: str,
    who: "Principal",
    client: tuple[str, int, str, bool, str],
    where: tuple[str, str, list[str]],
    database: str,
    policy: list[Path],
    catalog: Path | None,
    output: Output,
) -> int:
    """By these files."""
    from appliance.console.policy_study import Question, study
    from appliance.model.principal import Client

    snapshot = _compiled(policy)
    if isinstance(snapshot, int):
        return snapshot
    try:
        tables = None if catalog is None else _catalog(catalog, where[0], database)
        target = _target(*where)
    except (OSError, ValueError) as error:
        print(_told(error), file=sys.stderr)
        return 2
    question = Question(
        sql=text,
        principal=who,
        client=Client(*client),
        target=target,
        database=database,
        now=time.time(),
    )
    _show(question, study(snapshot, question, tables), output, catalog)
    return 0


@policy_app.command
def trust(uri: str, functions: list[str], /) -> int:
    """Print what to write under `trusted_functions:` for functions of a database.

    Read them first: whoever owes a mask may then call them, and what they give is not masked. An
    entry holds as long as the function stays what it is (body, language, owner, SECURITY, SET).
    What it calls is not watched: trust only what rests on built-in or trusted functions.

    Parameters
    ----------
    uri
        postgresql://user:password@host:port/database[?sslmode=MODE&sslrootcert=FILE].
        The password may come from PGPASSWORD instead.
    functions
        'schema.name(argument types)', or schema.name for every overload: a call is answered only
        when all that its name may mean are trusted.
    """
    from appliance.cli.place import hide_password

    try:
        hide_password(uri)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    from appliance.cli.policy_trust import NotThere, entries_of  # which takes a while

    try:
        text = entries_of(uri, functions)
    except (OSError, ValueError) as error:
        print(_told(error) if isinstance(error, OSError) else error, file=sys.stderr)
        return 2
    except NotThere as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.write(text)
    return 0


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _compiled(files: list[Path]) -> "Snapshot | int":
    """The policy, or an exit status after saying what is wrong."""
    from appliance.policy.compile import compile_documents
    from appliance.policy.document import PolicyError

    try:
        return compile_documents([(str(file), file.read_bytes()) for file in files])
    except PolicyError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2


def _catalog(path: Path, target: str, database: str) -> "Catalog":
    from appliance.console.policy_cases import read_cases
    from appliance.console.policy_catalog import catalog_from_file, catalog_from_tables

    if path.suffix in {".yaml", ".yml"}:
        return catalog_from_tables(target, database, read_cases(path).tables)
    return catalog_from_file(path)


def _principal(name: str, kind: str, groups: list[str], on_behalf_of: str | None) -> "Principal":
    from appliance.model.principal import Principal, PrincipalKind

    return Principal(name, PrincipalKind(kind), _groups(groups), on_behalf_of)


def _groups(texts: list[str]) -> tuple[str, ...]:
    return tuple(group for text in texts for group in text.split(",") if group)


def _explained_elsewhere(url: str, output: Output, **question: object) -> int:
    """What the appliance there would do. Raises Failed."""
    from appliance.cli.elsewhere import appliance_at

    asked = {name: value for name, value in question.items() if value is not None}
    found = appliance_at(url).post("/api/v1/policy/explain", asked)
    if output == "json":
        show_json(found)
        return 0
    study = found["study"]
    who = found["principal"]
    print(plain(f"{who['kind']} {who['name']} on {found['target']}/{found['database']}"))
    if found["catalog"]:
        print(plain(f"  names are not resolved: {found['catalog']}"))
    for name, value in study.items():
        if value not in (None, "", [], {}, False):
            print(plain(f"{name.replace('_', ' ')}: {_said(value)}"))
    return 0


def _said(value: object) -> str:
    """A part of an explanation, on one line or several."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_said(v)}" for k, v in value.items() if v not in (None, "", [], {}))
    if isinstance(value, list):
        separator = "\n  " if any(isinstance(one, dict) for one in value) else ", "
        return ("\n  " if "\n" in separator else "") + separator.join(map(_said, value))
    return str(value)


def _target(name: str, environment: str, labels: list[str]) -> "Target":
    from appliance.model.principal import Target

    pairs = []
    for text in labels:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--label {text}: write name=value")
        pairs.append((key, value))
    return Target(name, environment=environment, labels=tuple(pairs))


def _show(question: "Question", found: "Study", output: Output, catalog: Path | None) -> None:
    import msgspec

    from appliance.console.policy_study import as_json

    if output == "json":
        print(msgspec.json.format(msgspec.json.encode(as_json(found)), indent=2).decode())
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    style = _STYLES[found.outcome]
    who = question.principal
    acting = f" for {who.on_behalf_of}" if who.on_behalf_of else ""
    console.print(f"{who.kind.value} {who.name}{acting} on {question.target.name}", markup=False)
    console.print(f"outcome: [{style}]{found.outcome}[/]")
    if found.decision.would_be is not None:
        console.print(f"would be, if observed rules were enforced: {found.decision.would_be.value}")
    if found.refusal is not None:
        lines = [f"  {found.refusal.code.value}: {found.refusal.message}"]
        lines += [f"  rule: {found.refusal.rule}", f"  remedy: {found.refusal.remedy}"]
        console.print("\n".join(lines), markup=False)
    for note in _notes(found, catalog):
        console.print(f"  {note}", style="yellow", markup=False)
    for table in (_facts_table(found), _rules_table(found), _columns_table(found)):
        if table.row_count:
            console.print(table)
    for name, value in _obligations(found):
        console.print(f"{name}: {value}", markup=False)


def _notes(found: "Study", catalog: Path | None) -> list[str]:
    """What was decided without being known, and what to do about it."""
    remedy = "give --catalog" if catalog is None else f"add it to {catalog}"
    unknown = dict.fromkeys(
        why
        for facts in found.facts.statements
        for why in facts.unresolved
        if why.endswith(" is not known")
    )
    # A column is not known because its relation is not: the relations say it all.
    relations = [why for why in unknown if why.startswith("relation ")]
    notes = [f"{why}: {remedy}" for why in relations or unknown]
    if found.sweeping is not None:
        notes.append(f"if its WHERE spares no row it is refused: {found.sweeping.message}")
    if catalog is None and not notes:
        notes.append("no --catalog is given: names are not resolved, masks are not worked out")
    return notes


def _obligations(found: "Study") -> list[tuple[str, str]]:
    decision = found.decision
    lines = []
    if found.owed:
        lines.append(("touches masked columns", ", ".join(found.owed)))
    if found.sent:
        lines.append(("masked at the source", ", ".join(found.at_source)))
        lines.append(("the database is sent", found.sent))
    if decision.row_limit is not None:
        lines.append(("row limit", str(decision.row_limit)))
    if decision.statement_timeout_ms is not None:
        lines.append(("statement timeout", f"{decision.statement_timeout_ms} ms"))
    if decision.rows_written_max is not None:
        lines.append(("rows written at most", str(decision.rows_written_max)))
    return lines


def _table(title: str, *columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    return Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)


def _facts_table(found: "Study") -> "Table":
    from rich.text import Text

    table = _table("facts", "#", "actions", "touches", "flags", "confidence")
    for number, facts in enumerate(found.facts.statements, start=1):
        touches = [
            f"{use.action.value} {_qualified(use.schema, use.name)}" for use in facts.relations
        ]
        touches += [f"function {_qualified(call.schema, call.name)}" for call in facts.functions]
        confidence = "; ".join([facts.confidence.value, *facts.unresolved])
        cells = (
            str(number),
            ", ".join(action.value for action in facts.actions),
            "\n".join(touches),
            ", ".join(sorted(flag.value for flag in facts.flags)),
            confidence,
        )
        table.add_row(*map(Text, cells))
    return table


def _qualified(schema: str, name: str) -> str:
    """A name that could not be resolved has no schema."""
    return f"{schema}.{name}" if schema else name


def _rules_table(found: "Study") -> "Table":
    from rich.text import Text

    table = _table("rules that matched", "rule", "effect", "", "message")
    for reason in found.decision.reasons:
        style = _STYLES.get(reason.effect, "")
        observed = "observed" if reason.observed else ""
        effect = Text(reason.effect, style=style)
        table.add_row(Text(reason.rule), effect, Text(observed), Text(reason.message))
    return table


def _columns_table(found: "Study") -> "Table":
    from rich.text import Text

    table = _table("result columns", "statement", "column", "mask", "rule")
    for index in range(len(found.plans)):
        for name, mask, at_source in found.masks(index):
            how = "" if mask is None else mask.method.value + " at the source" * at_source
            table.add_row(
                *map(Text, (str(index + 1), name, how, "" if mask is None else mask.rule))
            )
    return table
