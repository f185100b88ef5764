"""What the user has to know, or why something was decided: a code with values, worded by `hcopt.words.notes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

NoteCode: TypeAlias = Literal[
    # Where Triton runs
    "docker_chosen",
    "docker_lacks_images",
    "embedded_chosen",
    "error",
    "leftovers_removed",
    "leftovers_stay",
    "containers_left",
    "container_restarted",
    "tritonserver_restarted",
    "python_backend_chosen",
    "remote_own_copy",
    "remote_models_sent",
    "remote_settings",
    "remote_not_put_back",
    # The machine
    "another_run_measures",
    "no_machine_lock",
    "noisy_machine",
    "noisy_machine_longer_windows",
    "noise_steal",
    "noise_throttling",
    "noise_variation",
    "cpu_quota",
    "steal_seen",
    "variation_seen",
    "resolution",
    "last_noise",
    "decides_in",
    "decides_in_hours",
    # The model and its configuration
    "run_not_readable",
    "config_derived",
    "config_renamed",
    "config_completed",
    "config_not_batched",
    "config_not_batched_optional",
    "output_dims_corrected",
    "optional_inputs_not_sent",
    "parameters_of_hcopt_alone",
    "parameters_without_effect",
    "config_batched",
    "config_unbatched",
    "config_moved_to_cpu",
    "warm_up_left_out",
    "response_cache_left_out",
    "queue_stalls",
    "rate_limiter_unheeded",
    "input_dimension_fixed",
    "input_scalar",
    "output_dimension_fixed",
    "output_scalar",
    "outputs_declared_wrongly",
    "outputs_corrected",
    "two_rows_fail",
    "two_rows_shape",
    "two_rows_differ",
    "two_rows_differ_altogether",
    "two_rows_rounded",
    "row_count_matters",
    "batch_not_swept",
    "same_as_default",
    "threads_elsewhere",
    "threads_of_gpu",
    "threads_as_default",
    "thread_of_default",
    "threads_beyond_cpus",
    # The rows of the load
    "synthetic_rows",
    "dynamic_rows",
    "example_not_used",
    "example_cut",
    "example_counts_differ",
    "example_empty",
    "example_unreadable",
    "example_no_format",
    "example_too_large",
    "example_keys_differ",
    "example_one_array",
    "example_other_names",
    "example_row_lengths",
    "example_other_columns",
    "example_misfit",
    "example_misfit_error",
    "example_misfit_value",
    "example_misfit_count",
    "example_no_data",
    "example_row",
    "rows_sampled",
    # Measuring
    "default_fails_before_sweep",
    "default_without_figures",
    "slow_sweep",
    "default_unmeasured_before_sweep",
    "unmeasured",
    "refuted_by_failures",
    "refuted_by_errors",
    "refuted_by_p99",
    "no_rate_in_time",
    "no_rate_within_limit",
    "rates_invalid",
    "capacity_failed",
    # Several models, nodes and runs
    "of_model",
    "model_failed",
    "task_lost",
    "node_left_out",
    "resumed",
    "nothing_to_resume",
    "nothing_alike_to_resume",
    # The verdict
    "winner_not_measured",
    "refuted",
    "fails_windows",
    "answers_with_errors",
    "misses_limit",
    "limit_undecided",
    "answers_undecided",
    "windows_failed",
    "p99_measured",
    "share_too_late",
    "blocks_would_decide",
    "default_uncompared",
    "only_best_keeps_limit",
    "only_best_answers",
    "default_unmeasured",
    "default_unmeasured_first",
    "nothing_to_compare_with",
    "runner_up_faster",
    "runner_up_proved",
    "runner_up_cheaper",
    "fewer_instances",
    "lower_p99",
    "smaller_batch",
    "default_has_most",
    "default_has_most_within_limit",
    "default_is_best",
    "against_default",
    "default_undecided",
    "not_side_by_side",
    "default_alone",
    "nothing_answers",
    "everything_fails",
    "nothing_measured",
    "nothing_keeps_limit",
    "turns_failed",
    "undecided_so_far",
    "would_decide_in",
    "ratio",
    "ratio_interval",
    "ratio_better",
    "ratio_tied",
    "ratio_undecided",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the user has to know about a run; every place that shows it takes its words from `hcopt.words.notes`.

    Attributes:
        code: What is said.
        values: Names and figures that its words show; of several notes the words stand one after the other. Words of
            third-party tools stay as they are.
    """

    code: NoteCode
    values: Mapping[str, str | int | float | Note | tuple[Note, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, code: NoteCode, **values: str | int | float | Note | tuple[Note, ...]) -> Note:
        """A note with its values by name."""
        return cls(code=code, values=values)
