"""The sentence of every note and reason, in English and in Korean: for terminal, MLflow, files and report alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hcopt.records.json import JsonObject
from hcopt.records.note import Note, NoteCode
from hcopt.words import Language

EN: Mapping[NoteCode, str] = MappingProxyType(
    {
        "docker_chosen": "Runtime: docker, since the Docker Engine has both images of release {release}. Triton "
        "from PyPI instead: --runtime embedded.",
        "docker_lacks_images": "the Docker Engine lacks {names}",
        "embedded_chosen": "Runtime: embedded (Triton from PyPI), since {lacks}. NVIDIA's own images instead: "
        "{commands}, then --runtime docker.",
        "error": "{message}",
        "leftovers_removed": "Removed what a killed run had left: {names}.",
        "leftovers_stay": "What killed runs have left could not be removed ({reason}): `hcopt doctor --fix` tries "
        "again.",
        "containers_left": "Containers of this run may be left ({reason}): see `{command}`.",
        "container_restarted": "{ended}: started again; the measurement of that moment failed or is taken again.",
        "tritonserver_restarted": "{ended}: started again; the measurement of that moment failed or is taken again.",
        "python_backend_chosen": "hcopt's native backend does not serve here ({reason}): the Python-based one takes "
        "its place, with half to two thirds of its throughput. What is best there need not be best in production.",
        "remote_own_copy": "What is measured is the copy of '{name}' that the server at '{server}' has in its own "
        "repository.",
        "remote_models_sent": "The models are sent to the server at '{server}' under names of their own, and "
        "unloaded afterwards.",
        "remote_settings": "The server at '{server}' runs with {settings}, which costs time with each request: the "
        "figures are those of such a server. Its owner can turn it off.",
        "remote_not_put_back": "The model '{name}' could not be put back as it was on the remote server: {reason}.",
        "another_run_measures": "Another hcopt measures on this machine at the same time: {whose}. Each disturbs "
        "the other's figures.",
        "no_machine_lock": "No lock on {path} ({reason}): whether another hcopt measures is not checked.",
        "noisy_machine": "The machine is noisy: {causes}.",
        "noisy_machine_longer_windows": "The machine is noisy: {causes}; the confirmation measures windows of "
        "{window_s:g} s.",
        "noise_steal": "CPU time taken by the hypervisor {share:.0%} (limit {limit:.0%})",
        "noise_throttling": "time held back by the CPU quota {share:.0%} (limit {limit:.0%})",
        "noise_variation": "variation between blocks {share:.0%} (limit {limit:.0%})",
        "cpu_quota": "A CPU quota of {quota:g} holds here, and {cpus} CPUs are seen: counted as {counted}. "
        "Beyond it the kernel holds server and load generator back; a CPU set is measured better.",
        "governor": "The CPU frequency governor is {governor}: the clock changes while something is measured. "
        "`performance` keeps it.",
        "cores_divided": "The server has the CPUs {server}, the load generator {client}: physical cores of their own "
        "(runtime.cpuset).",
        "siblings_shared": "Server and load generator have different CPUs, but share physical cores (SMT siblings "
        "{cpus}), on which they slow each other down.",
        "client_saturated": "The load generator used more than {limit:.0%} of the CPU time of its CPUs in {count} of "
        "{windows} windows, and may have held the server back: give it more in runtime.cpuset, or null for both.",
        "steal_seen": "The hypervisor took more than {limit:.0%} of the CPU time in {count} of {windows} windows "
        "(at most {most:.0%}): other guests share this machine.",
        "variation_seen": "Throughput of one configuration varied by {share:.0%} on average between blocks (limit "
        "{limit:.0%}): measure on a quieter machine for a sharper answer.",
        "resolution": "A difference in throughput of {smallest:.0%} can be shown on this machine in the {minutes:g} "
        "min of the confirmation (the same configuration differs by {variation:.1%} a block). To decide takes {times}.",
        "last_noise": "By the noise of the last run here: {said}",
        "decides_in": "{minutes} min for {difference:.0%}",
        "decides_in_hours": "hours for {difference:.0%}",
        "run_not_readable": "MLflow does not let this login read run {run_id}, in which the model was logged: a "
        "config.pbtxt that lies beside it there is not known here.",
        "config_derived": "The model came without a config.pbtxt; its default is derived from the ONNX file.",
        "config_renamed": "config.pbtxt calls the model {said!r}; it is served as {name!r}, and named so.",
        "config_completed": "config.pbtxt leaves out {missing}: completed from the ONNX file.",
        "config_not_batched": "config.pbtxt has max_batch_size 0, so Triton does not batch, although the model "
        "could; its dims have no free leading dimension, so it is left as it is.",
        "config_not_batched_optional": "config.pbtxt has max_batch_size 0, so Triton does not batch, although the "
        "model could: Triton's onnxruntime backend takes optional inputs ({names}) only so. Without them in "
        "config.pbtxt it would batch.",
        "output_dims_corrected": "config.pbtxt gives the output {name!r} the dims {said}; the model has {own}, and "
        "NVIDIA's onnxruntime backend loads no other. Corrected in every configuration, the golden one too.",
        "optional_inputs_not_sent": "The load leaves out the optional inputs ({names}): the model has values of its "
        "own for them.",
        "parameters_of_hcopt_alone": "The onnxruntime backend of NVIDIA ignores the parameters {names}; that of hcopt "
        "gives them to ONNX Runtime. What they change here is not changed in an image of NVIDIA.",
        "parameters_without_effect": "The onnxruntime backend has no parameters {names}: they stay in config.pbtxt and "
        "change nothing.",
        "config_batched": "config.pbtxt has max_batch_size 0, so Triton never batches, although the model can: "
        "analysed with max_batch_size {max_batch_size}, dynamic batching, and dims without the leading dimension.",
        "config_unbatched": "config.pbtxt has max_batch_size {max_batch_size}, but the model gives wrong answers or "
        "none when rows are put together: analysed with max_batch_size 0 and without dynamic batching.",
        "config_moved_to_cpu": "config.pbtxt puts instances on a GPU; analysed with {count} on the CPU, as "
        "instance_kind says.",
        "warm_up_left_out": "model_warmup is left out while hcopt measures, where every window has a warm-up of its "
        "own. The golden configuration has it, cut to its max_batch_size.",
        "response_cache_left_out": "response_cache is off while hcopt measures: rows come again and again, and Triton "
        "would answer them from its cache. The golden configuration has it; the figures are those of the model.",
        "queue_stalls": "config.pbtxt has a queue policy or priorities: with these Triton itself, and not the model, "
        "leaves some requests for {stall_s:g} s before it looks at them. Windows are as long as that asks for; "
        "throughput and latency are those of the server with such a queue.",
        "rate_limiter_unheeded": "config.pbtxt has a rate_limiter. Triton heeds it with --rate-limit=execution_count "
        "alone: servers that hcopt starts run without, and a remote one does not tell.",
        "input_dimension_fixed": "The first dimension of the input {name!r} is fixed at {size}, so requests cannot "
        "be put into one batch.",
        "input_scalar": "The first dimension of the input {name!r} does not exist (it is a scalar), so requests "
        "cannot be put into one batch.",
        "output_dimension_fixed": "The first dimension of the output {name!r} is fixed at {size}, so requests "
        "cannot be put into one batch.",
        "output_scalar": "The first dimension of the output {name!r} does not exist (it is a scalar), so requests "
        "cannot be put into one batch.",
        "outputs_declared_wrongly": "The file declares the first dimension of {names} as {size}, so Triton cannot "
        "batch; yet the model gives one row for each row of its inputs. model.correct_outputs: true measures and "
        "delivers a copy in which that dimension is free. Better still: free it when exporting the model.",
        "outputs_corrected": "The first dimension of {names} is free in the copy that is measured and delivered "
        "(SHA-256 {sha256}), as model.correct_outputs asks. The file itself (SHA-256 {source_sha256}) is as it was.",
        "two_rows_fail": "The model fails on two rows at once: {reason}",
        "two_rows_shape": "One row gives an output {name!r} of shape {one}, two rows one of {two}: its first "
        "dimension is not the number of rows.",
        "two_rows_differ": "Two rows in one batch give another output {name!r} than each alone, by {share:.1%} of "
        "its largest value: a row depends on its neighbours.",
        "two_rows_differ_altogether": "Two rows in one batch give another output {name!r} than each alone, "
        "altogether: a row depends on its neighbours.",
        "two_rows_rounded": "Two rows in one batch give another output {name!r} than each alone, by {share:.1%} of its "
        "largest value, whatever the other row is: rows are independent, and the difference is rounding.",
        "row_count_matters": "Two rows in one batch give another output {name!r} than each alone, whatever the other "
        "row is: the number of rows goes into the answer.",
        "variant_refused": "The variant {name} ({origin}) is not measured: {why}.",
        "variant_not_made": "the tool of ONNX Runtime fails on this model ({reason})",
        "variant_unchanged": "ONNX Runtime finds nothing to change in this model",
        "variant_same_bytes": "its file is that of the model",
        "variant_file_taken": "its file {file!r} would lie on another one of that name in the version's folder",
        "variant_other_tensors": "its inputs or outputs are not those of the model, in name, type or shape ({names})",
        "variant_bfloat16": "outputs of type BF16 cannot be compared",
        "variant_cannot_run": "{reason}",
        "variant_batches_otherwise": "it does not batch as the model does. {reason}",
        "variant_batches": "It batches, and the model does not",
        "variant_beyond": "on {rows} {outputs}; model.tolerance allows {difference:.2%} of the spread "
        "and wants {agreement:.2%} of the labels to agree",
        "variant_outputs": "The variant {name} ({origin}) against the model: on {rows} {outputs}.",
        "variant_in_batches": "The variant {name}: {reason}",
        "variant_numbers": "the output {output!r} differs by at most {largest_ratio:.2%} of its spread "
        "({largest:.3g}), on average by {mean_ratio:.2%} ({mean:.3g})",
        "variant_labels": "{agreement:.2%} of the labels {output!r} agree",
        "variant_incomparable": "{count} values of {output!r} have nothing to be compared with (NaN, infinite, or "
        "another shape)",
        "variant_rows_example": "{checked} of the {count} rows of the input example",
        "variant_rows_synthetic": "{checked} of the {count} synthetic rows, which tell less than real ones,",
        "batch_not_swept": "The model cannot batch (max_batch_size 0), so max_batch_size and queue delay are not "
        "swept and a request holds one row: {variants} variants are left.",
        "same_as_default": "{config} is the default once more, as a point of the grid: in the sweep the two differ by "
        "noise alone, and the confirmation measures them as one.",
        "threads_elsewhere": "Threads are not swept as {shares}: nobody knows the cores of a server that runs "
        "elsewhere. sweep.intra_op_thread_count takes numbers too.",
        "threads_of_gpu": "Threads are not swept as {shares}: the instances run on a GPU. "
        "sweep.intra_op_thread_count takes numbers too.",
        "threads_as_default": "{config} asks for {threads} threads an instance, which is what ONNX Runtime takes for "
        "the default by itself: all that differs is that it pins those to cores.",
        "thread_of_default": "{config} is left out: it asks for one thread an instance, which is what ONNX Runtime "
        "takes for the default by itself.",
        "threads_beyond_cpus": "The default leaves its threads to ONNX Runtime, which takes {threads} an instance, one "
        "for each physical core of the machine, and pins them there; the server is to have {cpus} CPUs.",
        "openvino_answers": "OpenVINO on {file} against ONNX Runtime on the model: on {rows} {outputs}.",
        "openvino_precision": "OpenVINO computes in {precision}.",
        "openvino_threads": "OpenVINO ({plugin}) and ONNX Runtime have equal threads: both get the "
        "intra_op_thread_count of each configuration, OpenVINO as INFERENCE_NUM_THREADS. Where it is left open, each "
        "takes a number of its own.",
        "openvino_threads_own": "NVIDIA's backend cannot tell OpenVINO its threads: it takes {cpus} an instance, one "
        "for each CPU. It is compared with ONNX Runtime at as many, or where their number is left open.",
        "openvino_threads_unequal": "{count} configurations with openvino are not measured: NVIDIA's backend cannot "
        "tell OpenVINO its threads, so that it would take {cpus}, and ONNX Runtime another number.",
        "synthetic_rows": "The load consists of synthetic rows; model.input_example gives real ones.",
        "dynamic_rows": "The first dimension of the inputs is dynamic, and 1 in every request; model.input_shapes "
        "changes it.",
        "example_not_used": "The input example that came with the model is not used: it {reason}.",
        "example_cut": "The load takes the first {kept} of the {count} rows of the input example.",
        "example_counts_differ": "has different numbers of rows for its inputs: {counts}",
        "example_empty": "has no rows",
        "example_unreadable": "cannot be read: {reason}",
        "example_no_format": "is neither JSON nor .npz: {reason}",
        "example_too_large": "has {size_bytes} bytes, and at most {most_bytes} are read",
        "example_keys_differ": "has rows with different keys",
        "example_one_array": "is one array, but the model has the inputs {wanted}",
        "example_other_names": "has {found}, but the model has the inputs {wanted}",
        "example_row_lengths": "has rows that are not {columns} long, as its columns are",
        "example_other_columns": "has the columns {found}, but the model has the inputs {wanted}",
        "example_misfit": "does not fit the input {name!r}: expected {expected}, found {found}",
        "example_misfit_error": "does not fit the input {name!r}: {reason}",
        "example_misfit_value": "does not fit the input {name!r}: {value} is no {datatype}",
        "example_misfit_count": "does not fit the input {name!r}: it has {count} values, and its shape is {shape}",
        "example_no_data": "has no values of the input {name!r}: they stand neither in a list nor in base64",
        "example_row": "{reason}, in row {row} (counted from 0)",
        "rows_sampled": "Not all rows of the input example were run before measuring, as that takes too long: "
        "{checked} of {count}, drawn at random, and the model takes them. A row that it does not take makes "
        "measurements fail.",
        "default_fails_before_sweep": "The default failed on its own account in {failed} of {windows} windows "
        "before the sweep; the noise of this machine is that of the others: {reason}",
        "default_without_figures": "Before the sweep the default gave no figures in {seconds:g} s at concurrency "
        "{concurrency} ({reason}). If it is slow, set sweep.concurrency to [1], or profiler.measurement_interval_ms to "
        "the time of some answers.",
        "slow_sweep": "At {rate} infer/s and concurrency {concurrency} Model Analyzer measures windows of "
        "{window_s:.3g} s in place of {asked_s:g} s, and the sweep takes about {minutes} min; with "
        "sweep.concurrency: [{fewer}] about {less} min.",
        "default_unmeasured_before_sweep": "The default could not be measured before the sweep: {reason}",
        "unmeasured": "{count} of {configurations} configurations could not be measured at any load and take no "
        "part in the comparison: {names}. The failed measurements say why.",
        "refuted_by_failures": "{name} failed in {failed} of {windows} windows on its own account, so it is no "
        "longer a candidate: {reason}",
        "refuted_by_errors": "{name} answers too many requests with errors on fresh data, so it is no longer a "
        "candidate.",
        "refuted_by_p99": "{name} misses the p99 limit on fresh data ({p99_ms:.3g} ms), so it is no longer a "
        "candidate.",
        "out_by_memory": "{name} {why}, so it is no candidate.",
        "memory_not_read": "The memory of this server cannot be read from here: what the configurations need is not "
        "measured.",
        "no_rate_in_time": "No rate of requests is promised: the time was up ({windows} windows of random arrivals).",
        "no_rate_within_limit": "No rate of requests is promised: none kept the limit for sure ({windows} windows "
        "of random arrivals).",
        "rates_invalid": "From {rate} infer/s on there was no valid window: {reason}",
        "capacity_failed": "The sustainable rate could not be measured: {reason}",
        "alone_not_measured": "What Triton costs, beside ONNX Runtime alone, is not measured: {why}.",
        "alone_on_remote": "ONNX Runtime here would not have the CPUs of the remote server",
        "alone_on_docker": "the programs that measure are in a container that has no ONNX Runtime",
        "alone_on_gpu": "the instances are on GPUs",
        "alone_with_accelerator": "an accelerator of config.pbtxt computes in ONNX Runtime's place",
        "alone_too_slow": "requests take too long, or are too large, for turns of a fraction of a second",
        "of_model": "{name}: {note}",
        "model_failed": "{name} failed: {reason}",
        "task_lost": "A task was lost on {node} ({reason}); it begins again, and nothing of its first part counts.",
        "node_left_out": "{node} takes no part: {reason}",
        "resumed": "The run of {began} had been interrupted and was resumed: {count} measurements are from before.",
        "nothing_to_resume": "No unfinished run of this configuration, so this is a new one.",
        "nothing_alike_to_resume": "No unfinished run of this configuration, so this is a new one. {run_id} "
        "differs: {differences}.",
        "winner_is_variant": "{then} {outputs}",
        "winner_not_measured": "The sweep's winner could not be measured again, so nothing is known beyond the sweep.",
        "refuted": "{name} {why}.",
        "fails_windows": "failed in {failed} of {windows} windows on its own account, where 1% of the requests may: "
        "{reason}",
        "answers_with_errors": "answers too many requests with errors on fresh data",
        "misses_limit": "misses the p99 limit on fresh data",
        "limit_undecided": "Whether {name} keeps the p99 limit is not decided: {seen}{needed}.",
        "answers_undecided": "Whether {name} answers its requests is not decided: {seen}{needed}.",
        "windows_failed": "{failed} of its {windows} windows failed on its own account ({reason})",
        "p99_measured": "its p99 is {p99_ms:.3g} ms over {blocks} blocks",
        "share_too_late": "{share:.2%} of its requests took longer ({low:.2%} to {high:.2%}), 1% may",
        "blocks_would_decide": "; about {blocks} blocks would decide",
        "default_uncompared": "Nothing could be compared with the default, which the sweep had in front.",
        "only_best_keeps_limit": "Only the best configuration keeps the p99 limit; the default {why}.",
        "only_best_fits_memory": "Only the best configuration is shown to keep the memory limit; the default {why}.",
        "needs_too_much_memory": "needs {memory_mb:.1f} MB of memory, more than constraints.memory_mb allows "
        "({limit_mb:g} MB)",
        "memory_not_measured": "is not shown to keep constraints.memory_mb, as the memory that it needs could not be "
        "measured",
        "only_best_answers": "Only the best configuration answers its requests; the default {why}.",
        "default_unmeasured": "The default could not be measured, so there is nothing to compare the best with.",
        "default_unmeasured_first": "The default could not be measured: {why}. {then}",
        "nothing_to_compare_with": "So there is nothing to compare the best with.",
        "runner_up_faster": "On fresh data {name} is faster than the sweep's winner {swept}. {then}",
        "runner_up_proved": "Of {name} and the sweep's winner {swept} only {name} is shown to be better than the "
        "default. {then}",
        "runner_up_cheaper": "{name} gives as much throughput as the sweep's winner {swept} with {advantage}. {then}",
        "models_own_file": "the file of the model itself instead of {theirs}",
        "fewer_instances": "{ours} instead of {theirs} instances",
        "lower_p99": "a p99 lower by {less:.1%}",
        "smaller_batch": "a batch size of {ours} instead of {theirs}",
        "default_has_most": "The default itself has the most throughput: nothing to change.",
        "default_has_most_within_limit": "The default itself has the most throughput within the limit: nothing to "
        "change.",
        "default_is_best": "The default itself is best, so there is nothing to change: {compared}.",
        "against_default": "{name} against it has a {figures}",
        "default_undecided": "Whether {name} is faster than the default is not decided: {why}.",
        "not_side_by_side": "they could not be measured side by side",
        "default_alone": "No configuration but the default could be measured, so there is nothing to compare it with.",
        "nothing_answers": "No configuration answers its requests: {name} {why}.",
        "everything_fails": "Every configuration fails more than 1% of its requests; {name} the fewest, {share:.0%}.",
        "nothing_measured": "No configuration could be measured.",
        "nothing_keeps_limit": "No configuration keeps p99 within {limit_ms:g} ms: the closest, {name} at "
        "concurrency {concurrency}, has {p99_ms:.3g} ms ({times:.2f} times the limit).",
        "nothing_fits_memory": "No configuration that the other limits leave needs at most {limit_mb:g} MB of memory: "
        "{name} needs the least, {memory_mb:.1f} MB.",
        "memory_of_none_known": "No configuration is shown to need at most {limit_mb:g} MB of memory: what they need "
        "could not be measured.",
        "turns_failed": "The models could not take turns of a fraction of a second ({why}): they are measured in "
        "windows, which takes longer.",
        "undecided_so_far": "{name} against {baseline}: {change:+.1%} (95 % interval {low:+.1%} to "
        "{high:+.1%}){needed}",
        "would_decide_in": "; {minutes:.1f} min more would decide, if all stays as it is",
        "ratio": "throughput ratio {ratio:.3f}",
        "ratio_interval": "throughput ratio {ratio:.3f} (95 % interval {low:.3f} to {high:.3f}), {p}",
        "ratio_better": "Against the default: {figures}, above 1 at α = {alpha:g}.",
        "ratio_tied": "Against the default: {figures}, the 90 % interval within ±{zone:.0%}.",
        "ratio_undecided": "Against the default: {figures}, neither clearly above 1 at α = {alpha:g} nor within "
        "±{zone:.0%}.",
    }
)

KO: Mapping[NoteCode, str] = MappingProxyType(
    {
        "docker_chosen": "실행 환경: docker (Docker Engine에 {release} 릴리스 이미지가 모두 있음). PyPI의 Triton "
        "사용: --runtime embedded.",
        "docker_lacks_images": "Docker Engine에 {names} 이미지 없음",
        "embedded_chosen": "실행 환경: embedded (PyPI의 Triton): {lacks}. NVIDIA 공식 이미지 사용: {commands} 실행 "
        "후 --runtime docker.",
        "error": "{message}",
        "leftovers_removed": "강제 종료된 실행이 남긴 항목 제거: {names}.",
        "leftovers_stay": "강제 종료된 실행이 남긴 항목을 제거하지 못함({reason}): `hcopt doctor --fix` 로 재시도.",
        "containers_left": "이 실행의 컨테이너가 남아 있을 수 있음({reason}): `{command}` 로 확인.",
        "container_restarted": "컨테이너 종료 후 재시작({ended}): 그 시점의 측정은 실패로 기록하거나 다시 측정.",
        "tritonserver_restarted": "tritonserver 종료 후 재시작({ended}): 그 시점의 측정은 실패로 기록하거나 다시 측정.",
        "python_backend_chosen": "hcopt의 native backend 사용 불가({reason}): 처리량이 1/2~2/3 수준인 Python 기반 "
        "backend로 측정. 여기서 최적인 설정이 운영 환경에서도 최적이라는 보장은 없음.",
        "remote_own_copy": "측정 대상은 '{server}' 서버의 모델 저장소에 있는 '{name}' 사본.",
        "remote_models_sent": "'{server}' 서버에 별도 이름으로 모델을 전송하고 끝나면 unload.",
        "remote_settings": "'{server}' 서버에서 {settings} 사용 중: 요청마다 시간이 더 들며, 측정값은 그런 서버의 "
        "것임. 서버 관리자가 끌 수 있음.",
        "remote_not_put_back": "원격 서버의 '{name}' 모델을 원래 상태로 되돌리지 못함: {reason}.",
        "another_run_measures": "같은 머신에서 다른 hcopt가 동시에 측정 중: {whose}. 서로의 측정값에 영향을 줌.",
        "no_machine_lock": "{path} 잠금 불가({reason}): 다른 hcopt의 측정 여부를 확인하지 않음.",
        "noisy_machine": "측정 장비의 노이즈가 큼: {causes}.",
        "noisy_machine_longer_windows": "측정 장비의 노이즈가 큼: {causes}. 검증 측정 구간을 {window_s:g}초로 연장.",
        "noise_steal": "CPU steal {share:.0%}(한도 {limit:.0%})",
        "noise_throttling": "CPU 쿼터 throttling {share:.0%}(한도 {limit:.0%})",
        "noise_variation": "블록 간 변동 {share:.0%}(한도 {limit:.0%})",
        "cpu_quota": "CPU quota {quota:g}개가 적용됨(보이는 CPU {cpus}개보다 적음): CPU {counted}개로 계산. 초과분은 "
        "커널이 제한하므로 CPU 집합(cpuset)으로 할당하는 편이 측정에 유리.",
        "governor": "CPU 주파수 governor가 {governor}: 측정 중 클록이 변동. `performance`로 고정 권장.",
        "cores_divided": "서버 CPU {server}, 부하 생성기 CPU {client}: 물리 코어를 나누어 사용(runtime.cpuset).",
        "siblings_shared": "서버와 부하 생성기의 CPU는 다르지만 물리 코어를 공유(SMT sibling {cpus}): 서로의 속도를 "
        "떨어뜨림.",
        "client_saturated": "측정 구간 {windows}개 중 {count}개에서 부하 생성기가 할당된 CPU 시간의 {limit:.0%} 넘게 "
        "사용: 서버 성능이 실제보다 낮게 측정되었을 수 있음. runtime.cpuset으로 CPU를 더 할당하거나 둘 다 null로 지정.",
        "steal_seen": "측정 구간 {windows}개 중 {count}개에서 CPU steal {limit:.0%} 초과(최대 {most:.0%}): 같은 "
        "호스트의 다른 VM과 CPU 공유.",
        "variation_seen": "같은 설정의 처리량이 블록 간에 평균 {share:.0%} 변동(한도 {limit:.0%}): 더 명확한 판정을 "
        "위해 다른 부하가 적은 장비에서 재측정 권장.",
        "resolution": "이 장비에서는 검증 {minutes:g}분 안에 {smallest:.0%} 이상의 처리량 차이를 입증 가능"
        "(같은 설정의 블록당 차이 {variation:.1%}). 판정에 필요한 시간: {times}.",
        "last_noise": "이 장비에서의 마지막 실행 기준: {said}",
        "decides_in": "{difference:.0%} 차이에 {minutes}분",
        "decides_in_hours": "{difference:.0%} 차이에 수 시간",
        "run_not_readable": "이 로그인으로는 모델을 기록한 MLflow 실행 {run_id}을(를) 읽을 수 없음: "
        "그 안에 있을 수 있는 config.pbtxt는 사용하지 못함.",
        "config_derived": "모델에 config.pbtxt가 없으므로 ONNX 파일을 바탕으로 기본 설정 생성.",
        "config_renamed": "config.pbtxt의 모델 이름 {said!r} 대신 {name!r} 이름으로 서빙.",
        "config_completed": "config.pbtxt에 없는 항목({missing})을 ONNX 파일의 정보로 보완.",
        "config_not_batched": "모델은 배치를 지원하지만 config.pbtxt의 max_batch_size가 0이므로 Triton이 배치하지 "
        "않으며, dims에 가변 첫 차원이 없어 설정을 그대로 유지.",
        "config_not_batched_optional": "모델은 배치를 지원하지만 config.pbtxt의 max_batch_size가 0이므로 Triton이 "
        "배치하지 않음: Triton의 onnxruntime backend는 이 경우에만 선택 입력({names})을 허용. config.pbtxt에서 이를 "
        "빼면 배치 가능.",
        "output_dims_corrected": "config.pbtxt의 출력 {name!r} dims는 {said}, 모델은 {own}: NVIDIA의 onnxruntime "
        "backend는 모델과 정확히 같아야 로드함. 최적 설정을 포함한 모든 설정에서 수정.",
        "optional_inputs_not_sent": "부하에서 선택 입력({names}) 제외: 모델에 저장된 값 사용.",
        "parameters_of_hcopt_alone": "NVIDIA의 onnxruntime backend는 {names} 파라미터를 무시하며, hcopt의 backend만 "
        "ONNX Runtime에 전달. 여기서 나타나는 효과가 NVIDIA 이미지에는 없음.",
        "parameters_without_effect": "onnxruntime backend에 {names} 파라미터 없음: config.pbtxt에는 남지만 효과 없음.",
        "config_batched": "모델은 배치를 지원하지만 config.pbtxt의 max_batch_size가 0이므로 Triton이 배치하지 않음: "
        "max_batch_size {max_batch_size}, dynamic batching, 첫 차원을 뺀 dims로 분석.",
        "config_unbatched": "config.pbtxt에는 max_batch_size {max_batch_size}, 그러나 여러 행을 묶으면 모델이 "
        "오류를 내거나 다른 결과를 냄: max_batch_size 0, dynamic batching 없이 분석.",
        "config_moved_to_cpu": "config.pbtxt의 인스턴스는 GPU용이지만 instance_kind에 따라 CPU 인스턴스 {count}개로 "
        "분석.",
        "warm_up_left_out": "측정 구간마다 자체 준비 단계가 있으므로 측정 중에는 model_warmup 제외. 최적 설정 파일에는 "
        "max_batch_size에 맞추어 포함.",
        "response_cache_left_out": "같은 행이 반복되어 Triton이 캐시에서 응답하게 되므로 측정 중에는 "
        "response_cache를 끔. 최적 설정 파일에는 포함되며, 수치는 모델 자체의 성능임.",
        "queue_stalls": "config.pbtxt에 queue policy 또는 우선순위가 있음: 이 경우 모델이 아니라 Triton 자체가 일부 "
        "요청을 {stall_s:g}초 동안 방치함. 측정 구간을 그만큼 늘리며, 처리량과 지연 시간은 그런 대기열을 쓰는 "
        "서버의 값임.",
        "rate_limiter_unheeded": "config.pbtxt에 rate_limiter가 있음. Triton은 --rate-limit=execution_count일 때만 "
        "이를 따름: hcopt가 시작하는 서버는 이 옵션 없이 실행하며, 원격 서버의 값은 알 수 없음.",
        "input_dimension_fixed": "입력 {name!r}의 첫 차원이 고정값({size})이므로 여러 요청을 하나의 배치로 묶을 수 "
        "없음.",
        "input_scalar": "입력 {name!r}의 첫 차원이 없으므로(스칼라) 여러 요청을 하나의 배치로 묶을 수 없음.",
        "output_dimension_fixed": "출력 {name!r}의 첫 차원이 고정값({size})이므로 여러 요청을 하나의 배치로 묶을 수 "
        "없음.",
        "output_scalar": "출력 {name!r}의 첫 차원이 없으므로(스칼라) 여러 요청을 하나의 배치로 묶을 수 없음.",
        "outputs_declared_wrongly": "파일에 출력 {names}의 첫 차원이 {size}(으)로 고정되어 Triton이 배치할 수 없지만, "
        "실제로는 입력 행마다 한 행을 출력함. model.correct_outputs: true 로 그 차원을 가변으로 고친 사본을 측정하고 "
        "전달 가능. 모델을 내보낼 때 고치는 것이 가장 좋음.",
        "outputs_corrected": "model.correct_outputs에 따라 출력 {names}의 첫 차원을 가변으로 고친 사본(SHA-256 "
        "{sha256})을 측정하고 전달. 원본 파일(SHA-256 {source_sha256})은 그대로 둠.",
        "two_rows_fail": "두 행을 한 번에 넣으면 모델 실행 실패: {reason}",
        "two_rows_shape": "출력 {name!r}의 shape: 한 행일 때 {one}, 두 행일 때 {two}, 첫 차원이 행 수와 일치하지 않음.",
        "two_rows_differ": "두 행을 한 배치로 실행한 출력 {name!r} 값이 따로 실행할 때와 최댓값 대비 {share:.1%} "
        "다름: 같은 배치의 다른 행이 결과에 영향을 줌.",
        "two_rows_differ_altogether": "두 행을 한 배치로 실행한 출력 {name!r} 값이 따로 실행할 때와 전혀 다름: 같은 "
        "배치의 다른 행이 결과에 영향을 줌.",
        "two_rows_rounded": "두 행을 한 배치로 실행한 출력 {name!r} 값이 따로 실행할 때와 최댓값 대비 {share:.1%} "
        "다르지만 다른 행의 내용과는 무관함: 행은 서로 독립이며 차이는 반올림에 의한 것임.",
        "row_count_matters": "두 행을 한 배치로 실행한 출력 {name!r} 값이 다른 행의 내용과 무관하게 따로 실행할 때와 "
        "다름: 행의 수가 결과에 영향을 줌.",
        "variant_refused": "변형 {name}({origin})은(는) 측정하지 않음: {why}.",
        "variant_not_made": "ONNX Runtime 자체 도구가 이 모델에서 실패({reason})",
        "variant_unchanged": "이 모델에는 ONNX Runtime 자체 도구가 바꿀 것이 없음",
        "variant_same_bytes": "모델과 같은 파일",
        "variant_file_taken": "버전 폴더에 같은 이름의 다른 파일 {file!r}이(가) 있음",
        "variant_other_tensors": "입력 또는 출력의 이름, 타입, 형상이 모델과 다름({names})",
        "variant_bfloat16": "BF16 타입 출력은 비교할 수 없음",
        "variant_cannot_run": "{reason}",
        "variant_batches_otherwise": "배치 동작이 모델과 다름. {reason}",
        "variant_batches": "모델과 달리 배치 가능",
        "variant_beyond": "{rows}에서 {outputs}; model.tolerance 허용값은 값 범위의 {difference:.2%}, 레이블 일치율 "
        "{agreement:.2%} 이상",
        "variant_outputs": "변형 {name}({origin})의 모델 대비 출력: {rows}에서 {outputs}.",
        "variant_in_batches": "변형 {name}: {reason}",
        "variant_numbers": "출력 {output!r}의 최대 차이 값 범위의 {largest_ratio:.2%}({largest:.3g}), 평균 차이 "
        "{mean_ratio:.2%}({mean:.3g})",
        "variant_labels": "레이블 {output!r} 일치율 {agreement:.2%}",
        "variant_incomparable": "{output!r} 값 {count}개는 비교 불가(NaN, 무한대 또는 다른 형상)",
        "variant_rows_example": "입력 예시 {count}행 중 {checked}행",
        "variant_rows_synthetic": "합성 데이터 {count}행 중 {checked}행(실제 데이터보다 근거가 약함)",
        "batch_not_swept": "모델이 배치를 지원하지 않으므로(max_batch_size 0) max_batch_size와 queue delay는 "
        "스윕하지 않고 요청 하나에 한 행만 보냄: 남은 설정 {variants}개.",
        "same_as_default": "{config}은(는) 스윕에 포함된 기본 설정 자체임: 스윕에서 보이는 둘의 차이는 잡음일 뿐이며, "
        "검증에서는 하나로 측정.",
        "threads_elsewhere": "스레드 수를 {shares}(으)로 스윕하지 않음: 다른 곳에서 실행되는 서버의 코어 수를 알 수 "
        "없음. sweep.intra_op_thread_count에 숫자로 지정 가능.",
        "threads_of_gpu": "스레드 수를 {shares}(으)로 스윕하지 않음: 인스턴스가 GPU에서 실행됨. "
        "sweep.intra_op_thread_count에 숫자로 지정 가능.",
        "threads_as_default": "{config}의 인스턴스당 스레드 {threads}개는 기본 설정에서 ONNX Runtime이 스스로 정하는 "
        "수와 같음: 기본 설정에서는 스레드를 코어에 고정한다는 점만 다름.",
        "thread_of_default": "{config} 제외: 인스턴스당 스레드 1개는 기본 설정에서 ONNX Runtime이 스스로 정하는 수와 "
        "같음.",
        "threads_beyond_cpus": "기본 설정은 스레드 수를 ONNX Runtime에 맡김: 머신의 물리 코어 수에 맞춰 인스턴스당 "
        "{threads}개를 만들고 코어에 고정하지만, 서버에 할당된 CPU는 {cpus}개.",
        "openvino_answers": "OpenVINO({file})와 ONNX Runtime(원본 모델)의 응답 비교: {rows}에서 {outputs}.",
        "openvino_precision": "OpenVINO 연산 정밀도: {precision}.",
        "openvino_threads": "OpenVINO({plugin})와 ONNX Runtime의 스레드 수는 동일: 둘 다 각 설정의 "
        "intra_op_thread_count를 사용(OpenVINO에는 INFERENCE_NUM_THREADS로 전달), 지정하지 않으면 각자 정함.",
        "openvino_threads_own": "NVIDIA 백엔드는 OpenVINO에 스레드 수를 전달하지 못함: OpenVINO는 인스턴스마다 CPU "
        "수만큼({cpus}개) 사용. ONNX Runtime의 스레드 수가 같거나 지정되지 않은 설정에서만 비교.",
        "openvino_threads_unequal": "openvino를 사용하는 설정 {count}개는 측정하지 않음: NVIDIA 백엔드가 OpenVINO에 "
        "스레드 수를 전달하지 못해 OpenVINO는 {cpus}개, ONNX Runtime은 다른 수를 쓰게 됨.",
        "synthetic_rows": "합성 데이터로 부하 생성, 실제 데이터는 model.input_example로 지정 가능.",
        "dynamic_rows": "입력의 첫 차원이 가변이므로 모든 요청에서 1로 설정, model.input_shapes로 변경 가능.",
        "example_not_used": "모델에 포함된 입력 예시를 사용하지 않음: {reason}.",
        "example_cut": "입력 예시 {count}행 중 처음 {kept}행만 부하에 사용.",
        "example_counts_differ": "입력마다 행 수가 다름: {counts}",
        "example_empty": "행이 없음",
        "example_unreadable": "읽을 수 없음({reason})",
        "example_no_format": "JSON도 .npz도 아님({reason})",
        "example_too_large": "{size_bytes}바이트, 최대 {most_bytes}바이트까지 읽음",
        "example_keys_differ": "행마다 key가 다름",
        "example_one_array": "배열은 하나인데 모델 입력은 여러 개임({wanted})",
        "example_other_names": "예시의 항목({found})이 모델의 입력({wanted})과 다름",
        "example_row_lengths": "열의 수({columns})와 길이가 다른 행이 있음",
        "example_other_columns": "예시의 열({found})이 모델의 입력({wanted})과 다름",
        "example_misfit": "입력 {name!r}에 맞지 않음(필요: {expected}, 실제: {found})",
        "example_misfit_error": "입력 {name!r}에 맞지 않음({reason})",
        "example_misfit_value": "입력 {name!r}에 맞지 않음({value} 값은 {datatype} 타입이 아님)",
        "example_misfit_count": "입력 {name!r}에 맞지 않음(값 {count}개, shape {shape})",
        "example_no_data": "입력 {name!r}의 값이 목록이나 base64로 들어 있지 않음",
        "example_row": "{reason}, {row}번 행(0부터 셈)",
        "rows_sampled": "측정 전에 입력 예시 {count}행을 모두 실행하면 너무 오래 걸리므로 무작위로 {checked}행만 "
        "실행하여 오류 없음을 확인. 모델이 받지 못하는 행이 남아 있으면 측정이 실패함.",
        "default_fails_before_sweep": "스윕 전 측정 {windows}구간 중 {failed}구간에서 기본 설정이 자체 원인으로 "
        "실패(노이즈 수치에는 미반영): {reason}",
        "default_without_figures": "스윕 전 기본 설정이 concurrency {concurrency}에서 {seconds:g} s 동안 측정값을 내지 "
        "못함({reason}). 느린 모델이면 sweep.concurrency 를 [1]로, 또는 profiler.measurement_interval_ms 를 여러 "
        "응답이 들어가는 길이로 설정.",
        "slow_sweep": "{rate} infer/s, concurrency {concurrency}: Model Analyzer 측정 구간을 {asked_s:g} s 대신 "
        "{window_s:.3g} s로 하며 스윕에 약 {minutes}분 소요. sweep.concurrency: [{fewer}] 이면 약 {less}분.",
        "default_unmeasured_before_sweep": "스윕 전에 기본 설정을 측정하지 못함: {reason}",
        "unmeasured": "전체 {configurations}개 설정 중 {count}개는 어떤 부하에서도 측정되지 않아 비교에서 제외: "
        "{names}. 원인은 실패한 측정 목록 참조.",
        "refuted_by_failures": "{name} 설정이 검증 측정 {windows}구간 중 {failed}구간에서 자체 원인으로 실패: "
        "후보에서 제외. {reason}",
        "refuted_by_errors": "{name} 설정이 검증 측정에서 오류 응답이 너무 많음: 후보에서 제외.",
        "refuted_by_p99": "{name} 설정이 검증 측정에서 p99 한도 초과({p99_ms:.3g} ms): 후보에서 제외.",
        "out_by_memory": "{name}: {why}, 후보에서 제외.",
        "memory_not_read": "이 서버의 메모리를 읽을 수 없어, 설정별 메모리 사용량은 측정되지 않음.",
        "no_rate_in_time": "보장 가능한 요청 도착률 없음: 시간 부족(무작위 도착 측정 {windows}구간).",
        "no_rate_within_limit": "보장 가능한 요청 도착률 없음: 한도 준수가 확인된 도착률 없음(무작위 도착 측정 "
        "{windows}구간).",
        "rates_invalid": "{rate} infer/s부터 유효한 측정 구간 없음: {reason}",
        "capacity_failed": "지속 가능한 처리율을 측정하지 못함: {reason}",
        "alone_not_measured": "ONNX Runtime 단독 대비 Triton의 비용을 측정하지 않음: {why}.",
        "alone_on_remote": "이 장비의 ONNX Runtime은 원격 서버의 CPU를 사용할 수 없음",
        "alone_on_docker": "측정 프로그램의 컨테이너에 ONNX Runtime이 없음",
        "alone_on_gpu": "instance가 GPU에서 실행됨",
        "alone_with_accelerator": "config.pbtxt의 accelerator가 ONNX Runtime 대신 계산함",
        "alone_too_slow": "요청이 너무 오래 걸리거나 너무 커서 짧은 간격으로 번갈아 측정할 수 없음",
        "of_model": "{name}: {note}",
        "model_failed": "{name} 실패: {reason}",
        "task_lost": "{node} 노드에서 작업 유실({reason}): 처음부터 다시 측정하며 중단된 부분은 사용하지 않음.",
        "node_left_out": "{node} 노드는 측정에서 제외: {reason}",
        "resumed": "{began}에 시작한 실행이 중단되어 이어서 진행함: 그 전의 측정 {count}건 사용.",
        "nothing_to_resume": "이 구성의 미완료 실행이 없어 새로 시작.",
        "nothing_alike_to_resume": "이 구성의 미완료 실행이 없어 새로 시작. {run_id} 와의 차이: {differences}.",
        "winner_is_variant": "{then} {outputs}",
        "winner_not_measured": "스윕 1위를 다시 측정하지 못해 스윕 이후의 결과 없음.",
        "refuted": "{name}: {why}.",
        "fails_windows": "{windows}구간 중 {failed}구간에서 자체 원인으로 실패(요청의 1%까지 허용): {reason}",
        "answers_with_errors": "검증 측정에서 오류 응답이 너무 많음",
        "misses_limit": "검증 측정에서 p99 한도 초과",
        "limit_undecided": "{name} p99 한도 충족 미확인: {seen}{needed}.",
        "answers_undecided": "{name} 요청 실패 1% 이하 미확인: {seen}{needed}.",
        "windows_failed": "{windows}구간 중 {failed}구간에서 자체 원인으로 실패({reason})",
        "p99_measured": "블록 {blocks}개의 p99 {p99_ms:.3g} ms",
        "share_too_late": "한도 초과 요청 {share:.2%}({low:.2%}~{high:.2%}), 허용 1%",
        "blocks_would_decide": "; 블록 약 {blocks}개면 판정 가능",
        "default_uncompared": "스윕에서 가장 빨랐던 기본 설정과 비교된 설정 없음.",
        "only_best_keeps_limit": "최적 설정만 p99 한도 충족. 기본 설정: {why}.",
        "only_best_fits_memory": "최적 설정만 메모리 한도 충족 확인. 기본 설정: {why}.",
        "needs_too_much_memory": "필요한 메모리 {memory_mb:.1f} MB, constraints.memory_mb 한도({limit_mb:g} MB) 초과",
        "memory_not_measured": "필요한 메모리를 측정하지 못해 constraints.memory_mb 충족 미확인",
        "only_best_answers": "최적 설정만 요청에 응답. 기본 설정: {why}.",
        "default_unmeasured": "기본 설정을 측정하지 못해 비교 대상 없음.",
        "default_unmeasured_first": "기본 설정을 측정하지 못함: {why}. {then}",
        "nothing_to_compare_with": "최적 설정과 비교할 대상 없음.",
        "runner_up_faster": "검증 측정에서 {name} 설정이 스윕 1위 {swept} 설정보다 빠름. {then}",
        "runner_up_proved": "{name} 설정과 스윕 1위 {swept} 설정 중 {name} 설정만 기본 설정보다 나음을 확인. {then}",
        "runner_up_cheaper": "{name} 설정의 처리량은 스윕 1위 {swept} 설정과 같음({advantage}). {then}",
        "models_own_file": "{theirs} 대신 모델 자체의 파일",
        "fewer_instances": "인스턴스 {theirs}개 → {ours}개",
        "lower_p99": "p99 {less:.1%} 낮음",
        "smaller_batch": "배치 크기 {theirs} → {ours}",
        "default_has_most": "기본 설정의 처리량이 가장 높음: 변경할 것 없음.",
        "default_has_most_within_limit": "한도 이내에서 기본 설정의 처리량이 가장 높음: 변경할 것 없음.",
        "default_is_best": "기본 설정이 최적이므로 변경할 것 없음: {compared}.",
        "against_default": "기본 설정 대비 {name} 설정의 {figures}",
        "default_undecided": "{name} 설정이 기본 설정보다 빠른지 미확인: {why}.",
        "not_side_by_side": "나란히 측정하지 못함",
        "default_alone": "기본 설정만 측정되어 비교 대상 없음.",
        "nothing_answers": "요청에 응답하는 설정 없음: {name}, {why}.",
        "everything_fails": "모든 설정에서 요청 실패가 1% 초과, 가장 적은 설정은 {name}({share:.0%}).",
        "nothing_measured": "측정된 설정 없음.",
        "nothing_keeps_limit": "p99 {limit_ms:g} ms 이내인 설정 없음: 가장 근접한 {name}(concurrency "
        "{concurrency})의 p99는 {p99_ms:.3g} ms(한도의 {times:.2f}배).",
        "nothing_fits_memory": "다른 한도를 충족한 설정 중 메모리 {limit_mb:g} MB 이내인 설정 없음: 가장 적은 {name} "
        "설정이 {memory_mb:.1f} MB 필요.",
        "memory_of_none_known": "메모리 {limit_mb:g} MB 이내임이 확인된 설정 없음: 필요한 메모리를 측정하지 못함.",
        "turns_failed": "짧은 간격으로 번갈아 측정하지 못함({why}): 더 오래 걸리는 측정 구간 방식으로 측정.",
        "undecided_so_far": "{name}, {baseline} 대비: {change:+.1%}(95% 신뢰구간 {low:+.1%}~{high:+.1%}){needed}",
        "would_decide_in": "; 현재 상태가 유지되면 {minutes:.1f}분 후 판정 가능",
        "ratio": "처리량 비율 {ratio:.3f}",
        "ratio_interval": "처리량 비율 {ratio:.3f}(95% 신뢰구간 {low:.3f}~{high:.3f}), {p}",
        "ratio_better": "기본 설정 대비 {figures}, α = {alpha:g} 기준 1 초과.",
        "ratio_tied": "기본 설정 대비 {figures}, 90% 신뢰구간이 ±{zone:.0%} 이내.",
        "ratio_undecided": "기본 설정 대비 {figures}, α = {alpha:g} 기준 1 초과도 ±{zone:.0%} 이내도 미확인.",
    }
)


def sentence(note: Note, language: Language = "en") -> str:
    """The words of a note."""
    words = {name: _word(value, language) for name, value in note.values.items()}
    return (KO if language == "ko" else EN)[note.code].format(**words)


def worded(note: Note) -> JsonObject:
    """For files that programs read: the code, which stays the same, and the sentence in English."""
    return {"code": note.code, "sentence": sentence(note)}


def _word(value: str | int | float | Note | tuple[Note, ...], language: Language) -> str | int | float:
    if isinstance(value, Note):
        return sentence(value, language)
    return ", ".join(sentence(one, language) for one in value) if isinstance(value, tuple) else value
