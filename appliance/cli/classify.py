"""`sallyport classify scan | propose | accept`: from what data looks like to what policy says.

Wired into the command line by `cli/main` (`classify_app`). Everything heavy is imported where it is
used. Exit status: 0 fine, 1 nothing was accepted, 2 something could not be read or reached.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from appliance.cli.classify_file import Documents, Line
    from appliance.cli.classify_scan import Scan
    from appliance.config.schema import Configuration
    from appliance.policy.snapshot import Snapshot

classify_app = App(name="classify", help="Find unclassified personal data and secrets.")

Output = Literal["table", "json"]
PROPOSALS = Path("proposals.yaml")
ACCEPTED = Path("classifications.yaml")


@classify_app.command
def scan(
    *,
    config: Path,
    target: str,
    database: str,
    role: str = "",
    sample: int = 200,
    seconds: int = 10,
    out: Path = PROPOSALS,
    output: Output = "table",
) -> int:
    """Look through a database for columns that ought to be classified.

    Reads names, types and comments, and samples values in read-only transactions. Values are
    counted, never printed or stored. Columns that policy names already are left out.

    Parameters
    ----------
    config
        The appliance's configuration file.
    target
        Name of the target in it.
    database
        Database to look through.
    role
        Database user of one of the target's roles; its first one when not given.
    sample
        Rows to look at in each table, 20 to 2000.
    seconds
        Most time for one table.
    out
        Where the proposals are written.
    output
        table or json.
    """
    import asyncio

    from appliance.cli.classify_file import line_of, render_proposals
    from appliance.cli.classify_scan import scan as scan_database
    from appliance.cli.files import write_private
    from appliance.console.catalog_reading import CatalogUnreadable, login_of

    try:
        if not 20 <= sample <= 2_000 or not 1 <= seconds <= 3_600:
            raise ValueError("--sample is 20 to 2000 rows, --seconds 1 to 3600")
        configuration = _configuration(config)
        place = configuration.target(target)
        if place is None:
            known = ", ".join(one.name for one in configuration.targets)
            raise ValueError(f"{config} has no target {target!r}; it has: {known}")
        if not place.allows_database(database):
            raise ValueError(f"target {target} does not offer a database {database!r}")
        policy = _snapshot(_documents(configuration, []))
        login = login_of(place, role, lambda text: print(text, file=sys.stderr))
        found = asyncio.run(scan_database(place, database, login, policy, sample, seconds))
        lines = [line_of(one) for one in found.proposals]
        write_private(out, render_proposals(target, database, lines))
    except (CatalogUnreadable, ValueError, OSError) as error:
        return _complain(error)
    _print(lines, output)
    _sum_up(found, out)
    return 0


@classify_app.command
def propose(
    *,
    proposals: Annotated[Path, Parameter(name="--from")] = PROPOSALS,
    config: Path | None = None,
    data: Annotated[Path | None, Parameter(env_var="SALLYPORT_DATA")] = None,
    policy: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    output: Output = "table",
) -> int:
    """Show what is proposed and not yet classified: by the last scan, and by live traffic.

    Parameters
    ----------
    proposals
        A file that `classify scan` made.
    config
        The configuration file: its data folder and policy files are used.
    data
        The appliance's data folder, with the audit trail, when no --config is given.
    policy
        Policy files, when no --config is given.
    output
        table or json.
    """
    try:
        lines = _pending(proposals, config, data, policy or [], ())
    except (ValueError, OSError) as error:
        return _complain(error)
    _print(lines, output)
    if output == "table":
        print("accept with: sallyport classify accept COLUMN... (or --all)", file=sys.stderr)
    return 0


@classify_app.command
def accept(
    *columns: str,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    proposals: Annotated[Path, Parameter(name="--from")] = PROPOSALS,
    config: Path | None = None,
    data: Annotated[Path | None, Parameter(env_var="SALLYPORT_DATA")] = None,
    policy: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    out: Path = ACCEPTED,
    show: Annotated[bool, Parameter(name="--print", negative="")] = False,
) -> int:
    """Turn proposals into classifications of the policy.

    Writes (or adds to) a policy document with classifications only, checked together with the rest
    of the policy before it is written. Doing it again changes nothing.

    Parameters
    ----------
    columns
        database.schema.relation.column or schema.relation.column; with =NAME under a
        classification of your own.
    everything
        All pending proposals, each column's strongest.
    proposals
        A file that `classify scan` made.
    config
        The configuration file: its data folder and policy files are used.
    data
        The appliance's data folder, with the audit trail, when no --config is given.
    policy
        Policy files, when no --config is given.
    out
        The document to write.
    show
        Print YAML to paste into a policy document instead; writes nothing.
    """
    from appliance.cli.classify_file import accepted, chosen, classifications_yaml
    from appliance.cli.files import write_private

    try:
        if bool(columns) == everything:
            raise ValueError("say which columns, or --all; `classify propose` lists them")
        others = _others(config, policy or [], out)
        if not others and not show:
            raise ValueError("give --config or --policy: what is accepted is checked with the rest")
        # What this file has already is chosen again rather than missed: nothing changes then.
        picked = chosen(
            _pending(proposals, config, data, policy or [], (out,)), columns, everything
        )
        if show:
            sys.stdout.write(classifications_yaml(picked))
            return 0 if picked else 1
        content = accepted(picked, out, others)
        before = out.read_bytes() if out.exists() else b""
        if content == before or not picked:
            print("nothing new: the policy names all of them already")
            return 0 if picked or before else 1
        mode = (out.stat().st_mode & 0o777) if before else 0o644
        write_private(out, content, mode)
    except (ValueError, OSError) as error:
        return _complain(error)
    _print_accepted(picked, out, config, others)
    return 0


def _print_accepted(
    picked: dict[str, str], out: Path, config: Path | None, others: "Documents"
) -> None:
    from appliance.policy.document import read_document

    for column, classification in sorted(picked.items()):
        print(f"{classification}: {_printable(column)}")
    print(f"written to {out}")
    if config is None or not any(_same(out, file) for file in _configuration(config).policy.files):
        print(f"next: name {out} among `policy.files` of the configuration, then reload (SIGHUP)")
    ruled = {
        name
        for document, content in others
        for rule in read_document(document, content)[0].rules
        for name in rule.classifications
    }
    for name in sorted(set(picked.values()) - ruled):
        print(f"no rule speaks of {name} yet; one that masks it:")
        print(f"  - {{id: mask-{name.replace('.', '-').replace('_', '-').lower()}, effect: mask,")
        print(f"     classifications: [{name}], mask: {{method: redact}}}}")


def _pending(
    proposals: Path,
    config: Path | None,
    data: Path | None,
    policy: list[Path],
    without: tuple[Path, ...],
) -> "list[Line]":
    """Proposals of the file and of the audit trail that no document names but those `without`."""
    from appliance.cli.classify_file import merged, pending, read_proposals, recorded_proposals

    configuration = None if config is None else _configuration(config)
    folder = data if configuration is None else configuration.data
    documents = [
        (name, content)
        for name, content in _documents(configuration, policy)
        if not any(_same(Path(name), file) for file in without)
    ]
    scanned = read_proposals(proposals) if proposals.exists() else ()
    told = recorded_proposals(folder) if folder is not None and (folder / "audit").is_dir() else ()
    if not proposals.exists() and folder is None:
        raise ValueError(f"there is no {proposals}; make it with `classify scan`, or give --data")
    return pending(merged(scanned, told), documents)


def _others(config: Path | None, policy: list[Path], out: Path) -> "Documents":
    """The policy's documents without the one to be written."""
    configuration = None if config is None else _configuration(config)
    documents = _documents(configuration, policy)
    return [(name, content) for name, content in documents if not _same(Path(name), out)]


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _configuration(path: Path) -> "Configuration":
    from appliance.config.load import load

    return load(path)


