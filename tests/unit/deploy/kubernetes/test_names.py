"""Names of models as names of Kubernetes objects."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.deploy.kubernetes.names import dns_label, is_dns_label

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("HomeCreditDefaultModel", "homecreditdefaultmodel"),
        ("fraud_v2.1", "fraud-v2-1"),
        ("2fast", "model-2fast"),
        ("_x_", "x"),
    ],
)
def test_label_is_the_name_as_far_as_it_can(name: str, label: str) -> None:
    assert dns_label(name) == label


@given(st.text(min_size=1, max_size=200))
def test_label_is_valid_for_any_name(name: str) -> None:
    label = dns_label(name)
    assert LABEL.fullmatch(label)
    assert len(label) <= 40
    assert is_dns_label(label)


def test_labels_of_two_long_names_differ() -> None:
    assert dns_label("a" * 100 + "x") != dns_label("a" * 100 + "y")


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "a-", "a" * 41, "a.b"])
def test_what_somebody_chose_is_checked(name: str) -> None:
    assert not is_dns_label(name)
