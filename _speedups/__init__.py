"""Byte loops, compiled. Imports nothing of ours; see setup.py for the flavours."""
