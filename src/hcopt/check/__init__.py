"""Comparisons: two runs, a configuration with its baseline, several servers with one."""
