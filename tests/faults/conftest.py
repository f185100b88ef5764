"""The real Triton of the integration tests, for these too."""

from tests.support.triton import embedded_triton, triton

__all__ = ["embedded_triton", "triton"]
