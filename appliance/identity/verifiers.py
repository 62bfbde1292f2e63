"""The users file: local principals and their SCRAM verifiers (never passwords).

Text in, `Directory` out, and back; reading and writing the file is the caller's work (`cli/user`,
`dataplane`). The file is YAML (or JSON):

    version: 1
    users:
      - name: alice
        kind: human
        groups: [analysts]
        verifier: SCRAM-SHA-256$4096:...
"""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
import yaml

from appliance.config.load import ConfigurationError, explained, read_yaml
from appliance.identity.names import acceptable_name
from appliance.identity.native import parse_native_digest
from appliance.identity.scram import DEFAULT_ITERATIONS, Verifier, mock_verifier
from appliance.model.principal import LOCAL, Principal, PrincipalKind


class User(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    name: str
    kind: PrincipalKind = PrincipalKind.HUMAN
    groups: tuple[str, ...] = ()
    on_behalf_of: str | None = None
    """The human an agent or service acts for, vouched for by whoever keeps this file."""
    verifier: str | None = None
    """PostgreSQL's text form; None = cannot log in by password (certificate or token only)."""
    native_digest: str | None = None
    """For listeners that take `native`: `*` and 40 hexadecimal digits, SHA1(SHA1(password)). Weak:
    whoever reads it can search for the password quickly."""
    disabled: bool = False

    def __post_init__(self) -> None:
        for name in (self.name, *self.groups, self.on_behalf_of or "-"):
            if not acceptable_name(name):
                raise ValueError("`.name`, groups and on_behalf_of: 1 to 256 printable characters")
        if self.verifier is not None:
            try:
                Verifier.parse(self.verifier)
            except ValueError as error:
                raise ValueError(
                    f"`.verifier` {error} | make it with `sallyport user add`"
                ) from None

        if self.native_digest is not None:
            try:
                parse_native_digest(self.native_digest)
            except ValueError as error:
                raise ValueError(
                    f"`.native_digest` {error} | make it with `sallyport user add --native`"
                ) from None

    def __repr__(self) -> str:
        return f"User({self.name!r})"

    def principal(self) -> Principal:
        return Principal(self.name, self.kind, self.groups, self.on_behalf_of, LOCAL)


class UsersDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    users: tuple[User, ...]
    version: Annotated[Literal[1], msgspec.Meta()] = 1


class Directory:
    """Local users by name. Immutable; a changed file makes a new one."""

    def __init__(self, users: Iterable[User] = ()) -> None:
        self.users = tuple(users)
        self._by_name = {user.name: user for user in self.users}
        if len(self._by_name) != len(self.users):
            raise ValueError("a user name is written twice")
        self._verifiers = {u.name: Verifier.parse(u.verifier) for u in self.users if u.verifier}
        counts = Counter(v.iterations for v in self._verifiers.values())
        self._iterations = counts.most_common(1)[0][0] if counts else DEFAULT_ITERATIONS

    def find(self, name: str) -> User | None:
        return self._by_name.get(name)

    def principal(self, name: str) -> Principal | None:
        """None for unknown and for disabled users."""
        user = self._by_name.get(name)
        return None if user is None or user.disabled else user.principal()

    def verifier_for(self, name: str, secret: bytes) -> tuple[Verifier, bool]:
        """(verifier, doomed) for `ScramServer`. A name that cannot log in gets one that looks like
        any other; `secret` keys the made-up salts and must be the same in all workers and across
        restarts."""
        found = self._verifiers.get(name)
        if found is None:
            return mock_verifier(name, secret, self._iterations), True
        return found, self._by_name[name].disabled

    def native_digest(self, name: str) -> bytes | None:
        """The digest for old clients, of a user that may log in."""
        user = self._by_name.get(name)
        if user is None or user.disabled or user.native_digest is None:
            return None
        return parse_native_digest(user.native_digest)

    def with_user(self, user: User) -> "Directory":
        """Replaces one of the same name."""
        return Directory([*(u for u in self.users if u.name != user.name), user])

    def without(self, name: str) -> "Directory":
        return Directory([u for u in self.users if u.name != name])


def parse_users(text: str, file: str = "") -> Directory:
    """Raises ConfigurationError with path and hint, never with a verifier in it."""
    tree = read_yaml(text, file)
    if tree is None:
        return Directory()
    try:
        document = msgspec.convert(tree, UsersDocument)
    except msgspec.ValidationError as error:
        raise explained(str(error), UsersDocument, file) from error
    try:
        return Directory(document.users)
    except ValueError as error:
        raise ConfigurationError(str(error), "$.users", file=file) from error


def render_users(directory: Directory) -> str:
    """YAML, sorted by name, that `parse_users` takes."""
    users = sorted(directory.users, key=lambda user: user.name)
    entries = [
        {"name": user.name, "kind": user.kind.value, **msgspec.to_builtins(user)} for user in users
    ]
    tree = {"version": 1, "users": entries}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=10_000)
