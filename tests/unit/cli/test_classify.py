"""`sallyport classify` on files: what is pending, what is chosen, what is written."""

from pathlib import Path

import pytest
import yaml

from appliance.audit.record import ClassificationProposed
from appliance.cli.classify import classify_app
from appliance.cli.classify_file import (
    Line,
    accepted,
    chosen,
    merged,
    pending,
    read_proposals,
    recorded_proposals,
    render_proposals,
)
from appliance.policy.compile import compile_documents
from appliance.policy.document import Mode
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer

COMMENT = Line("shop.public.orders.comment", "pii.email", ("sample",), 0.61, 200)
PHONE = Line("shop.public.orders.phone", "pii.phone", ("name",))
ODD = Line('shop.public."a.b"."x*"', "secret.aws", ("sample",), 0.02, 200)
POLICY = b"""
version: 1
classifications:
  contact: [shop.public.customers.email, "shop.hr.*.*phone*"]
rules:
  - {id: read, effect: allow, actions: [read]}
  - {id: mask, effect: mask, classifications: [contact], mask: {method: redact}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_bytes(POLICY)
    (tmp_path / "proposals.yaml").write_bytes(
        render_proposals("shop", "shop", [COMMENT, PHONE, ODD])
    )
    return tmp_path


def run(*arguments: str) -> int:
    status = classify_app(arguments, result_action="return_value")
    assert isinstance(status, int)
    return status


def test_a_proposals_file_reads_back(folder: Path) -> None:
    assert read_proposals(folder / "proposals.yaml") == (COMMENT, PHONE, ODD)


@pytest.mark.parametrize(
    "content", [b"", b"[", b"version: 1", b"\xff", b"proposals: [{column: a.b}]"]
)
def test_what_is_no_proposals_file(folder: Path, content: bytes) -> None:
    (folder / "proposals.yaml").write_bytes(content)
    with pytest.raises(ValueError, match="make one: classify scan"):
        read_proposals(folder / "proposals.yaml")


def test_what_is_classified_is_not_pending() -> None:
    known = [
        Line("shop.public.customers.email", "pii.email", ("name",)),
        Line("shop.hr.staff.home_phone", "pii.phone", ("name",)),
    ]
    other = Line("shop2.public.customers.email", "pii.email", ("name",))
    assert pending([*known, COMMENT, other], [("p", POLICY)]) == [COMMENT, other]


def test_of_the_same_the_scan_is_kept() -> None:
    live = Line(COMMENT.column, COMMENT.classification, ("sample",), 0.7, 90)
    assert merged([COMMENT], [live, PHONE]) == [COMMENT, PHONE]


def test_choosing() -> None:
    lines = [COMMENT, PHONE, Line(COMMENT.column, "pii.phone", ("sample",), 0.5, 200)]
    everything = {COMMENT.column: "pii.email", PHONE.column: "pii.phone"}
    assert chosen(lines, (), True) == everything
    assert chosen(lines, ("public.orders.comment=contact",), False) == {COMMENT.column: "contact"}
    assert chosen(lines, (PHONE.column,), False) == {PHONE.column: "pii.phone"}
    with pytest.raises(ValueError, match="no pending proposal is called nothing"):
        chosen(lines, ("nothing",), False)


def test_accepting_twice_changes_nothing(folder: Path) -> None:
    out = folder / "classifications.yaml"
    others = [("policy.yaml", POLICY)]
    first = accepted({COMMENT.column: "pii.email", ODD.column: "secret.aws"}, out, others)
    out.write_bytes(first)
    assert accepted({COMMENT.column: "pii.email"}, out, others) == first
    again = accepted({PHONE.column: "pii.phone"}, out, others)
    named = yaml.safe_load(again)["classifications"]
    assert named == {
        "pii.email": [COMMENT.column],
        "pii.phone": [PHONE.column],
        "secret.aws": [ODD.column],
    }


def test_one_more_document_does_not_end_observation(folder: Path) -> None:
    watching = POLICY.replace(b"version: 1", b"version: 1\nmode: observe")
    content = accepted({COMMENT.column: "pii.email"}, folder / "new.yaml", [("p", watching)])
    assert compile_documents([("p", watching), ("n", content)]).mode is Mode.OBSERVE
    content = accepted({COMMENT.column: "pii.email"}, folder / "new.yaml", [("p", POLICY)])
    assert compile_documents([("p", POLICY), ("n", content)]).mode is Mode.ENFORCE


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("propose", "--policy", "policy.yaml") == 0
    shown = capsys.readouterr().out
    assert "61% of 200 sampled values" in shown and "public.orders.phone" in shown
    assert run("accept", "public.orders.comment", "--policy", "policy.yaml") == 0
    told = capsys.readouterr().out
    assert "policy.files" in told and "no rule speaks of pii.email yet" in told
    written = (folder / "classifications.yaml").read_bytes()
    compile_documents([("p", POLICY), ("c", written)])
    assert run("accept", "public.orders.comment", "--policy", "policy.yaml") == 0
    assert "nothing new" in capsys.readouterr().out
    assert (folder / "classifications.yaml").read_bytes() == written
    assert run("propose", "--policy", "policy.yaml", "classifications.yaml") == 0
    assert "orders.comment" not in capsys.readouterr().out
    assert run("accept", "--all", "--policy", "policy.yaml", "--print") == 0
    assert yaml.safe_load(capsys.readouterr().out)["classifications"]["secret.aws"] == [ODD.column]


def test_a_rule_that_is_suggested_compiles(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("accept", "--all", "--policy", "policy.yaml") == 0
    rules = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    document = "version: 1\nrules:\n" + "\n".join(rules)
    written = (folder / "classifications.yaml").read_bytes()
    compile_documents([("c", written), ("r", document.encode())])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("accept",), "say which columns"),
        (("accept", "--all", "x"), "say which columns"),
        (("accept", "--all"), "give --config or --policy"),
        (("accept", "nothing", "--policy", "policy.yaml"), "no pending proposal is called"),
        (("accept", "--all", "--policy", "policy.yaml", "--out", "rules.yaml"), "rules of its own"),
        (("accept", "--all", "--policy", "broken.yaml"), "not YAML"),
        (("propose", "--from", "gone.yaml"), "make it with `classify scan`"),
        (("propose", "--policy", "gone.yaml"), "No such file"),
        (
            ("scan", "--config", "gone.yaml", "--target", "t", "--database", "d"),
            "is the path right",
        ),
    ],
)
def test_mistakes(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    (folder / "broken.yaml").write_text("a: [")
    (folder / "rules.yaml").write_bytes(POLICY.replace(b"id: read", b"id: own"))
    before = sorted(folder.iterdir())
    assert run(*arguments) == 2
    assert told in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_a_policy_that_would_not_compile_is_not_written(folder: Path) -> None:
    (folder / "proposals.yaml").write_bytes(render_proposals("shop", "shop", [COMMENT]))
    broken = POLICY.replace(b"classifications: [contact]", b"classifications: [kontakt]")
    (folder / "policy.yaml").write_bytes(broken)
    assert run("accept", "--all", "--policy", "policy.yaml") == 2
    assert not (folder / "classifications.yaml").exists()


def test_proposals_of_the_audit_trail(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = Spool(folder / "audit", 0, load_or_create_signer(folder / "keys"))
    for share in (0.5, 0.61):
        spool.append(
            [
                ClassificationProposed(
                    id=f"r{share}",
                    time=share,
                    target="shop",
                    database="shop",
                    column="public.orders.comment",
                    classification="pii.email",
                    share=share,
                    sampled=200,
                )
            ]
        )
    spool.close()
    assert recorded_proposals(folder) == (COMMENT,)
    (folder / "proposals.yaml").unlink()
    assert run("propose", "--data", str(folder), "--policy", "policy.yaml") == 0
    assert "shop.public.orders.comment  pii.email" in capsys.readouterr().out
