"""Small servers of the tests, which answer on a thread of their own."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Each end of a server waits for its next look.
_LOOKS_EVERY_S = 0.01


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Answers for as long as the context lasts; the server is closed then."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(_LOOKS_EVERY_S,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
