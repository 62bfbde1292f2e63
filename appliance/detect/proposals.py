"""One column's evidence put together: what is proposed, and why, in words without a value.

Called by `sallyport classify` and `dataplane/alarm`. Rule: what values show outweighs what a name
says; a name alone is worth a proposal, marked as such.
"""

from collections.abc import Sequence

import msgspec

from appliance.detect.names import Hint
from appliance.detect.values import Finding

PER_COLUMN_MAX = 3
GENERAL = {"secret.token": "secret.", "pii.national_id": "pii.", "secret.password": "secret."}
"""Named classifications that a finding of this prefix says more precisely."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a classification is proposed. `sampled` values looked at, `share` of them fitted."""

    classification: str
    by: tuple[str, ...]
    """Of: sample, name, type, comment."""
    share: float = 0.0
    sampled: int = 0

    def words(self) -> str:
        """E.g. `61% of 200 sampled values, name`."""
        told = [f"{self.share:.0%} of {self.sampled} sampled values"] if self.sampled else []
        return ", ".join([*told, *(one for one in self.by if one != "sample")])


def proposed(hints: Sequence[Hint], findings: Sequence[Finding]) -> tuple[Evidence, ...]:
    """The strongest first, at most PER_COLUMN_MAX, one for each classification."""
    said: dict[str, list[str]] = {}
    for hint in hints:
        if hint.evidence not in said.setdefault(hint.classification, []):
            said[hint.classification].append(hint.evidence)
    found = [
        Evidence(
            f.classification,
            ("sample", *said.pop(f.classification, ())),
            round(f.share, 4),
            f.values,
        )
        for f in findings
    ]
    precise = tuple(e.classification for e in found)
    left = [
        Evidence(classification, tuple(by))
        for classification, by in said.items()
        if not any(p.startswith(GENERAL.get(classification, "\0")) for p in precise)
    ]
    return tuple((sorted(found, key=_weight) + left)[:PER_COLUMN_MAX])


def _weight(evidence: Evidence) -> tuple[int, float]:
    return -len(evidence.by), -evidence.share
