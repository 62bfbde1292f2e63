"""What the upstream session's settings are, as far as the meaning of SQL depends on them.

Owned by `session/machine`. Rule: a value is certain only if the server itself said so after the
last statement that could have changed it by what its text says; until then names are judged as
unresolved. What runs beneath a text (triggers, functions of views) is seen where the server reports
a setting with its next ReadyForQuery: how strings are read, and from 18 on search_path. Amid a
transaction the probe uses SHOW only, which takes no snapshot and so changes nothing for it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from appliance.model.catalog import Relation, SessionSettings
from appliance.sql.encodings import UTF8
from appliance.sql.identifiers import split_names
from appliance.sql.reader import own_relations
from appliance.sql.still import OWN_PROCESS, SERVER

PROBE = (b"SHOW search_path", b"SHOW role", b"SHOW session_authorization")


class Pinning(NamedTuple):
    """The same between transactions. The path is the session's own from there on: a server that
    reads its configuration again does not change it any more."""

    columns: str
    """Of a SELECT."""
    width: int

    @property
    def probe(self) -> bytes:
        return f"SELECT {self.columns}".encode()


_PINNED = """pg_catalog.set_config('search_path',
    pg_catalog.current_setting('search_path'), false),
  pg_catalog.current_setting('role'), pg_catalog.current_setting('session_authorization')"""
PINNING = Pinning(_PINNED, 3)
LEASED_PINNING = Pinning(f"{_PINNED}, ({SERVER}), {OWN_PROCESS}", 5)
"""And on which server, and by which of its processes; to be leased under."""

_NONE: frozenset[str] = frozenset()
_NO_KINDS: frozenset[tuple[str, str]] = frozenset()
"""One for all sessions: most have none."""
_NOT = (False, False)


class SettingsTracker:
    """`current` is what statements are judged under."""

    __slots__ = (
        "_database", "_kinds", "_path_known", "_role", "_search_path", "_shifting", "_standard",
        "_suspended", "_temporaries", "_temporary", "certain", "code_in_transaction", "current",
        "parameters", "pinned", "planned", "process", "server", "temporaries_certain",
        "temporaries_foreign", "told", "touched_in_transaction",
    )  # fmt: skip

    def __init__(self, database: str, parameters: dict[str, str], told: Sequence[str] = ()) -> None:
        """`told`: as `probed`, of a PINNING, where that was asked before."""
        self._database = database
        self.parameters = parameters
        """ParameterStatus values, as the server reported them last."""
        self.told = ""
        """The last answers to PROBE, joined by newlines."""
        self._search_path: tuple[str, ...] = ()
        self._path_known = True
        """Whether the path that the server told is understood to the last name."""
        self._role = ""
        self._temporary: frozenset[str] = _NONE
        self._shifting: frozenset[str] = _NONE
        self._temporaries: tuple[Relation, ...] = ()
        self._kinds: frozenset[tuple[str, str]] = _NO_KINDS
        self.temporaries_certain = True
        """Whether `_temporaries` is what the server has."""
        self.temporaries_foreign = False
        """Temporary relations may hold what this principal must not read: made while no masks were
        owed.
        """
        self.certain = False
        self.pinned = False
        """Nobody but the session itself can change what was told."""
        self.server = ""
        """Where that was, and since when it runs; known where it is pinned to be leased under."""
        self.process = ""
        """What the server calls the one that answered then."""
        self.touched_in_transaction = False
        self._suspended = _NOT
        self.code_in_transaction = False
        """Code ran in it that nobody knows, and may yet (deferred triggers, cursors)."""
        self.planned: object = None
        """A portal (`inflight.Portal`) that was bound, and not executed yet: code of its statement
        may have run when it was planned."""
        self._standard = self._reads_standard()
        self.current = self.probed(told, True) if told else self._build()

    @property
    def reports_path(self) -> bool:
        """From PostgreSQL 18 on."""
        return "search_path" in self.parameters

    def _build(self) -> SessionSettings:
        settings = SessionSettings(
            database=self._database,
            search_path=self._search_path,
            role=self._role,
            certain=self.certain and self._path_known,
            temp_relations=(self._temporary | self._shifting) or _NONE,
            temporaries=self._temporaries,
            temp_kinds=self._kinds,
            converted=self._converts(),
        )
        return msgspec.structs.replace(settings, sealed=settings.digest())

    def lexes_as_standard(self) -> bool:
        """Whether the server reads texts as our parser does: UTF-8 and standard_conforming_strings
        on.
        """
        return self._standard

    @property
    def believed(self) -> str:
        """What a check is asked with: `told`, and how strings are read. That is reported by the
        server, but when its configuration was read again only behind the next statement."""
        strings = self.parameters.get("standard_conforming_strings", "on")
        return f"{self.told}\n{strings}"

    def _reads_standard(self) -> bool:
        encoding = self.parameters.get("client_encoding", "UTF8").upper().replace("-", "")
        return encoding in _UTF8_LIKE and self.standard_strings()

    def standard_strings(self) -> bool:
        return self.parameters.get("standard_conforming_strings", "on") == "on"

    def _converts(self) -> bool:
        """Whether rows are sent in another encoding than they are stored in."""
        sent = self.parameters.get("client_encoding", UTF8)
        return sent not in (self.parameters.get("server_encoding", UTF8), "SQL_ASCII")

    def stores_utf8(self) -> bool:
        """Whether the database cuts and folds names in UTF-8, as our parser does."""
        return self.parameters.get("server_encoding") == UTF8

    def reported(self, name: str, value: str) -> None:
        self.parameters[name] = value
        if name == "search_path" and value != self.told.partition("\n")[0]:
            self.unsettle(False)  # (PostgreSQL 18) by a trigger, or what a view calls
        self._standard = self._reads_standard()
        if self.current.converted != self._converts():
            self.current = self._build()

    def unsettle_by_code(self) -> None:
        """Code is about to run that may set anything. Where the server reports search_path, nothing
        needs to be asked behind it once the server is ready."""
        self.code_in_transaction = True
        if not self.reports_path:
            self.unsettle(True)
        elif self.certain:
            pinned = self.pinned
            self.unsettle(False)
            self._suspended = True, pinned

    def all_reported(self) -> None:
        """The server is ready, and behind whatever ran: what it has not reported is as it was."""
        suspended, pinned = self._suspended
        if suspended:
            self._suspended = _NOT
            self.certain, self.pinned = True, pinned
            self.current = self._build()

    def unsettle(self, in_transaction: bool) -> None:
        self._suspended = _NOT
        if in_transaction:
            self.touched_in_transaction = True
        self.pinned = False
        if self.certain:
            self.certain = False
            self.current = self._build()

    def probed(self, values: Sequence[str], pinned: bool = False) -> SessionSettings:
        """Takes the answers of PROBE; `pinned`: of PINNING, or LEASED_PINNING. -> `current`."""
        self._suspended, self.pinned = _NOT, pinned
        told = values[: len(PROBE)]
        path, role, session_user = told
        self.told = "\n".join(told)
        self.server, self.process = values[len(PROBE) :] or ("", "")
        names = split_names(path, self.stores_utf8())
        self._search_path, self._path_known = names or (), names is not None
        self._role = session_user if role == "none" else role
        self.certain = True
        self.current = self._build()
        return self.current

    def handed_over(self, told: tuple[str, ...]) -> None:
        """Another connection is the session's: takes what it answered to PINNING."""
        if not (self.certain and self.pinned and self.told == "\n".join(told)):
            self.probed(told, pinned=True)
        self.server = self.process = ""

    def add_temporary(self, names: frozenset[str]) -> None:
        if not names <= self._temporary:
            self._temporary |= names
            self.current = self._build()

    def unsettle_temporaries(self) -> None:
        """Something on its way may make, change or drop temporary relations."""
        self.temporaries_certain = False
        names = self._temporary.union(relation.name for relation in self._temporaries)
        if self._temporaries or self._kinds or names != self._temporary:
            self._temporary, self._temporaries, self._kinds = names, (), frozenset()
            self.current = self._build()

    @property
    def has_temporaries(self) -> bool:
        return bool(self._temporaries or self._temporary or not self.temporaries_certain)

    def temporaries_told(self, answer: str) -> None:
        """Takes the answer to TEMPORARIES_QUERY."""
        told = own_relations(answer)
        self.temporaries_certain = True
        names = frozenset(relation.name for relation in told)
        self._temporary = names if self.temporaries_foreign else frozenset()
        self._temporaries = () if self.temporaries_foreign else told
        self._kinds = frozenset((relation.name, relation.kind) for relation in told)
        if not self.temporaries_foreign:
            self._shifting -= names  # they are known as the open transaction has them
        self.current = self._build()

    def shift(self, names: frozenset[str]) -> None:
        """The open transaction makes, alters or drops these relations: for it they are no longer
        what the catalog, which sees committed work only, says.
        """
        if not names <= self._shifting:
            self._shifting |= names
            self.current = self._build()

    def planned_alone(self) -> None:
        """What was bound last is not executed next: what its planning did counts by itself."""
        if self.planned is not None:
            self.planned = None
            self.unsettle(True)

    @property
    def ends_alike(self) -> bool:
        """Whether a transaction's end takes nothing back, and nothing of ours runs then."""
        touched = self.touched_in_transaction or self.code_in_transaction
        return not (touched or self._shifting or self.has_temporaries or self.planned is not None)

    def transaction_ended(self) -> None:
        """The server is ready, and in none."""
        self.planned_alone()
        if self.touched_in_transaction:
            self.unsettle(False)
        self.touched_in_transaction = self.code_in_transaction = False
        if self._shifting:
            self._shifting = frozenset()
            self.current = self._build()


_UTF8_LIKE = ("UTF8", "UNICODE", "SQL_ASCII")
