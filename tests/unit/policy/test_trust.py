"""Trusted functions: what may be written, and which functions of a catalog it means."""

import msgspec
import pytest

from appliance.model.catalog import Function
from appliance.model.decision import NO_TRUST, Trust
from appliance.model.principal import Target
from appliance.policy.compile import compile_documents
from appliance.policy.document import PolicyError
from appliance.policy.trust import identity_of, identity_text
from tests.unit.policy.building import ALICE, BOB, CATALOG, TARGET

DIGEST = "a" * 64
RULES = """
rules:
  - {id: all, effect: allow, actions: [any]}
  - id: no-email
    effect: mask
    principals: {names: [alice]}
    resources: ["*.public.customers.email"]
    mask: {method: redact}
"""


def function(oid: int, arguments: str, digest: str = DIGEST, name: str = "total") -> Function:
    return Function(oid, "public", name, "f", "plpgsql", arguments, 23, digest)


OVERLOADS = (function(71, "integer"), function(72, "integer, text", "b" * 64))
HELD = msgspec.structs.replace(CATALOG, functions={("public", "total"): OVERLOADS})


def trust(entries: str, *, mode: str = "enforce", target: Target = TARGET) -> Trust:
    text = f"version: 1\nmode: {mode}\ntrusted_functions:\n{entries}{RULES}"
    snapshot = compile_documents([("p.yaml", text.encode())])
    return snapshot.entitlements(ALICE, target, HELD, "shop").trust


def entry(text: str = "public.total(integer)", digest: str = DIGEST, more: str = "") -> str:
    return f"  - {{function: '{text}', digest: 'sha256:{digest}'{more}}}\n"


def test_an_entry_is_for_one_function_in_one_state() -> None:
    assert trust(entry()) == Trust(frozenset({71}), frozenset())
    assert trust(entry(digest="b" * 64)) == Trust(frozenset(), frozenset({71}))
    assert trust(entry("public.total(int)")).functions == {71}
    assert trust(entry("public.total(int4,  text)", "b" * 64)).functions == {72}
    assert trust(entry("public.total(bigint)")) == Trust()
    assert trust(entry("hr.total(integer)")) == Trust()


def test_two_states_may_both_be_good() -> None:
    assert trust(entry(digest="b" * 64) + entry()).functions == {71}


def test_entries_are_for_targets_and_databases() -> None:
    assert trust(entry(more=", targets: {databases: [shop]}")).functions == {71}
    assert trust(entry(more=", targets: {databases: [other]}")) == Trust()
    assert trust(entry(more=", targets: {names: [sh*]}")).functions == {71}
    assert trust(entry(more=", targets: {environments: [test]}")) == Trust()


def test_what_is_only_observed_trusts_nobody() -> None:
    """It must change nothing, so it must loosen nothing that another document masks."""
    assert trust(entry(), mode="observe") == Trust()


def test_who_owes_nothing_needs_no_trust() -> None:
    text = f"version: 1\ntrusted_functions:\n{entry()}{RULES}"
    snapshot = compile_documents([("p.yaml", text.encode())])
    assert snapshot.entitlements(BOB, TARGET, HELD, "shop").trust is NO_TRUST
    assert snapshot.entitlements(ALICE, TARGET, None, "shop").trust is NO_TRUST


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("public.f()", ("public", "f", "")),
        ("public.f( int , character varying)", ("public", "f", "integer, character varying")),
        ('"Odd.One"."F""x"(int[], "T y")', ("Odd.One", 'F"x', 'integer[], "T y"')),
        ("s.f(timestamptz, bool)", ("s", "f", "timestamp with time zone, boolean")),
        ("s.f(public.mood)", ("s", "f", "public.mood")),
    ],
)
def test_identities(text: str, identity: tuple[str, str, str]) -> None:
    assert identity_of(text) == identity
    schema, name, arguments = identity
    written = Function(1, schema, name, "f", "sql", arguments)
    assert identity_of(identity_text(written)) == identity


@pytest.mark.parametrize(
    "text",
    ["f(int)", "public.f", "public.F(int)", "pg_catalog.pg_sleep(int)", "pg_temp.f()", "a.b.c()"],
)
def test_what_is_no_identity(text: str) -> None:
    with pytest.raises(PolicyError, match=r"trusted_functions\[0\].function"):
        trust(entry(text))


def test_a_digest_is_checked_for_its_form() -> None:
    with pytest.raises(PolicyError, match="sallyport policy trust"):
        trust(entry(digest="abc"))
