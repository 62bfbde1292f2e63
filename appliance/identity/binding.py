"""Channel-binding data `tls-server-end-point` (RFC 5929, 4): the hash of the certificate the TLS
server shows.

Called for our own certificate (towards clients) and for a database's (towards it).
"""

import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

WEAK = {"md5", "sha1"}  # replaced by SHA-256, says the RFC


def tls_server_end_point(certificate_der: bytes) -> bytes | None:
    """None when the signature has no hash of its own (Ed25519): there the RFC defines nothing, and
    PostgreSQL offers no
    -PLUS either. Raises ValueError for what is not a certificate."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in WEAK else algorithm.name
    if name not in hashlib.algorithms_available:
        return None
    return hashlib.new(name, certificate_der).digest()
