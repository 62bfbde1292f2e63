"""Policy documents -> `Snapshot`. Called when a configuration is loaded or reloaded, and by
`sallyport policy`.

Whatever is wrong is found here: a rule that compiles can only be true, false or "condition failed".
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from appliance.model.approval import HoldTerms, Need
from appliance.model.decision import Mask, MaskMethod, Reason
from appliance.model.facts import Action
from appliance.policy.conditions import Condition, ConditionError, Network, network_of
from appliance.policy.document import (
    HoldSpec,
    InTransaction,
    MaskSpec,
    Mode,
    PolicyDocument,
    PolicyError,
    PrincipalSelector,
    RuleEffect,
    RuleSpec,
    Source,
    TargetSelector,
    UniqueWrites,
    nearest,
    read_document,
)
from appliance.policy.evaluate import DEFAULT_RULE
from appliance.policy.globs import ResourceGlob, any_of, resource_glob
from appliance.policy.rules import Rule, Test, Where, Who
from appliance.policy.snapshot import Snapshot
from appliance.policy.trust import DIGEST_PREFIX, TrustEntry, identity_of
from appliance.policy.vocabulary import (
    ACTION_NAMES,
    ANY,
    WRITES_ROWS,
    WRITES_UNSEEN,
    actions_named,
)

GUARD_PREFIX = "guard."
"""Begins the ids of refusals that no rule can switch off (`masking`)."""

Classifications = Mapping[str, tuple[ResourceGlob, ...]]

_UNIT_MS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
_MASK_OPTIONS: Mapping[MaskMethod, frozenset[str]] = {
    MaskMethod.NULL: frozenset(),
    MaskMethod.REDACT: frozenset(),
    MaskMethod.FIXED: frozenset({"value"}),
    MaskMethod.KEEP_FIRST: frozenset({"keep"}),
    MaskMethod.KEEP_LAST: frozenset({"keep"}),
    MaskMethod.EMAIL: frozenset(),
    MaskMethod.TOKEN: frozenset({"key"}),
    MaskMethod.TRUNCATE_DATE: frozenset({"unit"}),
    MaskMethod.TRUNCATE_NUMBER: frozenset({"step"}),
}


VERSION_DIGITS = 16


def nothing_allowed() -> Snapshot:
    """The policy of a configuration that names none."""
    return Snapshot(version="none", mode=Mode.ENFORCE, rules=())


def compile_documents(documents: Sequence[tuple[str, bytes]], *, observe: bool = False) -> Snapshot:
    """(name, YAML) of every document of one policy, in order. Raises PolicyError. `observe` puts
    all of it in observe mode, whatever the documents say.

    Classifications are shared by all documents; rule ids are unique over all of them. The policy as
    a whole is in observe mode when every document is.
    """
    if not documents:
        raise PolicyError("policy", "", "no document", "the preset `permissive` is a beginning")
    read = [read_document(name, content) for name, content in documents]
    classifications = _classifications(read)
    rules: list[Rule] = []
    homes: dict[str, str] = {}
    for document, source in read:
        for index, spec in enumerate(document.rules):
            path = f"rules[{index}]"
            if spec.id in homes:
                raise source.error(f"{path}.id", f"{spec.id!r} is already used in {homes[spec.id]}")
            if spec.id == DEFAULT_RULE or spec.id.startswith(GUARD_PREFIX):
                raise source.error(f"{path}.id", f"{spec.id!r} is the name of a built-in guard")
            homes[spec.id] = source.name
            mode = Mode.OBSERVE if observe else document.mode
            rules += _rules(spec, source, path, classifications, mode)
    observing = observe or all(document.mode is Mode.OBSERVE for document, _ in read)
    mode = Mode.OBSERVE if observing else Mode.ENFORCE
    version = digest_of(documents)[:VERSION_DIGITS] + ("-observe" if observe else "")
    trusted = () if observe else _trusted(read)
    globs = [glob for named in classifications.values() for glob in named]
    known = list(globs)
    for document, source in read:
        known += _globs(document.known_relations, source, "known_relations", parts_min=3)
    return Snapshot(version, mode, rules, trusted, globs, known)


def named_classifications(
    documents: Sequence[tuple[str, bytes]],
) -> dict[str, tuple[ResourceGlob, ...]]:
    """Classification -> the globs of all documents, for whoever shows them. Raises PolicyError."""
    return dict(_classifications([read_document(name, content) for name, content in documents]))


def _trusted(read: Sequence[tuple[PolicyDocument, Source]]) -> tuple[TrustEntry, ...]:
    """A document that is only observed changes nothing, so it makes nobody trusted either."""
    entries = []
    for document, source in read:
        for index, spec in enumerate(document.trusted_functions):
            path = f"trusted_functions[{index}]"
            try:
                identity = identity_of(spec.function)
            except ValueError as error:
                hint = "paste what `sallyport policy trust` prints"
                raise source.error(f"{path}.function", str(error), hint) from None
            if document.mode is Mode.ENFORCE:
                digest = spec.digest.removeprefix(DIGEST_PREFIX)
                entries.append(TrustEntry(identity, digest, _where(spec.targets)))
    return tuple(entries)


def digest_of(documents: Sequence[tuple[str, bytes]]) -> str:
    """SHA-256 (hex) over names and contents; a policy's `version` begins with 16 digits of it."""
    digest = hashlib.sha256()
    for name, content in documents:
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _classifications(read: Sequence[tuple[PolicyDocument, Source]]) -> Classifications:
    merged: dict[str, tuple[ResourceGlob, ...]] = {}
    for document, source in read:
        for name, texts in document.classifications.items():
            path = f"classifications.{name}"
            globs = _globs(texts, source, path, parts_min=4)
            merged[name] = merged.get(name, ()) + globs
    return merged


