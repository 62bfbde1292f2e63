"""wire/postgres."""
