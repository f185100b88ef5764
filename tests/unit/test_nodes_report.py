"""What report and summary.json say of the nodes that measured a run."""

from __future__ import annotations

from dataclasses import replace

from hcopt.node_effects import effects_taken_out, node_effects
from tests.node_records import names, on_nodes
from tests.records import noise, run_record
from tests.unit.test_summary import model_of


def test_effects_are_those_that_the_ranking_takes_out() -> None:
    found = noise(pair_sd_ratio=0.08)
    run = on_nodes(names(3), noise=found)
    swept = [m for m in run.measurements if m.phase == "sweep"]
    assert effects_taken_out(run) == node_effects(swept, noise_ratio=found.window_sd_ratio)
    assert effects_taken_out(replace(run, noise=None)) == node_effects(swept, noise_ratio=None)


def test_summary_has_an_entry_a_node() -> None:
    run = on_nodes(names(2), unlinked=("lonely",))
    first, second, lonely = model_of(run)["nodes"]
    assert (first["name"], first["measurements"], first["linked"]) == ("worker-01 (10.0.3.1)", 50, True)
    assert first["throughput_ratio"] < 1 < second["throughput_ratio"]
    assert second["latency_p99_ratio"] < 1 < first["latency_p99_ratio"]
    assert lonely == {
        "name": "lonely",
        "measurements": 1,
        "throughput_ratio": 1.0,
        "latency_p99_ratio": 1.0,
        "linked": False,
    }


def test_summary_has_all_of_many_nodes_and_none_of_one_machine() -> None:
    assert [node["name"] for node in model_of(on_nodes(names(25)))["nodes"]] == list(names(25))
    assert model_of(run_record())["nodes"] == []
