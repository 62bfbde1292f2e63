"""When to try again: exponential backoff with jitter, bounded in attempts and age.

Used by `dispatch`. Pure: chance is given.
"""

FIRST_SECONDS = 2.0
LONGEST_SECONDS = 900.0
ASKED_SECONDS_MAX = 3_600.0
"""How far a receiver's Retry-After is followed."""
ATTEMPTS_MAX = 120
DOUBLINGS_MAX = 16


def pause(attempt: int, chance: float, asked: float | None = None) -> float:
    """Seconds after failed attempt number `attempt` (from 1). `chance`: uniform in [0, 1), so that
    many that failed together do not come back together. `asked`: the receiver's own wish, the
    least."""
    longest: float = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempt - 1, DOUBLINGS_MAX))
    own = longest * (0.5 + chance / 2)
    return own if asked is None else max(own, min(asked, ASKED_SECONDS_MAX))


def retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3). Its form as a date is not followed."""
    if text is None or not (text.isascii() and text.strip().isdigit()):
        return None
    return float(min(int(text.strip()[:9]), 10**9))
