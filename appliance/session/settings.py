"""What the upstream session's settings are, as far as the meaning of SQL depends on them.

Owned by `session/machine`. Rule: a value is certain only if the server itself said so after the
last statement that could have changed it; until then names are judged as unresolved. The probe uses
SHOW only, which takes no snapshot and so changes nothing for the client's transaction.
"""

import msgspec

from appliance.model.catalog import Relation, SessionSettings
from appliance.sql.reader import own_relations

PROBE = (b"SHOW search_path", b"SHOW role", b"SHOW session_authorization")


_NONE: frozenset[str] = frozenset()
_NO_KINDS: frozenset[tuple[str, str]] = frozenset()
"""One for all sessions: most have none."""


class SettingsTracker:
    """`current` is what statements are judged under."""

    def __init__(self, database: str, parameters: dict[str, str]) -> None:
        self._database = database
        self.parameters = parameters
        """ParameterStatus values, as the server reported them last."""
        self._search_path: tuple[str, ...] = ()
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
        self.touched_in_transaction = False
        self._standard = self._reads_standard()
        self.current = self._build()

    def _build(self) -> SessionSettings:
        settings = SessionSettings(
            database=self._database,
            search_path=self._search_path,
            role=self._role,
            certain=self.certain,
            temp_relations=(self._temporary | self._shifting) or _NONE,
            temporaries=self._temporaries,
            temp_kinds=self._kinds,
        )
        return msgspec.structs.replace(settings, sealed=settings.digest())

    def lexes_as_standard(self) -> bool:
        """Whether the server reads texts as our parser does: UTF-8 and standard_conforming_strings
        on.
        """
        return self._standard

    def _reads_standard(self) -> bool:
        encoding = self.parameters.get("client_encoding", "UTF8").upper().replace("-", "")
        return encoding in _UTF8_LIKE and self.standard_strings()

    def standard_strings(self) -> bool:
        return self.parameters.get("standard_conforming_strings", "on") == "on"

    def reported(self, name: str, value: str) -> None:
        self.parameters[name] = value
        self._standard = self._reads_standard()

    def unsettle(self, in_transaction: bool) -> None:
        if in_transaction:
            self.touched_in_transaction = True
        if self.certain:
            self.certain = False
            self.current = self._build()

    def probed(self, values: list[str]) -> None:
        """Takes the answers of PROBE."""
        path, role, session_user = values
        self._search_path = split_search_path(path)
        self._role = session_user if role == "none" else role
        self.certain = True
        self.current = self._build()

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

    def transaction_ended(self) -> None:
        if self._shifting:
            self._shifting = frozenset()
            self.current = self._build()


_UTF8_LIKE = ("UTF8", "UNICODE", "SQL_ASCII")


def split_search_path(value: str) -> tuple[str, ...]:
    """As SplitIdentifierString does: quoted names kept, others folded to lower case, blanks
    dropped.
    """
    names: list[str] = []
    position = 0
    while position < len(value):
        if value[position] in " \t\n,":
            position += 1
        elif value[position] == '"':
            name, position = _quoted(value, position + 1)
            names.append(name)
        else:
            end = value.find(",", position)
            end = len(value) if end < 0 else end
            names.append(value[position:end].strip().lower())
            position = end
    return tuple(names)


def _quoted(value: str, position: int) -> tuple[str, int]:
    characters: list[str] = []
    while position < len(value):
        character = value[position]
        if character == '"':
            if value[position + 1 : position + 2] != '"':
                return "".join(characters), position + 1
            position += 1
        characters.append(character)
        position += 1
    return "".join(characters), position
