"""Names that Kubernetes takes, from a model's name or a node's label. Pure."""

from __future__ import annotations

import hashlib
import re

# 63 is the longest label; what is appended to it (-config, the ReplicaSet's and the pod's hash) has to fit too.
_MAX_LENGTH = 40
_HASH = 8


def dns_label(name: str, *, kind: str = "model") -> str:
    """A DNS label (RFC 1035) as names of Services have to be: lower case, digits and hyphens, a letter first.

    Names that have to be cut get a hash, so that two long names stay two.

    Args:
        name: Any text.
        kind: What it names; stands before a name that begins with no letter.
    """
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not label or not label[0].isalpha():
        label = f"{kind}-{label}".rstrip("-")
    if label == kind or len(label) > _MAX_LENGTH:
        digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
        label = f"{label[: _MAX_LENGTH - _HASH - 1].rstrip('-')}-{digest}"
    return label


def is_dns_label(name: str) -> bool:
    """Whether a name that somebody chose can stay as it is."""
    return re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name) is not None
