"""What a pool does to a connection between two sessions: the seam between `pool` and a protocol.

`protocols` names one implementation per protocol whose connections can be kept. Rule: whatever is
not exactly as it was after login raises, and the pool closes the connection.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from appliance.config.schema import Pooling, TargetConfig
from appliance.dataplane import cleaning
from appliance.dataplane.cleaning import Footprint, Unclean
from appliance.dataplane.connections import Login, Upstream
from appliance.dataplane.upstreams import open_upstream
from appliance.session.announce import APPLICATION_NAME, UNUSED
from appliance.session.backend import Left
from appliance.session.settings import Pinning
from appliance.wire.postgres.messages import TERMINATE_FRAME


class Key(NamedTuple):
    """Sessions with equal keys would get equal connections."""

    target: str
    login: Login
    database: str
    settings: tuple[tuple[str, str], ...]
    """What the login brings, what announces the session apart."""
    announced: frozenset[str]
    """Names of the settings that announce a session: one that was ever set stays known."""


class Handed(NamedTuple):
    """A connection that has taken a session's name."""

    shown: dict[str, str]
    """Settings as the server reported them."""
    told: tuple[str, ...] = ()
    """What it answered to a `session/settings` Pinning, where that was asked."""


class Keeping(Protocol):
    """`standing`, where it is given, is what `look` said after login: it is looked at again."""

    @property
    def terminate(self) -> bytes:
        """The last thing a database is told."""

    async def open(self, target: TargetConfig, key: Key) -> Upstream:
        """A new connection that is nobody's yet. Raises as `open_upstream` does."""

    async def look(self, upstream: Upstream, pooling: Pooling) -> Footprint:
        """Raises Unclean when it cannot be told."""

    async def hand_over(
        self,
        upstream: Upstream,
        key: Key,
        pooling: Pooling,
        fresh: Mapping[str, str],
        announced: Mapping[str, str],
        standing: str | None,
        pinning: Pinning | None,
    ) -> Handed:
        """The connection takes a session's name. `fresh`: settings as of the login. `pinning`:
        settings that decide what names mean become the session's own. Raises Unclean,
        UpstreamRefused, ProtocolViolation, OSError.
        """

    async def clean(
        self,
        upstream: Upstream,
        key: Key,
        pooling: Pooling,
        fresh: Mapping[str, str],
        left: Left,
        standing: str | None,
    ) -> frozenset[bytes]:
        """Nothing of a session stays. -> names of our own statements that do. Raises as `hand_over`
        does."""

    def again(self, announced: Mapping[str, str]) -> tuple[bytes, ...]:
        """Statements by which a session announces itself again, after something undid it."""


class PostgresKeeping:
    """With what `cleaning` says."""

    terminate = TERMINATE_FRAME

    async def open(self, target: TargetConfig, key: Key) -> Upstream:
        unused = dict.fromkeys(key.announced, "") | {APPLICATION_NAME: UNUSED}
        return await open_upstream(target, key.login, key.database, dict(key.settings) | unused)

    async def look(self, upstream: Upstream, pooling: Pooling) -> Footprint:
        answer = await cleaning.converse(
            upstream.side, (cleaning.footprint_query(pooling.extensions),)
        )
        return cleaning.footprint(answer.rows)

    async def hand_over(
        self,
        upstream: Upstream,
        key: Key,
        pooling: Pooling,
        fresh: Mapping[str, str],
        announced: Mapping[str, str],
        standing: str | None,
        pinning: Pinning | None,
    ) -> Handed:
        texts = [cleaning.naming_query(announced, pinning)]
        if standing is not None:
            texts.insert(0, cleaning.footprint_query(pooling.extensions))
        answer = await cleaning.converse(upstream.side, texts)
        if standing is not None:
            cleaning.require_standing(answer.rows[:1], standing)
        shown = {**fresh, **answer.parameters}
        name = shown.get(APPLICATION_NAME, "")
        if shown != {**fresh, APPLICATION_NAME: name}:
            raise Unclean("settings")
        return Handed(shown, cleaning.pinned(answer.rows[-1:], pinning) if pinning else ())

    async def clean(
        self,
        upstream: Upstream,
        key: Key,
        pooling: Pooling,
        fresh: Mapping[str, str],
        left: Left,
        standing: str | None,
    ) -> frozenset[bytes]:
        texts = [cleaning.DISCARD, cleaning.LEFTOVERS]
        if left.own:
            texts = [cleaning.DISCARD_ALL_BUT_PREPARED, cleaning.LEFTOVERS_BUT_OURS]
        if left.in_transaction:
            texts.insert(0, cleaning.ROLLBACK)
        if standing is not None:
            texts.append(cleaning.footprint_query(pooling.extensions))
        answer = await cleaning.converse(upstream.side, texts, left.named if left.own else ())
        own = cleaning.require_nothing_left(answer.rows[:1], key.login.user)
        if standing is not None:
            cleaning.require_standing(answer.rows[1:], standing)
        if {**left.parameters, **answer.parameters} != fresh:
            raise Unclean("settings")
        return own & left.own

    def again(self, announced: Mapping[str, str]) -> tuple[bytes, ...]:
        return cleaning.set_texts(announced)
