# Nothing for Python: maskops cimports it.
