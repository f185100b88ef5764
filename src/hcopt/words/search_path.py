"""The path of an adaptive search."""

from __future__ import annotations

EN = {
    "section_search": "The search: what became of each configuration",
    "search_measured": "{windows} windows at {measured} of {variants} configurations in {elapsed}; {budget}.",
    "search_budget": "the budget was {budget}",
    "search_no_budget": "no budget was set (profiler.max_minutes)",
    "search_ended_gain": "It ended because going on would have gained {gain} of throughput on average.",
    "search_ended_windows": "It ended because it had taken the windows that a grid of this size is worth; going on "
    "would have gained {gain} of throughput on average.",
    "search_ended_windows_late": "It ended because it had taken the windows that a grid of this size is worth; nothing "
    "was likely to keep the p99 limit.",
    "search_ended_time": "It ended because its time was up: what was still open is ranked by what had been measured.",
    "search_ended_nothing_left": "It ended because nothing was left that could be measured.",
    "search_ended_nothing_measured": "It ended because no window could be measured.",
    "search_kept": "Kept to the end",
    "search_kept_value": "{count}: {names}",
    "search_bold": "Best guess",
    "search_bold_value": "{name} at {load}: the confirmation begins with it, although the search was not sure that it "
    "keeps the limit; the safe one is {safe}.",
    "search_more": "{names} and {count} more",
    "search_dropped_slow": "Dropped as too slow",
    "search_dropped_late": "Dropped as over the limit",
    "search_dropped_failing": "Dropped for failed requests",
    "search_dropped_value": "{count}, {when}",
    "search_when": "after {first}",
    "search_when_range": "between {first} and {last}",
    "search_failed": "Could not be measured",
    "search_failed_value": "{count}; the reasons stand among the failed measurements",
    "search_unvisited": "Never measured",
    "search_unvisited_value": "{count}: what their neighbours showed gave no reason to",
    "search_left_out": "Left out",
    "search_left_out_value": "{count} points: a request with more rows than max_batch_size",
    "search_column_why": "Why it was dropped",
    "search_column_when": "After",
    "search_column_ratio": "Throughput against the best so far",
    "search_why_slow": "too slow at every load{within}",
    "search_why_within": " within the limit",
    "search_why_late": "over the limit at every load",
    "search_why_failing": "too many failed requests at every load",
    "search_note": "{shown} of {dropped} dropped configurations, those that came closest, each at the load that spoke "
    "for it most. Figures as the search then saw them, estimated from all windows so far, with 95% intervals. It drops "
    "what is shown to be slower, or too late, at every load (error rate 1% over all looks together); every decision "
    "is a line of decisions.jsonl. A search only proposes: the verdict rests on the confirmation.",
    "search_note_none": "Nothing was dropped. Every decision is a line of decisions.jsonl.",
    "search_caption": "Each mark is a window, coloured by what became of its configuration. The line is the best so "
    "far: the mean of its windows until then.",
    "method_search": "Search: {profilers} measured short windows where they told most about which configuration is "
    "best ({windows} windows on a grid of {variants} × {loads} points), and dropped what was shown not to be. It only "
    "proposes candidates.",
    "sweep_caption_search": "Throughput against p99: each measured configuration at its best load, as the search "
    "estimates it from its windows; it only proposes candidates. Finalists as the confirmation measured them.",
    "heat_map_caption_search": "Highest throughput within the limit at any load that the search measured, by max batch "
    "size and instances, one map for each queue delay; means of its windows.",
    "heat_map_caption_no_limit_search": "Highest throughput at any load that the search measured, by max batch size "
    "and instances, one map for each queue delay; means of its windows.",
    "load_curve_caption_search": "p99 latency and throughput against concurrency; means of the search's windows.",
    "section_sweep_search": "What the search measured",
    "section_measurements_search": "All points that the search measured",
    "measurements_pooled": " Means over the windows at a point.",
}

