from __future__ import annotations

import os

import pytest
from pydantic import SecretStr

from hcopt.system.environ import environment_variables, remove_variables, temporary_environ


def test_variables_last_as_long_as_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCOPT_TEST_THERE", "before")
    monkeypatch.delenv("HCOPT_TEST_NEW", raising=False)
    before = dict(os.environ)
    with (
        pytest.raises(ZeroDivisionError),
        temporary_environ(
            {"HCOPT_TEST_THERE": "lent", "HCOPT_TEST_NEW": SecretStr("secret")}, defaults={"HCOPT_TEST_THERE": "no"}
        ),
    ):
        assert os.environ["HCOPT_TEST_THERE"] == "lent"
        assert os.environ["HCOPT_TEST_NEW"] == "secret"
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_default_leaves_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCOPT_TEST_THERE", "before")
    with temporary_environ({}, defaults={"HCOPT_TEST_THERE": "default", "HCOPT_TEST_NEW": "default"}):
        assert (os.environ["HCOPT_TEST_THERE"], os.environ["HCOPT_TEST_NEW"]) == ("before", "default")
    assert "HCOPT_TEST_NEW" not in os.environ


def test_variables_are_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCOPT_TEST_THERE", "before")
    found = environment_variables()
    assert found == dict(os.environ)
    found["HCOPT_TEST_THERE"] = "changed"
    assert os.environ["HCOPT_TEST_THERE"] == "before"


def test_removed_variables_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCOPT_TEST_THERE", "before")
    monkeypatch.delenv("HCOPT_TEST_NEW", raising=False)
    remove_variables(("HCOPT_TEST_THERE", "HCOPT_TEST_NEW"))
    assert "HCOPT_TEST_THERE" not in os.environ
