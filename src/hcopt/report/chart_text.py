"""The words inside the charts and beside them, in Korean and in English: same keys, same placeholders as each other."""

from __future__ import annotations

from types import MappingProxyType

from hcopt.report.text import Language, Text

EN: Text = MappingProxyType(
    {
        # What stands beside a chart
        "section_pair": "Side by side",
        "section_heat_map": "Best throughput within the limit, by setting",
        "section_heat_map_no_limit": "Best throughput, by setting",
        "section_load_curve": "Latency and throughput against concurrency",
        "section_breakdown": "Where a request spends its time in the server",
        "section_blocks": "The blocks of the confirmation",
        "section_rates": "Arrival rate against the limit (open loop)",
        "caption_heat_map": "Each cell is the highest throughput of the sweep at any load that meets the p99 limit; "
        "single measurements.",
        "caption_heat_map_no_limit": "Each cell is the highest throughput of the sweep at any load; single "
        "measurements.",
        "caption_load_curve": "Closed-loop loads of the sweep, each measured once.",
        "caption_breakdown": "Means per request from Triton's own statistics, from the {source}.",
        "caption_blocks": "In a block every finalist is measured once, in an order of its own; what a block has in "
        "common cancels in the ratio.",
        "caption_blocks_no_ratio": "In a block every finalist is measured once, in an order of its own.",
        "caption_rates": "Poisson arrivals, whatever the server does; latency counts from the intended send time.",
        "source_confirmation": "confirmation",
        "source_sweep": "sweep",
        "source_mixed": "confirmation where it measured, else the sweep",
        # Axes, legends, marks
        "axis_concurrency": "Concurrency",
        "axis_batch": "Max batch size",
        "axis_instances": "Instances",
        "axis_server_time": "Mean time per request (ms)",
        "axis_block": "Block",
        "axis_ratio": "Throughput ratio {right} / {left}",
        "axis_rate": "Arrival rate (infer/s)",
        "axis_miss": "Requests over the limit",
        "facet_delay": "Queue delay {value} µs",
        "facet_no_batching": "No dynamic batching",
        "cell_infeasible": "over the limit at every load",
        "cell_failed": "not measured",
        "stage_queue": "queue",
        "stage_input": "compute input",
        "stage_infer": "infer",
        "stage_output": "compute output",
        "client_batch": "client batch {batch}",
        "subtitle_sustainable": "dashed: highest rate at which the limit is shown to hold",
        "subtitle_sweep": "Error bars: finalists as the confirmation measured them, 95% intervals.",
        "subtitle_ratio": "band: 95% interval",
        "verdict_feasible": "holds",
        "verdict_infeasible": "does not hold",
        "verdict_undecided": "undecided",
        # Tooltips
        "tip_role": "Role",
        "tip_config": "Configuration",
        "tip_settings": "Settings",
        "tip_load": "Load",
        "tip_value": "Figure",
        "tip_interval": "95% interval",
        "tip_throughput": "Throughput",
        "tip_p99": "p99 latency",
        "tip_source": "Measured by",
        "tip_state": "State",
        "tip_stage": "Stage",
        "tip_time": "Mean per request",
        "tip_share": "Share",
        "tip_block": "Block",
        "tip_ratio": "Ratio",
        "tip_rate": "Arrival rate",
        "tip_miss": "Over the limit",
        "tip_windows": "Windows",
        "tip_verdict": "Limit",
        # For those who cannot see them
        "alt_heat_map": "Heat map: best throughput of {cells} combinations of max batch size and instances, for "
        "{delays} queue delays; {infeasible} over the limit, {failed} not measured.",
        "alt_load_curve": "p99 latency and throughput of {names} against concurrency.",
        "alt_breakdown": "Stacked bars: mean time per request in queue, compute input, infer and compute output. "
        "{totals}.",
        "alt_breakdown_total": "{name} {total} ms, of it queue {queue} ms and infer {infer} ms",
        "alt_blocks": "Throughput of {names} in each of {blocks} blocks.",
        "alt_blocks_ratio": " Ratio with its 95% interval: {ratio}.",
        "alt_rates": "Share of requests over the limit and p99 latency at {count} arrival rates.",
        # The page
        "button_copy": "Copy",
        "button_copied": "Copied",
        "button_selected": "Selected: press Ctrl+C",
        "chart_unavailable": "The chart could not be drawn.",
    }
)

