"""The documentation builds without a warning, links only to what is there, and shows only commands that exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer
import yaml
from typer.testing import CliRunner

import hcopt.config
from docs import references
from hcopt.cli.app import app
from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.errors import INTERRUPTED_EXIT_CODE, HcoptError
from tests.support.command import Workplace, workplace
from tests.support.documentation import (
    CONFIGURATION,
    PAGES,
    REPOSITORY,
    Block,
    Page,
    anchors,
    blocks,
    links,
    shown_files,
)
from tests.support.planned_run import write_planned_run

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
BLOCKS = [block for file in shown_files() for block in blocks(file)]
SHELL_BLOCKS = [block for block in BLOCKS if block.language in {"sh", "bash", "console"}]
# What every shell has, and what every reader of a repository has.
ORDINARY = {"cd", "echo", "export", "git"}
# About two screens.
MOST_WORDS_BEFORE_EXAMPLE = 400


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(CONFIGURATION)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    built = subprocess.run(
        [*command, "--site-dir", str(folder)], capture_output=True, text=True, check=False, env=environment
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html")}


def test_every_page_is_built_and_has_a_way_to_it(site: Path, pages: dict[Path, Page]) -> None:
    wanted = {site / page.relative_to(PAGES).with_suffix(".html") for page in PAGES.rglob("*.md")}
    assert wanted == set(pages) - {site / "404.html"}
    start = pages[site / "index.html"]
    assert wanted <= {target for link in start.links if (target := target_of(site / "index.html", link)) is not None}


def test_every_link_of_the_site_leads_to_a_file_and_an_anchor(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for file, page in pages.items():
        for link in [*page.links, *page.loaded] if file.name != "404.html" else []:
            target = target_of(file, link)
            anchor = unquote(urlsplit(link).fragment)
            if target is None:
                continue
            missing_anchor = anchor and target in pages and anchor not in pages[target].anchors
            if not target.is_file() or missing_anchor:
                broken.append(f"{file.relative_to(site)} -> {link}")
    assert broken == []


def target_of(file: Path, link: str) -> Path | None:
    """The file of the site that a link leads to; None where it leads out of the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or link.startswith("javascript:"):
        return None
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    return target / "index.html" if target.is_dir() else target


def test_links_to_the_repository_lead_to_files_that_are_there(pages: dict[Path, Page]) -> None:
    (root,) = re.findall(r"repository_url: (\S+)", CONFIGURATION.read_text(encoding="utf-8"))
    found = {link for page in pages.values() for link in page.links if link.startswith(f"{root}/")}
    assert found
    for link in found:
        kind, branch, path = urlsplit(link.removeprefix(f"{root}/")).path.split("/", 2)
        assert (kind, branch) in {("blob", "main"), ("tree", "main")}
        assert (REPOSITORY / path).is_dir() if kind == "tree" else (REPOSITORY / path).is_file()


def test_site_loads_nothing_from_the_network(site: Path, pages: dict[Path, Page]) -> None:
    assert [source for page in pages.values() for source in page.loaded if urlsplit(source).netloc] == []
    for style in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?https?:|@import ['\"]?https?:", style.read_text(encoding="utf-8")) == []


def test_nothing_of_a_list_or_a_table_is_shown_as_text(pages: dict[Path, Page]) -> None:
    shown = {file: file.read_text(encoding="utf-8") for file in pages}
    assert [file.name for file, text in shown.items() if re.search(r"<p>(\||- )", text)] == []
    assert [
        file.name for file, text in shown.items() if "<!-- " in text and re.search("<!-- (needs|incl|gen)", text)
    ] == []


def test_every_page_has_an_example_within_two_screens(site: Path, pages: dict[Path, Page]) -> None:
    words = {
        str(file.relative_to(site)): page.words_before_example
        for file, page in pages.items()
        if file.name not in {"404.html", "changelog.html"}
    }
    assert {name: count for name, count in words.items() if count > MOST_WORDS_BEFORE_EXAMPLE} == {}


@pytest.mark.parametrize("file", shown_files(), ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_relative_links_of_markdown_files_work_on_github(file: Path) -> None:
    for path, anchor in links(file):
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), path
        # A page that is filled when the site is built has its anchors there alone.
        if anchor and target.suffix == ".md" and "<!-- generated" not in (text := target.read_text(encoding="utf-8")):
            assert anchor in anchors(target) or "<!-- include" in text, f"{path}#{anchor}"


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=lambda block: block.name)
def test_every_command_exists_or_says_what_it_needs(block: Block) -> None:
    for words in block.commands():
        if words and not known(words):
            assert block.needs_more, f"{words[0]} is not there: say what the block needs, by <!-- needs: … -->"


