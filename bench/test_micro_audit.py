"""What a record costs: encode, chain, append. Budget: encode and chain a decision in 8 µs."""

import time
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.chain import Link, link_records
from appliance.audit.encode import encode_record
from appliance.audit.record import (
    DecisionPart,
    MaskPart,
    Outcome,
    ProtocolKind,
    RulePart,
    StatementDecided,
    StatementFinished,
    StatementPart,
    new_id,
)
from appliance.model.decision import Effect, MaskMethod
from appliance.model.facts import Action
from appliance.model.principal import PrincipalKind
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer

ENTROPY = bytes(range(10))
STATEMENT = StatementPart(
    sql="select id, name, email from shop.customers where region = $_ order by id limit $_",
    text_digest="ab" * 32,
    text_bytes=97,
    fingerprint="deadbeef12345678",
    kinds=("SelectStmt",),
    actions=(Action.SELECT,),
    relations=("select shop.customers",),
    catalog_version="c12",
)
DECISION = DecisionPart(
    effect=Effect.ALLOW,
    rules=(RulePart("analysts-read", "allow"), RulePart("mask-pii", "mask")),
    masks=(MaskPart("shop.customers.email", MaskMethod.EMAIL, "mask-pii"),),
    policy_version="p-123456",
)


def decided() -> StatementDecided:
    now = time.time()
    return StatementDecided(
        id=new_id(now, ENTROPY),
        time=now,
        session="018f00112233445566",
        sequence=7,
        principal="alice",
        kind=PrincipalKind.HUMAN,
        target="shop",
        database="shop",
        protocol=ProtocolKind.EXECUTE,
        statement=STATEMENT,
        decision=DECISION,
        parameters=2,
        parameter_types=(25, 1184),
    )


def finished(of: StatementDecided) -> StatementFinished:
    now = time.time()
    return StatementFinished(
        id=new_id(now, ENTROPY),
        time=now,
        session=of.session,
        decided=of.id,
        outcome=Outcome.COMPLETED,
        rows=10,
        bytes_out=400,
        cells_masked=10,
        duration_ms=1.25,
        command_tag="SELECT 10",
    )


@pytest.fixture
def spool(tmp_path: Path) -> Any:
    made = Spool(tmp_path / "audit", 0, load_or_create_signer(tmp_path / "keys"))
    yield made
    made.close()


def test_encode(benchmark: Any) -> None:
    benchmark(encode_record, decided())


def test_encode_and_chain(benchmark: Any) -> None:
    record = (decided(),)
    benchmark(link_records, Link(), record)
    if benchmark.stats is not None:  # None under --benchmark-disable
        assert benchmark.stats.stats.median < 8e-6


def test_build_and_append_a_statement(benchmark: Any, spool: Spool) -> None:
    """Both records of a statement, one write each: the whole audit cost of a lone statement."""

    def statement() -> None:
        record = decided()
        spool.append((record,))
        spool.append((finished(record),))

    benchmark(statement)


def test_append_in_batches_of_16(benchmark: Any, spool: Spool) -> None:
    records = [decided() for _ in range(16)]
    benchmark(spool.append, records)


def test_checkpoint(benchmark: Any, spool: Spool) -> None:
    """Stalls the loop about once in CHECKPOINT_SECONDS."""
    moments = iter(range(1, 10_000_000))

    def tick() -> None:
        spool.append((decided(),))
        spool.tick(1e10 * next(moments))

    benchmark(tick)
