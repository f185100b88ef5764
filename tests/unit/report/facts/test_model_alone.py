"""What of a request's time is the model's, in the report's section on where it goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.records.run import RunRecord
from hcopt.report.pages.content import build
from hcopt.words import Language
from tests.support.evidence_records import evidence_record
from tests.support.records import model_alone


def lines(record: RunRecord, language: Language = "en") -> tuple[str, ...]:
    (section,) = [one for one in build(record, language=language).sections if one.name == "breakdown"]
    return section.lines


def test_line_joins_the_request_alone_and_the_same_under_the_load_that_was_chosen() -> None:
    run = evidence_record()
    assert run.confirmation.best is not None
    alone = model_alone(config_name=run.confirmation.best.variant.config_name)
    line = lines(replace(run, alone=alone))[-1]
    assert line.startswith("Of the 2.10 ms of a request to ")
    assert "0.600 ms (29%, 95% interval 27% to 31%) are the model's" in line
    assert f"At concurrency {run.confirmation.best.load.concurrency} it takes " in line
    assert line.endswith("ms of them in the queue.")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_nothing_is_said_where_it_was_not_measured(language: Language) -> None:
    assert not [line for line in lines(evidence_record(), language) if "ONNX Runtime" in line]


def test_line_is_said_in_korean() -> None:
    line = lines(replace(evidence_record(), alone=model_alone()), "ko")[-1]
    assert "모델 몫은 0.600 ms(29%, 95% 신뢰구간 27% ~ 31%)" in line and "나머지 1.50 ms" in line