def known(words: list[str]) -> bool:
    """Whether a checkout with its `.venv` has what a command starts; raises where it has it and not its options."""
    while words and re.fullmatch(r"[A-Z0-9_]+=.*", words[0]):
        words = words[1:]
    program, *arguments = words
    if program in {"hcopt", ".venv/bin/hcopt"}:
        return parses(arguments)
    if program == "./run_analyzer.sh":
        return parses(["profile", *arguments])
    if program == ".venv/bin/python":
        module = REPOSITORY / arguments[1].replace(".", "/") if arguments[0] == "-m" else None
        files = [REPOSITORY / arguments[0]] if module is None else [module.with_suffix(".py"), module / "__main__.py"]
        return any(file.is_file() for file in files)
    if program.startswith(".venv/bin/"):
        return Path(sys.executable).with_name(Path(program).name).is_file()
    return program in ORDINARY or os.access(REPOSITORY / program, os.X_OK)


def parses(arguments: list[str]) -> bool:
    """Whether the program takes these arguments, values of `--set` included; nothing is run."""
    if arguments[0].startswith("-"):
        return CliRunner().invoke(app, arguments).exit_code == 0
    name, *given = arguments
    if "--help" in given:
        return CliRunner().invoke(app, arguments).exit_code == 0
    context = COMMANDS[name].make_context(name, list(given))
    if overrides := context.params.get("set_"):
        load_config(REPOSITORY / "config.yaml", overrides=overrides, environment={})
    return True


def runnable() -> list[list[str]]:
    """What the pages show of hcopt and can be run here; `profile` shows its plan instead of measuring for minutes."""
    shown = [words for block in SHELL_BLOCKS if block.file.is_relative_to(PAGES) for words in runs_here(block)]
    return [list(words) for words in dict.fromkeys(map(tuple, shown))]


