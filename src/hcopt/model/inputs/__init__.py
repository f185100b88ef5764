"""The rows that the load sends."""
