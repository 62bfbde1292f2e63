"""The protocol of MySQL and MariaDB (MySQL source documentation, "Client/Server Protocol"; MariaDB
knowledge base, "Clientserver protocol"), sans-IO: bytes in, values out, and back.

Rule: every parser uses a packet up to its last byte or says what is wrong with it.
"""
