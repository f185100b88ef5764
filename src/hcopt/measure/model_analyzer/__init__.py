"""The profiler `model-analyzer`: NVIDIA Model Analyzer in brute mode."""
