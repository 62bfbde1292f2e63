"""Times, counts and names in words, for templates. Pure; wired in by `frame`."""

from collections.abc import Iterable
from datetime import UTC, datetime

from markupsafe import Markup

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def span(seconds: float) -> str:
    """A length of time, in its largest unit: `45 s`, `12 min`, `3 h`, `2 d`."""
    whole = max(0, int(seconds))
    for size, name in _UNITS:
        if whole >= size:
            return f"{whole // size} {name}"
    return "0 s"


def countdown(seconds: float) -> str:
    """Time left, to the second where it matters: `4:07`, `1:02:03`."""
    whole = max(0, int(seconds))
    hours, minutes = whole // 3_600, whole // 60 % 60
    if hours >= 48:
        return f"{hours // 24} d"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def stamp(time: float) -> str:
    """`2026-11-26 21:14:12 UTC`"""
    return moment(time).strftime("%Y-%m-%d %H:%M:%S UTC")


def moment(time: float) -> datetime:
    """Raises nothing: times that no calendar has are its ends."""
    return datetime.fromtimestamp(min(max(time, 0.0), 253_402_300_799.0), UTC)


def ago(time: float, now: float) -> Markup:
    """`3 min ago`, the absolute time in its title. Scripts keep it true."""
    passed = now - time
    said = (
        "just now"
        if abs(passed) < 5
        else f"{span(passed)} ago"
        if passed > 0
        else f"in {span(-passed)}"
    )
    return _time("ago", time, said)


def left(time: float, now: float) -> Markup:
    """`4:07`, counted down by scripts."""
    return _time("until", time, countdown(time - now) if time > now else "over")


def _time(kind: str, time: float, said: str) -> Markup:
    return Markup(
        '<time class="{0}" datetime="{1}" title="{2}" data-{0}="{3:.0f}">{4}</time>'
    ).format(kind, moment(time).strftime("%Y-%m-%dT%H:%M:%SZ"), stamp(time), time, said)


def count(number: int) -> Markup:
    """With thin spaces between thousands."""
    return Markup("&#8239;").join(f"{int(number):,}".split(","))


def plural(number: int, one: str, many: str = "") -> Markup:
    return Markup("{}&nbsp;{}").format(count(number), one if number == 1 else many or one + "s")


def listed(parts: Iterable[object]) -> str:
    return ", ".join(map(str, parts))


def milliseconds(value: float | None) -> str:
    """`0.4 ms`, `12 ms`, `1.3 s`; a dash for None."""
    if value is None:
        return "–"
    if value >= 1_000:
        return f"{value / 1_000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"
