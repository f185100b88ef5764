from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hcopt.report.pages.details import environment
from hcopt.words import texts
from tests.support.records import run_record


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "server and load generator share the CPUs 0-1 · no SMT siblings seen · NUMA node 0 · no CPU quota"),
        (
            {"cpuset": "0-2,4-6", "client_cpuset": "3,7", "smt_siblings": "0-3+4-7", "numa_nodes": None},
            "server on the CPUs 0-2,4-6, load generator on 3,7 · SMT siblings 0-3+4-7 · NUMA node unknown · "
            "no CPU quota",
        ),
        (
            {"cpuset": "0-3", "client_cpuset": "2-5", "cpu_quota": 1.5},
            "server and load generator share the CPUs 2-3 · no SMT siblings seen · NUMA node 0 · CPU quota 1.5",
        ),
        ({"client_cpuset": None}, None),
        ({"client_cpuset": "of anybody's run"}, None),
        ({"runtime": "remote"}, None),
    ],
)
def test_placement_says_whether_server_and_load_generator_share(changes: dict[str, Any], said: str | None) -> None:
    run = run_record()
    run = replace(run, environment=replace(run.environment, **changes))
    assert dict(environment(run, texts("en"))).get("Placement") == said
