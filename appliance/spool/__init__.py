"""The audit trail's writer, for every process that has something to record."""