def _documents(configuration: "Configuration | None", policy: list[Path]) -> "Documents":
    files = [*policy, *(() if configuration is None else configuration.policy.files)]
    return [(str(file), file.read_bytes()) for file in files]


def _snapshot(documents: "Documents") -> "Snapshot":
    from appliance.policy.compile import compile_documents, nothing_allowed

    return compile_documents(documents) if documents else nothing_allowed()


def _print(lines: "list[Line]", output: Output) -> None:
    if output == "json":
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(lines)).decode())
        return
    if not lines:
        print("nothing is proposed")
        return
    wide = max(len("COLUMN"), *(len(line.column) for line in lines))
    named = max(len("LOOKS LIKE"), *(len(line.classification) for line in lines))
    print(f"{'COLUMN':<{wide}}  {'LOOKS LIKE':<{named}}  EVIDENCE")
    for line in lines:
        text = f"{line.column:<{wide}}  {line.classification:<{named}}  {line.words}"
        print(_printable(text))


def _sum_up(found: "Scan", out: Path) -> None:
    for table in found.unsampled:
        print(_printable(f"not sampled: {table}"), file=sys.stderr)
    print(
        f"{found.columns} columns, {found.classified} classified already, {found.sampled} sampled"
        f" as {found.role}: {len(found.proposals)} proposals in {out}",
        file=sys.stderr,
    )


def _printable(text: str) -> str:
    from appliance.audit.lines import printable

    return printable(text)


def _complain(error: Exception) -> int:
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    print(f"sallyport classify: {_printable(text)}", file=sys.stderr)
    return 2