def _globs(
    texts: Sequence[str], source: Source, path: str, parts_min: int
) -> tuple[ResourceGlob, ...]:
    globs = []
    for index, text in enumerate(texts):
        try:
            globs.append(resource_glob(text, parts_min))
        except ValueError as error:
            hint = 'quote a part that holds a dot: shop.public."a.b"'
            raise source.error(f"{path}[{index}]", str(error), hint) from None
    return tuple(globs)


def _rules(
    spec: RuleSpec, source: Source, path: str, classifications: Classifications, mode: Mode
) -> Iterator[Rule]:
    """One, or two: a limit on rows written reaches more than the others of its rule."""
    rule = _rule(spec, source, path, classifications, mode)
    if spec.max_rows is None:
        yield rule
        return
    if rule.actions.isdisjoint(WRITES_ROWS):
        hint = "such as actions: [write]"
        raise source.error(path, "`max_rows` needs actions that write rows", hint)
    if spec.row_limit is not None or spec.statement_timeout is not None:
        yield rule
    yield msgspec.structs.replace(
        rule,
        actions=(rule.actions & WRITES_ROWS) | {Action.TRUNCATE} | WRITES_UNSEEN,
        row_limit=None,
        statement_timeout_ms=None,
        rows_written_max=spec.max_rows,
    )


def _rule(
    spec: RuleSpec, source: Source, path: str, classifications: Classifications, mode: Mode
) -> Rule:
    _check_shape(spec, source, path)
    applied = mode is Mode.ENFORCE and spec.mode is Mode.ENFORCE
    return Rule(
        id=spec.id,
        effect=spec.effect,
        applied=applied,
        who=_who(spec.principals),
        where=_where(spec.targets),
        source=_networks(spec.source, source, f"{path}.source"),
        actions=_actions(spec, source, f"{path}.actions"),
        resources=_resources(spec, source, path, classifications),
        flags=frozenset(spec.flags),
        condition=_condition(spec, source, f"{path}.when"),
        reason=Reason(spec.id, spec.effect.value, spec.message, observed=not applied),
        mask=None if spec.mask is None else _mask(spec.mask, spec.id, source, f"{path}.mask"),
        row_limit=spec.row_limit,
        statement_timeout_ms=_milliseconds(spec.statement_timeout),
        terms=_terms(spec),
    )


def _check_shape(spec: RuleSpec, source: Source, path: str) -> None:
    """What a rule of this effect has to have, and what would be silently ignored if it had it."""
    masks, limits = spec.effect is RuleEffect.MASK, spec.effect is RuleEffect.LIMIT
    effect = spec.effect.value
    if masks != (spec.mask is not None):
        says = "needs `mask:`" if masks else "has no use for `mask:`"
        raise source.error(path, f"a rule with effect {effect} {says}", "mask: {method: redact}")
    given = (spec.row_limit, spec.statement_timeout, spec.max_rows)
    if limits != any(limit is not None for limit in given):
        says = "needs" if limits else "has no use for"
        raise source.error(path, f"a rule with effect {effect} {says} a limit", "use effect: limit")
    if spec.hold is not None and spec.effect is not RuleEffect.HOLD:
        raise source.error(path, f"a rule with effect {effect} has no use for `hold:`")
    if masks and (spec.actions or spec.flags):
        raise source.error(path, "a mask holds for every action", "leave out `actions`, `flags`")
    if masks and not (spec.resources or spec.classifications):
        raise source.error(path, "a mask needs columns", "give `classifications` or `resources`")
    if not (masks or limits or spec.actions):
        hint = "`any` is every action but opaque, `everything` is all"
        raise source.error(path, f"a rule with effect {effect} needs `actions`", hint)


