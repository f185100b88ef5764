"""What a run says of the machine before it measures; the stages themselves are in the integration tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hcopt.job import stages
from hcopt.system.topology import Core
from tests.support.records import run_record

FOUR_CORES = tuple(Core(cpus=frozenset({cpu, cpu + 4})) for cpu in range(4))


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"governor": "performance"}, []),
        ({"governor": "powersave"}, ["governor"]),
        ({"cpu_quota": 2.0}, []),
        ({"cpu_quota": 1.5}, ["cpu_quota"]),
        ({"cpuset": "0-2,4-6", "client_cpuset": "3,7"}, ["cores_divided"]),
        ({"cpuset": "0-3", "client_cpuset": "4-7"}, ["cores_divided", "siblings_shared"]),
        ({"cpuset": "0-3", "client_cpuset": "3-7"}, []),
        ({"runtime": "remote", "governor": "powersave"}, []),
    ],
)
def test_run_says_what_the_machine_is_like_where_that_matters(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], codes: list[str]
) -> None:
    monkeypatch.setattr(stages, "read_cores", lambda _: FOUR_CORES)
    found = replace(run_record().environment, **changes)
    assert [note.code for note in stages.machine_notes(found, planned=True)] == codes


def test_sets_of_the_configuration_are_the_user_s_own_news() -> None:
    found = replace(run_record().environment, cpuset="0-2,4-6", client_cpuset="3,7")
    assert not list(stages.machine_notes(found, planned=False))
