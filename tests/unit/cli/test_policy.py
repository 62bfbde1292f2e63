"""`sallyport policy`: what it prints and how it exits."""

import json
from pathlib import Path

import msgspec
import pytest

from appliance.cli.policy import policy_app
from appliance.console.policy_catalog import catalog_from_file, catalog_from_tables, catalog_to_json
from appliance.model.catalog import Function, FunctionBody, GuardedType, UserCast
from appliance.model.limits import INLINE_ANALYSIS_BYTES_MAX

EXAMPLE = Path(__file__).parents[3] / "config" / "policies" / "example.yaml"
EXAMPLE_CASES = EXAMPLE.with_name("example.cases.yaml")
CASES = """
policy: [{policy}]
target: {{name: shop, environment: production}}
database: shop
tables:
  public.customers: [id int, name text, email text, phone text]
  public.payments: [id int, customer_id int, card_number text, amount numeric(10,2)]
  public.contacts:
    columns: [id int, mail text]
    view: select id, email as mail from public.customers
  hr.employees: [id int, name text, salary int]
principals:
  alice: {{groups: [analysts]}}
  bob: {{groups: [dba, privacy]}}
  copilot: {{kind: agent, on_behalf_of: alice}}
cases:
{cases}
"""
PASSING = """
  - {as: alice, sql: select email e from customers, expect: allow, masked: [public.customers.email]}
  - {as: alice, sql: select mail from contacts, expect: allow, masked: [public.contacts.mail]}
  - {as: alice, sql: select lower(email) from customers, expect: allow, rule: mask-contact,
     masked: [public.customers.email]}
  - {as: alice, sql: "select 1 from customers where email = 'x'", expect: allow,
     rule: mask-contact, masked: [public.customers.email]}
  - {as: alice, sql: select c from customers c, expect: allow,
     masked: [public.customers.email, public.customers.phone]}
  - {as: alice, sql: copy customers to stdout, expect: allow,
     masked: [public.customers.email, public.customers.phone]}
  - {as: alice, sql: "copy customers (id, name) to stdout", expect: allow, masked: []}
  - {as: alice, sql: select lower(mail) from contacts, expect: allow,
     masked: [public.customers.email]}
  - {as: alice, sql: "create view v as select email from customers", expect: deny}
  - {as: alice, sql: begin; select 1; commit, expect: allow}
  - {as: alice, sql: drop table customers, expect: deny, rule: default}
  - {as: alice, sql: selec 1, expect: deny}
  - {as: alice, sql: select my_function(id) from customers, expect: deny}
  - {as: bob, sql: drop table customers, expect: hold, rule: drops-need-approval}
  - {as: bob, sql: "select lower(email), phone from customers", expect: allow, masked: []}
  - {as: bob, sql: delete from customers, expect: deny, rule: no-whole-table-writes}
  - {as: bob, sql: delete from customers where id = 1, expect: allow, would_be: allow}
  - {as: bob, sql: delete from customers where id = 1, at: 2026-01-07T23:00:00Z, expect: allow,
     would_be: deny}
  - {as: bob, sql: select 1, client: {address: 192.0.2.1}, expect: deny}
  - {as: copilot, sql: select salary from hr.employees, expect: deny, rule: no-salaries-for-agents}
"""


def run(*words: str) -> int:
    code = policy_app(list(words), result_action="return_value")
    assert isinstance(code, int)
    return code


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    path = tmp_path / "cases.yaml"
    path.write_text(CASES.format(policy=EXAMPLE, cases=PASSING))
    return path


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", str(EXAMPLE)) == 0
    assert capsys.readouterr().out.startswith("ok: version ")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\nrules:\n  - {id: a, efect: deny}\n")
    assert run("check", str(EXAMPLE), str(wrong)) == 1
    assert capsys.readouterr().err == (
        f"{wrong}:3: rules[0]: unknown key 'efect' (did you mean 'effect'?)\n"
    )
    assert run("check", str(tmp_path / "missing.yaml")) == 2


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Sallyport policy"


