"""What `make redteam` makes of the corpora: the policy, what a server lacks, parts of a report."""

import json

import pytest
import yaml

from appliance.model.catalog import Catalog, Column, Relation
from appliance.model.decision import MaskMethod
from appliance.model.principal import Principal, Target
from appliance.policy.compile import compile_documents
from tests.redteam import corpus, policies, tables
from tests.redteam.corpus import Means
from tests.redteam.runs import merged
from tests.redteam.servers import schema_for

POLICY = policies.load(corpus.FOLDER / "policy.json")
DEBIAN = Means(15, frozenset({*corpus.WORDS, "pageinspect", "adminpack"}))
WHEEL = Means(18, DEBIAN.extensions - {"pgcrypto", "xml2", "adminpack"}, xml=False)


def catalog() -> Catalog:
    """Every sensitive column, each with a harmless neighbour."""
    relations = []
    for oid, (path, names) in enumerate(POLICY["sensitive"].items(), start=1):
        schema, name = path.split(".", 1)
        known = ["secret" if column == "*" else column for column in names]
        columns = [Column(n, column, 25) for n, column in enumerate([*known, "harmless"], start=1)]
        relations.append(Relation(oid, schema, name, "r", tuple(columns)))
    return Catalog(
        target=policies.MASKED,
        database="any",
        version="1",
        server_version_num=150000,
        schemas=("public", "hr", "pg_catalog"),
        relations={one.oid: one for one in relations},
        by_name={(one.schema, one.name): one.oid for one in relations},
        functions={},
    )


def owed(target: str, mask: str = "null", *groups: str) -> dict[str, MaskMethod]:
    """schema.relation.column -> method, for a principal in `groups`."""
    text = yaml.safe_dump(
        policies.policy_document(POLICY, policies.mask_of(mask)), allow_unicode=True
    )
    snapshot = compile_documents([("policy.yaml", text.encode())])
    known = catalog()
    entitlements = snapshot.entitlements(
        Principal("somebody", groups=groups), Target(target), known, "any"
    )
    return {
        f"{known.relations[oid].schema}.{known.relations[oid].name}."
        f"{known.relations[oid].columns[number - 1].name}": mask.method
        for (oid, number), mask in entitlements.owed.items()
    }


def test_every_sensitive_column_is_owed_and_no_other() -> None:
    found = owed(policies.MASKED, "null", policies.OWING)
    every = {
        f"{path}.{name}".replace(".*", ".secret")
        for path, names in POLICY["sensitive"].items()
        for name in names
    }
    # `*` of a statistics table is all of it.
    every |= {f"{path}.harmless" for path, names in POLICY["sensitive"].items() if names == ["*"]}
    assert set(found) == every
    assert set(found.values()) == {MaskMethod.NULL}
    assert "public.Weird Table.Sécret Col" in found


@pytest.mark.parametrize("method", [method.value for method in MaskMethod])
def test_every_method_makes_a_policy(method: str) -> None:
    assert owed(policies.MASKED, method, policies.OWING)


def test_who_owes() -> None:
    assert not owed(policies.MASKED)
    assert not owed(policies.GUARDED, "null", policies.OWING)
    users = policies.logins(POLICY)
    assert users["rt_dba"] == "rt_dba_pw" and policies.PLAIN_USER in users


@pytest.mark.parametrize(
    ("text", "on_debian", "on_wheel"),
    [
        ("SELECT email FROM customers", "", ""),
        ("SELECT encode(digest(email,'sha1'),'hex') FROM customers", "", "no extension pgcrypto"),
        ("SELECT email AS digest FROM customers", "", ""),
        ("SELECT xpath_table('id','xdoc','customers','/d','true')", "", "no libxml"),
        ("SELECT xmlelement(name e, email) FROM customers", "", "no libxml"),
        ("SELECT query_to_xml('SELECT 1',true,false,'')", "", "no libxml"),
        ("CREATE EXTENSION IF NOT EXISTS adminpack", "", "no extension adminpack"),
        ("create extension nothing", "no extension nothing", "no extension nothing"),
        ("SELECT * FROM pg_stat_statements", "", ""),
        ("SELECT system_user FROM hr.employees", "", "system_user is a keyword there"),
        ('SELECT e.system_user, "system_user" FROM hr.employees e', "", ""),
    ],
)
def test_what_a_server_lacks_is_skipped(text: str, on_debian: str, on_wheel: str) -> None:
    item = {"id": "one", "steps": [{"q": text}]}
    assert corpus.missing(item, DEBIAN) == on_debian
    assert corpus.missing(item, WHEEL) == on_wheel
    assert corpus.missing({"id": "two", "pair": [[{"q": text}], []]}, WHEEL) == on_wheel


