"""MySQL's and MariaDB's SQL: text to facts, the way `sql` does it for PostgreSQL's.

Reached through `analysis`, which the dialect of a MySQL target names. What the server would read is
decided by our own lexer (`_speedups.mylex`, `words`); sqlglot's parser sees its words, never the
text.
"""
