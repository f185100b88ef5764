"""Which share of a load a queue policy rejects: an outcome of the variant, of which perf_analyzer sees the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hcopt.errors import RuntimeStartError
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelConfigVariant
from hcopt.triton.control import ModelControl

_LASTS_S = 2.0
# Different ones; more would only be made in vain.
_REQUESTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedShare:
    """Counts, once for each variant and load.

    Attributes:
        control: The server.
        model_name: Tells the name by which the server has the variant.
        rows: The rows to send.
        counted: What is known.
    """

    control: ModelControl
    model_name: Callable[[], str]
    rows: LoadData
    counted: dict[tuple[ModelConfigVariant, LoadPoint], str] = field(default_factory=dict)

    def __call__(self, variant: ModelConfigVariant, load: LoadPoint) -> str | None:
        """Says the share of a load, while the variant is being served; None of an open loop's.

        Also None where the server does not answer: then there is nothing to count.
        """
        key = (variant, load)
        if key not in self.counted and load.concurrency:
            try:
                self.counted[key] = self._count(variant, load)
            except RuntimeStartError:
                return None
        return self.counted.get(key)

    def _count(self, variant: ModelConfigVariant, load: LoadPoint) -> str:
        batched = variant.max_batch_size > 0
        requests = [self._request(index, load.client_batch_size if batched else None) for index in range(_REQUESTS)]
        refused, asked = self.control.count_refused(
            self.model_name(), requests, at_once=load.concurrency, lasts_s=_LASTS_S
        )
        return f"{refused / max(1, asked):.1%} of {asked:,} requests are rejected at concurrency {load.concurrency}"

    def _request(self, index: int, size: int | None) -> list[LoadTensor]:
        """So many rows from the index on, around the end; None: one without a batch dimension."""
        count = self.rows.row_count
        chosen = [(index + step) % count for step in range(size or 1)]
        return [
            replace(tensor, rows=tensor.rows[chosen] if size is not None else tensor.rows[chosen[0]])
            for tensor in self.rows.tensors
        ]
