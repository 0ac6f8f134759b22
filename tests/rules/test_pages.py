"""What the pages for those who work on the code name is there: make targets, files, the places of a kind of fine-tune."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from tasks.config.finetuning import FinetuneConfig
from tests.rules.repository import ROOT, python_files, tracked, tree

CONTRIBUTING = Path(".github/CONTRIBUTING.md")
HOUSE = Path("tasks/README.md")
PAGES = (Path("README.md"), Path("configs/README.md"), HOUSE, CONTRIBUTING)
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def text_of(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?:`|^|&& )make ([a-z]+)", text_of(page), re.MULTILINE))
    assert named - TARGETS == set()
    assert named or page not in (Path("README.md"), CONTRIBUTING)


@pytest.mark.parametrize("page", [HOUSE, CONTRIBUTING], ids=str)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w/.])\.?[a-z_][a-z_/.-]*\.(?:py|md|toml|yaml)\b", text_of(page)))
    there = {path.as_posix() for path in tracked()}
    missing = [name for name in named if not any(path == name or path.endswith(f"/{name}") for path in there)]
    assert missing == []
    assert len(named) > 20


def test_the_page_names_every_file_that_asks_for_the_kind_of_a_fine_tune() -> None:
    kinds = set(get_args(FinetuneConfig.model_fields["kind"].annotation))
    asking = {
        path.as_posix()
        for path in python_files("flows", "tasks")
        if any(isinstance(node, ast.Constant) and node.value in kinds for node in ast.walk(tree(path)))
    }
    assert len(asking) >= 5
    section = text_of(CONTRIBUTING).partition("## A kind of fine-tune\n")[2].partition("\n## ")[0]
    assert {path for path in asking if path not in section} == set()
