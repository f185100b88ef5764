"""One line of the head-to-head: a method on the replays of one recording at one noise."""

from __future__ import annotations

from dataclasses import dataclass

HEAD = (
    "| recording | points | noise | search | share of the best: median | 5th percentile | breaks the limit | "
    "measuring, s | wall, s | windows |\n"
    "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)


@dataclass(frozen=True)
class Row:
    """Shares are of the true best throughput within the limit; seconds and windows are means over the replays."""

    recording: str
    points: int
    noise_ratio: float
    own_noise: bool
    method: str
    replays: int
    share_median: float
    share_p5: float
    breaks_ratio: float
    load_s: float
    wall_s: float
    windows: float

    @property
    def noise(self) -> str:
        return f"{self.noise_ratio:.0%}{' (own)' if self.own_noise else ''}"


def line(row: Row) -> str:
    """As a line of the Markdown table."""
    cells = (
        row.recording,
        f"{row.points:,}",
        row.noise,
        row.method,
        f"{row.share_median:.1%}",
        f"{row.share_p5:.1%}",
        f"{row.breaks_ratio:.1%}",
        f"{row.load_s:.0f}",
        f"{row.wall_s:.0f}",
        f"{row.windows:.0f}",
    )
    return f"| {' | '.join(cells)} |"
