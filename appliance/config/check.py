"""What a valid configuration file can still get wrong: references, files, key pairs, addresses,
other documents.

Called by `sallyport check-config`, and by control and workers before a reload. Looks at files,
never at the network. What lies in other packages (policy, users, key sets, credentials) is checked
by callables given in `Checkers`, so that this module needs to import none of them.
"""

import datetime
import enum
import os
import ssl
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from cryptography import x509

from appliance.config.control import Control
from appliance.config.schema import (
    Authentication,
    Configuration,
    Listener,
    ListenerTlsMode,
    PolicyMode,
    Pooling,
    PoolingMode,
    TargetConfig,
    TargetTlsMode,
)
from appliance.config.values import CredentialReference, CredentialSource

DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
EXPIRY_WARNING = datetime.timedelta(days=14)
POOLED_SECONDS_WARNING = 3600
LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}


class Severity(enum.Enum):
    ERROR = "error"  # it would not start, or not work
    WARNING = "warning"  # it works; somebody should look


class Finding(msgspec.Struct, frozen=True):
    severity: Severity
    path: str
    """Like `$.listeners[0].tls.key`."""
    message: str
    hint: str = ""


class Checkers(msgspec.Struct, frozen=True):
    """Each raises ValueError with a text for the administrator; None = not checked."""

    compile_policy: Callable[[Sequence[tuple[str, bytes]]], object] | None = None
    parse_users: Callable[[str, str], object] | None = None
    """(text, file name)"""
    parse_key_set: Callable[[bytes], object] | None = None
    resolve_credential: Callable[[CredentialReference], object] | None = None


def check(
    configuration: Configuration, checkers: Checkers, now: datetime.datetime
) -> list[Finding]:
    """Everything found, in the order of the file. `now` is aware (UTC)."""
    return [
        *check_names(configuration),
        *check_data_folder(configuration.data),
        *(
            finding
            for index, listener in enumerate(configuration.listeners)
            for finding in check_listener(listener, f"$.listeners[{index}]", configuration, now)
        ),
        *(
            finding
            for index, target in enumerate(configuration.targets)
            for finding in check_target(target, f"$.targets[{index}]", checkers, now)
        ),
        *check_identities(configuration, checkers),
        *check_policy(configuration, checkers),
        *check_control(configuration.control, checkers, now),
        *(
            finding
            for name, reference in configuration.token_keys.items()
            for finding in check_credential(reference, f"$.token_keys.{name}", checkers)
        ),
    ]


def check_names(configuration: Configuration) -> Iterator[Finding]:
    yield from duplicates("$.listeners", "name", (one.name for one in configuration.listeners))
    yield from duplicates(
        "$.listeners",
        "address",
        (str(one.address) if one.address.port else None for one in configuration.listeners),
    )
    yield from duplicates("$.targets", "name", (one.name for one in configuration.targets))
    providers = configuration.identities.oidc
    yield from duplicates("$.identities.oidc", "name", (one.name for one in providers))
    yield from duplicates("$.identities.oidc", "issuer", (one.issuer for one in providers))
    used = {
        name
        for one in configuration.listeners
        for name in (*one.targets.values(), *([one.target] if one.target else []))
    }
    yield from check_admin_database(configuration)
    for index, target in enumerate(configuration.targets):
        if target.name not in used:
            yield warning(f"$.targets[{index}]", "no listener leads to this target")


def check_admin_database(configuration: Configuration) -> Iterator[Finding]:
    admin = configuration.admin_database
    if admin is None:
        return
    for index, target in enumerate(configuration.targets):
        if target.databases != "*" and admin.name in target.databases:
            yield error(
                "$.admin_database.name",
                f"a database of that name is offered by $.targets[{index}]",
                "choose another name",
            )
    for index, listener in enumerate(configuration.listeners):
        if admin.name in listener.targets:
            yield error(
                f"$.listeners[{index}].targets.{admin.name}", "is the name of the admin database"
            )


