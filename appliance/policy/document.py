"""The YAML form of a policy: what may be written, and how a mistake in it is reported.

`compile` reads documents through `read_document`; the JSON Schema is made from `PolicyDocument`.
Unknown keys, duplicate keys and unknown versions are errors: a misspelt selector must never widen a
rule.
"""

import difflib
import enum
import re
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import yaml

from appliance.model.approval import OnHold
from appliance.model.decision import MaskMethod
from appliance.model.facts import Flag
from appliance.model.principal import PrincipalKind

DOCUMENT_BYTES_MAX = 4 * 1024 * 1024
NODES_MAX = 200_000
"""Nodes of a document with its aliases expanded: bounds what a few nested aliases may grow to."""


class PolicyError(ValueError):
    """A policy document that cannot be used. `str()` is `file:line: path: message (hint)`."""

    def __init__(
        self, document: str, path: str, message: str, hint: str = "", line: int = 0
    ) -> None:
        place = f"{document}:{line}" if line else document
        where = f"{place}: {path}: " if path else f"{place}: "
        super().__init__(where + message + (f" ({hint})" if hint else ""))
        self.document = document
        self.path = path
        self.message = message
        self.hint = hint
        self.line = line


class Mode(enum.Enum):
    ENFORCE = "enforce"
    OBSERVE = "observe"


class RuleEffect(enum.Enum):
    ALLOW = "allow"
    DENY = "deny"
    HOLD = "hold"
    MASK = "mask"
    LIMIT = "limit"


Glob = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Cidr = Annotated[str, msgspec.Meta(description="IPv4 or IPv6 network, such as 10.0.0.0/8")]
Duration = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9]{1,9} ?(ms|s|min|h)$", description="such as 500ms, 30s, 2min")
]


class PrincipalSelector(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Who. Every key that is given must match; within a list one entry is enough."""

    names: tuple[Glob, ...] = ()
    groups: tuple[Glob, ...] = ()
    not_groups: tuple[Glob, ...] = ()
    """Does not match a member of any of these."""
    kinds: tuple[PrincipalKind, ...] = ()
    on_behalf_of: tuple[Glob, ...] = ()
    """The human an agent acts for; matches nobody who acts for nobody."""


class TargetSelector(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Which governed database. Every key that is given must match."""

    names: tuple[Glob, ...] = ()
    environments: tuple[Glob, ...] = ()
    labels: dict[str, Glob] = {}
    databases: tuple[Glob, ...] = ()


class UniqueWrites(enum.Enum):
    ALLOW = "allow"
    REFUSE = "refuse"


class MaskSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """How a masked column is shown. `method: null` may be written with or without quotes."""

    method: MaskMethod | None
    value: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    keep: Annotated[int, msgspec.Meta(ge=0, le=64)] | None = None
    unit: Annotated[str, msgspec.Meta(pattern="^(year|month|day)$")] | None = None
    step: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)] | None = None
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    unique_writes: UniqueWrites = UniqueWrites.ALLOW
    """Whether who owes it may write the column where it is part of a unique key: whether such a
    write succeeds tells whether a value is taken, so that guesses can be tested by writing them."""


Group = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class InTransaction(enum.Enum):
    ALLOW = "allow"
    REFUSE = "refuse"


class EscalationSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Whom to ask as well when nobody decides."""

    after: Duration
    groups: Annotated[tuple[Group, ...], msgspec.Meta(min_length=1)]


class HoldSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """How a held statement is approved. Where several rules hold one text, each has to be
    satisfied."""

    on_hold: OnHold = OnHold.WAIT
    """wait: the statement waits where it is; ticket: it is refused at once with an id, and runs
    when it is sent again after an approval."""
    approvals: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    """Distinct people who have to agree."""
    groups: tuple[Group, ...] = ()
    """Each of them in one of these; left out = anybody with the role approver."""
    expires: Duration = "5min"
    """A request that nobody decided on ends then."""
    usable: Duration = "10min"
    """An approval that was not used ends then."""
    uses: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    in_transaction: InTransaction = InTransaction.ALLOW
    """Whether a statement may wait while a transaction, and its locks, are open."""
    human_may_approve: bool = False
    """Whether an agent's own human counts."""
    escalate: EscalationSpec | None = None
    dry_run: bool = False
    """Whether a write is run once and rolled back, to show approvers how many rows it affects: only
    where that leaves nothing behind (no code, no sequences, no volatile functions...)."""
    max_rows: (
        Annotated[
            str,
            msgspec.Meta(
                pattern=r"^approved( ?\+ ?[0-9]{1,3}%)?$",
                description="approved, or approved + 10%",
            ),
        ]
        | None
    ) = None
    """A write that affects more rows than approvers were shown (and so many per cent more, rounded
    up) is rolled back. One of which nobody can say how many it will affect is not held but refused.
    """


class RuleSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """One rule."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
    effect: RuleEffect
    description: str = ""
    mode: Mode = Mode.ENFORCE
    principals: PrincipalSelector = PrincipalSelector()
    targets: TargetSelector = TargetSelector()
    source: tuple[Cidr, ...] = ()
    """Networks that the client's address must be in."""
    actions: tuple[str, ...] = ()
    """Actions and groups of actions: read, session, write, ddl, admin, dangerous, calls, any,
    everything."""
    resources: tuple[Glob, ...] = ()
    """database.schema[.relation[.column]] globs; with `classifications`, either may match."""
    classifications: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    """The statement must have at least one of these."""
    when: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    """A CEL condition of type bool."""
    message: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    mask: MaskSpec | None = None
    row_limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    statement_timeout: Duration | None = None
    hold: HoldSpec | None = None
    max_rows: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Rows that one INSERT, UPDATE, DELETE, MERGE or COPY FROM STDIN may affect: one that affects
    more is rolled back. Writes of which that cannot be told are refused."""


class TrustedFunction(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """A function or procedure that shows masked values to nobody, whoever calls it: the
    administrator has read it. It is trusted as long as it stays what it was."""

    function: Annotated[
        str,
        msgspec.Meta(min_length=1, max_length=4096, description="schema.name(argument types)"),
    ]
    digest: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^sha256:[0-9a-f]{64}$", description="what `sallyport policy trust` prints"
        ),
    ]
    description: str = ""
    targets: TargetSelector = TargetSelector()


class PolicyDocument(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """One policy file. Several together are one policy."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    description: str = ""
    mode: Mode = Mode.ENFORCE
    classifications: dict[str, tuple[Glob, ...]] = {}
    """Name -> database.schema.relation.column globs."""
    trusted_functions: tuple[TrustedFunction, ...] = ()
    """Functions and procedures that whoever owes a mask may call all the same."""
    known_relations: tuple[Glob, ...] = ()
    """database.schema.relation[.column] globs: tables and columns made since a database was first
    seen that hold no copy of masked values, as far as the rules do not name them. Others made since
    are closed to whoever owes masks there, until a classification names them."""
    rules: tuple[RuleSpec, ...] = ()


_STRUCTS: tuple[type[msgspec.Struct], ...] = (
    PolicyDocument,
    RuleSpec,
    PrincipalSelector,
    TargetSelector,
    MaskSpec,
    HoldSpec,
    EscalationSpec,
    TrustedFunction,
)
_FIELD_NAMES = sorted({name for struct in _STRUCTS for name in struct.__struct_fields__})
_ENUM_VALUES = sorted(
    str(member.value)
    for kind in (Mode, RuleEffect, PrincipalKind, Flag, MaskMethod, OnHold, InTransaction)
    for member in kind
)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the known name that `name` was probably meant to be, or ''."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


