"""Benchmarks: each prints a table and writes `bench/results/NAME.json`. `python -m bench` runs them all."""
