"""Principal -> database user, and what the database is told."""

from pathlib import Path
from typing import Any

import pytest

from appliance.config.schema import Announce, Role, TargetConfig
from appliance.config.values import CredentialReference
from appliance.identity.mapping import announcement, application_name, upstream_identity
from appliance.model.errors import Refused
from appliance.model.principal import Principal, PrincipalKind

PASSWORD = CredentialReference("env:PASSWORD")
SESSION = "01JD0000000000000000000000"


def target(*roles: Role, **changes: Any) -> TargetConfig:
    return TargetConfig(name="shop", host="db", roles=roles, **changes)


def user_of(principal: Principal, at: TargetConfig, database: str = "shop") -> str | None:
    try:
        return upstream_identity(principal, at, database).user
    except Refused:
        return None


def test_first_that_fits() -> None:
    at = target(
        Role(groups=("dba",), user="admin"),
        Role(principals=("billing-*",), kinds=(PrincipalKind.SERVICE,), user="billing"),
        Role(groups=("team-?",), databases=("shop",), user="team"),
        Role(principals=("alice",), user="alice_ro", credential=PASSWORD),
    )
    assert user_of(Principal("x", groups=("a", "dba")), at) == "admin"
    assert user_of(Principal("billing-1", PrincipalKind.SERVICE), at) == "billing"
    assert user_of(Principal("billing-1", PrincipalKind.HUMAN), at) is None
    assert user_of(Principal("x", groups=("team-1",)), at) == "team"
    assert user_of(Principal("x", groups=("team-1",)), at, "other") is None
    assert user_of(Principal("x", groups=("team-12",)), at) is None
    assert user_of(Principal("Alice"), at) is None
    found = upstream_identity(Principal("alice"), at, "shop")
    assert (found.user, found.credential, found.role) == ("alice_ro", PASSWORD, 3)


def test_databases() -> None:
    at = target(Role(principals=("*",), user="u"), databases=("shop",))
    assert user_of(Principal("a"), at) == "u"
    assert user_of(Principal("a"), at, "") == "u"  # none at all, where a protocol lets one
    with pytest.raises(Refused) as caught:
        upstream_identity(Principal("a"), at, "postgres")
    assert caught.value.refusal.sqlstate == "3D000"


def test_nobody_mapped_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        upstream_identity(Principal("a"), target(Role(principals=("b",), user="u")), "shop")
    assert caught.value.refusal.sqlstate == "28000"


def test_certificate_of_the_role_before_the_targets() -> None:
    role = Role(principals=("a",), user="u", certificate=Path("r.crt"), key=Path("r.key"))
    assert upstream_identity(Principal("a"), target(role), "d").certificate == Path("r.crt")


def test_announcement() -> None:
    agent = Principal("copilot", PrincipalKind.AGENT, on_behalf_of="alice")
    assert announcement(agent, SESSION, "psql", Announce.BOTH) == {
        "sallyport.principal": "copilot",
        "sallyport.session": SESSION,
        "sallyport.on_behalf_of": "alice",
        "application_name": f"copilot/{SESSION} psql",
    }
    plain = announcement(Principal("bob"), SESSION, "psql", Announce.VARIABLE)
    assert plain["application_name"] == "psql"
    assert "application_name" not in announcement(Principal("b"), SESSION, "", Announce.VARIABLE)


@pytest.mark.parametrize("name", ["x" * 300, "é" * 40, "a/b c", "bob"])
@pytest.mark.parametrize("application", ["", "y" * 300, "\n/zoé'"])
def test_application_name_always_carries_the_session(name: str, application: str) -> None:
    made = application_name(Principal(name), SESSION, application)
    assert len(made.encode()) <= 63
    assert made.isascii()
    assert made.isprintable()
    shown, _, rest = made.partition("/")
    assert " " not in shown
    assert rest.startswith(SESSION)
