"""The sans-IO session: one client, one upstream, every statement's life. Read `flow.py` first."""
