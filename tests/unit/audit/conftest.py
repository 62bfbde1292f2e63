"""A trail in memory, made with the pure parts only, that tests may tamper with."""

import copy
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.audit import checkpoint
from appliance.audit.chain import Link, link_records
from appliance.audit.checkpoint import Checkpoint, Ed25519Signer
from appliance.audit.record import (
    ClientPart,
    DecisionPart,
    LoginFailed,
    MaskPart,
    Outcome,
    ProtocolKind,
    Record,
    RefusalPart,
    RulePart,
    SegmentOpened,
    SessionClosed,
    SessionOpened,
    StatementDecided,
    StatementFinished,
    StatementPart,
)
from appliance.model.decision import Effect, MaskMethod
from appliance.model.facts import Action
from appliance.model.principal import AuthMethod, PrincipalKind
from appliance.model.refusal import RefusalCode

NOW = 1_790_000_000.0


def make_signer() -> Ed25519Signer:
    return Ed25519Signer(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


class MemoryTrail:
    """worker -> file name -> bytes."""

    def __init__(self) -> None:
        self.files: dict[int, dict[str, bytes]] = {}

    def workers(self) -> Sequence[int]:
        return list(self.files)

    def names(self, worker: int) -> Sequence[str]:
        return list(self.files[worker])

    def content(self, worker: int, name: str) -> bytes | None:
        return self.files[worker].get(name)

    def lines(self, worker: int, segment: str) -> Iterator[bytes]:
        yield from self.files[worker][segment].splitlines(keepends=True)

    def segments(self, worker: int = 0) -> list[str]:
        return checkpoint.segment_order(self.files[worker])

    def rewrite(self, segment: str, lines: Sequence[bytes], worker: int = 0) -> None:
        self.files[worker][segment] = b"".join(lines)

    def copy(self) -> "MemoryTrail":
        return copy.deepcopy(self)


class Writer:
    """Writes one worker's chain into a MemoryTrail, as the spool would."""

    def __init__(self, trail: MemoryTrail, worker: int, signer: Ed25519Signer) -> None:
        self.trail, self.worker, self.signer = trail, worker, signer
        self.files = trail.files.setdefault(worker, {})
        self.link = Link()
        self.segment = ""
        self.first = 0
        self.count = 0

    def open(self, previous: str | None = None) -> None:
        before = self.segment if previous is None else previous
        self.first, self.count = self.link.seq + 1, 0
        self.segment = checkpoint.segment_name("20260921T000000Z", self.first)
        self.files[self.segment] = b""
        workers = tuple(sorted(self.trail.files))
        self.write(
            SegmentOpened(
                id=f"o{self.worker}-{self.first}",
                time=NOW,
                worker=self.worker,
                segment=self.segment,
                previous=before,
                workers_seen=workers,
            )
        )

    def write(self, *records: Record) -> None:
        self.link, lines = link_records(self.link, records)
        self.files[self.segment] += b"".join(lines)
        self.count += len(lines)

    def write_brief(self, fields: str) -> int:
        """A brief line, made as `chain` documents it -> its sequence number. `fields`: JSON, from
        behind the number."""
        seq = self.link.seq + 1
        body = f'{{"seq":{seq},{fields}'.encode()
        digest = sha256(body + bytes.fromhex(self.link.head)).hexdigest()
        self.files[self.segment] += body + f',"hash":"{digest}"}}\n'.encode()
        self.link = Link(seq, digest)
        self.count += 1
        return seq

    def sign(self, kind: str) -> None:
        link = self.link
        claim = Checkpoint(
            kind, self.worker, self.segment, self.first, link.seq, self.count, link.head, 1, ""
        )
        line = checkpoint.sign(claim, self.signer)
        if kind == checkpoint.HEAD:
            self.files["head.json"] = line
        elif kind == checkpoint.SEAL:
            self.files[self.segment.replace("ndjson", "seal")] = line
        else:
            name = self.segment.replace("ndjson", "checkpoints")
            self.files[name] = self.files.get(name, b"") + line

    def mark(self) -> None:
        self.sign(checkpoint.CHECKPOINT)
        self.sign(checkpoint.HEAD)

    def seal(self) -> None:
        self.sign(checkpoint.SEAL)
        self.sign(checkpoint.HEAD)


def decided(number: int, **changes: object) -> StatementDecided:
    fields: dict[str, object] = {
        "id": f"d{number}",
        "time": NOW + number,
        "session": "s1",
        "sequence": number,
        "principal": "alice",
        "kind": PrincipalKind.HUMAN,
        "target": "shop",
        "database": "shop",
        "protocol": ProtocolKind.SIMPLE,
        "statement": StatementPart(
            sql="select email\n  from customers where id = $_",
            text_digest="ab" * 32,
            text_bytes=40,
            actions=(Action.SELECT,),
            relations=("select shop.customers",),
        ),
        "decision": DecisionPart(
            effect=Effect.ALLOW,
            rules=(RulePart("analysts-read", "allow"),),
            masks=(MaskPart("shop.customers.email", MaskMethod.EMAIL, "mask-pii"),),
        ),
    }
    return StatementDecided(**{**fields, **changes})  # type: ignore[arg-type]


def finished(number: int, **changes: object) -> StatementFinished:
    fields: dict[str, object] = {
        "id": f"f{number}",
        "time": NOW + number + 0.5,
        "session": "s1",
        "decided": f"d{number}",
        "outcome": Outcome.COMPLETED,
        "rows": 10 * number,
        "cells_masked": number,
        "command_tag": f"SELECT {10 * number}",
    }
    return StatementFinished(**{**fields, **changes})  # type: ignore[arg-type]


CLIENT = ClientPart("192.0.2.7", 50123, "main", True, "psql")


def opened(session: str = "s1", principal: str = "alice") -> SessionOpened:
    return SessionOpened(
        id=f"so-{session}",
        time=NOW,
        session=session,
        principal=principal,
        kind=PrincipalKind.HUMAN,
        auth=AuthMethod.SCRAM_SHA_256,
        client=CLIENT,
        target="shop",
        database="shop",
        upstream_user="app_reader",
    )


def refused(number: int) -> StatementDecided:
    return decided(
        number,
        protocol=ProtocolKind.PARSE,
        statement=StatementPart(
            sql="drop table customers", text_digest="cd" * 32, text_bytes=20, actions=(Action.DROP,)
        ),
        decision=DecisionPart(effect=Effect.DENY, rules=(RulePart("no-ddl", "deny"),)),
        refusal=RefusalPart(RefusalCode.DENIED, "no-ddl"),
    )


def write_example(trail: MemoryTrail, signer: Ed25519Signer) -> Writer:
    """Worker 0: two sealed segments and an open one, 19 records, two after the last mark."""
    writer = Writer(trail, 0, signer)
    writer.open()
    writer.mark()
    writer.write(opened(), decided(1), finished(1), decided(2))
    writer.mark()
    writer.write(finished(2), refused(3))
    writer.seal()
    writer.open()
    writer.mark()
    writer.write(decided(4), decided(5), finished(5), finished(4))
    writer.write(LoginFailed(id="l1", time=NOW + 6, claimed="mallory", reason="x", client=CLIENT))
    writer.seal()
    writer.open()
    writer.mark()
    writer.write(decided(6, principal="copilot", on_behalf_of="alice"), finished(6))
    writer.write(SessionClosed(id="sc", time=NOW + 7, session="s1", reason="client_closed"))
    writer.mark()
    writer.write(opened("s2", "bob"), decided(7, session="s2", principal="bob"))
    return writer


@pytest.fixture(scope="session")
def signer() -> Ed25519Signer:
    return make_signer()


@pytest.fixture(scope="session")
def other_signer() -> Ed25519Signer:
    return make_signer()


@pytest.fixture
def trail(signer: Ed25519Signer) -> MemoryTrail:
    made = MemoryTrail()
    write_example(made, signer)
    return made


@pytest.fixture(scope="session")
def pristine(signer: Ed25519Signer) -> MemoryTrail:
    """The same, not to be changed: copy it (hypothesis wants no function-scoped fixtures)."""
    made = MemoryTrail()
    write_example(made, signer)
    return made


@pytest.fixture
def make_writer(signer: Ed25519Signer) -> Callable[[MemoryTrail, int], Writer]:
    return lambda made, worker: Writer(made, worker, signer)
