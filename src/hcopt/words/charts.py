"""Words that the charts draw."""

from __future__ import annotations

EN = {
    "chart_throughput": "Throughput (infer/s)",
    "chart_latency": "p99 latency (ms)",
    "chart_higher": "higher is better",
    "chart_lower": "lower is better",
    "chart_lower_limit": "lower is better · limit {limit}",
    "chart_limit": "limit {limit}",
    "chart_pair_alt": "Bars: throughput and p99 latency of {names}, with 95% intervals where they exist.",
    "chart_sweep_alt": "Throughput against p99 latency of {count} configurations, each at its best load.",
    "group_best": "best",
    "group_candidate": "candidate",
    "group_closest": "closest to the limit",
    "group_default": "default",
    "group_runner_up": "runner-up",
    "group_feasible": "within the limit",
    "group_other": "other configuration",
    "group_infeasible": "over the limit",
}

KO = {
    "chart_throughput": "처리량 (infer/s)",
    "chart_latency": "p99 지연 시간 (ms)",
    "chart_higher": "높을수록 좋음",
    "chart_lower": "낮을수록 좋음",
    "chart_lower_limit": "낮을수록 좋음 · 한도 {limit}",
    "chart_limit": "한도 {limit}",
    "chart_pair_alt": "막대그래프: {names} 처리량과 p99 지연 시간, 95% 신뢰구간 포함.",
    "chart_sweep_alt": "설정 {count}개의 처리량과 p99 지연 시간, 각 설정의 최적 부하 기준.",
    "group_best": "최적 설정",
    "group_candidate": "후보 설정",
    "group_closest": "한도 최근접",
    "group_default": "기본 설정",
    "group_runner_up": "차순위 설정",
    "group_feasible": "한도 이내",
    "group_other": "그 밖의 설정",
    "group_infeasible": "한도 초과",
}
