"""MySQL's and MariaDB's SQL: texts to trees, names to columns, statements over masked relations."""