KO: Text = MappingProxyType(
    {
        "section_pair": "나란히 비교",
        "section_heat_map": "설정별 한도 이내 최고 처리량",
        "section_heat_map_no_limit": "설정별 최고 처리량",
        "section_load_curve": "Concurrency에 따른 지연 시간과 처리량",
        "section_breakdown": "서버 안에서 요청이 보낸 시간",
        "section_blocks": "검증 측정의 블록",
        "section_rates": "도착률과 p99 한도 (open loop)",
        "caption_heat_map": "각 칸은 스윕에서 p99 한도를 충족한 부하 중 최고 처리량, 1회 측정값.",
        "caption_heat_map_no_limit": "각 칸은 스윕의 전체 부하 중 최고 처리량, 1회 측정값.",
        "caption_load_curve": "스윕의 closed-loop 부하, 각 1회 측정값.",
        "caption_breakdown": "Triton 자체 통계의 요청당 평균, 출처: {source}.",
        "caption_blocks": "한 블록에서 최종 후보를 서로 다른 순서로 한 번씩 측정. 블록에 공통된 변동은 "
        "비율에서 상쇄됨.",
        "caption_blocks_no_ratio": "한 블록에서 최종 후보를 서로 다른 순서로 한 번씩 측정.",
        "caption_rates": "서버 상태와 무관한 Poisson 도착, 지연 시간은 예정된 전송 시각부터 계산.",
        "source_confirmation": "검증 측정",
        "source_sweep": "스윕",
        "source_mixed": "검증 측정, 없으면 스윕",
        "axis_concurrency": "Concurrency",
        "axis_batch": "Max Batch Size",
        "axis_instances": "Instance Count",
        "axis_server_time": "요청당 평균 시간 (ms)",
        "axis_block": "블록",
        "axis_ratio": "처리량 비율 {right} / {left}",
        "axis_rate": "도착률 (infer/s)",
        "axis_miss": "한도 초과 요청 비율",
        "facet_delay": "Queue Delay {value} µs",
        "facet_no_batching": "dynamic batching 미사용",
        "cell_infeasible": "모든 부하에서 한도 초과",
        "cell_failed": "측정값 없음",
        "stage_queue": "queue",
        "stage_input": "compute input",
        "stage_infer": "infer",
        "stage_output": "compute output",
        "client_batch": "client batch {batch}",
        "subtitle_sustainable": "점선: 한도 충족이 확인된 최고 도착률",
        "subtitle_sweep": "오차 막대: 최종 후보의 검증 측정값, 95% 신뢰구간.",
        "subtitle_ratio": "띠: 95% 신뢰구간",
        "verdict_feasible": "한도 충족",
        "verdict_infeasible": "한도 미충족",
        "verdict_undecided": "판정 보류",
        "tip_role": "구분",
        "tip_config": "설정",
        "tip_settings": "설정값",
        "tip_load": "부하",
        "tip_value": "측정값",
        "tip_interval": "95% 신뢰구간",
        "tip_throughput": "처리량",
        "tip_p99": "p99 지연 시간",
        "tip_source": "측정 단계",
        "tip_state": "상태",
        "tip_stage": "단계",
        "tip_time": "요청당 평균",
        "tip_share": "비중",
        "tip_block": "블록",
        "tip_ratio": "비율",
        "tip_rate": "도착률",
        "tip_miss": "한도 초과",
        "tip_windows": "측정 구간",
        "tip_verdict": "한도",
        "alt_heat_map": "히트맵: Max Batch Size와 Instance Count 조합 {cells}개의 최고 처리량, Queue Delay {delays}종. "
        "한도 초과 {infeasible}개, 측정값 없음 {failed}개.",
        "alt_load_curve": "Concurrency에 따른 {names} p99 지연 시간과 처리량.",
        "alt_breakdown": "누적 막대그래프: queue, compute input, infer, compute output의 요청당 평균 시간. {totals}.",
        "alt_breakdown_total": "{name} {total} ms(queue {queue} ms, infer {infer} ms)",
        "alt_blocks": "블록 {blocks}개에서 측정한 {names} 처리량.",
        "alt_blocks_ratio": " 비율과 95% 신뢰구간: {ratio}.",
        "alt_rates": "도착률 {count}종의 한도 초과 요청 비율과 p99 지연 시간.",
        "button_copy": "복사",
        "button_copied": "복사됨",
        "button_selected": "선택됨: Ctrl+C로 복사",
        "chart_unavailable": "그래프를 그릴 수 없음.",
    }
)


def chart_texts(language: Language) -> Text:
    """The table of a language."""
    return KO if language == "ko" else EN