def runs_here(block: Block) -> list[list[str]]:
    if block.needs_more:
        return []
    programs = {"./run_analyzer.sh": ["profile"], ".venv/bin/hcopt": []}
    found = [[*programs[words[0]], *words[1:]] for words in block.commands() if words and words[0] in programs]
    return [[*words, "--dry-run"] if words[0] == "profile" and "--dry-run" not in words else words for words in found]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A folder with what a clone has after a first run: the sample model in MLflow, a finished run, its manifests."""
    place = workplace(tmp_path_factory.mktemp("docs"), COLUMNS="80")
    for name in ("config.yaml", "model_repository"):
        (place.folder / name).symlink_to(REPOSITORY / name)
    (place.folder / "load.csv").write_text("t_s,infer_per_s\n0,200000\n600,400000\n", encoding="utf-8")
    assert place.answer("seed").returncode == 0
    write_planned_run(place.results)
    assert place.answer("kubernetes", "results", "--base", "60000", "--peak", "500000").returncode == 0
    return place


@pytest.mark.parametrize("arguments", runnable(), ids=" ".join)
def test_commands_of_the_pages_run(checkout: Workplace, arguments: list[str]) -> None:
    answer = checkout.answer(*arguments)
    assert answer.returncode == 0, answer.stderr


def test_manifest_on_the_page_is_what_its_command_writes(checkout: Workplace) -> None:
    written, shown = (block for block in blocks(PAGES / "how-to" / "kubernetes.md")[:2])
    ((_, *arguments),) = written.commands()
    assert checkout.answer(*arguments, "--out", "shown").returncode == 0
    manifest = (checkout.folder / "shown" / "hpa.yaml").read_text(encoding="utf-8")
    assert [line for line in shown.text.splitlines() if line not in manifest.splitlines()] == []


def test_command_that_does_not_exist_is_found() -> None:
    assert not known(["kubectl", "apply"])
    assert not known([".venv/bin/python", "-m", "benchmarks.nothing"])
    for arguments in (["profile", "--no-such-option"], ["kubernetes", "results"], ["check", "--blocks", "many"]):
        with pytest.raises(Exception, match=r"[Nn]o such option|[Mm]issing|valid integer"):
            parses(arguments)
    with pytest.raises(HcoptError, match="unknown key"):
        parses(["profile", "--set", "sweeep.concurrency=[1]"])


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda block: block.name)
def test_configuration_that_is_shown_is_one(block: Block) -> None:
    data: Any = yaml.safe_load(block.text)
    if isinstance(data, dict) and set(data) <= set(Config.model_fields):
        Config.model_validate(data)
    else:
        assert block.file.name in {"kubernetes.md", "ci-check.md"}


def test_configuration_reference_says_of_each_key_what_it_means() -> None:
    found = re.findall(r"^`([a-z0-9_.]+)`\n:   (.*)$", references.configuration(), flags=re.MULTILINE)
    written = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    assert {name.split(".")[0] for name, _ in found} == set(Config.model_fields) == set(written)
    assert {name.partition(".")[2].partition(".")[0] for name, _ in found if name.startswith("runtime.")} == set(
        written["runtime"]
    )
    assert [name for name, text in found if text.startswith((".", "*"))] == []


def test_command_line_reference_has_every_command_and_option() -> None:
    text = references.command_line()
    assert re.findall(r"^## hcopt (.+)$", text, flags=re.MULTILINE) == list(COMMANDS)
    for command in COMMANDS.values():
        assert all(
            f"`{option}`" in text for one in command.params if one.opts[0].startswith("-") for option in one.opts
        )


def test_exit_codes_are_those_of_the_errors() -> None:
    text = (PAGES / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    listed = [int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)]
    assert listed == [0, *sorted({error.exit_code for error in errors(HcoptError)} - {INTERRUPTED_EXIT_CODE}), 130]


def errors(error: type[HcoptError]) -> list[type[HcoptError]]:
    return [error, *(one for child in error.__subclasses__() for one in errors(child))]


def test_environment_variables_are_those_that_the_configuration_reads() -> None:
    text = (PAGES / "reference" / "environment.md").read_text(encoding="utf-8")
    sources = [file.read_text(encoding="utf-8") for file in Path(hcopt.config.__path__[0]).glob("*.py")]
    read = {name for source in sources for name in re.findall(r'"((?:AWS|MLFLOW)_[A-Z0-9_]+[A-Z0-9])"', source)}
    assert read
    assert {name for name in read if f"`{name}`" not in text} == set()


def test_both_readmes_are_the_same_short_page() -> None:
    english, korean = (REPOSITORY / name for name in ("README.md", "README.ko.md"))
    for file in (english, korean):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 130

    def shape(file: Path) -> tuple[list[int], int, list[str]]:
        lines = file.read_text(encoding="utf-8").splitlines()
        headings = [len(line) - len(line.lstrip("#")) for line in lines if re.match("#+ ", line)]
        commands = [" ".join(words) for block in blocks(file) if block.language == "sh" for words in block.commands()]
        return headings, sum(line.startswith("|") for line in lines), commands

    assert shape(english) == shape(korean)
    assert [b.text for b in blocks(english) if b.language == "text"] == [
        b.text for b in blocks(korean) if b.language == "text"
    ]
    others = ({path for path, _ in links(file)} - {"README.md", "README.ko.md"} for file in (english, korean))
    assert next(others) == next(others)
