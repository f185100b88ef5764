"""An image registry with one small image, for pulls that go over a network."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.serving import serving

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_SIZE = 3_000_000


@contextmanager
def registry() -> Iterator[str]:
    """Serves the image for as long as the context lasts; its name, without a tag (any will do)."""
    blobs, manifest = _image()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(send=True)

        def do_HEAD(self) -> None:
            self._answer(send=False)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, *, send: bool) -> None:
            kind, _, name = self.path.rpartition("/")
            body = manifest if kind.endswith("/manifests") else b"{}" if self.path == "/v2/" else blobs.get(name)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", _MANIFEST if kind.endswith("/manifests") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body or b"")))
            self.send_header("Docker-Content-Digest", _digest(body or b""))
            self.end_headers()
            if send and body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"127.0.0.1:{server.server_port}/hcopt/test"


def _image() -> tuple[Mapping[str, bytes], bytes]:
    """Config and layer by their digests, and the manifest."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo("noise")
        entry.size = _SIZE
        tar.addfile(entry, io.BytesIO(os.urandom(_SIZE)))
    packed = gzip.compress(layer.getvalue(), compresslevel=1)
    rootfs = {"type": "layers", "diff_ids": [_digest(layer.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _described("application/vnd.docker.container.image.v1+json", config),
        "layers": [_described("application/vnd.docker.image.rootfs.diff.tar.gzip", packed)],
    }
    return {_digest(config): config, _digest(packed): packed}, json.dumps(manifest).encode()


def _described(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(blob), "digest": _digest(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"
