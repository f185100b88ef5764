"""NVIDIA's containers."""
