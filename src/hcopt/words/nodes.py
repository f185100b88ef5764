"""The nodes of a cluster."""

from __future__ import annotations

EN = {
    "section_nodes": "Nodes: what each one measured, and how much it differs",
    "nodes_one": "Everything was measured on one node of the cluster: {node}.",
    "nodes_taken_out": "Figures of the sweep are compared after these effects have been taken out.",
    "nodes_as_measured": "No node's effect is known: figures of the sweep are compared as measured.",
    "nodes_swept_one": "The sweep was measured on {node} alone.",
    "nodes_confirmed": "Finalists and default were confirmed on {nodes}.",
    "nodes_column": "Node",
    "nodes_column_noise": "Noise",
    "nodes_column_sweep": "Sweep",
    "nodes_column_confirmation": "Confirmation",
    "nodes_column_open_loop": "Capacity",
    "nodes_column_throughput": "Effect on throughput",
    "nodes_column_latency": "Effect on p99",
    "nodes_column_steal": "Highest CPU steal",
    "nodes_unknown": "not known",
    "nodes_most": "{shown} of {total} nodes, those with the largest effects; {more} more are in summary.json. ",
    "nodes_note": "Noise to capacity: numbers of measurements, failed ones included. Effects: against the geometric "
    "mean of the nodes, estimated from the points of the sweep that several of them measured, without what noise "
    "explains.",
    "nodes_note_unknown": " Not known: no such point, so figures stay as measured.",
    "fact_nodes": "Nodes",
    "fact_nodes_value": "{count}, of one kind (cluster run): CPU, memory and versions are that kind's",
}

KO = {
    "section_nodes": "노드: 노드별 측정 횟수와 성능 차이",
    "nodes_one": "모든 측정은 클러스터의 노드 1대에서 수행: {node}.",
    "nodes_taken_out": "스윕 측정값은 아래의 노드별 영향을 제거한 후 비교.",
    "nodes_as_measured": "노드별 영향을 알 수 없어 스윕 측정값을 그대로 비교.",
    "nodes_swept_one": "스윕 측정 노드는 1대: {node}.",
    "nodes_confirmed": "최종 후보와 기본 설정의 검증 노드: {nodes}.",
    "nodes_column": "노드",
    "nodes_column_noise": "노이즈",
    "nodes_column_sweep": "스윕",
    "nodes_column_confirmation": "검증",
    "nodes_column_open_loop": "용량",
    "nodes_column_throughput": "처리량 영향",
    "nodes_column_latency": "p99 영향",
    "nodes_column_steal": "최대 CPU steal",
    "nodes_unknown": "미확인",
    "nodes_most": "노드 {total}대 중 영향이 큰 {shown}대, 나머지 {more}대는 summary.json 참고. ",
    "nodes_note": "노이즈~용량: 실패를 포함한 측정 횟수. 영향: 노드들의 기하평균 대비, 스윕에서 여러 노드가 함께 "
    "측정한 지점으로 추정하고 노이즈로 설명되는 부분은 제외.",
    "nodes_note_unknown": " 미확인: 그러한 지점이 없어 측정값을 그대로 사용.",
    "fact_nodes": "노드",
    "fact_nodes_value": "동일 종류 {count}대(클러스터 실행), CPU·메모리·버전은 해당 종류 기준",
}
