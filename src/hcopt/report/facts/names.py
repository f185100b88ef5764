"""What a report calls a configuration, its settings and its load."""

from __future__ import annotations

from hcopt.analysis.plan import THREADS
from hcopt.analysis.view import Side, batches
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelConfigVariant
from hcopt.records.run import RunRecord
from hcopt.words import Text
from hcopt.words.digits import whole_throughput


def short_name(config_name: str, run: RunRecord) -> str:
    """`config_6` of `<model>_config_6`: the model's name stands in the title."""
    return config_name.removeprefix(f"{run.plan.model_name}_")


def side_name(side: Side, run: RunRecord, text: Text) -> str:
    """How a sentence calls a configuration: the default by its role, others by their name."""
    return text["group_default"] if side.role == "default" else short_name(side.variant.config_name, run)


def load_name(load: LoadPoint, text: Text) -> str:
    """A load in words."""
    key = "load" if load.client_batch_size == 1 else "load_batched"
    return text[key].format(concurrency=load.concurrency, batch=load.client_batch_size)


def load_value(load: LoadPoint, text: Text) -> str:
    """A load where a heading says that it is the concurrency; an open-loop one by its arrivals."""
    if load.request_rate_per_s is not None:
        return text["load_value_rate"].format(rate=whole_throughput(load.request_rate_per_s))
    if load.client_batch_size == 1:
        return str(load.concurrency)
    return text["load_value_batched"].format(concurrency=load.concurrency, batch=load.client_batch_size)


def settings_name(variant: ModelConfigVariant, text: Text) -> str:
    """A variant's settings on one line."""
    delay = f"{variant.max_queue_delay_us:,} µs" if batches(variant) else text["batching_off"]
    key = "settings" if variant.max_batch_size > 0 else "settings_unbatched"
    swept = text[key].format(batch=variant.max_batch_size, instances=variant.instance_count, delay=delay)
    file = (variant.model_file,) if variant.model_file else ()
    parameters = (_parameter_name(key, value, text) for key, value in variant.parameters)
    with_openvino = ("OpenVINO",) if variant.execution_accelerator == "openvino" else ()
    return " · ".join((*file, swept, *parameters, *with_openvino))


def swept_threads(variant: ModelConfigVariant) -> str:
    """Threads of an instance, where a list has a column for them; empty where config.pbtxt leaves them open."""
    return dict(variant.parameters).get(THREADS, "")


def other_parameters(variant: ModelConfigVariant) -> str:
    """The parameters but for the threads, where a list has a column for them; the accelerator, where there is one."""
    accelerator = variant.execution_accelerator
    named = () if accelerator == "none" else (f"execution_accelerator={accelerator}",)
    return ", ".join((*(f"{key}={value}" for key, value in variant.parameters if key != THREADS), *named))


def _parameter_name(key: str, value: str, text: Text) -> str:
    return text["settings_threads"].format(threads=value) if key == THREADS else f"{key} {value}"


def one_line(value: str) -> str:
    """A text from elsewhere without line breaks and control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in value).split())