KO = {
    "section_search": "탐색 과정: 설정별 결과",
    "search_measured": "{elapsed} 동안 설정 {variants}개 중 {measured}개에서 측정 구간 {windows}개 측정, {budget}.",
    "search_budget": "시간 예산 {budget}",
    "search_no_budget": "시간 예산 미지정(profiler.max_minutes)",
    "search_ended_gain": "종료 이유: 계속해도 기대되는 처리량 향상이 평균 {gain}에 불과.",
    "search_ended_windows": "종료 이유: grid 크기에 맞는 측정 구간 수 도달. 계속할 때 기대되는 처리량 향상은 평균 "
    "{gain}.",
    "search_ended_windows_late": "종료 이유: grid 크기에 맞는 측정 구간 수 도달. p99 한도를 충족할 가능성이 높은 설정 "
    "없음.",
    "search_ended_time": "종료 이유: 시간 예산 소진. 남은 설정은 그때까지의 측정값으로 순위 결정.",
    "search_ended_nothing_left": "종료 이유: 측정할 수 있는 설정이 남지 않음.",
    "search_ended_nothing_measured": "종료 이유: 측정에 성공한 구간 없음.",
    "search_kept": "끝까지 남은 설정",
    "search_kept_value": "{count}개: {names}",
    "search_bold": "가장 유망한 설정",
    "search_bold_value": "{name}({load}): 한도 준수가 탐색에서 불확실하나 검증에서 먼저 측정, 안전한 대안은 {safe}.",
    "search_more": "{names} 외 {count}개",
    "search_dropped_slow": "처리량 부족으로 제외",
    "search_dropped_late": "한도 초과로 제외",
    "search_dropped_failing": "요청 실패로 제외",
    "search_dropped_value": "{count}개, {when}",
    "search_when": "{first} 시점",
    "search_when_range": "{first}~{last} 사이",
    "search_failed": "측정 실패",
    "search_failed_value": "{count}개, 원인은 실패한 측정 참고",
    "search_unvisited": "측정하지 않음",
    "search_unvisited_value": "{count}개: 인접 설정의 측정값으로 보아 측정할 이유 없음",
    "search_left_out": "대상에서 제외",
    "search_left_out_value": "{count}개 지점: 요청의 행 수가 max_batch_size 초과",
    "search_column_why": "제외 이유",
    "search_column_when": "시점",
    "search_column_ratio": "당시 최고 대비 처리량",
    "search_why_slow": "{within}모든 부하에서 처리량 부족",
    "search_why_within": "한도 이내 ",
    "search_why_late": "모든 부하에서 한도 초과",
    "search_why_failing": "모든 부하에서 요청 실패 과다",
    "search_note": "제외된 설정 {dropped}개 중 최고에 가장 가까웠던 {shown}개, 설정마다 가장 유리한 부하 기준. 값은 그 "
    "시점까지의 모든 측정 구간에서 추정, 95% 신뢰구간. 모든 부하에서 더 느리거나 한도를 넘는 것이 확인된 설정만 "
    "제외(전체 판정의 오류율 합계 1%)하며, 모든 결정은 decisions.jsonl에 한 줄씩 기록. 탐색은 후보 선정에만 사용, "
    "판정 근거는 검증 측정.",
    "search_note_none": "제외된 설정 없음. 모든 결정은 decisions.jsonl에 한 줄씩 기록.",
    "search_caption": "점 하나가 측정 구간 하나, 색은 그 설정의 결과. 선은 그때까지의 최고 설정이며 해당 설정 측정 "
    "구간의 평균.",
    "method_search": "탐색: {profilers}로 최적 설정을 가리는 데 가장 도움이 되는 지점에서 짧은 구간을 측정(설정 "
    "{variants}개 × 부하 {loads}종의 grid에서 측정 구간 {windows}개)하고, 최적이 아님이 확인된 설정을 제외. 후보 "
    "선정에만 사용.",
    "sweep_caption_search": "처리량과 p99: 측정한 각 설정의 최적 부하 기준, 탐색의 측정 구간에서 추정한 값으로 후보 "
    "선정에만 사용. 최종 후보는 검증 측정값.",
    "heat_map_caption_search": "탐색이 측정한 부하 중 한도를 충족한 최고 처리량, max batch size와 instance 수 기준, "
    "queue delay별. 측정 구간의 평균.",
    "heat_map_caption_no_limit_search": "탐색이 측정한 부하의 최고 처리량, max batch size와 instance 수 기준, queue "
    "delay별. 측정 구간의 평균.",
    "load_curve_caption_search": "Concurrency에 따른 p99 지연 시간과 처리량, 탐색 측정 구간의 평균.",
    "section_sweep_search": "탐색 측정값",
    "section_measurements_search": "탐색이 측정한 모든 지점",
    "measurements_pooled": " 지점별 측정 구간의 평균.",
}
