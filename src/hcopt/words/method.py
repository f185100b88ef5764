"""The machine, the method, its limits, and what stands on every page."""

from __future__ import annotations

EN = {
    "section_environment": "Environment",
    "fact_model": "Model",
    "fact_source": "Source",
    "fact_version": "Version",
    "fact_runtime": "Runtime",
    "fact_backend": "Backend",
    "fact_triton": "Triton",
    "fact_server_settings": "Server's settings",
    "fact_onnxruntime": "ONNX Runtime",
    "fact_perf_analyzer": "perf_analyzer",
    "fact_cpu": "CPU",
    "fact_cpu_value": "{model}, {count} cores (cpuset {cpuset})",
    "fact_placement": "Placement",
    "fact_placement_shared": "server and load generator share the CPUs {cpus}",
    "fact_placement_apart": "server on the CPUs {server}, load generator on {client}",
    "fact_siblings": "SMT siblings {cpus}",
    "fact_no_siblings": "no SMT siblings seen",
    "fact_numa": "NUMA node {nodes}",
    "fact_quota": "CPU quota {quota:g}",
    "fact_no_quota": "no CPU quota",
    "fact_threads": "Threads of the default",
    "fact_threads_own": "{count} an instance, as config.pbtxt says",
    "fact_threads_left": "left to ONNX Runtime, which takes {count} an instance here",
    "fact_threads_unknown": "left to ONNX Runtime, how many is not known",
    "fact_governor": "CPU governor",
    "fact_memory": "Memory",
    "fact_memory_value": "{value} MB",
    "fact_hcopt": "hcopt",
    "fact_elapsed": "Time taken",
    "phase_fetch": "fetch",
    "phase_serve": "start of Triton",
    "phase_noise": "A/A measurement",
    "phase_sweep": "sweep",
    "phase_confirmation": "confirmation",
    "phase_onnxruntime_alone": "ONNX Runtime alone",
    "phase_open_loop": "open-loop check",
    "phase_report": "report",
    "phase_log": "MLflow",
    "seconds": "{seconds} s",
    "minutes": "{minutes} min {seconds} s",
    "section_notes": "Notes on this run",
    "section_method": "How it was measured and decided",
    "method_noise": "Noise: before the sweep the default was measured against itself in interleaved blocks (A/A). The "
    "variation between them says what difference can be resolved, and how long that takes.",
    "method_sweep": "Sweep: {profilers} measured every configuration once at every load ({variants} × {loads}). It "
    "only proposes candidates: a maximum over noisy single measurements is too good to be true.",
    "method_confirmation": "Confirmation: the finalists were measured again by {profilers} in {blocks} interleaved "
    "blocks on fresh loads, in orders that balance. Every claim rests on these blocks only.",
    "method_no_confirmation": "Confirmation: did not give figures for a winner, so nothing is claimed beyond "
    "the sweep's single measurements.",
    "method_interval": "Intervals: 95%, Student's t over blocks; that of a throughput ratio is the exact signed-rank "
    "interval of the paired blocks' log ratios (Hodges-Lehmann), in which drift common to a block cancels.",
    "method_limit": "p99 limit: at most {allowed} of the requests may be slower. Judged by the share of slow requests "
    "block by block, since requests of one burst are not independent: holds = the share's upper bound is within "
    "{allowed}; missed = its lower bound is beyond; otherwise not shown.",
    "method_verdict": "Verdict: better = interval of the throughput ratio above 1 and exact signed-rank test p ≤ "
    "{alpha} (Holm-adjusted over the comparisons{looks}); equal = 90% interval within ±{zone}; otherwise undecided. Of "
    "configurations that count as equal the cheaper is recommended: fewer instances, lower p99, smaller batch.",
    "method_looks": ", spent over {looks} looks at the data",
    "method_open_loop": "Sustainable rate: Poisson arrivals that do not wait for answers, at rates that a fit to all "
    "windows proposes; its lower bound is the highest at which the p99 limit is shown to hold on fresh arrivals.",
    "method_literature": "Literature: Hodges & Lehmann, Ann. Math. Stat. 34 (1963), signed-rank interval; Holm, "
    "Scand. J. Statist. 6 (1979); Lan & DeMets, Biometrika 70 (1983), looks; Little, Oper. Res. 9 (1961); MLPerf "
    "Inference (2020), p99 limit and Poisson arrivals.",
    "section_limits": "Limits",
    "limit_scope": "Holds for this model, backend, CPU, thread setting and request shape only.",
    "limit_time": "Holds for the machine as it was during the run; what changes over hours or days was not seen.",
    "limit_choice": "Not shown to be the best of the sweep: what the sweep ranked lower was not measured again.",
    "limit_closed_loop": "The comparison is closed-loop (fixed concurrency): latency under open arrivals can be "
    "higher.",
    "limit_poisson": "The sustainable rate holds for Poisson arrivals: traffic in bursts sustains less.",
    "limit_client": "Latency was measured at the client, the load generator's own share included.",
    "limit_instances": "Throughput counts inferences (rows), not requests.",
    "section_command": "Command",
    "footer_page": "page {page} of {pages}",
    "footer_measured": "Measured {date} UTC",
}

