"""From one pod to many: capacity, the autoscaler's target, and the conditions of linear scaling."""

from __future__ import annotations

EN = {
    "section_scaling": "From one pod to many: vertical and horizontal scaling",
    "pods_vertical": "Vertical, measured here: one pod with {name} on {cores} cores carries at least C = {capacity} "
    "with p99 within {limit}. Plan with this lower bound, not with a maximum of the sweep.",
    "pods_horizontal": "Horizontal, computed from it: the Kubernetes HPA replicates this pod and keeps each at "
    "T = {target}.",
    "pods_target": "HPA target",
    "pods_target_value": "averageValue {quantity}, in inferences per second a pod: T = C / {headroom}",
    "pods_why": "Why below C",
    "pods_why_value": "the HPA leaves a pod alone up to {tolerance} above T, and until new pods serve (τ = {reaction} "
    "s) the load can grow by another {growth} (--growth {growth_text})",
    "pods_reaction": "τ",
    "pods_reaction_value": "scrape interval {scrape} s + rate window {window} s + HPA sync {sync} s + pod start "
    "{start} s",
    "pods_guard": "Guard",
    "pods_guard_value": "pending requests a pod, averageValue {pending}: completed inferences saturate at C",
    "pods_column_load": "Load (infer/s)",
    "pods_column_pods": "Pods",
    "pods_column_cpus": "CPUs",
    "pods_column_each": "Per pod (infer/s)",
    "pods_note": "Example loads. Pods = max(2, ceil(load / T) + 1), one of them to spare; N pods are taken to carry N "
    "times the load of one.",
    "pods_caption": "What one pod carries, as planned: the target, and what is kept free above it up to C.",
    "pods_no_best": "No capacity to plan with: no configuration is shown to meet the limit.",
    "pods_no_best_remedy": "What to do: raise constraints.latency_p99_ms or widen the sweep, and profile again.",
    "pods_unchecked": "No capacity to plan with: this run did not measure the rate that one pod sustains.",
    "pods_unchecked_remedy": "What to do: profile again with more time for the check (capacity.max_minutes).",
    "pods_no_limit_remedy": "What to do: set constraints.latency_p99_ms, without which there is no rate to hold, and "
    "profile again.",
    "pods_no_rate": "No capacity to plan with: at no rate that was tried is p99 shown to stay within {limit}. A number "
    "of pods computed from the sweep's throughput would be a guess.",
    "pods_no_rate_remedy": "What to do: give the check more time, raise constraints.latency_p99_ms, or measure on a "
    "quieter machine.",
    "section_linearity": "When N pods carry N times the load",
    "linearity_assumed": "Linear scaling is assumed here: it holds as far as the conditions below do.",
    "linearity_measured": "Linear scaling was measured: {servers} isolated servers carried {ratio} ({range}) of "
    "{servers} times one.",
    "linearity_not_shown": "Linear scaling is not shown: {servers} isolated servers carried {ratio} ({range}) of "
    "{servers} times one, while the pods above are computed for 1.",
    "linearity_other": "Scaling was measured with {measured} CPUs a server; the pods have {cores}: linear scaling is "
    "assumed.",
    "linearity_column_condition": "Condition",
    "linearity_column_manifests": "In the manifests",
    "linearity_column_here": "For this run",
    "linearity_isolation": "Resource isolation",
    "linearity_isolation_asked": "Guaranteed QoS: requests = limits, {cores} whole CPUs in every container",
    "linearity_isolation_here": "CPUs for one container alone need the kubelet's static policy (--exclusive-cpus)",
    "linearity_independence": "Independence",
    "linearity_independence_asked": "topology spread, anti-affinity, PodDisruptionBudget; no VPA beside the HPA",
    "linearity_independence_here": "that pods do not slow each other down: hcopt scale-check",
    "linearity_balance": "Even load",
    "linearity_balance_asked": "headless Service, clients with dns:/// and round_robin: each request is balanced",
    "linearity_balance_here": "the clients have to set it",
    "linearity_server": "Same server",
    "linearity_server_asked": "Triton's image, its native backend",
    "linearity_server_here": "measured with {backend}: choice and capacity may differ",
    "linearity_server_same": "measured with {backend}",
    "linearity_server_own": "measured with {backend} over ONNX Runtime {onnxruntime}; the image has its own",
    "linearity_cpu": "Same CPU",
    "linearity_cpu_asked": "a node class of that CPU (--node-cpu)",
    "linearity_cpu_here": "measured on {cpu}; the nodes' is not known",
    "linearity_threads": "Same threads",
    "linearity_threads_asked": "intra_op_thread_count pinned",
    "linearity_threads_here": "left to ONNX Runtime in the run; {cores} will be pinned",
    "linearity_threads_same": "{threads} for each instance",
    "linearity_choice": "Golden choice",
    "linearity_choice_asked": "the candidate's config.pbtxt",
    "linearity_choice_here": "the run could not tell it from the default",
    "stands_measured": "measured",
    "stands_assumed": "assumed",
    "linearity_note": "assumed: the deployment differs there from what was measured, or nobody has said that it does "
    "not. The manifests repeat it beside each number; hcopt kubernetes --strict refuses. To go on, with loads of your "
    "own:",
}

