"""Reads the configuration and its policies, and lets nothing pass that a worker could not run.

Used by `control/supervisor` at the start and on SIGHUP.
Rule: what was validated is what travels: workers get these bytes, not the files.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from appliance.config.load import ConfigurationError, parse
from appliance.config.schema import Configuration, PolicyMode
from appliance.link.messages import Documents, PolicyDocument
from appliance.policy.compile import compile_documents

DOCUMENT_BYTES_MAX = 4 * 1024 * 1024
USERS_BYTES_MAX = 16 * 1024 * 1024

Check = Callable[[Configuration], None]
"""Raises ValueError for a configuration that cannot be run."""


class Validated(NamedTuple):
    """Documents that a worker can run, and what they mean."""

    documents: Documents
    configuration: Configuration
    policy_version: str
    """'' when there is no policy document: everything is denied."""
    tests: tuple[PolicyDocument, ...] = ()
    """Test cases of the policy, which the control process runs before it takes one."""


def read(path: Path, generation: int, checks: Sequence[Check] = ()) -> Validated:
    """Raises ValueError (ConfigurationError, PolicyError) with a text for the administrator."""
    path = path.resolve()
    text = _bytes_of(path)
    configuration = _parsed(text, str(path))
    policies = tuple(
        PolicyDocument(str(file), _bytes_of(file)) for file in configuration.policy.files
    )
    users = configuration.identities.users
    content = None
    if users is not None:
        try:
            content = _bytes_of(users, USERS_BYTES_MAX)
        except ValueError as error:
            raise ConfigurationError(str(error), "$.identities.users", file=str(path)) from None
    tests = tuple(PolicyDocument(str(f), _bytes_of(f)) for f in configuration.policy.tests)
    validated = validate(Documents(generation, text, str(path), policies, content), checks)
    return validated._replace(tests=tests)


def validate(documents: Documents, checks: Sequence[Check] = ()) -> Validated:
    """Of documents at hand (`sallyport try`, which has no file). Raises ValueError."""
    configuration = _parsed(documents.configuration, documents.configuration_path)
    for check in checks:
        check(configuration)
    version = ""
    if documents.policies:
        pairs = [(document.name, document.text) for document in documents.policies]
        observe = configuration.policy.mode is PolicyMode.OBSERVE
        snapshot = compile_documents(pairs, observe=observe)
        if missing := snapshot.token_keys - configuration.token_keys.keys():
            raise ConfigurationError(
                f"the policy's token masks need the key {sorted(missing)[0]!r}",
                "$.token_keys",
                hint="write it as NAME: file:/path, env:NAME or credential:NAME",
            )
        version = snapshot.version
    return Validated(documents, configuration, version)


def _parsed(text: bytes, path: str) -> Configuration:
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text") from error
    return parse(decoded, folder=Path(path).parent if path else None, file=path)


def _bytes_of(path: Path, bytes_max: int = DOCUMENT_BYTES_MAX) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(bytes_max + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > bytes_max:
        raise ValueError(f"{path}: is longer than {bytes_max // (1024 * 1024)} MiB")
    return content


def unchangeable(old: Configuration, new: Configuration) -> str:
    """What of `new` differs and takes a restart, for a person; '' when nothing does."""
    differs = [
        name
        for name, before, after in (
            ("listeners (names, addresses)", _places(old), _places(new)),
            ("data", old.data, new.data),
            ("workers", old.workers, new.workers),
            ("admin", old.admin, new.admin),
            ("control (where and how it runs)", _control(old), _control(new)),
        )
        if before != after
    ]
    return ", ".join(differs)


def _places(configuration: Configuration) -> list[tuple[str, str]]:
    return [(one.name, str(one.address)) for one in configuration.listeners]


def _control(configuration: Configuration) -> tuple[object, ...]:
    """What of the control process the rest of the service depends on."""
    control = configuration.control
    if control is None:
        return ()
    where = (control.run, control.listen, control.socket, control.node)
    return (*where, control.policy_hours_max)
