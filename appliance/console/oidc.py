"""Signing in at an identity provider: authorization code with PKCE (OpenID Connect Core 3.1, RFC
7636), and tokens of the same providers as proof for programs.

Used by `api/oidc` and `authn`. Rules: a sign-in under way is known by its state, once, and only to
the browser that began it; the ID token is checked as strictly as a token that opens a database
session (`identity/claims`), for our client id and our nonce; nothing of a provider's answer is
shown.
"""

import hashlib
import os
import ssl
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

import httpx
import msgspec

from appliance.config.control import ConsoleOidc
from appliance.config.credentials import resolve
from appliance.config.schema import OidcProvider
from appliance.config.section import trustworthy
from appliance.console.credentials import Entropy, digest, new_secret, same, unpadded
from appliance.console.people import Identity, identity_of
from appliance.console.shelf import Item, Shelf, written
from appliance.console.standing import Current, Standing, public_url
from appliance.dataplane.jwks import KeySource
from appliance.identity import claims
from appliance.identity.failures import login_refused
from appliance.model.errors import Refused
from appliance.model.principal import Principal
from appliance.telemetry.log import Log

KIND = "oidc"
LIFETIME = 600.0
ANSWER_BYTES_MAX = 1024 * 1024
SECONDS_MAX = 10.0
METADATA_SECONDS = 3_600.0

log = Log("oidc")


class ProviderFailed(Exception):
    """The provider could not be asked, or answered something that cannot be used."""


