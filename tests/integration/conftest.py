"""Fixtures that only the integration tests use."""

from tests.support.triton import embedded_triton, triton

__all__ = ["embedded_triton", "triton"]
