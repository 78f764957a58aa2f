"""Measurements against peers. ``python -m benchmarks`` runs all of them; docs/benchmarks.md says what they mean."""
