"""Variants that take turns of a fraction of a second, each under a perf_analyzer of its own."""
