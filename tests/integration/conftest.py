"""Fixtures that only the integration tests use."""

from tests.support.native_backend import native_library, native_triton
from tests.support.triton import embedded_triton, triton

__all__ = ["embedded_triton", "native_library", "native_triton", "triton"]
