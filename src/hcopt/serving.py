"""One model on a running Triton, switched from variant to variant."""

from __future__ import annotations

from collections.abc import Callable

from hcopt.errors import RuntimeStartError
from hcopt.runtime.model_control import ModelControl, server_times
from hcopt.schema import ModelConfigVariant, ServerTimes


class ServedModel:
    """Loads variants of one model, one at a time.

    Args:
        control: The server.
        model_name: The model's name on it.
        config_json: Gives a variant's configuration as Triton's JSON.
    """

    def __init__(
        self, control: ModelControl, model_name: str, config_json: Callable[[ModelConfigVariant], str]
    ) -> None:
        self._control = control
        self._model_name = model_name
        self._config_json = config_json
        self._serving: ModelConfigVariant | None = None

    @property
    def serving(self) -> ModelConfigVariant | None:
        """The variant that was loaded last; None before the first, and after one that could not be loaded."""
        return self._serving

    def switch_to(self, variant: ModelConfigVariant) -> None:
        """Serves this variant, and no other; loads it afresh even where it is there, so that all windows begin alike.

        Raises:
            RuntimeStartError: Triton cannot load it.
        """
        self._serving = None
        self._control.load(self._model_name, self._config_json(variant))
        self._serving = variant

    def unload(self) -> None:
        """Serves nothing.

        Raises:
            RuntimeStartError: The server does not answer, or refuses.
        """
        self._serving = None
        self._control.unload(self._model_name)

    def lost(self) -> None:
        """Told that the server has died and is there again: nothing is loaded any more."""
        self._serving = None

    def watch(self) -> Callable[[], ServerTimes | None]:
        """Starts a window of the server's own times; the answer ends it, and is None where the server gives none."""
        before = self._control.statistics(self._model_name)

        def end() -> ServerTimes | None:
            try:
                return server_times(before, self._control.statistics(self._model_name))
            except RuntimeStartError:
                return None

        return end
