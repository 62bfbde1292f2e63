"""TLS towards clients: one pair of contexts per listener, made when the configuration is read.

Called by `listener` and `login`. Rule: TLS 1.2 is the oldest version; direct TLS (without
SSLRequest) needs the ALPN name `postgresql` (PostgreSQL documentation, "SSL Session Encryption"),
so that no other protocol's client can be tricked into talking to us.
"""

import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.config.schema import ClientCertificates, ListenerTls, ListenerTlsMode
from appliance.identity.binding import tls_server_end_point

ALPN = "postgresql"


class ListenerContexts:
    """`context` is None when the listener speaks no TLS. `binding` is what SCRAM-SHA-256-PLUS binds
    to.
    """

    def __init__(self, tls: ListenerTls) -> None:
        """Raises OSError or ssl.SSLError (an OSError) for files that cannot be used."""
        self.required = tls.mode is ListenerTlsMode.REQUIRE
        self.context: ssl.SSLContext | None = None
        self.binding: bytes | None = None
        if tls.mode is ListenerTlsMode.DISABLE or tls.certificate is None:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        # Nobody resumes a session (PostgreSQL's server does not offer it either): no tickets.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.load_cert_chain(str(tls.certificate), str(tls.key))
        context.set_alpn_protocols([ALPN])
        if tls.client_ca is not None:
            context.load_verify_locations(str(tls.client_ca))
            required = tls.client_certificates is ClientCertificates.REQUIRE
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        self.context = context
        leaf = x509.load_pem_x509_certificates(Path(tls.certificate).read_bytes())[0]
        self.binding = tls_server_end_point(leaf.public_bytes(Encoding.DER))