def _terms(spec: RuleSpec) -> HoldTerms | None:
    if spec.effect is not RuleEffect.HOLD:
        return None
    hold = spec.hold or HoldSpec()
    escalate = hold.escalate
    return HoldTerms(
        needs=(Need(spec.id, hold.approvals, hold.groups),),
        on_hold=hold.on_hold,
        wait_seconds=_seconds(hold.expires),
        grant_seconds=_seconds(hold.usable),
        uses=hold.uses,
        in_transaction=hold.in_transaction is InTransaction.ALLOW,
        human_may_approve=hold.human_may_approve,
        escalate_seconds=0 if escalate is None else _seconds(escalate.after),
        escalate_groups=() if escalate is None else escalate.groups,
        rows_margin=_margin(hold.max_rows),
        dry_run=hold.dry_run,
    )


def _margin(max_rows: str | None) -> int | None:
    """Per cent, of `approved + 10%`."""
    if max_rows is None:
        return None
    return int(max_rows.rpartition("+")[2].strip().removesuffix("%")) if "+" in max_rows else 0


def _seconds(duration: str) -> int:
    """Whole ones, at least one."""
    milliseconds = _milliseconds(duration)
    assert milliseconds is not None
    return max(1, -(-milliseconds // 1000))


def _test(globs: Sequence[str]) -> Test | None:
    return any_of(globs) if globs else None


def _who(selector: PrincipalSelector) -> Who:
    return Who(
        names=_test(selector.names),
        groups=_test(selector.groups),
        not_groups=_test(selector.not_groups),
        kinds=frozenset(kind.value for kind in selector.kinds),
        on_behalf_of=_test(selector.on_behalf_of),
    )


def _where(selector: TargetSelector) -> Where:
    return Where(
        names=_test(selector.names),
        environments=_test(selector.environments),
        labels=tuple((name, any_of((glob,))) for name, glob in selector.labels.items()),
        databases=_test(selector.databases),
    )


def _networks(texts: Sequence[str], source: Source, path: str) -> tuple[Network, ...]:
    networks = []
    for index, text in enumerate(texts):
        try:
            networks.append(network_of(text))
        except ValueError as error:
            raise source.error(f"{path}[{index}]", str(error), "such as 10.0.0.0/8") from None
    return tuple(networks)


def _actions(spec: RuleSpec, source: Source, path: str) -> frozenset[Action]:
    if not spec.actions:
        return ANY
    found: set[Action] = set()
    for index, name in enumerate(spec.actions):
        actions = actions_named(name)
        if actions is None:
            hint = nearest(name, ACTION_NAMES)
            raise source.error(f"{path}[{index}]", f"no action or group {name!r}", hint)
        found |= actions
    return frozenset(found)


def _resources(
    spec: RuleSpec, source: Source, path: str, classifications: Classifications
) -> tuple[ResourceGlob, ...] | None:
    if not spec.resources and not spec.classifications:
        return None
    parts_min = 4 if spec.effect is RuleEffect.MASK else 2
    globs = _globs(spec.resources, source, f"{path}.resources", parts_min)
    for index, name in enumerate(spec.classifications):
        if name not in classifications:
            hint = nearest(name, classifications) or "define it under `classifications:`"
            raise source.error(
                f"{path}.classifications[{index}]", f"no classification {name!r}", hint
            )
        globs += classifications[name]
    return globs


def _condition(spec: RuleSpec, source: Source, path: str) -> Condition | None:
    if not spec.when:
        return None
    try:
        condition = Condition(spec.when)
    except ConditionError as error:
        raise source.error(path, f"not a condition: {error}") from None
    if spec.effect is RuleEffect.MASK and condition.uses_statement:
        hint = "use principal, client, target, database and time only"
        raise source.error(path, "a mask can not depend on the statement", hint)
    return condition


def _mask(spec: MaskSpec, rule: str, source: Source, path: str) -> Mask:
    method = spec.method or MaskMethod.NULL
    given = {
        name: value
        for name in ("value", "keep", "unit", "step", "key")
        if (value := getattr(spec, name)) is not None
    }
    useless = sorted(given.keys() - _MASK_OPTIONS[method])
    if useless:
        wanted = ", ".join(sorted(_MASK_OPTIONS[method])) or "nothing"
        message = f"method {method.value} has no use for {useless[0]!r}"
        raise source.error(path, message, f"it takes {wanted}")
    allowed = spec.unique_writes is UniqueWrites.ALLOW
    return Mask(method=method, rule=rule, unique_writes=allowed, **given)


def _milliseconds(duration: str | None) -> int | None:
    if duration is None:
        return None
    number, unit = re.fullmatch(r"(\d+) ?([a-z]+)", duration).groups()  # type: ignore[union-attr]
    return max(1, int(number) * _UNIT_MS[unit])
