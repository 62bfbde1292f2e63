"""PostgreSQL frontend/backend protocol 3.0 and 3.2.

Source of every format: PostgreSQL documentation, chapter "Frontend/Backend Protocol", sections
"Message Flow" and "Message Formats". *Client* is who connects to us, *upstream* is the database we
connect to.
"""
