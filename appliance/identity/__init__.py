"""Who somebody is and what they may log in as: proofs, claims, certificates, mapping to a database
user. Pure.

Called by `session` and `dataplane`; nonces, keys, texts and the time are given, nothing is read or
logged here.
"""
