"""Takes secrets out of texts and out of the environment that other programs get. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

# A password may hold a slash: with a name and a colon before it all up to the @ is a login, unless a port stands there.
_USERINFO = re.compile(r"://(?:[^/\s@:]+:(?!\d+/)[^\s@]*(?:@[^\s@/]*)*@|[^/\s]*@)")
_SECRET_PARAMETER = re.compile(
    r"([?&][\w-]*(?:token|password|passwd|pwd|secret|signature|sig|credential|key|keyid)=)[^&\s\"']+", re.IGNORECASE
)
# What HTTP clients say of the headers that they sent.
_HEADER = re.compile(r"\b(Bearer\s+)[A-Za-z0-9._~+/=-]{8,}")
_AUTHORIZATION = re.compile(r"((?:authorization|x-amz-security-token)['\"]?\s*[:=]\s*['\"]?)[^'\"\n]+", re.IGNORECASE)
# Source: "Understanding unique ID prefixes" in the IAM user guide of AWS: long-term and temporary access keys.
_ACCESS_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
_SECRET_NAME = re.compile(
    r"^(AWS|MLFLOW|AZURE|GOOGLE)_|SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIAL|API_?KEY|PRIVATE_?KEY|_(KEY|AUTH|PWD)$",
    re.IGNORECASE,
)
# Settings of MLflow's and Amazon's clients have such names too; these alone are secrets.
_SECRET_VALUE_NAME = re.compile(r"SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|API_?KEY|PRIVATE_?KEY", re.IGNORECASE)
# Shorter ones stand in texts by chance.
_MIN_SECRET_LENGTH = 6


def without_credentials(text: str) -> str:
    """The text with what looks like a login, a token or an access key taken out of it."""
    text = _SECRET_PARAMETER.sub(r"\1…", _USERINFO.sub("://", text))
    text = _AUTHORIZATION.sub(r"\1…", _HEADER.sub(r"\1…", text))
    return _ACCESS_KEY_ID.sub("…", text)


def redacted(text: str, environment: Mapping[str, str]) -> str:
    """The same, and whatever the environment holds under a secret's name, in whatever form it stands there."""
    text = without_credentials(text)
    known = {value for name, value in environment.items() if _SECRET_VALUE_NAME.search(name)}
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_LENGTH:
            text = text.replace(secret, "…")
    return text


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a measured or measuring program inherits: nothing that MLflow and S3 are reached with, no password, and no
    login in the address of a proxy or anything else.
    """
    return {name: without_credentials(value) for name, value in environment.items() if not _SECRET_NAME.search(name)}
