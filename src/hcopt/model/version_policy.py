"""Which version of a model its own repository serves, by the version_policy of its config.pbtxt. Pure.

Source: ModelRepositoryManager::VersionsToLoad in Triton's core/src/model_repository_manager; without a policy the
highest one counts.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from hcopt.errors import ModelSourceError
from hcopt.model.triton_config import CONFIG_FILE, parse_text

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelVersionPolicy

# The folder of a model that comes from elsewhere than a Triton repository.
FIRST_VERSION = "1"


def is_version(name: str) -> bool:
    """Whether a folder's name is that of a version: Triton passes over other names, and over leading zeros."""
    # ASCII: `²` is a digit too, and no number.
    return name.isascii() and name.isdigit() and name == str(int(name))


def served_version(config_text: str | None, folders: Collection[str], *, uri: str) -> str:
    """The one version folder that is served.

    Args:
        config_text: The model's config.pbtxt, or None.
        folders: Names of the version folders that hold a model; at least one.
        uri: The model, for the message.

    Raises:
        ModelSourceError: The policy names none of them, or several; or the config.pbtxt cannot be parsed.
    """
    policy = _policy(config_text)
    ordered = sorted(folders, key=int)
    kind = None if policy is None else policy.WhichOneof("policy_choice")
    if policy is not None and kind == "specific":
        wanted = {str(version) for version in policy.specific.versions}
        served = [folder for folder in ordered if folder in wanted]
    elif kind == "all":
        served = ordered
    else:
        served = ordered[-max(1, 0 if policy is None else policy.latest.num_versions) :]
    if len(served) == 1:
        return served[0]
    what = f"names {_listed(served)}, and one is measured" if served else f"names no version of {_listed(ordered)}"
    raise ModelSourceError(
        f"{uri}: the version_policy of {CONFIG_FILE} {what}",
        remedy="Name one version with `version_policy { specific { versions: [N] } }`, or give one version's folder, "
        "without a policy that names others, as model.uri.",
    )


def version_of_a_single_model(config_text: str | None, named: str | None, *, uri: str) -> str:
    """The version folder for a model that came without others beside it: as Triton would have to find it.

    Args:
        config_text: The model's config.pbtxt, or None.
        named: The version folder that the URI named, where it did.
        uri: The model, for the message.

    Raises:
        ModelSourceError: The policy names none, several, or another one.
    """
    policy = _policy(config_text)
    if policy is None or policy.WhichOneof("policy_choice") != "specific":
        return named or FIRST_VERSION
    wanted = sorted(filter(is_version, {str(version) for version in policy.specific.versions}), key=int)
    if named is not None and named not in wanted:
        raise ModelSourceError(
            f"{uri} is version {named}, and the version_policy of {CONFIG_FILE} serves {_listed(wanted)}",
            remedy="Give the model's folder as model.uri, or correct the policy.",
        )
    return named or served_version(config_text, wanted or [FIRST_VERSION], uri=uri)


def _policy(config_text: str | None) -> ModelVersionPolicy | None:
    config = None if config_text is None else parse_text(config_text)
    return config.version_policy if config is not None and config.HasField("version_policy") else None


def _listed(versions: Collection[str]) -> str:
    return ", ".join(versions) or "none"
