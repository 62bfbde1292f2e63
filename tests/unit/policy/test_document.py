"""Mistakes in policy files are found when they are read, and said with place and hint."""

import pytest

from appliance.policy.compile import compile_documents
from appliance.policy.document import PolicyError, read_document

ALLOW = "  - {id: a, effect: allow, actions: [read]}\n"


def failure(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        compile_documents([("p.yaml", text.encode())])
    return caught.value


@pytest.mark.parametrize(
    ("rules", "path", "words"),
    [
        ("  - {id: a, efect: allow}\n", "rules[0]", "did you mean 'effect'"),
        ("  - {id: a, effect: alow, actions: [read]}\n", "rules[0].effect", "'allow'"),
        ("  - {id: a, effect: allow, actions: [reed]}\n", "rules[0].actions[0]", "'read'"),
        ("  - {id: a, effect: allow}\n", "rules[0]", "needs `actions`"),
        ("  - {id: A!, effect: allow, actions: [read]}\n", "rules[0].id", "lower-case"),
        (ALLOW + ALLOW, "rules[1].id", "already used"),
        ("  - {id: guard.x, effect: allow, actions: [any]}\n", "rules[0].id", "built-in guard"),
        ("  - {id: default, effect: allow, actions: [any]}\n", "rules[0].id", "built-in guard"),
        ("  - {id: a, effect: mask, resources: [a.b.c.d]}\n", "rules[0]", "needs `mask:`"),
        (
            "  - {id: a, effect: mask, mask: {method: redact}}\n",
            "rules[0]",
            "needs columns",
        ),
        (
            "  - {id: a, effect: mask, mask: {method: redact}, resources: [shop.public.t]}\n",
            "rules[0].resources[0]",
            "expected 4 parts",
        ),
        (
            "  - {id: a, effect: mask, mask: {method: redact, keep: 3}, resources: [a.b.c.d]}\n",
            "rules[0].mask",
            "no use for 'keep'",
        ),
        (
            "  - {id: a, effect: mask, mask: {method: redact}, resources: [a.b.c.d],"
            " actions: [read]}\n",
            "rules[0]",
            "holds for every action",
        ),
        (
            "  - {id: a, effect: mask, mask: {method: redact}, resources: [a.b.c.d],"
            " when: statement.has_where}\n",
            "rules[0].when",
            "can not depend on the statement",
        ),
        ("  - {id: a, effect: limit}\n", "rules[0]", "needs a limit"),
        ("  - {id: a, effect: limit, max_rows: -1}\n", "rules[0].max_rows", ">= 0"),
        ("  - {id: a, effect: deny, actions: [any], max_rows: 1}\n", "rules[0]", "no use"),
        (
            "  - {id: a, effect: limit, actions: [read], max_rows: 3}\n",
            "rules[0]",
            "needs actions that write rows",
        ),
        ("  - {id: a, effect: allow, actions: [read], row_limit: 3}\n", "rules[0]", "no use"),
        (
            "  - {id: a, effect: limit, statement_timeout: '30'}\n",
            "rules[0].statement_timeout",
            "500ms",
        ),
        (
            "  - {id: a, effect: deny, actions: [read], classifications: [pie]}\n",
            "rules[0].classifications[0]",
            "'pii'",
        ),
        ("  - {id: a, effect: deny, actions: [read], resources: [shop]}\n", "rules[0].r", "part"),
        ("  - {id: a, effect: deny, actions: [read], source: [10.0.0.1/8]}\n", "rules[0].s", "bit"),
        (
            "  - {id: a, effect: deny, actions: [read], when: principal.nme == 'x'}\n",
            "rules[0].when",
            "undeclared reference to 'principal.nme'",
        ),
        ("  - {id: a, effect: deny, actions: [read], when: time.hour}\n", "rules[0].w", "BOOL"),
    ],
)
def test_a_mistake_is_named(rules: str, path: str, words: str) -> None:
    head = "version: 1\nclassifications: {pii: [shop.public.customers.email]}\nrules:\n"
    error = failure(head + rules)
    assert error.path.startswith(path)
    assert words in str(error)
    assert str(error).startswith(f"p.yaml:{error.line}: ") and error.line >= 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty document"),
        ("version: 2", "<= 1"),
        ("rules: []", "version"),
        ("version: 1\nversion: 1", "given twice"),
        (
            "version: 1\nrules: [{id: a, effect: deny, effect: allow, actions: [any]}]",
            "given twice",
        ),
        ("version: 1\nrules: [", "not YAML"),
        ("version: 1\nrules: &r [*r]", "contains itself"),
        ("version: 1\nrule: []", "did you mean 'rules'"),
        ("- 1", "object"),
        ("version: 1\nclassifications: {a: [x.y.z]}", "expected 4 parts"),
    ],
)
def test_a_broken_document_is_an_error(text: str, words: str) -> None:
    assert words in str(failure(text))


def test_aliases_can_not_grow_without_bound() -> None:
    lines = ["version: 1", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "nodes with aliases" in str(failure("\n".join(lines)))


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(PolicyError, match="not UTF-8"):
        read_document("p.yaml", b"version: \xff")


def test_no_document_at_all() -> None:
    with pytest.raises(PolicyError, match="no document"):
        compile_documents([])


def test_method_null_needs_no_quotes() -> None:
    for word in ("null", "'null'"):
        rule = f"{{id: m, effect: mask, mask: {{method: {word}}}, resources: [a.b.c.d]}}"
        snapshot = compile_documents([("p", f"version: 1\nrules: [{rule}]".encode())])
        mask = snapshot.rules[0].mask
        assert mask is not None and mask.method.value == "null" and mask.rule == "m"


def test_several_documents_are_one_policy() -> None:
    one = b"version: 1\nclassifications: {pii: [a.b.c.d]}\nrules: []"
    two = b"version: 1\nmode: observe\nrules:\n" + (
        b"  - {id: m, effect: mask, mask: {method: redact}, classifications: [pii]}"
    )
    snapshot = compile_documents([("one", one), ("two", two)])
    assert snapshot.mode.value == "enforce" and not snapshot.rules[0].applied
    assert compile_documents([("two", one), ("one", two)]).version != snapshot.version
    assert compile_documents([("one", one), ("two", two)]).version == snapshot.version


@pytest.mark.parametrize(
    ("text", "ms"), [("500ms", 500), ("30s", 30_000), ("2 min", 120_000), ("1h", 3_600_000)]
)
def test_durations(text: str, ms: int) -> None:
    rule = f"version: 1\nrules: [{{id: l, effect: limit, statement_timeout: {text}}}]"
    assert compile_documents([("p", rule.encode())]).rules[0].statement_timeout_ms == ms
