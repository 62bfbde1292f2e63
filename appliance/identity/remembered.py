"""What is remembered of passwords that proved, for protocols whose clients can prove with less the
next time (a challenge over a quickly computed digest).

Kept by `dataplane/services`, one per worker, used by `dataplane/proving`. Rule: in memory only.
"""

from collections import OrderedDict

from appliance.identity.scram import Verifier

REMEMBERED_MAX = 4_096


class Remembered:
    """Digests of passwords that proved, by the verifier they proved against: one per worker. In
    memory only; another password makes another verifier, and the old digest means nothing.
    """

    def __init__(self) -> None:
        self._digests: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def get(self, name: str, verifier: Verifier) -> bytes | None:
        return self._digests.get((name, verifier.render()))

    def put(self, name: str, verifier: Verifier, digest: bytes) -> None:
        self._digests[(name, verifier.render())] = digest
        while len(self._digests) > REMEMBERED_MAX:
            self._digests.popitem(last=False)

    def __repr__(self) -> str:
        return f"Remembered({len(self._digests)} entries)"
