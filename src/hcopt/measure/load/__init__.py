"""perf_analyzer, a process a window: under a load kept up, or by arrival times."""
