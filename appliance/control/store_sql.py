"""The store's statements, once for both databases.

`store_sqlite` and `store_postgres` make a `SqlTransaction` per block and give it a way to run SQL.
Rule: parameters are `$1`, `$2`, ..., never text; whatever both databases do not spell alike is in
`Dialect`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from appliance.approval.people import Who
from appliance.approval.request import Asked, Request, State, Vote
from appliance.approval.standing import GrantState, StandingGrant
from appliance.control.desk import Change
from appliance.control.store import Crowd, Kept, Sheet, StoreUnavailable

Row = Sequence[Any]

REQUEST = "asked, state, expires, votes, escalated, ended, ended_by, reason, used, waits, grant_id"
LIVE = "('pending', 'approved')"
ANSWERING = "('pending', 'approved', 'denied')"
"""States in which a request may answer the same statement sent again."""
IDS_MAX = 200
"""Asked for in one statement."""
SHEET = "kind, id, body, owner, expires"

_asked = msgspec.json.Decoder(Asked)
_votes = msgspec.json.Decoder(tuple[Vote, ...])
_grant = msgspec.json.Decoder(StandingGrant)


class Dialect(NamedTuple):
    """What differs."""

    lock: str
    """Appended to a SELECT whose rows nobody else may change until the end."""


class Runs(Protocol):
    """Runs one statement inside the transaction. Raises StoreUnavailable."""

    async def __call__(self, sql: str, *arguments: object) -> Sequence[Row]: ...


class SqlTransaction:
    """`store.Transaction` but for `serialise` and `announce`, where the databases differ."""

    def __init__(self, run: Runs, dialect: Dialect) -> None:
        self._run = run
        self._dialect = dialect

    # Requests.

    async def request(self, id: str) -> Kept | None:
        sql = f"SELECT {REQUEST} FROM requests WHERE id = $1{self._dialect.lock}"
        rows = await self._run(sql, id)
        return _kept(rows[0]) if rows else None

    async def look(self, id: str) -> Request | None:
        rows = await self._run(f"SELECT {REQUEST} FROM requests WHERE id = $1", id)
        return _kept(rows[0]).request if rows else None

    async def requests(
        self,
        *,
        state: State | None,
        principal: str,
        concerning: Who | None,
        acting_for: str = "",
        before: str,
        limit: int,
    ) -> list[Request]:
        arguments: list[object] = []
        conditions = ["TRUE"]
        for condition, value in (
            ("state = $", None if state is None else state.value),
            ("principal = $", principal),
            ("$ IN (principal, on_behalf_of)", concerning and concerning.name),
            ("source IN ('', $)", concerning and concerning.source),
            ("on_behalf_of = $", acting_for),
            ("id < $", before),
        ):
            if value:
                arguments.append(value)
                conditions.append(condition.replace("$", f"${len(arguments)}"))
        sql = (
            f"SELECT {REQUEST} FROM requests WHERE {' AND '.join(conditions)} "
            f"ORDER BY id DESC LIMIT ${len(arguments) + 1}"
        )
        return [_kept(row).request for row in await self._run(sql, *arguments, limit)]

    async def alike(self, binding: str, principal: str) -> list[Kept]:
        sql = (
            f"SELECT {REQUEST} FROM requests WHERE binding = $1 AND principal = $2 "
            f"AND state IN {ANSWERING} ORDER BY id"
        )
        return [_kept(row) for row in await self._run(sql, binding, principal)]

    async def crowd(self, principal: Who) -> Crowd:
        own = "principal = $1 AND source IN ('', $2)"
        sql = (
            f"SELECT count(*), coalesce(sum(CASE WHEN {own} THEN 1 ELSE 0 END), 0), "
            f"coalesce(sum(CASE WHEN {own} THEN size ELSE 0 END), 0) "
            "FROM requests WHERE state = 'pending'"
        )
        rows = await self._run(sql, principal.name, principal.source)
        return Crowd(*(int(value) for value in rows[0]))

    async def add_request(self, kept: Kept, size: int, escalates: float | None) -> None:
        request = kept.request
        asked = request.asked
        await self._run(
            "INSERT INTO requests (id, binding, principal, on_behalf_of, node, waits, asked, size, "
            "state, expires, escalates, escalated, votes, ended, ended_by, reason, used, uses, "
            "grant_id, source) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
            "$14, $15, $16, $17, $18, $19, $20)",
            *(asked.id, asked.binding, asked.principal, asked.on_behalf_of or "", asked.node),
            *(int(kept.waits), _json(asked), size, request.state.value, request.expires, escalates),
            *(int(request.escalated), _json(request.votes), request.ended, request.ended_by),
            *(request.reason, request.used, asked.terms.uses, kept.grant, asked.source),
        )

    async def put_request(self, request: Request) -> None:
        await self._run(
            "UPDATE requests SET state = $2, expires = $3, escalated = $4, votes = $5, ended = $6, "
            "ended_by = $7, reason = $8, used = $9 WHERE id = $1",
            *(request.asked.id, request.state.value, request.expires, int(request.escalated)),
            *(_json(request.votes), request.ended, request.ended_by, request.reason, request.used),
        )

    async def use(self, id: str, binding: str, now: float) -> Kept | None:
        sql = (
            "UPDATE requests SET used = used + 1, "
            "state = CASE WHEN used + 1 >= uses THEN 'used' ELSE state END, "
            "ended = CASE WHEN used + 1 >= uses THEN $3 ELSE ended END "
            "WHERE id = $1 AND binding = $2 AND state = 'approved' AND used < uses "
            f"AND expires > $3 RETURNING {REQUEST}"
        )
        rows = await self._run(sql, id, binding, now)
        return _kept(rows[0]) if rows else None

    async def used_before(self, id: str, attempt: str) -> bool:
        sql = "SELECT 1 FROM uses WHERE request = $1 AND attempt = $2"
        return bool(await self._run(sql, id, attempt))

    async def note_use(self, id: str, attempt: str, session: str, now: float) -> None:
        sql = "INSERT INTO uses (request, attempt, session, time) VALUES ($1, $2, $3, $4)"
        await self._run(sql, id, attempt, session, now)

    async def decided(self, ids: Sequence[str]) -> list[Request]:
        found: list[Request] = []
        for start in range(0, len(ids), IDS_MAX):
            part = ids[start : start + IDS_MAX]
            places = ", ".join(f"${place + 1}" for place in range(len(part)))
            sql = f"SELECT {REQUEST} FROM requests WHERE state <> 'pending' AND id IN ({places})"
            found += [_kept(row).request for row in await self._run(sql, *part)]
        return found

    async def waiting(self, node: str) -> list[str]:
        sql = f"SELECT id FROM requests WHERE state IN {LIVE} AND waits = 1 AND node = $1"
        return [str(row[0]) for row in await self._run(sql, node)]

    async def approved_by(self, grant: str) -> list[Request]:
        sql = (
            f"SELECT {REQUEST} FROM requests WHERE grant_id = $1 AND state = 'approved' "
            f"ORDER BY id{self._dialect.lock}"
        )
        return [_kept(row).request for row in await self._run(sql, grant)]

    async def due(self, now: float, limit: int) -> list[str]:
        sql = (
            f"SELECT id FROM requests WHERE state IN {LIVE} AND (expires <= $1 OR "
            "(state = 'pending' AND escalated = 0 AND escalates <= $1)) ORDER BY id LIMIT $2"
        )
        return [str(row[0]) for row in await self._run(sql, now, limit)]

    # Standing grants.

    async def grant(self, id: str) -> StandingGrant | None:
        sql = f"SELECT body, used FROM grants WHERE id = $1{self._dialect.lock}"
        rows = await self._run(sql, id)
        return _standing(rows[0]) if rows else None

    async def grants(
        self, *, state: GrantState | None, proposed_by: str, limit: int
    ) -> list[StandingGrant]:
        sql = (
            "SELECT body, used FROM grants WHERE ($1 = '' OR state = $1) "
            "AND ($2 = '' OR proposed_by = $2) ORDER BY id DESC LIMIT $3"
        )
        wanted = "" if state is None else state.value
        return [_standing(row) for row in await self._run(sql, wanted, proposed_by, limit)]

    async def grants_due(self, now: float, limit: int) -> list[str]:
        sql = (
            "SELECT id FROM grants WHERE state IN ('proposed', 'active') AND until <= $1 "
            "ORDER BY id LIMIT $2"
        )
        return [str(row[0]) for row in await self._run(sql, now, limit)]

    async def add_grant(self, grant: StandingGrant) -> None:
        await self._run(
            "INSERT INTO grants (id, state, until, proposed_by, used, body) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            *(grant.id, grant.state.value, grant.until, grant.proposed_by, 0, _json(grant)),
        )

    async def put_grant(self, grant: StandingGrant) -> None:
        sql = "UPDATE grants SET state = $2, until = $3, body = $4 WHERE id = $1"
        await self._run(sql, grant.id, grant.state.value, grant.until, _json(grant))

    async def use_grant(self, id: str, now: float) -> bool:
        sql = (
            "UPDATE grants SET used = used + 1 WHERE id = $1 AND state = 'active' AND until > $2 "
            "RETURNING id"
        )
        return bool(await self._run(sql, id, now))

    # The shelf.

    async def put_sheet(self, sheet: Sheet) -> None:
        await self._run(
            "INSERT INTO shelf (kind, id, body, owner, expires) VALUES ($1, $2, $3, $4, $5) "
            "ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, owner = excluded.owner, "
            "expires = excluded.expires",
            *(sheet.kind, sheet.id, sheet.body, sheet.owner, sheet.expires),
        )

    async def sheet(self, kind: str, id: str) -> Sheet | None:
        sql = f"SELECT {SHEET} FROM shelf WHERE kind = $1 AND id = $2{self._dialect.lock}"
        rows = await self._run(sql, kind, id)
        return Sheet(*rows[0]) if rows else None

    async def sheets(self, kind: str, owner: str, limit: int) -> list[Sheet]:
        sql = (
            f"SELECT {SHEET} FROM shelf WHERE kind = $1 AND ($2 = '' OR owner = $2) "
            "ORDER BY id DESC LIMIT $3"
        )
        return [Sheet(*row) for row in await self._run(sql, kind, owner, limit)]

    async def remove_sheet(self, kind: str, id: str) -> bool:
        sql = "DELETE FROM shelf WHERE kind = $1 AND id = $2 RETURNING id"
        return bool(await self._run(sql, kind, id))

    # Everything.

    async def rows(self, sql: str, *arguments: object) -> Sequence[Row]:
        return await self._run(sql, *arguments)

    async def forget(self, before: float, now: float, limit: int) -> int:
        old = (
            f"SELECT id FROM requests WHERE state NOT IN {LIVE} AND expires < $1 "
            "AND coalesce(ended, 0) < $1 ORDER BY id LIMIT $2"
        )
        await self._run(f"DELETE FROM uses WHERE request IN ({old})", before, limit)
        gone = [
            await self._run(
                f"DELETE FROM requests WHERE id IN ({old}) RETURNING id", before, limit
            ),
            await self._run(
                "DELETE FROM grants WHERE id IN (SELECT id FROM grants WHERE until < $1 AND "
                "state NOT IN ('proposed', 'active') ORDER BY id LIMIT $2) RETURNING id",
                *(before, limit),
            ),
            await self._run(
                "DELETE FROM shelf WHERE expires > 0 AND expires < $1 RETURNING id",
                now,
            ),
        ]
        return sum(len(rows) for rows in gone)


def announced(change: Change, sender: str) -> str:
    """What a notification carries."""
    return msgspec.json.encode((sender, change)).decode()


def heard(payload: str) -> tuple[str, Change]:
    """(sender, change). Raises msgspec.MsgspecError for anything else."""
    return msgspec.json.decode(payload, type=tuple[str, Change])


def _json(content: object) -> str:
    return msgspec.json.encode(content).decode()


def _kept(row: Row) -> Kept:
    asked, state, expires, votes, escalated, ended, by, reason, used, waits, grant = row
    try:
        request = Request(
            asked=_asked.decode(asked),
            state=State(state),
            expires=expires,
            votes=_votes.decode(votes),
            escalated=bool(escalated),
            ended=ended,
            ended_by=by,
            reason=reason,
            used=used,
        )
    except ValueError as error:  # of another version, or damaged: nothing may be decided on it
        raise StoreUnavailable(f"a request in the store cannot be read: {error}") from error
    return Kept(request, bool(waits), grant)


def _standing(row: Row) -> StandingGrant:
    body, used = row
    try:
        return msgspec.structs.replace(_grant.decode(body), used=used)
    except ValueError as error:
        raise StoreUnavailable(f"a grant in the store cannot be read: {error}") from error