KO = {
    "section_environment": "환경",
    "fact_model": "모델",
    "fact_source": "출처",
    "fact_version": "버전",
    "fact_runtime": "Runtime",
    "fact_backend": "Backend",
    "fact_triton": "Triton",
    "fact_server_settings": "서버 설정",
    "fact_onnxruntime": "ONNX Runtime",
    "fact_perf_analyzer": "perf_analyzer",
    "fact_cpu": "CPU",
    "fact_cpu_value": "{model}, 코어 {count}개 (cpuset {cpuset})",
    "fact_placement": "CPU 배치",
    "fact_placement_shared": "서버와 부하 생성기가 CPU {cpus} 공유",
    "fact_placement_apart": "서버 CPU {server}, 부하 생성기 CPU {client}",
    "fact_siblings": "SMT sibling {cpus}",
    "fact_no_siblings": "SMT sibling 없음",
    "fact_numa": "NUMA 노드 {nodes}",
    "fact_quota": "CPU quota {quota:g}개",
    "fact_no_quota": "CPU quota 없음",
    "fact_threads": "기본 설정의 스레드",
    "fact_threads_own": "인스턴스당 {count}개(config.pbtxt에 지정)",
    "fact_threads_left": "ONNX Runtime이 결정: 이 환경에서 인스턴스당 {count}개",
    "fact_threads_unknown": "ONNX Runtime이 결정: 개수는 알 수 없음",
    "fact_governor": "CPU governor",
    "fact_memory": "메모리",
    "fact_memory_value": "{value} MB",
    "fact_hcopt": "hcopt",
    "fact_elapsed": "소요 시간",
    "phase_fetch": "모델 준비",
    "phase_serve": "Triton 시작",
    "phase_noise": "A/A 측정",
    "phase_sweep": "스윕",
    "phase_confirmation": "검증",
    "phase_onnxruntime_alone": "ONNX Runtime 단독",
    "phase_open_loop": "open-loop 검증",
    "phase_report": "보고서",
    "phase_log": "MLflow",
    "seconds": "{seconds}초",
    "minutes": "{minutes}분 {seconds}초",
    "section_notes": "이번 실행의 참고 사항",
    "section_method": "측정 및 판정 방법",
    "method_noise": "노이즈: 스윕 전에 기본 설정끼리 교차 블록으로 비교(A/A). 블록 간 변동으로 구분 가능한 차이와 "
    "필요한 시간을 추정.",
    "method_sweep": "스윕: {profilers}로 설정 {variants}개를 부하 {loads}종에서 1회씩 측정. 노이즈가 섞인 "
    "1회 측정값의 최댓값은 실제보다 좋게 나오므로 후보 선정에만 사용.",
    "method_confirmation": "검증: 최종 후보를 {profilers}로 새로운 부하에서 교차 블록 {blocks}개에 걸쳐, 블록마다 "
    "순서를 바꾸어 재측정. 모든 판정은 이 블록만 근거로 함.",
    "method_no_confirmation": "검증: 최적 설정의 측정값이 없으므로 스윕의 1회 측정값 이상을 주장하지 않음.",
    "method_interval": "신뢰구간: 95%, 블록 단위 Student t. 처리량 비율은 짝지은 블록의 로그 비율에 대한 exact "
    "signed-rank 구간(Hodges-Lehmann)으로, 블록에 공통된 변동은 상쇄됨.",
    "method_limit": "p99 한도: 한도를 넘는 요청은 {allowed}까지 허용. 연속된 요청은 서로 독립이 아니므로 블록별 초과 "
    "비율로 판정: 충족 = 초과 비율의 상한이 {allowed} 이내, 미충족 = 하한이 {allowed} 초과, 그 외 미확인.",
    "method_verdict": "판정: 우수 = 처리량 비율의 신뢰구간 하한이 1보다 크고 exact signed-rank 검정 p ≤ {alpha}(비교 "
    "수에 대한 Holm 보정{looks}), 동등 = 90% 신뢰구간이 ±{zone} 이내, 그 외 판정 보류. 동등한 설정 중에서는 인스턴스 "
    "수, p99, batch 순으로 더 작은 쪽을 권장.",
    "method_looks": ", 판정 시도 {looks}회에 배분",
    "method_open_loop": "지속 가능 처리율: 응답을 기다리지 않는 Poisson 도착, 도착률은 전체 측정 구간의 추정에 따라 "
    "선택. 새 도착에서 p99 한도 충족이 확인된 가장 높은 도착률을 하한으로 사용.",
    "method_literature": "참고 문헌: Hodges & Lehmann, Ann. Math. Stat. 34 (1963), signed-rank 구간; Holm, Scand. J. "
    "Statist. 6 (1979); Lan & DeMets, Biometrika 70 (1983), 반복 판정; Little, Oper. Res. 9 (1961); MLPerf "
    "Inference (2020), p99 한도와 Poisson 도착.",
    "section_limits": "한계",
    "limit_scope": "이 모델, 백엔드, CPU, 스레드 설정, 요청 형태에서만 유효.",
    "limit_time": "측정 당시의 장비 상태에서만 유효하며, 몇 시간 또는 며칠에 걸친 변화는 반영하지 않음.",
    "limit_choice": "스윕 전체에서 최적임을 증명한 것은 아님: 스윕에서 순위가 낮았던 설정은 재측정하지 않음.",
    "limit_closed_loop": "설정 비교는 closed-loop(고정 concurrency) 방식: 실제 도착 패턴에서는 지연 시간 증가 가능.",
    "limit_poisson": "지속 가능 처리율은 Poisson 도착 기준: 트래픽이 몰리면 더 낮아짐.",
    "limit_client": "지연 시간은 클라이언트 기준으로, 부하 생성기 자체의 처리 시간 포함.",
    "limit_instances": "처리량은 요청 수가 아닌 추론 건수(행) 기준.",
    "section_command": "실행 명령",
    "footer_page": "{page} / {pages} 쪽",
    "footer_measured": "측정 시각 {date} UTC",
}
