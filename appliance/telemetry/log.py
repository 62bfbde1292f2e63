"""Structured logs on standard error: one line per event, JSON or text, for every process of the
appliance.

Each process calls `configure` once; modules say `log = Log("supervisor")` and
`log.warning("worker_died", index=1)`. Rules: an event is a past participle or a state, never a
sentence with values in it; no secret, SQL text or cell is ever a field (names that look like one
are blanked as a last net); a log reader that stalls never stalls an event loop (a line that would
block is dropped and counted); repeated events are thinned out.

Under systemd each line begins with `<N>`, the syslog priority (sd-daemon(3)), when standard error
is the journal (`JOURNAL_STREAM`, systemd.exec(5)).
"""

import os
import re
import select
import time
from enum import IntEnum
from typing import Final

import msgspec

LINE_BYTES_MAX = 4_000
"""Below PIPE_BUF (4096), so that lines of several processes into one pipe never interleave
(pipe(7)).
"""
FIELD_CHARACTERS_MAX = 1_000
BURST = 5
BURST_SECONDS = 10.0
REPEATS_REMEMBERED_MAX = 1_024

Field = str | int | float | bool | None | list[str]

_LOOKS_SECRET = re.compile(r"password|passwd|secret|token|verifier|private|credential", re.I)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Level(IntEnum):
    """Syslog priorities (RFC 5424, table 2)."""

    ERROR = 3
    WARNING = 4
    INFO = 6
    DEBUG = 7


class Repeats:
    """Lets `BURST` events of one key through per `BURST_SECONDS` and counts the others."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}

    def admit(self, key: str, now: float) -> int | None:
        """None: drop this one. Otherwise how many were dropped in the window before."""
        begun, seen = self._windows.get(key, (now, 0))
        if now - begun >= BURST_SECONDS:
            self._windows[key] = (now, 1)
            return max(0, seen - BURST)
        if key not in self._windows and len(self._windows) >= REPEATS_REMEMBERED_MAX:
            self._windows.clear()
        self._windows[key] = (begun, seen + 1)
        return 0 if seen < BURST else None


class _Sink:
    """Where lines go; one per OS process."""

    def __init__(self) -> None:
        self.fd: int = 2
        self.json = False
        self.level = Level.INFO
        self.prefixed = _is_journal(2)
        self.repeats = Repeats()
        self.lines_dropped = 0
        self._poll: select.poll | None = None

    def aim(self, fd: int) -> None:
        self.fd = fd
        self.prefixed = _is_journal(fd)
        self._poll = None

    def write(self, line: bytes) -> None:
        """Writes the line, or counts it as dropped when that would block."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.fd, select.POLLOUT)
        try:
            if self._poll.poll(0):
                os.write(self.fd, line)
                return
        except OSError:  # standard error is gone; a log can do no more about it than count
            self._poll = None
        self.lines_dropped += 1


def _is_journal(fd: int) -> bool:
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


_sink: Final = _Sink()


def configure(*, json: bool = False, level: str = "info", fd: int = 2) -> None:
    """Sets this OS process's format and least level (debug, info, warning, error)."""
    _sink.json = json
    _sink.level = Level[level.upper()]
    _sink.aim(fd)


def lines_dropped() -> int:
    """Lines lost because nobody read standard error."""
    return _sink.lines_dropped


class Log:
    """The log of one part of the appliance."""

    def __init__(self, part: str) -> None:
        self._part = part

    def error(self, event: str, **fields: Field) -> None:
        self._emit(Level.ERROR, event, fields)

    def warning(self, event: str, **fields: Field) -> None:
        self._emit(Level.WARNING, event, fields)

    def info(self, event: str, **fields: Field) -> None:
        self._emit(Level.INFO, event, fields)

    def debug(self, event: str, **fields: Field) -> None:
        self._emit(Level.DEBUG, event, fields)

    def _emit(self, level: Level, event: str, fields: dict[str, Field]) -> None:
        if level > _sink.level:
            return
        dropped = _sink.repeats.admit(f"{self._part} {event}", time.monotonic())
        if dropped is None:
            return
        if dropped:
            fields["repeats_dropped"] = dropped
        clean = {name: _clean(name, value) for name, value in fields.items()}
        line = (_json_line if _sink.json else _text_line)(level, self._part, event, clean)
        prefix = f"<{int(level)}>".encode() if _sink.prefixed else b""
        _sink.write(prefix + line[:LINE_BYTES_MAX] + b"\n")


def _clean(name: str, value: Field) -> Field:
    if _LOOKS_SECRET.search(name) and value:
        return "[not logged]"
    if isinstance(value, str) and len(value) > FIELD_CHARACTERS_MAX:
        return value[:FIELD_CHARACTERS_MAX] + "..."
    return value


def _json_line(level: Level, part: str, event: str, fields: dict[str, Field]) -> bytes:
    """One JSON object; when too long it loses its fields rather than its syntax."""
    head: dict[str, Field] = {
        "time": round(time.time(), 3),
        "level": level.name.lower(),
        "pid": os.getpid(),
        "part": part,
        "event": event,
    }
    line = msgspec.json.encode(head | fields)
    if len(line) <= LINE_BYTES_MAX:
        return line
    return msgspec.json.encode(head | {"fields_dropped": sorted(fields)[:20]})


def _text_line(level: Level, part: str, event: str, fields: dict[str, Field]) -> bytes:
    words = [level.name.lower().ljust(7), f"{part}:", event.replace("_", " ")]
    words += [f"{name}={_shown(value)}" for name, value in fields.items()]
    if not _sink.prefixed:  # the journal has its own clock
        words.insert(0, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    return " ".join(words).encode()


def _shown(value: Field) -> str:
    """A value on one line: whatever could forge a line or move a terminal's cursor is escaped."""
    text = ",".join(value) if isinstance(value, list) else str(value)
    text = _UNPRINTABLE.sub(lambda found: repr(found.group())[1:-1], text)
    return f'"{text}"' if " " in text or not text else text