def duplicates(path: str, field: str, values: Iterable[str | None]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value is not None and value in seen:
            yield error(f"{path}[{index}].{field}", f"{value} is used twice", "make it unique")
        seen.add(value or "")


def check_data_folder(folder: Path) -> Iterator[Finding]:
    if folder.is_dir():
        if not os.access(folder, os.W_OK | os.X_OK):
            yield error("$.data", "the folder is not writable for this user")
    elif folder.exists():
        yield error("$.data", "is not a folder")
    elif not folder.parent.is_dir():
        yield error("$.data", "the folder does not exist, and neither does the one it is in")


def check_listener(
    listener: Listener, path: str, configuration: Configuration, now: datetime.datetime
) -> Iterator[Finding]:
    names = {target.name for target in configuration.targets}
    wanted = [(f"{path}.target", listener.target)] if listener.target else []
    wanted += [(f"{path}.targets.{database}", name) for database, name in listener.targets.items()]
    for where, name in wanted:
        if name not in names:
            yield error(where, f"there is no target {name}", "known: " + ", ".join(sorted(names)))
    identities, accepted = configuration.identities, listener.authentication
    needed = (
        (Authentication.SCRAM, identities.users, "users", "a users file"),
        (Authentication.OIDC, identities.oidc, "oidc", "a token issuer"),
        (Authentication.CERTIFICATE, identities.certificates, "certificates", "a mapping rule"),
    )
    for method, present, field, what in needed:
        if method in accepted and not present:
            yield error(
                f"$.identities.{field}", f"listener {listener.name} needs {what} ({method.value})"
            )
    tls = listener.tls
    if tls.mode is ListenerTlsMode.DISABLE and listener.address.host not in LOOPBACK_HOSTS:
        yield warning(f"{path}.tls.mode", "statements and results cross the network in plaintext")
    if tls.certificate is not None and tls.key is not None:
        yield from check_pair(tls.certificate, tls.key, f"{path}.tls", now)
    if tls.client_ca is not None:
        yield from check_authorities(tls.client_ca, f"{path}.tls.client_ca")


def check_target(
    target: TargetConfig, path: str, checkers: Checkers, now: datetime.datetime
) -> Iterator[Finding]:
    if target.tls.mode not in {TargetTlsMode.VERIFY_CA, TargetTlsMode.VERIFY_FULL} and (
        target.host not in LOOPBACK_HOSTS
    ):
        yield warning(
            f"{path}.tls.mode",
            f"{target.tls.mode.value} does not check that it is the right database",
            "use verify-full",
        )
    if target.tls.ca is not None:
        yield from check_authorities(target.tls.ca, f"{path}.tls.ca")
    if target.tls.certificate is not None and target.tls.key is not None:
        yield from check_pair(target.tls.certificate, target.tls.key, f"{path}.tls", now)
    if target.catalog is not None and target.catalog.credential is not None:
        yield from check_credential(
            target.catalog.credential, f"{path}.catalog.credential", checkers
        )
    yield from check_pooling(target.pooling, f"{path}.pooling")
    if target.pooling.mode is PoolingMode.TRANSACTION and target.dialect != "postgresql":
        yield error(f"{path}.pooling.mode", "transaction is for targets that speak postgresql")
    for index, role in enumerate(target.roles):
        where = f"{path}.roles[{index}]"
        if role.credential is not None:
            yield from check_credential(role.credential, f"{where}.credential", checkers)
        elif role.certificate is None and target.tls.certificate is None:
            yield warning(
                where, "neither credential nor certificate: works only without a password"
            )
        if role.certificate is not None and role.key is not None:
            yield from check_pair(role.certificate, role.key, where, now)


def check_pooling(pooling: Pooling, path: str) -> Iterator[Finding]:
    if pooling.mode is PoolingMode.NONE:
        if pooling.spare:
            yield error(f"{path}.spare", "connections are opened in advance only in mode session")
        return
    if pooling.idle_s_max > pooling.lifetime_s_max:
        yield warning(f"{path}.idle_s_max", "is longer than any connection lives")
    if pooling.lifetime_s_max > POOLED_SECONDS_WARNING:
        yield warning(
            f"{path}.lifetime_s_max", "a password changed in the database works on for so long"
        )


def check_identities(configuration: Configuration, checkers: Checkers) -> Iterator[Finding]:
    identities = configuration.identities
    if identities.users is not None:
        path = "$.identities.users"
        yield from check_private(identities.users, path)
        text = yield from read(identities.users, path)
        if text is not None and checkers.parse_users is not None:
            try:
                checkers.parse_users(text.decode(), identities.users.name)
            except ValueError as problem:
                yield error(path, str(problem))
    for index, provider in enumerate(identities.oidc):
        path = f"$.identities.oidc[{index}]"
        if provider.jwks_ca is not None:
            yield from check_authorities(provider.jwks_ca, f"{path}.jwks_ca")
        if provider.jwks_file is None:
            continue
        text = yield from read(provider.jwks_file, f"{path}.jwks_file")
        if text is not None and checkers.parse_key_set is not None:
            try:
                checkers.parse_key_set(text)
            except ValueError as problem:
                yield error(f"{path}.jwks_file", str(problem))


def check_policy(configuration: Configuration, checkers: Checkers) -> Iterator[Finding]:
    policy = configuration.policy
    if not policy.files:
        yield warning("$.policy.files", "no policy: every statement is refused")
        return
    if policy.mode is PolicyMode.OBSERVE:
        yield warning("$.policy.mode", "observe: policy refuses and masks nothing")
    documents: list[tuple[str, bytes]] = []
    for index, file in enumerate(policy.files):
        text = yield from read(file, f"$.policy.files[{index}]")
        if text is not None:
            documents.append((str(file), text))
    if len(documents) == len(policy.files) and checkers.compile_policy is not None:
        try:
            checkers.compile_policy(documents)
        except ValueError as problem:
            yield error("$.policy.files", str(problem))


def check_control(
    control: Control | None, checkers: Checkers, now: datetime.datetime
) -> Iterator[Finding]:
    if control is None:
        return
    if control.tls is not None:
        yield from check_pair(control.tls.certificate, control.tls.key, "$.control.tls", now)
    if control.store_ca is not None:
        yield from check_authorities(control.store_ca, "$.control.store_ca")
    if not control.roles.approver:
        yield warning("$.control.roles.approver", "names no group", "nobody can approve anything")
    for path, reference in control_secrets(control):
        yield from check_credential(reference, f"$.control.{path}", checkers)


def control_secrets(control: Control) -> Iterator[tuple[str, CredentialReference]]:
    """(path below `control`, reference) of every secret that the control process uses."""
    notify = control.notify
    found: list[tuple[str, CredentialReference | None]] = [
        ("store_password", control.store_password)
    ]
    for index, provider in enumerate(control.sign_in.oidc):
        found.append((f"sign_in.oidc[{index}].client_secret", provider.client_secret))
    for index, hook in enumerate(notify.webhooks):
        found.append((f"notify.webhooks[{index}].secret", hook.secret))
    if notify.slack is not None:
        found.append(("notify.slack.token", notify.slack.token))
        found.append(("notify.slack.signing_secret", notify.slack.signing_secret))
    if notify.mail is not None:
        found.append(("notify.mail.password", notify.mail.password))
    for path, reference in found:
        if reference is not None:
            yield path, reference


def check_credential(
    reference: CredentialReference, path: str, checkers: Checkers
) -> Iterator[Finding]:
    if reference.source is CredentialSource.FILE:
        yield from check_private(Path(reference.name), path)
    if checkers.resolve_credential is None:
        return
    try:
        checkers.resolve_credential(reference)
    except ValueError as problem:
        if reference.source is CredentialSource.FILE:
            yield error(path, str(problem))
        else:  # this shell's environment need not be the service's
            yield warning(path, str(problem), "as seen from here; the service may have it")


def check_pair(
    certificate: Path, key: Path, path: str, now: datetime.datetime
) -> Iterator[Finding]:
    """Certificate and key are readable, belong together, and are not out of date."""
    chain = yield from read(certificate, f"{path}.certificate")
    content = yield from read(key, f"{path}.key")
    if chain is None or content is None:
        return
    yield from check_private(key, f"{path}.key")
    if b"ENCRYPTED" in content:
        yield error(f"{path}.key", "the key is encrypted", "keep it unencrypted, mode 600")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except (ssl.SSLError, ValueError):
        yield error(f"{path}.certificate", "is no PEM certificate that belongs to `key`")
        return
    if leaf.not_valid_after_utc <= now or leaf.not_valid_before_utc > now:
        yield error(f"{path}.certificate", "is out of date, or not valid yet")
    elif leaf.not_valid_after_utc - now < EXPIRY_WARNING:
        yield warning(f"{path}.certificate", f"ends on {leaf.not_valid_after_utc:%Y-%m-%d}")


def check_authorities(file: Path, path: str) -> Iterator[Finding]:
    content = yield from read(file, path)
    if content is None:
        return
    try:
        x509.load_pem_x509_certificates(content)
    except ValueError:
        yield error(path, "holds no PEM certificate")


def check_private(file: Path, path: str) -> Iterator[Finding]:
    try:
        mode = file.stat().st_mode
    except OSError:
        return  # said by whoever reads it
    if mode & 0o077:
        yield warning(path, "others than its owner may read or change this file", "chmod 600")


def read(file: Path, path: str) -> Generator[Finding, None, bytes | None]:
    """`content = yield from read(...)`; None after a finding."""
    try:
        with file.open("rb") as stream:
            content = stream.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as problem:
        yield error(path, f"{file} cannot be read: {problem.strerror}")
        return None
    if len(content) > DOCUMENT_BYTES_MAX:
        yield error(path, f"{file} is longer than 16 MiB")
        return None
    return content


def error(path: str, message: str, hint: str = "") -> Finding:
    return Finding(Severity.ERROR, path, message, hint)


def warning(path: str, message: str, hint: str = "") -> Finding:
    return Finding(Severity.WARNING, path, message, hint)
