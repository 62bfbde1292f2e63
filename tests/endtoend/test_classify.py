"""`sallyport classify scan` against a real database, to the mask that comes of it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.clusters import SALLYPORT, EmbeddedPostgres
from tests.endtoend.stage import Estate, one

DATABASE = "clinic"
SCHEMA = r"""
CREATE DOMAIN email_address AS text;
CREATE TABLE orders (id serial PRIMARY KEY, comment text, placed timestamptz, total numeric);
INSERT INTO orders (comment, total) SELECT
  CASE WHEN n * 37 % 100 < 61 THEN 'write to jane' || n || '@example.com' ELSE 'thanks ' || n END,
  n * 3.5 FROM generate_series(1, 100) n;
CREATE TABLE patients (id bigserial PRIMARY KEY, geburtsdatum date, "Odd.Name" text, c1 text,
  home email_address, ssn int, card bigint, classified text, nothing text);
COMMENT ON COLUMN patients.c1 IS 'private phone number';
INSERT INTO patients ("Odd.Name", ssn, card, classified)
  SELECT 'DE89370400440532013000', 219000000 + n * 7919, 4111111111111111, 'a' || n || '@b.com'
  FROM generate_series(1, 60) n;
CREATE TABLE big (note text);
INSERT INTO big SELECT 'key AKIA' || upper(translate(substr(md5(n::text), 1, 16), '0189', 'QRST'))
  FROM generate_series(1, 30000) n;
CREATE TABLE secret_table (email text);
CREATE TABLE parts (id int, mail text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
INSERT INTO parts SELECT n, 'p' || n || '@example.org' FROM generate_series(1, 100) n;
CREATE VIEW mails AS SELECT comment FROM orders;
ANALYZE;
GRANT SELECT ON orders, patients, big, parts TO app;
"""
POLICY = """
version: 1
classifications:
  known: [clinic.public.patients.classified]
rules:
  - {id: all, effect: allow, actions: [everything]}
  - {id: mask-known, effect: mask, classifications: [known], mask: {method: redact}}
"""
VALUES = ("@example", "jane", "DE8937", "41111", "AKIA", "219007919")


@pytest.fixture
def clinic(vault: EmbeddedPostgres, estate: Callable[[], Estate]) -> Iterator[Estate]:
    with psycopg.connect(vault.uri(), autocommit=True) as root:
        root.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        root.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as owner:
        owner.execute(SCHEMA)  # type: ignore[arg-type]
    made = estate()
    made.write("policy.yaml", POLICY)
    made.save()
    yield made


def classify(made: Estate, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(SALLYPORT), "classify", *map(str, arguments)]
    return subprocess.run(command, cwd=made.folder, capture_output=True, text=True, timeout=60)


def scan(made: Estate, *arguments: str) -> subprocess.CompletedProcess[str]:
    place = ("--config", made.config_path, "--target", "vault", "--database", DATABASE)
    return classify(made, "scan", *place, *arguments)


def test_scan(clinic: Estate) -> None:
    done = scan(clinic)
    assert done.returncode == 0, done.stderr
    content = (clinic.folder / "proposals.yaml").read_text()
    found = {
        (line["column"], line["classification"]): line
        for line in yaml.safe_load(content)["proposals"]
    }
    assert 0.9 < found["clinic.public.patients.ssn", "pii.us_ssn"].pop("share") < 1
    assert found["clinic.public.big.note", "secret.aws"].pop("share") > 0.9  # pages at random
    told = {name: (line["evidence"], line.get("share")) for name, line in found.items()}
    assert told == {
        ("clinic.public.orders.comment", "pii.email"): (["sample"], 0.61),
        ('clinic.public.patients."Odd.Name"', "payment.iban"): (["sample"], 1.0),
        ("clinic.public.patients.geburtsdatum", "pii.birth_date"): (["name"], None),
        ("clinic.public.patients.c1", "pii.phone"): (["comment"], None),
        ("clinic.public.patients.home", "pii.email"): (["type"], None),
        ("clinic.public.patients.ssn", "pii.us_ssn"): (["sample", "name"], None),
        ("clinic.public.patients.card", "payment.card"): (["sample", "name"], 1.0),
        ("clinic.public.big.note", "secret.aws"): (["sample"], None),
        ("clinic.public.secret_table.email", "pii.email"): (["name"], None),
        ("clinic.public.parts.mail", "pii.email"): (["sample", "name"], 1.0),
    }
    assert "not sampled: public.secret_table: may not be read by this role" in done.stderr
    assert "61% of 100 sampled values" in done.stdout
    assert not [v for v in VALUES if v in content + done.stdout + done.stderr]


def test_a_table_that_cannot_be_read_in_time(clinic: Estate, vault: EmbeddedPostgres) -> None:
    with psycopg.connect(vault.uri(database=DATABASE)) as holder:
        holder.execute("LOCK TABLE big IN ACCESS EXCLUSIVE MODE")
        done = scan(clinic)
    assert done.returncode == 0, done.stderr
    assert "not sampled: public.big: is locked by somebody else" in done.stderr
    assert "clinic.public.orders.comment" in done.stdout


def test_what_a_scan_may_not(clinic: Estate) -> None:
    """A table whose reading writes: the transaction is read-only."""
    with psycopg.connect(clinic.server.uri(database=DATABASE), autocommit=True) as owner:
        owner.execute(
            "CREATE TABLE seen (n int); GRANT ALL ON seen TO app;"
            "CREATE FUNCTION note() RETURNS bool LANGUAGE plpgsql AS"
            " $$BEGIN INSERT INTO seen VALUES (1); RETURN true; END$$;"
            "CREATE POLICY p ON orders USING (note());"
            "ALTER TABLE orders ENABLE ROW LEVEL SECURITY"
        )
        done = scan(clinic)
        assert "not sampled: public.orders: the database refused it (SQLSTATE 25006)" in done.stderr
        assert owner.execute("SELECT count(*) FROM seen").fetchone() == (0,)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("--target", "nowhere"), "has no target 'nowhere'; it has: vault"),
        (("--database", "nowhere"), "there is no such database (SQLSTATE 3D000)"),
        (("--role", "nobody"), "has no role with user nobody; it has: app"),
        (("--sample", "5"), "--sample is 20 to 2000"),
    ],
)
def test_mistakes(clinic: Estate, changes: tuple[str, str], told: str) -> None:
    arguments = {"--config": str(clinic.config_path), "--target": "vault", "--database": DATABASE}
    arguments |= {changes[0]: changes[1]}
    done = classify(clinic, "scan", *[part for pair in arguments.items() for part in pair])
    assert done.returncode == 2
    assert told in done.stderr
    assert not (clinic.folder / "proposals.yaml").exists()


def test_from_scan_to_mask(clinic: Estate) -> None:
    """What was accepted is masked once a rule speaks of it."""
    assert scan(clinic).returncode == 0
    out = clinic.folder / "classifications.yaml"
    done = classify(
        clinic,
        "accept",
        "public.orders.comment=known",
        "--config",
        clinic.config_path,
        "--out",
        out,
    )
    assert done.returncode == 0, done.stderr
    clinic.configuration["policy"]["files"].append("classifications.yaml")
    with clinic.serve() as proxy:
        with proxy.connect("alice", "alice-password", dbname=DATABASE) as alice:
            assert one(alice, "SELECT comment FROM orders") == "****"
        pending = classify(clinic, "propose", "--config", clinic.config_path)
    assert "orders.comment" not in pending.stdout
    assert "public.big.note" in pending.stdout