@pytest.mark.parametrize(
    ("requirement", "on_debian", "on_wheel"),
    [
        ("server<17", True, False),
        ("server>=16", False, True),
        ("server=15", True, False),
        (["server>=15", "pgcrypto"], True, False),
        (None, True, True),
    ],
)
def test_requirements(requirement: object, on_debian: bool, on_wheel: bool) -> None:
    item = {"id": "one", "requires": requirement, "steps": []}
    assert (corpus.missing(item, DEBIAN) == "") is on_debian
    assert (corpus.missing(item, WHEEL) == "") is on_wheel


def test_skipped_and_able_are_all() -> None:
    items = corpus.read(corpus.FOLDER / corpus.PUBLIC["attacks"])
    able, skipped = corpus.split(items, WHEEL)
    assert len(able) + len(skipped) == len(items) == 362
    assert skipped and not corpus.split(items, DEBIAN)[1]


def test_the_schema_fits_the_server() -> None:
    schema = (corpus.FOLDER / "schema.sql").read_text("utf-8")
    assert schema_for(schema, DEBIAN) == (schema, ())
    fitted, left_out = schema_for(schema, WHEEL)
    assert left_out == ("pgcrypto", "xml2", "libxml")
    assert "CREATE EXTENSION IF NOT EXISTS hstore" in fitted and "pgcrypto" not in fitted
    assert "xdoc text," in fitted and '"system_user" text' in fitted


def test_shares_are_a_partition() -> None:
    items = [{"id": str(n)} for n in range(7)]
    parts = [corpus.share(items, part, 3) for part in range(3)]
    assert sorted(item["id"] for part in parts for item in part) == [str(n) for n in range(7)]


def test_reports_of_parts_are_added_up() -> None:
    one = {"file": "f", "attacks": 2, "seconds": 3.0, "by": {"x": {"ok": 1}}, "leaked": ["a"]}
    two = {"file": "f", "attacks": 3, "seconds": 2.0, "by": {"x": {"ok": 2}, "y": {"ok": 1}}}
    assert merged([one]) == one
    assert merged([one, two]) == {
        "file": "f",
        "attacks": 5,
        "seconds": 3.0,
        "by": {"x": {"ok": 3}, "y": {"ok": 1}},
        "leaked": ["a"],
    }


def test_corpora_have_unique_ids() -> None:
    for path in corpus.FOLDER.glob("*.jsonl"):
        names = [item["id"] for item in corpus.read(path)]
        assert len(set(names)) == len(names), path
        assert all(json.dumps(item) for item in corpus.read(path))


def test_own_attacks_are_many_and_were_seen_to_leak() -> None:
    items = corpus.read(corpus.FOLDER / corpus.OWN["attacks"])
    assert len(items) >= 100
    assert all(item["verified"] and item["how"] for item in items)
    public = corpus.read(corpus.FOLDER / corpus.PUBLIC["attacks"])
    assert not {json.dumps(i.get("steps")) for i in items if "steps" in i} & {
        json.dumps(i.get("steps")) for i in public
    }


def test_only_inference_is_a_limit() -> None:
    """What README says that remains; never a raw value, never one of the public attacks."""
    path = corpus.FOLDER / corpus.OWN["attacks"]
    limits = corpus.limits(path)
    severities = {item["id"]: item["severity"] for item in corpus.read(path)}
    assert {severities[name] for name in limits} == {"inference"}
    assert len(limits) == 3
    for kind in corpus.KINDS:
        assert not corpus.limits(corpus.FOLDER / corpus.PUBLIC[kind])


def test_limits_are_told_apart_and_never_hidden() -> None:
    attacks = {"leaked_ids": ["own-1", "own-2"]}
    assert tables.wrong_ids(attacks) == ["own-1", "own-2"]
    assert tables.wrong_ids({"failing": {"b": {}}}) == ["b"]
    assert tables.wrong_ids({"missed_ids": {"m": "", "n": ""}, "false_positives": {"f": ""}}) == [
        *("m", "n", "f")
    ]
    told = tables.ending({"on 15": ["own-1", "own-2"], "on 18": ["own-1"], "guard": []}, {"own-1"})
    assert told.splitlines() == [
        "redteam: on 15: to be mended: own-2",
        "redteam: on 15: wrong, and said so in README's limits: own-1",
        "redteam: on 18: wrong, and said so in README's limits: own-1",
    ]
    assert tables.ending({"guard": []}, {"own-1"}) == ""
