"""hcopt: the Triton configuration with the most throughput within a latency limit, proven and handed over."""

__version__ = "0.1.0"
