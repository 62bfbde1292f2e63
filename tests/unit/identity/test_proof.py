"""What a client is asked for must never depend on whether the user exists."""

from pathlib import Path

import pytest

from appliance.config.schema import (
    Authentication,
    ClientCertificates,
    Listener,
    ListenerTls,
    OidcProvider,
)
from appliance.config.values import Address
from appliance.identity.proof import Challenge, challenge_for, proved, still_proved
from appliance.identity.verifiers import Directory, User
from appliance.model.errors import Refused
from appliance.model.principal import Principal

PROVIDERS = (
    OidcProvider(name="p", issuer="i", audience=("a",), jwks_file=Path("k"), login_names=("*@x",)),
)


def listener(*methods: Authentication) -> Listener:
    return Listener(
        name="l",
        address=Address(":1"),
        target="t",
        authentication=methods,
        tls=ListenerTls(
            certificate=Path("c"),
            key=Path("k"),
            client_ca=Path("a"),
            client_certificates=ClientCertificates.OPTIONAL,
        ),
    )


SCRAM, CERTIFICATE, OIDC = Authentication.SCRAM, Authentication.CERTIFICATE, Authentication.OIDC


@pytest.mark.parametrize(
    ("methods", "user", "tls", "certificate", "expected"),
    [
        ((SCRAM,), "a", False, False, Challenge.SCRAM),
        ((SCRAM,), "a@x", True, True, Challenge.SCRAM),
        ((SCRAM, OIDC), "a", True, False, Challenge.SCRAM),
        ((SCRAM, OIDC), "a@x", True, False, Challenge.TOKEN),
        ((SCRAM, OIDC), "a@x", False, False, Challenge.SCRAM),  # never a token in plaintext
        ((OIDC,), "a", True, False, Challenge.TOKEN),
        ((OIDC,), "a", False, False, None),
        ((CERTIFICATE,), "a", True, True, Challenge.CERTIFICATE),
        ((CERTIFICATE,), "a", True, False, None),
        ((CERTIFICATE, SCRAM), "a", True, False, Challenge.SCRAM),
    ],
)
def test_challenge(
    methods: tuple[Authentication, ...],
    user: str,
    tls: bool,
    certificate: bool,
    expected: Challenge | None,
) -> None:
    def ask() -> Challenge:
        return challenge_for(user, listener(*methods), PROVIDERS, tls=tls, certificate=certificate)

    if expected is None:
        with pytest.raises(Refused):
            ask()
    else:
        assert ask() is expected


def test_proved_name_is_the_login_name() -> None:
    users = Directory([User(name="gone", disabled=True)])
    assert proved("a", Principal("a"), users) == Principal("a")
    for user, principal in (("b", "a"), ("A", "a"), ("gone", "gone")):
        with pytest.raises(Refused):
            proved(user, Principal(principal), users)


@pytest.mark.parametrize(
    ("user", "local", "other"),
    [
        (None, False, True),  # gone from the file
        (User(name="u", groups=("a",)), True, True),
        (User(name="u", groups=("b",)), False, True),  # other groups: log in anew
        (User(name="u", groups=("a",), disabled=True), False, False),
    ],
)
def test_who_stays_when_the_users_file_changes(user: User | None, local: bool, other: bool) -> None:
    directory = Directory([] if user is None else [user])
    principal = User(name="u", groups=("a",)).principal()
    assert still_proved(principal, True, directory) is local
    assert still_proved(principal, False, directory) is other  # by token or certificate
