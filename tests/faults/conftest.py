"""The real Triton of the integration tests, for these too."""

from tests.triton import embedded_triton, triton

__all__ = ["embedded_triton", "triton"]
