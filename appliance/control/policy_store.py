"""The policy's versions in the store: their statements, and rows as what they mean.

Used by `policies` inside its transactions. Rules: in words that both databases take, parameters as
`$1`, `$2`, ...; what is given back as a version's documents is what was stored under its digest.
"""

import re
from collections.abc import Sequence

import msgspec

from appliance.control.desk import Activation, Applied, PolicyVersion, Tested, Unknown
from appliance.control.store import StoreUnavailable, Transaction
from appliance.link.messages import PolicyDocument
from appliance.policy.compile import digest_of

Documents = Sequence[PolicyDocument]

_ID = re.compile(r"[0-9a-f]{8,64}")
_VERSION = "v.id, v.made, v.brought_by, v.size, v.names, v.tested"
_ACTIVATION = "a.serial, a.version, a.previous, a.time, a.person, a.cause, a.reason, a.via, a.node"
_FIELDS = ("serial", "version", "previous", "time", "by", "cause", "reason", "via", "node")
_WITH_NEWEST = (
    f"SELECT {_VERSION}, {_ACTIVATION} FROM policy_versions v "
    "LEFT JOIN policy_activations a ON a.serial = "
    "(SELECT max(serial) FROM policy_activations n WHERE n.version = v.id) "
)


def pairs(documents: Documents) -> list[tuple[str, bytes]]:
    """As the compiler takes them."""
    return [(one.name, one.text) for one in documents]


async def newest(tx: Transaction) -> Activation | None:
    """The activation that holds. None: there was none yet."""
    rows = await tx.rows(
        f"SELECT {_ACTIVATION} FROM policy_activations a ORDER BY a.serial DESC LIMIT 1"
    )
    return _activation(rows[0]) if rows else None


async def before(tx: Transaction, active: Activation) -> str:
    """What was active before this version first came, however often it was gone back to since; ''
    for nothing."""
    rows = await tx.rows(
        "SELECT previous FROM policy_activations WHERE version = $1 AND serial <= $2 "
        "AND cause NOT IN ('rolled_back', 'taken_back') ORDER BY serial DESC LIMIT 1",
        *(active.version, active.serial),
    )
    return str(rows[0][0]) if rows else ""


async def activations(tx: Transaction, limit: int) -> list[Activation]:
    """Newest first."""
    rows = await tx.rows(
        f"SELECT {_ACTIVATION} FROM policy_activations a ORDER BY a.serial DESC LIMIT $1", limit
    )
    return [_activation(row) for row in rows]


async def add_activation(tx: Transaction, made: Activation) -> None:
    await tx.rows(
        "INSERT INTO policy_activations (serial, version, previous, time, person, cause, "
        "reason, via, node) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *(made.serial, made.version, made.previous, made.time, made.by, made.cause),
        *(made.reason, made.via, made.node),
    )


async def proposed(tx: Transaction, source: str) -> str:
    """Which version these files were last; '' = none."""
    rows = await tx.rows("SELECT version FROM policy_proposals WHERE source = $1", source)
    return str(rows[0][0]) if rows else ""


async def put_proposed(tx: Transaction, source: str, id: str, now: float) -> None:
    await tx.rows(
        "INSERT INTO policy_proposals (source, version, time) VALUES ($1, $2, $3) "
        "ON CONFLICT (source) DO UPDATE SET version = excluded.version, time = excluded.time",
        *(source, id, now),
    )


async def add(
    tx: Transaction, id: str, documents: Documents, tested: Tested, by: str, now: float
) -> bool:
    """Whether it is new. What its tests came to is kept in any case."""
    body = _json([(one.name, one.text.decode()) for one in documents])
    new = await tx.rows(
        "INSERT INTO policy_versions (id, made, brought_by, size, names, tested, documents) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING RETURNING id",
        *(id, now, by, sum(len(one.text) for one in documents)),
        *(_json([one.name for one in documents]), _json(tested), body),
    )
    if not new:
        again = "UPDATE policy_versions SET tested = $2 WHERE id = $1"
        await tx.rows(again, id, _json(tested))
    return bool(new)


async def named(tx: Transaction, id: str) -> str:
    """In full. Raises Unknown."""
    if _ID.fullmatch(id):
        rows = await tx.rows("SELECT id FROM policy_versions WHERE id LIKE $1 LIMIT 2", f"{id}%")
        if len(rows) == 1:
            return str(rows[0][0])
    raise Unknown("there is no such policy version")


async def documents_of(tx: Transaction, id: str) -> tuple[PolicyDocument, ...]:
    """As they were brought. Raises StoreUnavailable where the store does not give them back."""
    rows = await tx.rows("SELECT documents FROM policy_versions WHERE id = $1", id)
    try:
        texts = msgspec.json.decode(rows[0][0], type=list[tuple[str, str]])
    except (IndexError, msgspec.MsgspecError) as error:
        raise StoreUnavailable(f"policy {id[:16]} in the store cannot be read") from error
    documents = tuple(PolicyDocument(name, text.encode()) for name, text in texts)
    if digest_of(pairs(documents)) != id:
        raise StoreUnavailable(f"policy {id[:16]} in the store is not what was stored")
    return documents


async def version(tx: Transaction, id: str) -> PolicyVersion:
    """`id` in full. Raises Unknown."""
    rows = await tx.rows(f"{_WITH_NEWEST} WHERE v.id = $1", id)
    if not rows:
        raise Unknown("there is no such policy version")
    return _version(rows[0], await newest(tx))


async def versions(tx: Transaction, limit: int) -> list[PolicyVersion]:
    """Newest first."""
    active = await newest(tx)
    rows = await tx.rows(f"{_WITH_NEWEST} ORDER BY v.made DESC, v.id LIMIT $1", limit)
    return [_version(row, active) for row in rows]


async def put_applied(tx: Transaction, applied: Applied) -> None:
    await tx.rows(
        "INSERT INTO policy_applied (node, serial, error, time) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (node) DO UPDATE SET serial = excluded.serial, "
        "error = excluded.error, time = excluded.time",
        *(applied.node, applied.serial, applied.error, applied.time),
    )


async def applied(tx: Transaction) -> list[Applied]:
    rows = await tx.rows("SELECT node, serial, error, time FROM policy_applied ORDER BY node")
    return [Applied(*row) for row in rows]


def _activation(row: Sequence[object]) -> Activation:
    return msgspec.convert(dict(zip(_FIELDS, row, strict=True)), Activation)


def _version(row: Sequence[object], active: Activation | None) -> PolicyVersion:
    id, made, brought_by, size, names, tested, *activation = row
    try:
        return PolicyVersion(
            id=str(id),
            documents=msgspec.json.decode(str(names), type=tuple[str, ...]),
            size=msgspec.convert(size, int),
            made=msgspec.convert(made, float),
            brought_by=str(brought_by),
            tested=msgspec.json.decode(str(tested), type=Tested),
            active=active is not None and active.version == id,
            activated=None if activation[0] is None else _activation(activation),
        )
    except msgspec.MsgspecError as error:
        raise StoreUnavailable("a policy version in the store cannot be read") from error


def _json(content: object) -> str:
    return msgspec.json.encode(content).decode()
