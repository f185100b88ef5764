"""Fetches a model by its URI and prepares it for Triton: its configuration, and rows to send."""
