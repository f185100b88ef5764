"""One model on a running Triton, switched from variant to variant."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcopt.errors import RuntimeStartError
from hcopt.model.inputs.values import LoadTensor
from hcopt.model.repository import add_name
from hcopt.records.measurement import ServerTimes
from hcopt.records.model import ModelConfigVariant
from hcopt.triton.control import ModelControl, server_times

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ServedModel:
    """Loads variants of one model: one at a time, or several that stay loaded, each under a name of its own.

    Args:
        control: The server.
        model_name: The model's name on it.
        config_json: Gives a variant's configuration as Triton's JSON.
        repository: What the server has its models from, where variants may stay loaded; None: only one is loaded.
        max_instances: See `Server.max_instances`; None: only one is loaded.
    """

    def __init__(
        self,
        control: ModelControl,
        model_name: str,
        config_json: Callable[[ModelConfigVariant], str],
        *,
        repository: Path | None = None,
        max_instances: Callable[[int], int] | None = None,
    ) -> None:
        self._control = control
        self._model_name = model_name
        self._config_json = config_json
        self._repository = repository
        self._max_instances = max_instances
        self._serving: ModelConfigVariant | None = None
        self._load_s = 0.0
        self._kept: dict[ModelConfigVariant, str] = {}

    @property
    def serving(self) -> ModelConfigVariant | None:
        """The variant whose turn it is; None before the first, and after one that could not be loaded."""
        return self._serving

    @property
    def is_alone(self) -> bool:
        """Whether what is loaded is one variant at most."""
        return not self._kept

    @property
    def load_s(self) -> float:
        """How long the last load took, in seconds; 0 before the first."""
        return self._load_s

    @property
    def name(self) -> str:
        """The model's name on the server for the variant whose turn it is."""
        return self._model_name if self._serving is None else self._kept.get(self._serving, self._model_name)

    def reload(self, variant: ModelConfigVariant) -> None:
        """Serves this variant, and no other; loads it afresh even where it is there, so that all windows begin alike.

        Raises:
            RuntimeStartError: Triton cannot load it.
        """
        if self._kept:
            self.unload()
        self._serving = None
        self._load(self._model_name, self._config_json(variant))
        self._serving = variant

    def load_alone(self, variant: ModelConfigVariant) -> tuple[str, str]:
        """As `reload`; the name on the server, and the configuration as JSON that loads the variant afresh by it.

        Raises:
            RuntimeStartError: Triton cannot load it.
        """
        self.reload(variant)
        return self._model_name, self._renamed(variant, self._model_name)

    def load_or_reuse(self, variant: ModelConfigVariant) -> None:
        """Serves this variant as it is where it is loaded; else loads it beside the others, as far as there is room.

        Raises:
            RuntimeStartError: Triton cannot load it.
            OutputError: It cannot be given a name of its own.
        """
        if self._repository is None or self._max_instances is None:
            self.reload(variant)
            return
        if not self._kept:
            self._control.unload(self._model_name)
        self._serving = None
        name = self._kept.pop(variant, None)
        if name is None:
            name = variant.config_name
            self._make_room(variant.instance_count, self._max_instances)
            add_name(self._repository, self._model_name, name)
            self._load(name, self._renamed(variant, name))
        # At the end: the first one is the one whose turn is the longest ago.
        self._kept[variant] = name
        self._serving = variant

    def load_beside(self, variants: Iterable[ModelConfigVariant]) -> dict[ModelConfigVariant, tuple[str, str]] | None:
        """Has all of these loaded beside one another.

        Returns:
            Of each its name on the server and the configuration, as JSON, that loads it afresh by that name; None where
            only one may be loaded, or there is no room for all.

        Raises:
            RuntimeStartError: Triton cannot load one of them.
            OutputError: One cannot be given a name of its own.
        """
        if self._repository is None or self._max_instances is None:
            return None
        wanted = tuple(dict.fromkeys(variants))
        for variant in wanted:
            self.load_or_reuse(variant)
        if not all(variant in self._kept for variant in wanted):
            return None
        return {one: (self._kept[one], self._renamed(one, self._kept[one])) for one in wanted}

    def _load(self, name: str, config_json: str) -> None:
        started = time.monotonic()
        self._control.load(name, config_json)
        self._load_s = time.monotonic() - started

    def _renamed(self, variant: ModelConfigVariant, name: str) -> str:
        return json.dumps({**json.loads(self._config_json(variant)), "name": name})

    def _make_room(self, instance_count: int, max_instances: Callable[[int], int]) -> None:
        loaded = sum(variant.instance_count for variant in self._kept)
        allowed = max_instances(loaded) if loaded else 0
        while self._kept and loaded + instance_count > allowed:
            oldest = next(iter(self._kept))
            self._control.unload(self._kept.pop(oldest))
            loaded -= oldest.instance_count

    def unload(self) -> None:
        """Serves nothing; what was loaded is gone, so that it disturbs no window any more.

        Raises:
            RuntimeStartError: The server does not answer, or refuses.
        """
        self._serving = None
        names = (*self._kept.values(), self._model_name)
        self._kept.clear()
        for name in names:
            self._control.unload(name)
        self._control.wait_for_unloads(names)

    def answers(self, tensors: Sequence[LoadTensor]) -> dict[str, NDArray[Any]]:
        """What the variant whose turn it is answers to one request; see `ModelControl.answers`.

        Raises:
            RuntimeStartError: It answers with an error, or not at all.
        """
        return self._control.answers(self.name, tensors)

    def invalidate(self) -> None:
        """For a window that has failed: the variant whose turn it is will be loaded afresh for its next turn."""
        variant, self._serving = self._serving, None
        if variant in self._kept:
            # Where the server is gone, so is the variant.
            with suppress(RuntimeStartError):
                self._control.unload(self._kept.pop(variant))

    def forget_all(self) -> None:
        """For a server that has died and is there again: nothing is loaded any more."""
        self._serving = None
        self._kept.clear()

    def watch(self, name: str | None = None) -> Callable[[], ServerTimes | None]:
        """Starts a window of the server's own times; the answer ends it, and is None where the server gives none.

        Args:
            name: The model; that whose turn it is where None.

        Raises:
            RuntimeStartError: The model is not loaded, or the server does not answer.
        """
        watched = self.name if name is None else name
        before = self._control.statistics(watched)

        def end() -> ServerTimes | None:
            try:
                return server_times(before, self._control.statistics(watched))
            except RuntimeStartError:
                return None

        return end
