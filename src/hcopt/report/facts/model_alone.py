"""What of a request's time is the model's, in one line. Pure."""

from __future__ import annotations

from hcopt.records.run import RunRecord
from hcopt.records.verdict import ModelAlone
from hcopt.report import figures
from hcopt.report.facts.names import short_name
from hcopt.words import Text

# Less than this share of what Triton adds is not worth a word.
_MIN_QUEUE_RATIO = 0.1


def alone_line(run: RunRecord, alone: ModelAlone, text: Text) -> str:
    """The same on terminal, page and PDF."""
    bounds = figures.bounds(alone.model_ratio, figures.rough, text)
    return text["alone"].format(
        name=short_name(alone.config_name, run),
        request=figures.milliseconds(alone.request_ms.estimate),
        model=figures.milliseconds(alone.model_ms.estimate),
        share=figures.rough(alone.model_ratio.estimate),
        interval="" if bounds is None else text["alone_interval"].format(range=bounds),
        rest=_rest(alone, text),
    )


def _rest(alone: ModelAlone, text: Text) -> str:
    """What comes to the model's time; of a slow model that may be less than the blocks tell apart."""
    cost_ms, ratio = alone.request_ms.estimate - alone.model_ms.estimate, alone.model_ratio
    if cost_ms <= 0 or max(ratio.estimate, ratio.ci_high or 0.0) >= 1:
        return text["alone_rest_unclear"]
    queue = ""
    # A mean, which a busy moment may raise beyond the median of which it would be a part.
    if alone.queue_ms is not None and _MIN_QUEUE_RATIO * cost_ms < alone.queue_ms <= cost_ms:
        queue = text["alone_queue"].format(queue=figures.milliseconds(alone.queue_ms))
    return text["alone_rest"].format(cost=figures.milliseconds(cost_ms), queue=queue)