class Source:
    """One document's text with the lines of its parts, kept to say where a mistake is."""

    def __init__(self, name: str, root: yaml.Node | None) -> None:
        self.name = name
        self._root = root

    def error(self, path: str, message: str, hint: str = "") -> PolicyError:
        return PolicyError(self.name, path, message, hint, self._line(path))

    def _line(self, path: str) -> int:
        node = self._root
        for step in re.findall(r"\[(\d+)\]|([^.\[\]]+)", path):
            child = _child(node, step[0], step[1])
            if child is None:
                break
            node = child
        return 0 if node is None else node.start_mark.line + 1


def _child(node: yaml.Node | None, index: str, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and index:
        return node.value[int(index)] if int(index) < len(node.value) else None
    if isinstance(node, yaml.MappingNode) and key:
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value == key:
                return value  # type: ignore[no-any-return]
    return None


def _check_nodes(source: Source, root: yaml.Node) -> None:
    """Refuse duplicate keys, aliases that contain themselves, and aliases that grow without
    bound."""
    count = 0
    pending: list[tuple[yaml.Node, str, frozenset[int]]] = [(root, "", frozenset())]
    while pending:
        node, path, above = pending.pop()
        count += 1
        if count > NODES_MAX:
            raise source.error("", f"more than {NODES_MAX} nodes with aliases expanded")
        if id(node) in above:
            raise source.error(path, "an alias contains itself")
        if isinstance(node, yaml.SequenceNode):
            inner = above | {id(node)}
            pending += [(item, f"{path}[{i}]", inner) for i, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            inner = above | {id(node)}
            seen: set[str] = set()
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else "?"
                below = f"{path}.{name}" if path else name
                if name in seen:
                    raise source.error(path, f"the key {name!r} is given twice")
                seen.add(name)
                pending.append((value, below, inner))


def read_document(name: str, content: bytes) -> tuple[PolicyDocument, Source]:
    """YAML bytes (UTF-8) -> document. Raises PolicyError."""
    if len(content) > DOCUMENT_BYTES_MAX:
        raise PolicyError(name, "", f"longer than {DOCUMENT_BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise PolicyError(name, "", "not UTF-8", f"byte {error.start}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise PolicyError(name, "", f"not YAML: {error.problem}", line=line) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise PolicyError(name, "", f"not YAML: {type(error).__name__}") from None
    source = Source(name, root)
    if root is None:
        raise source.error("", "empty document", "begin with `version: 1`")
    _check_nodes(source, root)
    return _convert(source, text), source


def _convert(source: Source, text: str) -> PolicyDocument:
    try:
        plain: Any = yaml.load(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise source.error("", f"not YAML: {type(error).__name__}") from None
    try:
        return msgspec.convert(plain, PolicyDocument, strict=True)
    except msgspec.ValidationError as error:
        raise _readable(source, str(error)) from None


def _readable(source: Source, text: str) -> PolicyError:
    """msgspec's `message - at `$.rules[0]`` -> our form, with a hint for what looks misspelt."""
    message, _, place = text.partition(" - at `")
    path = place.rstrip("`").removeprefix("key in ").removeprefix("$").removeprefix(".")
    path = path.replace("[...]", "[*]")
    hint = ""
    unknown = re.search(r"unknown field `([^`]*)`", message)
    value = re.search(r"Invalid enum value '([^']*)'", message)
    if unknown:
        hint = nearest(unknown[1], _FIELD_NAMES)
        message = f"unknown key {unknown[1]!r}"
    elif value:
        hint = nearest(value[1], _ENUM_VALUES)
        message = f"{value[1]!r} is not one of the values known here"
    elif "regex" in message and path.endswith("id"):
        hint = "lower-case letters, digits, `.`, `_`, `-`"
    elif "regex" in message and path.endswith("digest"):
        hint = "paste what `sallyport policy trust` prints"
    elif "regex" in message and path.endswith(("_timeout", "expires", "usable", "after")):
        hint = "a number with a unit: 500ms, 30s, 2min, 1h"
    return source.error(path, message, hint)
