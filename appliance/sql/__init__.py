"""Text to facts for PostgreSQL: `analysis.analyse` is the way in, `lineage` and `reader` know
the catalog. Pure."""
