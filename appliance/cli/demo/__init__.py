"""`sallyport demo`: an embedded PostgreSQL, a sample database, Sallyport in front, a guided tour.

The launcher (`postgres`) and the sample database (`shop`) are also what tests and benchmarks start.
"""
