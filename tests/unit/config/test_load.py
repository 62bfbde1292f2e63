"""Reading configurations: what is accepted, and that every error says where, what and how to mend
it.
"""

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.config.load import ConfigurationError, load, parse
from appliance.config.schema import (
    Authentication,
    Configuration,
    ListenerTlsMode,
    PolicyMode,
    TargetTlsMode,
)
from appliance.config.values import CredentialSource
from appliance.model.principal import Target

EXAMPLE = Path(__file__).parents[3] / "config" / "sallyport.example.yaml"


def smallest() -> dict[str, Any]:
    return {
        "listeners": [
            {"name": "l", "address": ":6432", "target": "t", "tls": {"mode": "disable"}},
        ],
        "targets": [
            {
                "name": "t",
                "host": "db",
                "roles": [{"principals": ["*"], "user": "u", "credential": "env:PASSWORD"}],
            }
        ],
    }


def changed(path: str, value: Any) -> str:
    """The smallest configuration with one place set; `path` like `listeners.0.tls.mode`."""
    tree: Any = smallest()
    place = tree
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        place = place[step] if isinstance(step, int) else place.setdefault(step, {})
    place[last] = value
    return yaml.safe_dump(tree)


def failure(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    return caught.value


def test_smallest_and_its_defaults() -> None:
    configuration = parse(yaml.safe_dump(smallest()))
    assert configuration.targets[0].tls.mode is TargetTlsMode.VERIFY_FULL
    assert configuration.targets[0].port == 5432
    assert configuration.listeners[0].tls.mode is ListenerTlsMode.DISABLE
    assert configuration.listeners[0].authentication == (Authentication.SCRAM,)
    assert configuration.policy.mode is PolicyMode.ENFORCE
    assert configuration.policy.files == ()
    assert configuration.limits.sessions_max == 10_000
    assert pickle.loads(pickle.dumps(configuration)) == configuration


def test_example_is_valid_and_reaches_everything() -> None:
    configuration = load(EXAMPLE)
    listener = configuration.listener("analytics")
    assert listener is not None
    assert listener.target_for("shop") == "shop-production"
    assert listener.target_for("else") == "shop-staging"
    target = configuration.target("shop-production")
    assert target is not None
    assert target.as_target() == Target(
        name="shop-production",
        environment="production",
        labels=(("region", "eu"), ("team", "shop")),
    )
    assert target.allows_database("shop")
    assert not target.allows_database("postgres")
    assert configuration.target("shop-staging").allows_database("x")  # type: ignore[union-attr]
    assert configuration.policy.files == (EXAMPLE.parent / "policies" / "example.yaml",)


def test_unlisted_database_has_no_target() -> None:
    text = changed("listeners.0.targets", {"shop": "t"}).replace("  target: t\n", "")
    assert parse(text).listeners[0].target_for("other") is None


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    path = tmp_path / "sallyport.yaml"
    path.write_text(changed("targets.0.roles.0.credential", "file:secrets/u"))
    role = load(path).targets[0].roles[0]
    assert role.credential is not None
    assert role.credential.source is CredentialSource.FILE
    assert role.credential.name == str(tmp_path / "secrets" / "u")
    path.write_text(changed("policy", {"files": ["a.yaml", "/b.yaml"]}))
    assert load(path).policy.files == (tmp_path / "a.yaml", Path("/b.yaml"))


@pytest.mark.parametrize(
    ("path", "value", "where", "hint"),
    [
        ("targts", [], "$.targts", "`targets`"),
        ("targets.0.hots", "x", "$.targets[0].hots", "`host`"),
        ("targets.0.tls.mod", "x", "$.targets[0].tls.mod", "`mode`"),
        ("limits", {"session_max": 1}, "$.limits.session_max", "`sessions_max`"),
        ("targets.0.zzz", 1, "$.targets[0].zzz", "known here: announce"),
        ("targets.0.tls.mode", "verify", "$.targets[0].tls.mode", "verify-ca, verify-full"),
        ("durability", "ram", "$.durability", "one of os, disk"),
        ("listeners.0.protocol", "oracle", "$.listeners[0].protocol", "one of postgresql, mysql"),
        ("listeners.0.authentication", ["md5"], "$.listeners[0].authentication[0]", "scram"),
        ("listeners.0.authentication", "scram", "$.listeners[0].authentication", "a list"),
        ("listeners.0.address", "6432", "$.listeners[0].address", ""),
        ("listeners.0.address", "::1:6432", "$.listeners[0].address", ""),
        ("listeners.0.address", "h:70000", "$.listeners[0].address", ""),
        ("listeners.0.address", 6432, "$.listeners[0].address", ""),
        ("listeners.0.name", "a b", "$.listeners[0].name", "letters"),
        ("listeners.0.name", True, "$.listeners[0].name", "quotes"),
        ("listeners.0.target", None, "$.listeners[0].target", ""),
        ("listeners.0.tls.mode", "require", "$.listeners[0].tls.certificate", "mode: disable"),
        ("listeners.0.tls.client_certificates", "require", "$.listeners[0].tls", ""),
        ("listeners.0.authentication", ["oidc"], "$.listeners[0].authentication", ""),
        ("listeners.0.authentication", ["certificate"], "$.listeners[0].authentication", "tls."),
        ("targets.0.port", 0, "$.targets[0].port", ""),
        ("targets.0.port", "5432", "$.targets[0].port", ""),
        ("targets.0.host", "db:5432/x", "$.targets[0].host", ""),
        ("targets.0.roles", [], "$.targets[0].roles", ""),
        ("targets.0.roles.0.principals", [], "$.targets[0].roles[0].principals", "['*']"),
        ("targets.0.roles.0.credential", "hunter2", "$.targets[0].roles[0].credential", ""),
        ("targets.0.roles.0.credential", "env:A B", "$.targets[0].roles[0].credential", ""),
        ("targets.0.tls.key", "k.pem", "$.targets[0].tls.certificate", ""),
        ("token_keys", {"default": "plain"}, "$.token_keys[...]", ""),
        ("listeners", [], "$.listeners", ""),
        ("version", 2, "$.version", ""),
        ("control", {"run": "separate"}, "$.control.socket", ""),
        ("control", {"listen": "0.0.0.0:8480"}, "$.control.tls", ""),
        ("control", {"store": "mysql://h/d"}, "$.control.store", ""),
        ("control", {"store": "postgresql://u:p@h/d"}, "$.control.store", "store_password"),
        ("control", {"url": "http://console.example"}, "$.control.url", ""),
    ],
)
def test_errors_say_where_and_how(path: str, value: Any, where: str, hint: str) -> None:
    error = failure(changed(path, value))
    assert error.path.startswith(where)
    assert hint in error.hint
    assert error.path in str(error)


def test_a_secret_written_by_mistake_is_not_repeated() -> None:
    assert "hunter2" not in str(failure(changed("targets.0.roles.0.credential", "hunter2")))


def test_missing_key_is_named() -> None:
    tree = smallest()
    del tree["targets"][0]["host"]
    error = failure(yaml.safe_dump(tree))
    assert (error.path, error.message) == ("$.targets[0].host", "is missing")


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ({}, "jwks_file"),
        ({"jwks_file": "a", "jwks_url": "https://x/"}, "jwks_file"),
        ({"jwks_url": "http://idp.example.com/keys"}, "jwks_url"),
        ({"jwks_url": "http://localhost.evil.example/keys"}, "jwks_url"),
        ({"jwks_file": "a", "algorithms": ["HS256"]}, "algorithms"),
        ({"jwks_file": "a", "algorithms": ["none"]}, "algorithms"),
        ({"jwks_file": "a", "algorithms": []}, "algorithms"),
        ({"jwks_file": "a", "audience": []}, "audience"),
        ({"jwks_file": "a", "kind_claim": "k"}, "kind_claim"),
    ],
)
def test_oidc_mistakes(provider: dict[str, Any], field: str) -> None:
    entry = {"name": "p", "issuer": "https://i/", "audience": ["a"], **provider}
    assert failure(changed("identities.oidc", [entry])).path.startswith(
        f"$.identities.oidc[0].{field}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected keys"),
        ("- a", "expected keys"),
        ("a: [", "line 1"),
        ("\ta: 1", "line 1"),
        ("version: 1\nversion: 1", "written twice"),
        ("a: !!python/object:os.system {}", "constructor"),
        ("\0", "$"),
    ],
)
def test_not_yaml(text: str, words: str) -> None:
    assert words in str(failure(text))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load(tmp_path / "latin.yaml")


def test_configuration_cannot_be_changed() -> None:
    configuration: Configuration = parse(yaml.safe_dump(smallest()))
    with pytest.raises(AttributeError):
        configuration.workers = 3  # type: ignore[misc]
