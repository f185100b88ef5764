"""The overview of several models."""

from __future__ import annotations

EN = {
    "overview_title": "Triton model configuration overview",
    "overview_heading": "{count} models",
    "overview_count": "{count} × {badge}",
    "overview_model": "Model",
    "overview_verdict": "Verdict",
    "overview_gain": "Throughput against the default",
    "overview_axis": "each line: the 95% interval from {low} to {high}; the grey one is the default",
    "overview_capacity": "Sustained within the limit",
    "overview_report": "Report",
    "overview_page": "page",
    "overview_pdf": "PDF",
    "overview_failed": "Failed",
    "overview_waiting": "Not begun",
    "overview_waiting_detail": "The run ended before it came to this model.",
    "overview_exit_code": "exit code {code}",
    "overview_measured": "Begun {date} UTC",
}
KO = {
    "overview_title": "Triton 모델 설정 최적화 개요",
    "overview_heading": "모델 {count}개",
    "overview_count": "{badge} {count}개",
    "overview_model": "모델",
    "overview_verdict": "판정",
    "overview_gain": "기본 설정 대비 처리량",
    "overview_axis": "각 선은 95% 구간, 전체 범위 {low} ~ {high}; 회색 세로선이 기본 설정",
    "overview_capacity": "제한 내 지속 처리량",
    "overview_report": "보고서",
    "overview_page": "웹 페이지",
    "overview_pdf": "PDF",
    "overview_failed": "실패",
    "overview_waiting": "시작 전",
    "overview_waiting_detail": "이 모델에 이르기 전에 실행이 끝남.",
    "overview_exit_code": "종료 코드 {code}",
    "overview_measured": "시작 시각 {date} UTC",
}
