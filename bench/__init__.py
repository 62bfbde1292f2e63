"""What Sallyport costs: `python -m bench` (tables and JSON) and micro-benchmarks for pytest."""
