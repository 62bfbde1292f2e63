"""The audit trail's vocabulary and mathematics: records, their canonical lines, the hash chain,
signatures, proof, search.

Pure: `spool` writes the files, `cli/audit` reads them.
"""
