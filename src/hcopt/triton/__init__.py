"""Where Triton runs. A Runtime starts it, and nothing else does."""
