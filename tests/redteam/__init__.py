"""`make redteam`: the corpora of tests/corpus/postgres against Sallyport as a real service."""
