"""Lists of CPUs as Linux writes them."""

from __future__ import annotations

from collections.abc import Iterable


def parse_cpu_list(text: str) -> frozenset[int]:
    """CPU numbers from a list as Linux writes it, such as `0-3,8`.

    Raises:
        ValueError: It is no such list.
    """
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers = range(int(first), int(last if dash else first) + 1)
        if not numbers:
            raise ValueError(f"not a CPU list: {text}")
        cpus.update(numbers)
    return frozenset(cpus)


def format_cpu_list(cpus: Iterable[int]) -> str:
    """The opposite of `parse_cpu_list`: {0, 1, 2, 8} is `0-2,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