class Metadata(msgspec.Struct, frozen=True):
    """Of OpenID Connect Discovery 1.0, 3, what is needed."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    authorization_response_iss_parameter_supported: bool = False
    """RFC 9207."""


class TokenAnswer(msgspec.Struct, frozen=True):
    id_token: str


class Attempt(msgspec.Struct, frozen=True):
    """A sign-in under way, as stored."""

    provider: str
    nonce: str
    verifier: str
    """RFC 7636, 4.1."""
    next: str
    browser: str
    """Digest of the cookie that the browser got."""


class Begun(NamedTuple):
    url: str
    """Where the browser is sent."""
    browser: str
    """Cookie that ties the answer to this browser."""


class Providers:
    """All configured ones."""

    def __init__(
        self, shelf: Shelf, current: Current, now: Callable[[], float], entropy: Entropy
    ) -> None:
        self._shelf = shelf
        self._current = current
        self._now = now
        self._entropy = entropy
        self._metadata: dict[str, tuple[float, Metadata]] = {}
        self._keys: dict[str, KeySource] = {}

    async def close(self) -> None:
        for source in self._keys.values():
            await source.close()

    async def begin(self, name: str, next: str) -> Begun:
        """Raises KeyError for a name that is not configured, ProviderFailed."""
        console, _ = _named(self._current(), name)
        metadata = await self._read(console)
        state, nonce, verifier, browser = (new_secret(self._entropy) for _ in range(4))
        attempt = Attempt(name, nonce, verifier, next, digest(browser))
        expires = self._now() + LIFETIME
        await self._shelf.put(Item(KIND, digest(state), "", written(attempt), expires))
        asked = {
            "response_type": "code",
            "client_id": console.client_id,
            "redirect_uri": self._redirect(name),
            "scope": " ".join(console.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": unpadded(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in metadata.authorization_endpoint else "?"
        return Begun(f"{metadata.authorization_endpoint}{joint}{urlencode(asked)}", browser)

    async def finish(
        self, name: str, state: str, code: str, issuer: str, browser: str
    ) -> tuple[Identity, str]:
        """Who came back, and where they wanted to go. Raises Refused, ProviderFailed, KeyError."""
        item = await self._shelf.take(KIND, digest(state))
        if item is None or self._now() >= item.expires:
            raise login_refused("identity.oidc.state")
        attempt = msgspec.json.decode(item.body, type=Attempt)
        if attempt.provider != name or not same(attempt.browser, digest(browser)):
            raise login_refused("identity.oidc.state")
        console, provider = _named(self._current(), name)
        metadata = await self._read(console)
        if (issuer or metadata.authorization_response_iss_parameter_supported) and (
            issuer != provider.issuer
        ):
            raise login_refused("identity.oidc.issuer")  # RFC 9207: a mix-up
        token = await self._exchange(console, metadata, code, attempt.verifier)
        principal = await self._check(token, console, provider, attempt.nonce)
        return identity_of(principal, provider.name), attempt.next

    async def _check(
        self, token: str, console: ConsoleOidc, provider: OidcProvider, nonce: str
    ) -> Principal:
        """OpenID Connect Core, 3.1.3.7. Raises Refused."""
        peeked = claims.peek(token)
        for_us = msgspec.structs.replace(provider, audience=(console.client_id,))
        claims.provider_of(peeked, (for_us,))
        keys = await self._source(provider).find(peeked.kid, peeked.algorithm)
        verified = claims.verify(token, for_us, keys, self._now())
        payload = claims.json_part(token.split(".")[1])  # the bytes whose signature was checked
        said, authorised = payload.get("nonce"), payload.get("azp")
        if not isinstance(said, str) or not same(said, nonce):
            raise login_refused("identity.oidc.nonce")
        if authorised is not None and authorised != console.client_id:
            raise login_refused("identity.oidc.azp")
        if isinstance(payload.get("aud"), list) and len(payload["aud"]) > 1 and authorised is None:
            raise login_refused("identity.oidc.azp")
        return verified.principal

    async def verified(self, token: str, now: float) -> tuple[Principal, str]:
        """Of a token that a program sends instead of an API token: (who, the provider's name).
        Raises Refused."""
        peeked = claims.peek(token)
        providers = self._current().configuration.identities.oidc
        provider = claims.provider_of(peeked, providers)
        keys = await self._source(provider).find(peeked.kid, peeked.algorithm)
        return claims.verify(token, provider, keys, now).principal, provider.name

    def _source(self, provider: OidcProvider) -> KeySource:
        source = self._keys.get(provider.name)
        if source is None or source.provider != provider:  # or it was changed by a reload
            source = self._keys[provider.name] = KeySource(provider, warn=_warn)
        return source

    def _redirect(self, name: str) -> str:
        return f"{public_url(self._current().control)}/sign-in/oidc/{name}/callback"

    async def _read(self, console: ConsoleOidc) -> Metadata:
        """The provider's configuration, at most an hour old. Raises ProviderFailed."""
        read, kept = self._metadata.get(console.discovery_url, (0.0, None))
        if kept is not None and self._now() - read < METADATA_SECONDS:
            return kept
        content = await self._ask(console, "GET", console.discovery_url)
        try:
            metadata = msgspec.json.decode(content, type=Metadata)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ProviderFailed("its configuration cannot be read") from None
        if metadata.issuer != console.issuer:
            raise ProviderFailed("its configuration is another issuer's")
        if not (
            trustworthy(metadata.authorization_endpoint) and trustworthy(metadata.token_endpoint)
        ):
            raise ProviderFailed("an endpoint of it is not https")
        self._metadata[console.discovery_url] = (self._now(), metadata)
        return metadata

    async def _exchange(
        self, console: ConsoleOidc, metadata: Metadata, code: str, verifier: str
    ) -> str:
        """The ID token. Raises ProviderFailed."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect(console.name),
            "client_id": console.client_id,
            "code_verifier": verifier,
        }
        login = None
        if console.client_secret is not None:
            try:
                secret = resolve(console.client_secret, os.environ, _warn).reveal().decode()
            except ValueError as error:
                raise ProviderFailed("its client secret cannot be read") from error
            # RFC 6749, 2.3.1: both are encoded as in a form first.
            login = httpx.BasicAuth(quote_plus(console.client_id), quote_plus(secret))
        content = await self._ask(console, "POST", metadata.token_endpoint, fields, login)
        try:
            return msgspec.json.decode(content, type=TokenAnswer).id_token
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ProviderFailed("its answer holds no ID token") from None

    async def _ask(
        self,
        console: ConsoleOidc,
        method: str,
        url: str,
        fields: dict[str, str] | None = None,
        login: httpx.BasicAuth | None = None,
    ) -> bytes:
        """Without redirects, proxies or cookies; bounded. Raises ProviderFailed."""
        _, provider = _named(self._current(), console.name)
        authorities = None if provider.jwks_ca is None else str(provider.jwks_ca)
        try:
            context = ssl.create_default_context(cafile=authorities)
            async with (
                httpx.AsyncClient(
                    verify=context, timeout=SECONDS_MAX, follow_redirects=False, trust_env=False
                ) as client,
                client.stream(
                    method,
                    url,
                    data=fields,
                    auth=login,
                    headers={"Accept": "application/json"},
                ) as answer,
            ):
                if answer.status_code != 200:
                    raise ProviderFailed(f"it answered {answer.status_code}")
                content = b""
                async for piece in answer.aiter_bytes():
                    content += piece
                    if len(content) > ANSWER_BYTES_MAX:
                        raise ProviderFailed("its answer is too long")
                return content
        except (httpx.HTTPError, OSError) as error:
            raise ProviderFailed(f"it cannot be reached ({type(error).__name__})") from None


def _named(standing: Standing, name: str) -> tuple[ConsoleOidc, OidcProvider]:
    """Raises KeyError."""
    for console in standing.control.sign_in.oidc:
        if console.name == name:
            for provider in standing.configuration.identities.oidc:
                if provider.issuer == console.issuer:
                    return console, provider
    raise KeyError(name)


def _warn(text: str) -> None:
    log.warning("issuer_failed", reason=text)


def refused_because(error: Refused) -> str:
    """The code for the audit trail."""
    return error.refusal.rule
