"""What policy answers: allow, deny or hold, with obligations and reasons."""

import enum
from collections.abc import Mapping

import msgspec

from appliance.model.approval import HoldTerms
from appliance.model.catalog import ColumnKey
from appliance.model.refusal import About


class Effect(enum.Enum):
    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


class MaskMethod(enum.Enum):
    NULL = "null"
    REDACT = "redact"  # type-aware neutral value: '****' for text, 0 for numbers, ...
    FIXED = "fixed"  # `value`, for text-like types; neutral value elsewhere
    KEEP_FIRST = "keep_first"  # `keep` characters kept, the rest '*'
    KEEP_LAST = "keep_last"
    EMAIL = "email"  # first character and the domain's last label kept: j***@***.com
    TOKEN = "token"  # noqa: S105 - keyed HMAC-SHA-256, deterministic per key
    TRUNCATE_DATE = "truncate_date"  # to `unit`: year, month, day
    TRUNCATE_NUMBER = "truncate_number"  # towards zero, to a multiple of `step`


class Mask(msgspec.Struct, frozen=True, omit_defaults=True):
    method: MaskMethod
    value: str = "****"
    keep: int = 4
    unit: str = "year"
    step: int = 1000
    key: str = "default"
    """Name of the token key (a credential reference in the configuration), never the key."""
    rule: str = ""
    """Id of the rule that owes it."""
    unique_writes: bool = True
    """Whether who owes it may write the column where a unique key says whether a value is taken."""


class Reason(msgspec.Struct, frozen=True):
    """One rule that matched, or one built-in guard."""

    rule: str
    effect: str
    """allow, deny, hold, mask, limit"""
    message: str = ""
    observed: bool = False
    """True when the rule (or the whole policy) is in observe mode: recorded, not applied."""


class Trust(msgspec.Struct, frozen=True):
    """What an administrator vouches for on one database: functions that show masked values to
    nobody."""

    functions: frozenset[int] = frozenset()
    """OIDs of trusted functions that are what they were when they were declared."""
    changed: frozenset[int] = frozenset()
    """OIDs of functions that are declared trusted but have another digest now."""


NO_TRUST = Trust()


class Decision(msgspec.Struct, frozen=True):
    effect: Effect
    reasons: tuple[Reason, ...]
    masks: Mapping[ColumnKey, Mask] = {}
    """Every masked column the statement touches in any way (not only outputs), with the mask owed.
    """
    owes_masks: bool = False
    """Whether this principal owes any mask on this database at all: then unknown means refuse."""
    row_limit: int | None = None
    statement_timeout_ms: int | None = None
    rows_written_max: int | None = None
    """Rows that one write may affect: one that affects more is rolled back (`session/blast`)."""
    rows_written_rule: str = ""
    """Id of the rule that says so."""
    policy_version: str = ""
    cacheable: bool = True
    """False when a condition looked at time or another thing that changes between statements."""
    would_be: Effect | None = None
    """What an `observe` policy would have answered, when that differs from `effect`."""
    owed: Mapping[ColumnKey, Mask] = {}
    """Every mask owed on this database at this moment, touched or not (conditional masks that do
    not hold now left out).
    """
    trust: Trust = NO_TRUST
    masks_observed: Mapping[ColumnKey, Mask] = {}
    """Touched columns whose mask is only observed: they leave unmasked, and that is counted."""
    about: About = About.SESSION
    """What a denial is about."""
    hold: HoldTerms | None = None
    """Under which terms it may be approved, when `effect` is HOLD."""
