"""The vocabulary every other package speaks: frozen structs and enums, no behaviour beyond lookups,
no I/O.
"""
