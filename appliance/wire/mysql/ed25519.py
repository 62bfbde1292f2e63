"""MariaDB's `client_ed25519`: an Ed25519 signature whose secret is the password itself.

Called by `upstream_login`. RFC 8032 derives the secret scalar from SHA512 of a 32-byte seed;
MariaDB takes SHA512 of the password, of any length, in its place, which no library's signing key
can be made of. So the arithmetic of RFC 8032, 5.1, stands here: a few milliseconds each, not in
constant time (it runs once per connection to a database, on our own secret, beside the event loop).
"""

import hashlib

SIGNATURE_BYTES = 64

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P

Point = tuple[int, int, int, int]
"""Extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z (RFC 8032, 5.1.4)."""

_BASE_Y = 4 * pow(5, -1, _P) % _P
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE: Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)
_NEUTRAL: Point = (0, 1, 1, 0)


def _added(p: Point, q: Point) -> Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(scalar: int) -> Point:
    """`scalar` times the base point."""
    total, doubled = _NEUTRAL, _BASE
    while scalar:
        if scalar & 1:
            total = _added(total, doubled)
        doubled = _added(doubled, doubled)
        scalar >>= 1
    return total


def _encoded(p: Point) -> bytes:
    inverse = pow(p[2], -1, _P)
    x, y = p[0] * inverse % _P, p[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _scalar(octets: bytes) -> int:
    return int.from_bytes(octets, "little")


def signature(password: bytes, message: bytes) -> bytes:
    """64 bytes; `message` is the server's nonce."""
    expanded = hashlib.sha512(password).digest()
    secret = _scalar(expanded[:32])
    secret &= (1 << 254) - 8
    secret |= 1 << 254
    public = _encoded(_times(secret))
    nonce = _scalar(hashlib.sha512(expanded[32:] + message).digest()) % _ORDER
    commitment = _encoded(_times(nonce))
    challenge = _scalar(hashlib.sha512(commitment + public + message).digest()) % _ORDER
    return commitment + ((nonce + challenge * secret) % _ORDER).to_bytes(32, "little")