def test_cases_pass(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run("test", str(cases))
    assert code == 0, capsys.readouterr().out
    assert "20 passed, 0 failed" in capsys.readouterr().out


def test_the_example_cases_pass_and_serve_as_a_catalog(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run("test", str(EXAMPLE_CASES))
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert ", 0 failed" in shown and shown.count("pass  ") > 5
    assert explain(EXAMPLE_CASES, "select email from customers") == 0
    shown = capsys.readouterr().out
    assert "outcome: allow" in shown and "give --catalog" not in shown


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("sql: select 1, expect: deny", "expected deny, got allow"),
        (
            "sql: drop table customers, expect: deny, rule: other",
            "expected rule other, got default",
        ),
        ("sql: select email from customers, expect: allow, masked: []", "expected masked nothing"),
        ("sql: select 1, expect: allow, would_be: deny", "expected would_be deny"),
    ],
)
def test_a_case_that_fails(
    case: str, words: str, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases.write_text(CASES.format(policy=EXAMPLE, cases=f"  - {{as: alice, {case}}}"))
    assert run("test", str(cases)) == 1
    shown = capsys.readouterr().out
    assert "FAIL  case 1" in shown and words in shown
    assert run("test", str(cases), "--output", "json") == 1
    assert json.loads(capsys.readouterr().out)["failed"] == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("as: alice", "as: nobody", "no principal 'nobody'"),
        ("id int", "id integr", "the types known here are"),
        ("expect: allow", "expect: perhaps", "expect"),
        ("public.customers: [", "customers: [", "write schema.table"),
        ("cases:", "casses:", "casses"),
    ],
)
def test_a_file_that_can_not_be_run(
    old: str, new: str, words: str, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases.write_text(cases.read_text().replace(old, new))
    assert run("test", str(cases)) == 2
    shown = capsys.readouterr().err
    assert words in shown and "config/policies/example.cases.yaml" in shown


def explain(cases: Path, sql: str, *more: str) -> int:
    return run(
        *("explain", "--sql", sql, "--policy", str(EXAMPLE), "--target", "shop"),
        *("--environment", "production", "--database", "shop", "--catalog", str(cases)),
        *(more or ("--as", "alice", "--groups", "analysts,others")),
    )


def test_explain_as_a_table(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(cases, "select name, email from customers") == 0
    shown = capsys.readouterr().out
    for words in ("human alice", "outcome: allow", "analysts-read", "mask-contact", "exact"):
        assert words in shown
    assert explain(cases, "select '[red]' || email from customers") == 0
    shown = capsys.readouterr().out
    assert "outcome: allow" in shown and "email at the source" in shown
    assert "masked at the source: public.customers.email\n" in shown
    assert "the database is sent: SELECT ('[red]') OPERATOR" in shown and "CASE WHEN" in shown
    assert explain(cases, "select my_function(email) from customers") == 0
    shown = capsys.readouterr().out
    assert "my_function" in shown and "outcome: deny" in shown and "is sent" not in shown


MASKED_AT_SOURCE = [
    "select upper(email) from customers",
    "select id from customers where email like 'x%'",
    "copy customers (id, email) to stdout",
    "select id from customers where email = 'x' and '" + "y" * INLINE_ANALYSIS_BYTES_MAX + "' > ''",
]


@pytest.mark.parametrize("sql", MASKED_AT_SOURCE)
def test_explain_says_what_the_database_is_sent(
    sql: str, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    who = ("--as", "alice", "--groups", "analysts", "--output", "json")
    assert explain(cases, sql, *who) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "allow" and found["refusal"] is None
    assert found["masked"] == ["public.customers.email"]
    assert found["statements"][0]["masked_at_source"]
    assert '"t"."email" IS NULL' in found["sent"]


@pytest.mark.parametrize(
    ("written", "printed", "typmod"),
    [
        ("int", "integer", -1),
        ("", "text", -1),
        ("varchar(20)", "character varying(20)", -1),
        ("char", "character(1)", 5),
        ("bpchar ( 3 )", "character(3)", 7),
        ("numeric(10, 2)", "numeric(10,2)", -1),
        ("timestamptz(3)", "timestamp with time zone", -1),
        ("double precision", "double precision", -1),
    ],
)
def test_types_of_tables_in_files(written: str, printed: str, typmod: int) -> None:
    catalog = catalog_from_tables("t", "d", {"public.a": (f"c {written}",)})
    (relation,) = catalog.relations.values()
    assert (relation.columns[0].type_text, relation.columns[0].typmod) == (printed, typmod)


def test_explain_says_what_the_database_will_be_asked(
    cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "delete from customers where name <> 'x'"
    assert explain(cases, sql, "--as", "bob", "--groups", "dba,privacy") == 0
    shown = capsys.readouterr().out
    assert "outcome: allow" in shown
    assert "if its WHERE spares no row it is refused: This changes every row" in shown


def test_explain_says_how_much_may_be_written(
    cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "update orders set status = 'x' where id = 1"
    who = ("--as", "copilot", "--kind", "agent", "--on-behalf-of", "alice")
    explain(cases, sql, *who)
    assert "rows written at most: 100" in " ".join(capsys.readouterr().out.split())
    explain(cases, sql, *who, "--output", "json")
    assert json.loads(capsys.readouterr().out)["rows_written_max"] == 100


def test_explain_as_json(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    who = ("--as", "copilot", "--kind", "agent", "--on-behalf-of", "alice", "--output", "json")
    assert explain(cases, "select name, email from customers", *who) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "allow" and found["masked"] == ["public.customers.email"]
    assert found["row_limit"] == 1000 and found["refusal"] is None
    assert found["statements"][0]["columns"] == [
        {"name": "name", "mask": None, "rule": None},
        {"name": "email", "mask": "email", "rule": "mask-contact"},
    ]


def test_explain_without_a_catalog_refuses_who_may_owe_masks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("explain", "--sql", "select 1", "--policy", str(EXAMPLE), "--target", "shop")
    who = ("--as", "alice", "--groups", "analysts", "--environment", "production")
    assert run(*words, *who, "--database", "shop", "--output", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "deny" and found["refusal"]["code"] == "catalog_unavailable"


def test_explain_says_which_names_are_not_known(
    cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("explain", "--policy", str(EXAMPLE), "--target", "shop", "--database", "shop")
    who = ("--as", "alice", "--groups", "analysts", "--environment", "production")
    assert run(*words, *who, "--sql", "select email from customers") == 0
    shown = capsys.readouterr().out
    assert "  relation customers is not known: give --catalog\n" in shown
    assert "select customers" in shown and ".customers" not in shown
    assert run(*words, *who, "--sql", "select 1") == 0
    assert "no --catalog is given" in capsys.readouterr().out
    assert explain(cases, "select 1 from absent") == 0
    assert f"relation absent is not known: add it to {cases}" in capsys.readouterr().out


def test_explain_says_what_it_can_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "catalog.json"
    broken.write_text("{}")
    assert explain(broken, "select 1") == 2
    assert "not a catalog snapshot" in capsys.readouterr().err
    assert explain(broken, "select 1", "--as", "a", "--label", "x") == 2


def test_catalogs_go_to_json_and_back(tmp_path: Path) -> None:
    tables = {"public.a": ("id int", "Weird text"), "hr.b": ("x jsonb",)}
    catalog = catalog_from_tables("t", "d", dict(tables))
    function = Function(9, "hr", "f", "f", "sql", "integer")
    catalog = msgspec.structs.replace(
        catalog,
        functions={("hr", "f"): (function, msgspec.structs.replace(function, oid=10))},
        operators=frozenset({("hr", "+")}),
        types={("hr", "mood"): 77},
        unlisted_builtins=frozenset({"pg_sleep"}),
        operator_functions={("hr", "+"): (9,)},
        bodies={9: FunctionBody("select 1", False, ("a=b",), ("x",), "1", (23,))},
        guarded_types={77: GuardedType(77, "hr", "mood", (78,), (9,), ("true",))},
        casts=(UserCast(77, 23, 9),),
        type_parts={77: (78,)},
    )
    path = tmp_path / "catalog.json"
    path.write_bytes(catalog_to_json(catalog))
    assert catalog_from_file(path) == catalog
