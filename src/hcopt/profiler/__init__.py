"""Who measures: Model Analyzer for the sweep, a perf_analyzer driver of ours for everything else."""
