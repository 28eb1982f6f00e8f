"""The documents name only what exists: pages, headings, files, commands, targets of make, keys of the configuration."""

import configparser
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from bench.cli import bench
from chatd.backend.actions import BackendAction
from chatd.cli import main
from chatd.config import Config, Namespace, load

ROOT = Path(__file__).parent.parent
DEFAULTS: dict[str, Any] = msgspec.to_builtins(Config())
NAMESPACE_KEYS = msgspec.to_builtins(Namespace())
DECISION_PARTS = ["Context", "Decision", "Consequences"]
TOP = "bench|chatd|client|deploy|docs|protocol|storage|tests|web"

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")


def _pages() -> list[Path]:
    """Return the pages that belong to the project, whatever else lies in the folder (environments, caches)."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]
    return [*ROOT.glob("*.md"), *(page for top in TOP.split("|") for page in (ROOT / top).rglob("*.md"))]


PAGES = _pages()
each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def _text(page: Path) -> str:
    return page.read_text("utf-8")


def _prose(page: Path) -> str:
    return _FENCE.sub("", _text(page))


def _blocks(page: Path, *languages: str) -> Iterator[str]:
    """Return the blocks of code of these languages."""
    for _, language, block in _FENCE.findall(_text(page)):
        if language in languages:
            yield block


def _shell_lines(page: Path) -> Iterator[str]:
    """Return what a reader is told to type: in a console what stands behind `$`, else each line."""
    for block in _blocks(page, "", "sh", "console"):
        lines = block.splitlines()
        prompted = [line.strip()[2:] for line in lines if line.strip().startswith("$ ")]
        yield from prompted or lines
    yield from _INLINE.findall(_prose(page))


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Links and files.


@each_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_prose(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


@each_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    # What a run makes (bench/results/…) and patterns (NNNN, *) are no files of the project.
    named = re.findall(rf"`((?:{TOP})/[\w./-]*)`", _prose(page))
    assert [name for name in named if not name.startswith("bench/results") and not (ROOT / name).exists()] == []


def test_the_index_leads_to_every_page() -> None:
    index = set(_LINK.findall(_text(ROOT / "docs/README.md")))
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert pages - index == {"README.md"}


def test_the_architecture_can_be_read_at_once() -> None:
    text = _text(ROOT / "ARCHITECTURE.md")
    assert len(text.splitlines()) < 150
    assert text.count("**Invariant:**") >= 5


def test_every_decision_has_its_number_and_its_parts() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    for number, page in enumerate(decisions, 1):
        text = _text(page)
        assert page.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        assert "**Status:** " in text
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == DECISION_PARTS


# Commands.


@each_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", _text(ROOT / "Makefile"), re.MULTILINE))
    named = {word for line in _shell_lines(page) for word in re.findall(r"^(?:\$ )?make (\w+)", line)}
    assert named - targets == set()


@each_page
def test_every_chatd_command_exists(page: Path) -> None:
    missing = []
    for line in _shell_lines(page):
        for start, words in re.findall(r"(?:^|[ /])(chatd|-m bench) ((?:[a-z]+ ?)+)", line):
            group: click.Command | None = main if start == "chatd" else bench
            if words.startswith("serves "):
                continue  # what it prints
            for word in words.split():
                if not isinstance(group, click.Group):
                    break
                group = group.get_command(click.Context(group), word)
                if group is None:
                    missing.append(line)
                    break
    assert missing == []


# The configuration.


@each_page
def test_every_key_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`(\w+(?:\.\w+)+)(?: = [^`]*)?`", _prose(page))
    named = [name for name in named if name.split(".")[0] in DEFAULTS and not re.search(r"\.(?:py|toml|md|js)$", name)]
    actions = set(BackendAction)  # what a backend's key may do is written in the same way
    assert [name for name in named if name not in actions and not _is_key(name.split("."))] == []


def _is_key(path: list[str]) -> bool:
    if path[0] == "namespaces":
        return len(path) < 3 or path[2] in NAMESPACE_KEYS
    at: Any = DEFAULTS
    for part in path:
        if not isinstance(at, dict) or part not in at:
            return False
        at = at[part]
    return True


@each_page
def test_every_variable_that_is_named_sets_a_key(page: Path) -> None:
    text = _text(page).replace("CHATD_LIMITS__OUTBOX_BYTE=1", "")  # the example of a typing error
    names = re.findall(r"\bCHATD_([A-Z0-9_]+)", text)
    assert [name for name in names if not _is_key(name.lower().split("__"))] == []


@each_page
def test_every_piece_of_configuration_can_be_used(page: Path, tmp_path: Path) -> None:
    for block in _blocks(page, "toml"):
        file = tmp_path / "config.toml"
        file.write_text(block, "utf-8")
        load(file, {})


def test_every_key_of_a_namespace_is_explained() -> None:
    text = _text(ROOT / "docs/howto/configure-namespaces.md")
    assert [key for key in NAMESPACE_KEYS if f"`{key}`" not in text] == []


def test_the_unit_gives_a_node_the_files_and_the_time_it_may_ask_for() -> None:
    # systemd's units may say a key twice; what is read here is said once.
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=["="])
    parser.read(ROOT / "deploy/chatd.service", "utf-8")
    service = parser["Service"]
    assert int(service["LimitNOFILE"]) > Config().limits.connections
    assert float(service["TimeoutStopSec"]) > Config().server.shutdown_seconds
    assert "chatd serve" in service["ExecStart"]