KO = {
    "section_scaling": "단일 Pod에서 다수 Pod로: 수직적 최적화와 수평적 확장",
    "pods_vertical": "수직적 최적화(측정값): {name} 설정의 Pod 하나(코어 {cores}개)가 p99 {limit} 이내로 처리하는 "
    "부하는 C = {capacity} 이상. 스윕의 최댓값이 아닌 이 하한으로 계획.",
    "pods_horizontal": "수평적 확장(계산값): Kubernetes HPA가 이 Pod를 복제하며 Pod당 T = {target} 유지.",
    "pods_target": "HPA 목표값",
    "pods_target_value": "averageValue {quantity}, Pod당 초당 추론 수 기준: T = C / {headroom}",
    "pods_why": "C보다 낮은 이유",
    "pods_why_value": "HPA는 T보다 {tolerance} 높은 부하까지 반응하지 않으며, 새 Pod가 처리를 시작할 때까지(τ = "
    "{reaction}초) 부하가 {growth} 더 증가 가능(--growth {growth_text})",
    "pods_reaction": "τ",
    "pods_reaction_value": "수집 주기 {scrape}초 + rate 구간 {window}초 + HPA 주기 {sync}초 + Pod 시작 {start}초",
    "pods_guard": "보조 지표",
    "pods_guard_value": "Pod당 대기 요청 수, averageValue {pending}: 완료된 추론 수는 C에서 포화하므로 과부하를 보완",
    "pods_column_load": "부하 (infer/s)",
    "pods_column_pods": "Pod 수",
    "pods_column_cpus": "CPU 수",
    "pods_column_each": "Pod당 부하 (infer/s)",
    "pods_note": "부하는 예시. Pod 수 = max(2, ceil(부하 / T) + 1), 여유 Pod 1개 포함. Pod N개가 N배의 부하를 "
    "처리한다고 가정.",
    "pods_caption": "Pod 하나의 부하 계획: 목표값과, C까지 비워 두는 여유.",
    "pods_no_best": "계획에 사용할 용량 없음: 한도 충족이 확인된 설정 없음.",
    "pods_no_best_remedy": "조치: constraints.latency_p99_ms를 높이거나 스윕 범위를 넓혀 다시 실행.",
    "pods_unchecked": "계획에 사용할 용량 없음: 이번 실행에서는 Pod 하나의 지속 가능 처리율을 측정하지 않음.",
    "pods_unchecked_remedy": "조치: 용량 검증 시간(capacity.max_minutes)을 늘려 다시 실행.",
    "pods_no_limit_remedy": "조치: 유지할 처리율의 기준이 되는 constraints.latency_p99_ms를 지정하여 다시 실행.",
    "pods_no_rate": "계획에 사용할 용량 없음: 시도한 도착률 중 p99가 {limit} 이내임이 확인된 것 없음. 스윕의 "
    "처리량으로 계산한 Pod 수는 추측에 불과.",
    "pods_no_rate_remedy": "조치: 용량 검증 시간을 늘리거나, constraints.latency_p99_ms를 높이거나, 더 조용한 장비에서 "
    "다시 실행.",
    "section_linearity": "Pod 수에 비례하는 선형 확장의 조건",
    "linearity_assumed": "선형 확장은 이 실행에서 가정(assumed): 아래 조건이 충족되는 만큼 유효.",
    "linearity_measured": "선형 확장 측정됨: 격리된 서버 {servers}대의 처리량이 1대의 {servers}배 대비 {ratio} "
    "({range}).",
    "linearity_not_shown": "선형 확장 미확인: 격리된 서버 {servers}대의 처리량이 1대의 {servers}배 대비 {ratio} "
    "({range}), 위의 Pod 수는 1로 계산.",
    "linearity_other": "확장 측정은 서버당 CPU {measured}개, Pod는 CPU {cores}개: 선형 확장은 가정(assumed).",
    "linearity_column_condition": "조건",
    "linearity_column_manifests": "매니페스트 설정",
    "linearity_column_here": "이번 실행",
    "linearity_isolation": "자원 격리",
    "linearity_isolation_asked": "Guaranteed QoS: 모든 컨테이너에 requests = limits, 정수 CPU {cores}개",
    "linearity_isolation_here": "CPU 독점에는 kubelet static policy 필요(--exclusive-cpus)",
    "linearity_independence": "독립성 보장",
    "linearity_independence_asked": "topology spread, anti-affinity, PodDisruptionBudget. HPA와 VPA 병용 금지",
    "linearity_independence_here": "Pod 간 간섭 여부: hcopt scale-check로 측정",
    "linearity_balance": "균등한 부하",
    "linearity_balance_asked": "headless Service, 클라이언트의 dns:///와 round_robin으로 요청 단위 분산",
    "linearity_balance_here": "클라이언트 설정 필요",
    "linearity_server": "동일한 서버",
    "linearity_server_asked": "Triton 이미지의 네이티브 백엔드",
    "linearity_server_here": "{backend}로 측정: 최적 설정과 용량이 다를 수 있음",
    "linearity_server_same": "{backend}로 측정",
    "linearity_server_own": "{backend}, ONNX Runtime {onnxruntime}로 측정. 이미지의 ONNX Runtime은 다를 수 있음",
    "linearity_cpu": "동일한 CPU",
    "linearity_cpu_asked": "같은 CPU의 노드(--node-cpu)",
    "linearity_cpu_here": "{cpu}에서 측정, 노드의 CPU는 알 수 없음",
    "linearity_threads": "동일한 스레드",
    "linearity_threads_asked": "intra_op_thread_count 고정",
    "linearity_threads_here": "측정 시 ONNX Runtime 기본값 사용, 배포에는 {cores}개로 고정",
    "linearity_threads_same": "인스턴스당 {threads}개",
    "linearity_choice": "Golden Config",
    "linearity_choice_asked": "후보 설정의 config.pbtxt",
    "linearity_choice_here": "기본 설정과의 우열 판정 보류",
    "stands_measured": "측정됨",
    "stands_assumed": "가정(assumed)",
    "linearity_note": "가정(assumed): 배포 환경이 측정 환경과 다르거나 같은지 알 수 없는 조건. 매니페스트의 각 수치 "
    "옆에도 표시되며, hcopt kubernetes --strict는 거부. 다음 단계(부하는 실제 값으로 변경):",
}
