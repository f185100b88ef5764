from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.report.facts.names import other_parameters, settings_name
from hcopt.words import Language, texts
from tests.support.records import default_variant


@pytest.mark.parametrize(("language", "threads"), [("en", "threads 2"), ("ko", "스레드 2")])
def test_threads_have_a_short_word_since_the_default_sweep_has_them(language: Language, threads: str) -> None:
    variant = replace(default_variant(), parameters=(("execution_mode", "1"), ("intra_op_thread_count", "2")))
    assert settings_name(variant, texts(language)).endswith(f" · execution_mode 1 · {threads}")


def test_accelerator_is_named_where_there_is_one() -> None:
    variant = replace(default_variant(), parameters=(("execution_mode", "1"),))
    with_openvino = replace(variant, execution_accelerator="openvino")
    assert settings_name(with_openvino, texts("en")) == f"{settings_name(variant, texts('en'))} · OpenVINO"
    assert other_parameters(with_openvino) == "execution_mode=1, execution_accelerator=openvino"
    assert other_parameters(variant) == "execution_mode=1"
