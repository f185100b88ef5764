""".env in the working folder: logins of MLflow and S3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hcopt.errors import ConfigError

ENV_FILE = Path(".env")
# What MLflow's and Amazon's clients look for; the rest of .env is for Docker Compose.
_SERVICE_VARIABLES = ("AWS_", "MLFLOW_")
# Parts of one login: those of .env are never mixed with those of the environment.
_LOGINS = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
)


def read_dotenv(file: Path) -> dict[str, str]:
    """The variables of a .env file, as Docker Compose reads it; empty where there is none."""
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    if not file.is_file():
        return {}
    try:
        with file.open(encoding="utf-8-sig") as stream:
            faults = [binding.original.line for binding in parse_stream(stream) if binding.error]
        values = dotenv_values(file, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}", remedy="Correct the file, or remove it.") from error
    if faults:
        # Never the line itself: it may hold a secret.
        raise ConfigError(f"{file}, line {faults[0]}: expected NAME=value", remedy="See .env.example.")
    return {name: value for name, value in values.items() if value}


def dotenv_file() -> dict[str, str]:
    """All that ./.env says, for those who must not say it; empty where there is none or it cannot be read."""
    try:
        return read_dotenv(ENV_FILE)
    except ConfigError:
        return {}


def beside(dotenv: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """What .env adds to the environment for MLflow and S3: no variable and no part of a login that is there already."""
    taken = {name for login in _LOGINS if any(environment.get(part) for part in login) for name in login}
    return {
        name: value
        for name, value in dotenv.items()
        if name.startswith(_SERVICE_VARIABLES) and name not in taken and not environment.get(name)
    }
