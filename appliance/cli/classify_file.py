"""Proposals and accepted classifications as files; called by `cli/classify`.

A proposals file says what a scan found and why, without a value; the audit trail's proposals look
the same here. An accepted file is a policy document of its own with nothing in it but
classifications. Rule: nothing is written that the policy as a whole does not compile with.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import yaml

from appliance.audit.query import Criteria, search
from appliance.audit.record import ClassificationProposed
from appliance.cli.classify_scan import Proposed
from appliance.detect.proposals import Evidence
from appliance.policy.compile import compile_documents
from appliance.policy.document import Mode, PolicyDocument, read_document
from appliance.policy.globs import dotted, resource_glob, split_path
from appliance.spool.trail_folder import FolderTrail

FILE_BYTES_MAX = 16 * 1024 * 1024
RECORDS_MAX = 10_000
HEADING = """\
# Classifications accepted from `sallyport classify`. Name this file among `policy.files`. It is a
# policy document of its own; `classify accept` adds to it, and writes it anew (comments are lost).
"""

Documents = Sequence[tuple[str, bytes]]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One proposal in a file."""

    column: str
    classification: str
    evidence: tuple[str, ...]
    share: float | None = None
    sampled: int = 0

    @property
    def words(self) -> str:
        return Evidence(self.classification, self.evidence, self.share or 0.0, self.sampled).words()


class ProposalsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    target: str
    database: str
    proposals: tuple[Line, ...]


def line_of(one: Proposed) -> Line:
    e = one.evidence
    return Line(one.column, e.classification, e.by, e.share if e.sampled else None, e.sampled)


def render_proposals(target: str, database: str, lines: Iterable[Line]) -> bytes:
    document = ProposalsFile(1, target, database, tuple(lines))
    head = "# Made by `sallyport classify scan`; chosen from by `sallyport classify accept`.\n"
    return (head + _yaml(msgspec.to_builtins(document))).encode()


def read_proposals(path: Path) -> tuple[Line, ...]:
    """Raises OSError, or ValueError that says what to do."""
    with path.open("rb") as stream:
        content = stream.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{path} is longer than 16 MiB")
    try:
        plain = yaml.load(content, Loader=yaml.CSafeLoader)
        lines = msgspec.convert(plain, ProposalsFile).proposals
        for line in lines:
            resource_glob(line.column, 4)
    except (yaml.YAMLError, msgspec.ValidationError, ValueError, RecursionError) as error:
        why = str(error).partition("\n")[0]
        raise ValueError(f"{path} is no proposals file ({why}); make one: classify scan") from None
    return lines


def recorded_proposals(data: Path) -> tuple[Line, ...]:
    """Those of the audit trail below a data folder, the newest of each kept."""
    found: dict[tuple[str, str], Line] = {}
    criteria = Criteria()
    for story in search(FolderTrail(data / "audit"), criteria, RECORDS_MAX, _is_proposal):
        record = story.record
        if isinstance(record, ClassificationProposed):
            column = f"{dotted(record.database)}.{record.column}"
            found[column, record.classification] = Line(
                column, record.classification, record.evidence, record.share, record.sampled
            )
    return tuple(found.values())


def _is_proposal(record: object) -> bool:
    return isinstance(record, ClassificationProposed)


def merged(*several: Iterable[Line]) -> list[Line]:
    """One line for each column and classification, by column; of the same the first."""
    kept: dict[tuple[str, str], Line] = {}
    for lines in several:
        for line in lines:
            kept.setdefault((line.column, line.classification), line)
    return sorted(kept.values(), key=lambda line: line.column)


def pending(lines: Iterable[Line], documents: Documents) -> list[Line]:
    """Without those whose column some classification names already. Raises PolicyError."""
    globs = [
        resource_glob(text, 4)
        for name, content in documents
        for texts in read_document(name, content)[0].classifications.values()
        for text in texts
    ]

    def named(line: Line) -> bool:
        database, schema, relation, column = (part for part, _ in split_path(line.column))
        return any(
            glob.in_database(database)
            and glob.names(schema, relation)
            and (glob.column is None or glob.column(column))
            for glob in globs
        )

    return [line for line in lines if not named(line)]


def chosen(lines: Sequence[Line], wanted: Sequence[str], everything: bool) -> dict[str, str]:
    """Column -> classification. `wanted`: `column` or `column=classification`, the database may be
    left out. Raises ValueError.
    """
    first: dict[str, str] = {}
    for line in sorted(lines, key=lambda one: (-(one.share or 0.0), -len(one.evidence))):
        first.setdefault(line.column, line.classification)
    if everything:
        return first
    picked: dict[str, str] = {}
    for text in wanted:
        name, _, classification = text.partition("=")
        matches = [c for c in first if name == c or c.partition(".")[2] == name]
        if len(matches) != 1:
            trouble = "more than one column is" if matches else "no pending proposal is"
            raise ValueError(f"{trouble} called {name}; `classify propose` lists them")
        picked[matches[0]] = classification or first[matches[0]]
    return picked


def accepted(picked: dict[str, str], out: Path, others: Documents) -> bytes:
    """The document at `out` with the picked columns added; checked together with the policy's other
    documents. The same bytes when nothing is new. Raises ValueError (PolicyError) or OSError.
    """
    before = out.read_bytes() if out.exists() else b""
    document = PolicyDocument(version=1, mode=_mode(others))
    if before:
        document, _ = read_document(str(out), before)
        if document.rules:
            raise ValueError(f"{out} has rules of its own; give --out a file for classifications")
    named = {name: list(texts) for name, texts in document.classifications.items()}
    for column, classification in sorted(picked.items()):
        columns = named.setdefault(classification, [])
        if column not in columns:
            columns.append(column)
    plain: dict[str, object] = {"version": 1, "mode": document.mode.value}
    if document.description:
        plain["description"] = document.description
    plain["classifications"] = {name: sorted(columns) for name, columns in sorted(named.items())}
    content = (HEADING + _yaml(plain)).encode()
    compile_documents([*others, (str(out), content)])
    return content


def _mode(others: Documents) -> Mode:
    """A policy is in observe mode when all its documents are: one more must not end that."""
    read = [read_document(name, content)[0] for name, content in others]
    return Mode.OBSERVE if read and all(d.mode is Mode.OBSERVE for d in read) else Mode.ENFORCE


def classifications_yaml(picked: dict[str, str]) -> str:
    """To be pasted into a policy document."""
    named: dict[str, list[str]] = {}
    for column, classification in sorted(picked.items()):
        named.setdefault(classification, []).append(column)
    return _yaml({"classifications": dict(sorted(named.items()))})


def _yaml(plain: object) -> str:
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=1_000)
