"""The appliance's own RSA key, for which clients without TLS encrypt a password.

Made by `dataplane/worker` once per installation. Rule: whoever has it and a recorded login has the
password; it is kept like the other keys.
"""

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

BITS = 2_048


def new_private_key() -> bytes:
    """PEM (PKCS #8)."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
