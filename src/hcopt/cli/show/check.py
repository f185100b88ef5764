"""The answer of `hcopt check` as Markdown for a job's summary, and as JUnit XML for what shows test results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from hcopt.check.regression import Compared, MetricCheck, Outcome, RegressionCheck
from hcopt.errors import OutputError
from hcopt.records.verdict import Estimate
from hcopt.system.files import write_whole

_TITLES: Mapping[Outcome, str] = {
    "passed": "no regression",
    "regression": "regression",
    "undecided": "no regression shown",
}


def said(check: MetricCheck) -> str:
    """One metric in a sentence."""
    if check.metric == "failed requests":
        return _said_of_failures(check)
    ratio = f"{check.metric} is {_percent(check.ratio.estimate)} of the baseline's {_interval(check.ratio)}"
    limit = f"allowed {'from' if check.metric == 'throughput' else 'up to'} {_percent(check.allowed_ratio)}"
    ends = {
        "regression": "the whole interval is worse",
        "passed": "none of the interval is worse",
        "undecided": "the interval reaches to both sides: not shown to be worse, and not shown to be as good",
    }
    return f"{ratio}, {limit}: {ends[check.outcome]}"


def _said_of_failures(check: MetricCheck) -> str:
    share = f"{_percent(check.ratio.estimate)} of the requests failed {_interval(check.ratio)}"
    ends = {
        "regression": "shown to be more",
        "passed": "not more",
        "undecided": "not shown to be more, and not shown to be no more",
    }
    why = "" if check.reason is None else f" ({check.reason})"
    return f"{share}, allowed up to {_percent(check.allowed_ratio)}: {ends[check.outcome]}{why}"


def answer(found: RegressionCheck, compared: Compared) -> str:
    """For the terminal: the outcome, each metric, and what was compared."""
    lines = [f"hcopt check: {_TITLES[found.outcome]}", *(f"  {said(check)}" for check in found.checks)]
    lines += [f"{label + ':':<10}{value}" for label, value in _labels(compared).items()]
    return "\n".join([*lines, f"{'blocks:':<10}{found.block_count}, both side by side in each"])


def _labels(compared: Compared) -> dict[str, str]:
    return {
        "golden": compared.candidate,
        "baseline": compared.baseline,
        "load": compared.load,
        "machine": compared.environment,
    }


def markdown(found: RegressionCheck, compared: Compared) -> str:
    """For `$GITHUB_STEP_SUMMARY` and the like."""
    rows = "\n".join(
        f"| {check.metric} | {_percent(check.ratio.estimate)} | {_interval(check.ratio)} | "
        f"{'≥' if check.metric == 'throughput' else '≤'} {_percent(check.allowed_ratio)} | {check.outcome} |"
        for check in found.checks
    )
    labels = "\n".join(f"| {label} | {_cell(value)} |" for label, value in _labels(compared).items())
    return f"""## hcopt check: {_TITLES[found.outcome]}

| golden / baseline | ratio | interval | allowed | outcome |
| --- | ---: | :---: | ---: | --- |
{rows}

{found.block_count} blocks, both measured side by side on this machine; only a whole interval beyond the allowed
{100 * found.max_regression_ratio:g} % fails the job.

| | |
| --- | --- |
{labels}
"""


def junit(found: RegressionCheck, compared: Compared) -> str:
    """One test case a metric; `undecided` is a pass with its sentence as output, since nothing was shown."""
    failures = sum(check.outcome == "regression" for check in found.checks)
    suite = ElementTree.Element(
        "testsuite",
        name="hcopt check",
        tests=str(len(found.checks)),
        failures=str(failures),
        errors="0",
        skipped="0",
        time=f"{compared.elapsed_s:.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name in ("candidate", "baseline", "load", "environment"):
        ElementTree.SubElement(properties, "property", name=name, value=getattr(compared, name))
    for check in found.checks:
        case = ElementTree.SubElement(suite, "testcase", classname="hcopt.check", name=check.metric, time="0")
        if check.outcome == "regression":
            ElementTree.SubElement(case, "failure", message=said(check), type="RegressionError")
        ElementTree.SubElement(case, "system-out").text = said(check)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def write_answer(
    found: RegressionCheck, compared: Compared, *, markdown_file: Path | None, junit_file: Path | None
) -> None:
    """Writes what was asked for; the Markdown is appended, since a job's summary has other parts.

    Raises:
        OutputError: A file cannot be written.
    """
    try:
        if markdown_file is not None:
            markdown_file.parent.mkdir(parents=True, exist_ok=True)
            with markdown_file.open("a", encoding="utf-8") as file:
                file.write(markdown(found, compared) + "\n")
        if junit_file is not None:
            write_whole(junit_file, junit(found, compared))
    except OSError as error:
        raise OutputError(f"cannot write {error.filename}: {error.strerror}", remedy="Give another file.") from error


def _cell(text: str) -> str:
    """A text of anybody's in a cell: a bar would end it, a tag be markup."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.1f} %"


def _interval(ratio: Estimate) -> str:
    if ratio.ci_low is None or ratio.ci_high is None:
        return ""
    return f"[{100 * ratio.ci_low:.1f}, {100 * ratio.ci_high:.1f}]"
