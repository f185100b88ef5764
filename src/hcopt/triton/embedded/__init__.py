"""A Triton from PyPI alone, as a process of hcopt."""
