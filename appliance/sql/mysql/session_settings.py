"""What a MySQL session's settings are, as far as the meaning of SQL depends on them.

One per session (`session/exchange_state.Tracker`). Rule: a value is certain only if the server said
so after the last statement that could have changed it. The probe reads no table, so it takes no
snapshot, and leaves the client's transaction, warnings and last insert id alone.
"""

import msgspec

from appliance.model.catalog import SessionSettings
from appliance.sql.mysql.temporaries import Temporaries, question
from appliance.sql.mysql.words import modes_of, readable

PROBE = (
    b"SELECT DATABASE(), @@SESSION.sql_mode, @@SESSION.character_set_client,"
    b" @@SESSION.character_set_results, @@SESSION.character_set_connection"
)
UTF8 = frozenset(("utf8", "utf8mb3", "utf8mb4"))
"""In which a text's bytes mean what our lexer takes them for."""
SCHEMA = "schema"
"""Under this name the server reports, unasked, which database is chosen now."""


class MySettings:
    """`current` is what statements are judged under."""

    def __init__(self, database: str, parameters: dict[str, str]) -> None:
        self.parameters = parameters
        self.certain = False
        self._database = database
        self._modes: tuple[str, ...] = ()
        self._encoding = ""
        self._converted = False
        self._temporaries = Temporaries()
        self._asked = ("", "")
        self.current = self._build()

    @property
    def probe(self) -> bytes:
        return PROBE

    def _build(self) -> SessionSettings:
        settings = SessionSettings(
            database=self._database,
            search_path=(),
            certain=self.certain,
            temp_relations=self._temporaries.unknown,
            temporaries=self._temporaries.known,
            converted=self._converted,
            modes=self._modes,
            encoding=self._encoding,
        )
        return msgspec.structs.replace(settings, sealed=settings.digest())

    def probed(self, values: list[str | None]) -> None:
        """Takes the answer to PROBE; one of another form leaves everything uncertain."""
        if len(values) != 5 or None in values[1:3]:
            return
        database, modes, encoding, results, connection = values
        self._database = database or ""
        self._modes = tuple(sorted({mode.upper() for mode in (modes or "").split(",") if mode}))
        self._encoding = _encoding(encoding or "", connection or "")
        self._converted = (results or "") not in UTF8  # NULL: each column in its own
        self.certain = True
        self.current = self._build()

    def unsettle(self) -> None:
        if self.certain:
            self.certain = False
            self.current = self._build()

    def reported(self, name: str, value: str) -> None:
        """The server says that something changed: what it is now is asked of it, not taken from
        here, so that there is one way to know."""
        self.parameters[name] = value
        self.unsettle()

    def shift_temporaries(self, made: frozenset[tuple[str, str]], policy: str) -> None:
        """`Temporaries.shift`."""
        if made or self._temporaries.any:
            self._temporaries.shift(made, policy)
            self.current = self._build()

    def doubts(self, text: bytes, policy: str) -> bytes | None:
        """What to ask before a text is judged that may name a temporary table; `told` takes the
        answer. `policy`: the version of the one whose masks are owed."""
        if not self._temporaries.any:
            return None
        if self._temporaries.under(policy):
            self.current = self._build()
        name = self._temporaries.doubted_in(text)
        if name is None or not policy:
            return None
        self._asked = name
        return question(name)

    def told(self, rows: list[list[str | None]], error: int | None) -> None:
        self._temporaries.told(self._asked, rows, error)
        self.current = self._build()

    def reset(self) -> None:
        """Temporary tables are gone with a reset; everything else is asked for."""
        self._temporaries = Temporaries()
        self.certain = False
        self.current = self._build()

    @property
    def lexing(self) -> int:
        if readable(b"", self.current) is not None:
            return -1
        return modes_of(self.current)

    def lexes_as_standard(self) -> bool:
        return not self._encoding


def _encoding(client: str, connection: str) -> str:
    """'' for UTF-8 all the way. A text is converted to character_set_connection before its strings
    are read as values."""
    if client.lower() not in UTF8:
        return client.lower()
    return "" if connection.lower() in UTF8 else connection.lower()
