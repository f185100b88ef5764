"""Only `files.py` opens files for writing: everything else goes through it, or stands here with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "src" / "hcopt"
# Module and function: why a file that is cut does no harm there.
EXCEPTIONS = {
    "system/machine_lock.py: _opened": "the lock, which is no result; whoever holds it writes it anew",
    "system/process.py: service": "a log, which grows while a program runs",
    "system/process.py: run": "a log, which grows while a program runs",
    "cli/show/check.py: write_answer": "added to the summary of somebody's CI job, which has other parts",
    "tracking/registry.py: _saved_model": "in a temporary folder, from which MLflow takes it",
    "report/render/worker.py: _answer": "in a temporary folder, for a program that ends before this returns",
    "report/render/worker.py: _main": "in a temporary folder, for the process that waits for this one",
    "measure/turns/session.py: _files": "in a temporary folder that ends with the session",
    "measure/onnxruntime_alone.py: command": "in a temporary folder that ends with the session",
    "measure/turns/onnxruntime_program.py: main": "in a temporary folder, for those who wait for its end",
    "measure/turns/onnxruntime_program.py: _run": "an empty file in a temporary folder, which says that it is ready",
    "triton/docker/containers.py: _copy": "a log, which grows while a container runs",
    "triton/docker/tools.py: run": "a log, which grows while a program runs",
    "triton/embedded/backends.py: install": "in a temporary folder that ends with the server",
    "triton/embedded/thread_choice.py: chosen_thread_count": "in a temporary folder that ends with the server",
    "triton/local_tools.py: _wrapped_perf_analyzer": "in a temporary folder that ends with the server",
    "triton/local_tools.py: _new_private_folder": "an empty file in a temporary folder, to see what may be run there",
    "tracking/log.py: _log_charts": "in a temporary folder, from which MLflow takes it",
}
_METHODS = {"write_text", "write_bytes", "touch", "savefig"}
_FUNCTIONS = {
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move"},
    "os": {"open", "link", "mkfifo", "mknod"},
    "np": {"save", "savez", "savez_compressed", "savetxt"},
    "tempfile": {"mkstemp", "NamedTemporaryFile"},
    "onnx": {"save"},
}
_READ_ONLY = {"os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)"}


def test_every_write_is_whole_or_has_a_reason() -> None:
    found = {place for path in sorted(SOURCE.rglob("*.py")) if path.name != "files.py" for place in _places(path)}
    assert found == set(EXCEPTIONS)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("path.write_text(x)", True),
        ("path.open('w')", True),
        ("path.open(mode='ab')", True),
        ("open(path, 'r+')", True),
        ("open(path, mode)", True),
        ("shutil.copy2(a, b)", True),
        ("np.savez_compressed(path, a=1)", True),
        ("path.open()", False),
        ("path.open('rb')", False),
        ("open(path, encoding='utf-8')", False),
        ("with whole_file(path) as temporary:\n        temporary.write_bytes(x)", False),
        ("with whole_file(path) as temporary, temporary.open('wb') as file:\n        np.savez(file, a=1)", False),
        ("with whole_file(path) as temporary:\n        path.write_bytes(x)", True),
    ],
)
def test_writes_are_seen(tmp_path: Path, code: str, *, found: bool) -> None:
    file = tmp_path / "module.py"
    file.write_text(f"def write(path):\n    {code}\n")
    assert list(_places(file, tmp_path)) == (["module.py: write"] if found else [])


def _places(path: Path, source: Path = SOURCE) -> Iterator[str]:
    """Each function that writes, once for each write; a module's own level has no name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for call, function in _calls(tree, ""):
        if _writes(call):
            yield f"{path.relative_to(source)}: {function}"


def _calls(node: ast.AST, function: str, whole: frozenset[str] = frozenset()) -> Iterator[tuple[ast.Call, str]]:
    """Calls with the function that they are in, but for those on a temporary name of `whole_file`."""
    if isinstance(node, ast.FunctionDef):
        function = node.name
    if isinstance(node, ast.With):
        for item in node.items:
            if _is_whole(item.context_expr, whole) and isinstance(item.optional_vars, ast.Name):
                whole |= {item.optional_vars.id}
    if isinstance(node, ast.Call) and not _is_on(node, whole):
        yield node, function
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, function, whole)


def _is_whole(expression: ast.expr, whole: frozenset[str]) -> bool:
    """`whole_file(…)`, or a file that is opened at such a name."""
    if not isinstance(expression, ast.Call):
        return False
    return ast.unparse(expression.func) == "whole_file" or _is_on(expression, whole)


def _is_on(call: ast.Call, whole: frozenset[str]) -> bool:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    if isinstance(owner, ast.Name) and owner.id in _FUNCTIONS:
        owner = call.args[-1] if owner.id == "shutil" and call.args else call.args[0] if call.args else None
    return isinstance(owner, ast.Name) and owner.id in whole


def _writes(call: ast.Call) -> bool:
    if ast.unparse(call) in _READ_ONLY:
        return False
    if isinstance(call.func, ast.Name):
        return call.func.id == "open" and _is_writing(call, 1)
    if not isinstance(call.func, ast.Attribute):
        return False
    owner = call.func.value.id if isinstance(call.func.value, ast.Name) else ""
    if owner in _FUNCTIONS:
        return call.func.attr in _FUNCTIONS[owner]
    # What opens addresses is no path.
    return call.func.attr in _METHODS or (call.func.attr == "open" and owner != "opener" and _is_writing(call, 0))


def _is_writing(call: ast.Call, position: int) -> bool:
    given = [word.value for word in call.keywords if word.arg == "mode"] or call.args[position : position + 1]
    if not given:
        return False
    return not isinstance(given[0], ast.Constant) or any(letter in str(given[0].value) for letter in "wax+")
