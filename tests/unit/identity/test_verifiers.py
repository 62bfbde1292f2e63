"""The users file: text -> directory -> text, and what a stranger can learn from it."""

import pytest

from appliance.config.load import ConfigurationError
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, parse_users, render_users
from appliance.model.principal import LOCAL, Principal, PrincipalKind

SECRET = b"mock secret"
STRONGER = make_verifier("pw", b"0123456789abcdef", 8192).render()
VERIFIER = make_verifier("pw", b"0123456789abcdef").render()


def directory() -> Directory:
    return Directory(
        [
            User(name="bob", groups=("dba",), verifier=VERIFIER),
            User(name="copilot", kind=PrincipalKind.AGENT, on_behalf_of="alice", verifier=VERIFIER),
            User(name="gone", verifier=VERIFIER, disabled=True),
            User(name="certified"),
        ]
    )


def test_there_and_back() -> None:
    text = render_users(directory())
    assert parse_users(text).users == tuple(sorted(directory().users, key=lambda u: u.name))
    assert render_users(parse_users(text)) == text


def test_json_is_yaml_too() -> None:
    assert parse_users('{"users": [{"name": "a", "groups": ["x"]}]}').find("a") is not None


def test_principals() -> None:
    users = directory()
    assert users.principal("copilot") == Principal(
        "copilot", PrincipalKind.AGENT, (), "alice", LOCAL
    )
    assert users.principal("bob") == Principal("bob", PrincipalKind.HUMAN, ("dba",), source=LOCAL)
    assert users.principal("gone") is None
    assert users.principal("nobody") is None


def test_only_active_users_with_a_verifier_can_pass() -> None:
    users = directory()
    assert users.verifier_for("bob", SECRET)[1] is False
    for name in ("gone", "nobody", "certified"):
        assert users.verifier_for(name, SECRET)[1] is True


def test_strangers_look_like_users() -> None:
    users = Directory([User(name="bob", verifier=STRONGER)])
    real, mock = users.verifier_for("bob", SECRET)[0], users.verifier_for("eve", SECRET)[0]
    assert (mock.iterations, len(mock.salt)) == (real.iterations, len(real.salt))
    assert users.verifier_for("eve", SECRET)[0] == mock


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("users: [{name: a}, {name: a}]", "$.users"),
        ("users: [{nme: a}]", "$.users[0].n"),
        ("users: [{name: ''}]", "$.users[0].name"),
        ("users: [{name: ' a'}]", "$.users[0].name"),
        ('users: [{name: "a\\nb"}]', "$.users[0].name"),
        ("users: [{name: a, groups: ['']}]", "$.users[0].name"),
        ("users: [{name: a, kind: robot}]", "$.users[0].kind"),
        ("users: [{name: a, verifier: hunter2}]", "$.users[0].verifier"),
        ("users: [{name: a, password: hunter2}]", "$.users[0].password"),
        ("version: 2\nusers: []", "$.version"),
        ("[]", "$"),
    ],
)
def test_mistakes(text: str, path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_users(text)
    assert caught.value.path.startswith(path)
    assert "hunter2" not in str(caught.value)


def test_empty_file_is_an_empty_directory() -> None:
    assert parse_users("").users == ()


def test_changes_make_new_directories() -> None:
    users = directory()
    assert users.with_user(User(name="new")).find("new") is not None
    assert len(users.with_user(User(name="bob")).users) == 4
    assert users.without("bob").find("bob") is None
    assert users.find("bob") is not None


def test_repr_shows_no_verifier() -> None:
    assert VERIFIER not in repr(directory().users)
