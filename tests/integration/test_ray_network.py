"""A Ray cluster whose head and workers each have a network of their own, as machines have."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.support.ray_nodes import RayNodes, ray_nodes
from hcopt.store.measurements import read_measurements
from tests.support.command import HCOPT, SAMPLE_FOLDER, SAMPLE_MODEL, TINY, workplace
from tests.support.stores import with_store

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and iproute2"
)

ADDRESSES = {"head": "10.213.7.1", "w1": "10.213.7.2", "w2": "10.213.7.3"}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def networks() -> Iterator[dict[str, str]]:
    """A namespace for each node, by the node's name; they reach each other, and nothing else reaches them."""
    mark = secrets.token_hex(2)
    names = {name: f"hcopt-{mark}-{name}" for name in ADDRESSES}
    switch = f"hcopt-{mark}"
    ip("netns", "add", switch)
    try:
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for name, namespace in names.items():
            ip("netns", "add", namespace)
            ip("-n", switch, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            ip("-n", switch, "link", "set", name, "master", "bridge", "up")
            ip("-n", namespace, "address", "add", f"{ADDRESSES[name]}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
            ip("-n", namespace, "link", "set", "lo", "up")
        yield names
    finally:
        for namespace in (*names.values(), switch):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    with networks() as namespaces, ray_nodes() as cluster:
        cluster.host = ADDRESSES["head"]
        cluster.addresses = ADDRESSES
        cluster.prefixes = {name: ("ip", "netns", "exec", namespace) for name, namespace in namespaces.items()}
        cluster.start_head()
        cluster.start_workers("w1", "w2")
        yield cluster


def test_nodes_with_addresses_of_their_own_share_the_work(nodes: RayNodes, tmp_path: Path) -> None:
    program = tmp_path / "hcopt"
    program.write_text(f'#!/bin/sh\nexec {" ".join(nodes.prefixes["head"])} {HCOPT} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    place = with_store(workplace(tmp_path / "place", program=program))
    shutil.copytree(SAMPLE_FOLDER, place.folder / SAMPLE_MODEL)
    answer = place.run(
        *("profile", *TINY, "--set=runtime.kind=embedded", "--set=executor.package=installed"),
        *("--set=sweep.max_batch_size=[4,8,16,32]", "--set=sweep.max_queue_delay_us=[0,100]"),
        *("--model", SAMPLE_MODEL, "--executor", "ray", "--address", nodes.address),
    )
    assert answer.returncode == 0, answer.stderr
    [run] = place.runs
    swept = [one for one in read_measurements(run) if one.phase == "sweep"]
    assert len(swept) == 10, "eight variants in two tasks, each with the default"
    where = {str(one.node) for one in swept}
    assert len(where) == 2
    assert {address for address in ADDRESSES.values() for node in where if address in node} == {
        ADDRESSES["w1"],
        ADDRESSES["w2"],
    }
    assert answer.left == () == nodes.left()
