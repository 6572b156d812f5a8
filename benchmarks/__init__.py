"""Measurements side by side with other software: `python -m benchmarks.<name>`."""
