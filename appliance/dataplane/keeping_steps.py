"""Keeping connections of a protocol whose logins are conversations, and whose databases can begin a
new session on an old connection (see `keeping`).

Named in `protocols`; knows no protocol. What a session held is let go when it ends; the next one
begins by logging in again over the same connection, which is also how it is announced.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from appliance.config.schema import Pooling, TargetConfig
from appliance.dataplane.cleaning import Footprint, Unclean
from appliance.dataplane.connections import Upstream, UpstreamUnreachable
from appliance.dataplane.keeping import Handed, Key
from appliance.dataplane.upstream_steps import SteppedUpstreams, Steps, spoken
from appliance.session.backend import Left
from appliance.session.settings import Pinning

NextSession = Callable[[Any, str, bytes | None, str, dict[str, str], tuple[int, int]], Steps]
SEED_BITS = 30
KEPT = "kept"
"""There is nothing to look at: the database itself decides at each login whether it still stands.
"""


class SteppedKeeping:
    """See `keeping.Keeping`."""

    def __init__(
        self,
        upstreams: SteppedUpstreams,
        next_session: NextSession,
        forget: Callable[[Any], Steps],
        terminate: bytes,
    ) -> None:
        """`next_session`: (Established, user, password, database, settings, seeds), which returns
        the session's parameters. `forget`: (Established)."""
        self._upstreams = upstreams
        self._next_session = next_session
        self._forget = forget
        self.terminate = terminate

    async def open(self, target: TargetConfig, key: Key) -> Upstream:
        return await self._upstreams.open_upstream(
            target, key.login, key.database, dict(key.settings)
        )

    async def look(self, upstream: Upstream, pooling: Pooling) -> Footprint:
        return Footprint(KEPT, "")

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
        login, settings = key.login, {**dict(key.settings), **announced}
        seeds = (secrets.randbits(SEED_BITS), secrets.randbits(SEED_BITS))
        steps = self._next_session(
            upstream.own, login.user, login.password, key.database, settings, seeds
        )
        try:
            shown: dict[str, str] = await spoken(upstream.side, steps)
        except UpstreamUnreachable as error:
            raise Unclean(error.reason) from None
        if upstream.side.pending:
            raise Unclean("unasked words")
        if shown != fresh:
            raise Unclean("settings")
        return Handed(shown)

    async def clean(
        self,
        upstream: Upstream,
        key: Key,
        pooling: Pooling,
        fresh: Mapping[str, str],
        left: Left,
        standing: str | None,
    ) -> frozenset[bytes]:
        await spoken(upstream.side, self._forget(upstream.own))
        if upstream.side.pending:
            raise Unclean("unasked words")
        return frozenset()

    def again(self, announced: Mapping[str, str]) -> tuple[bytes, ...]:
        """Nothing undoes an announcement that came with a login."""
        return ()
