"""The shape of the repository: its top level, sizes of files and functions, names, docstrings, and nothing of one machine."""

import ast
import re

import pytest
from pydantic import BaseModel

from tasks.config.config import Config
from tasks.config.section import Section
from tests.rules.repository import ROOT, python_files, tracked, tree

TOP_LEVEL = {"pyproject.toml", "README.md", "flows", "tasks", "configs", "tests", "docker"}
TOP_LEVEL |= {"LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt"}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_TASK_LINES = 400, 60, 60
TASK_FILES = ("prepare", "pretrain", "finetune", "evaluate", "promote")
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
ONE_MACHINE = re.compile(r"(?<![\w.:/-])/(tmp|root|work|home|opt|farm|Users|mnt)/|pypi\.org|pythonhosted")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".ini", ".sql", ".sh", ""}


def functions(path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_top_level_holds_what_the_design_names():
    found = {path.parts[0] for path in tracked() if not path.parts[0].startswith(".")}
    assert found - TOP_LEVEL == set()


def test_files_have_at_most_400_lines():
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in python_files("flows", "tasks", "tests")}
    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_functions_have_at_most_60_lines():
    found = []
    for path in python_files("flows", "tasks", "tests"):
        for node in functions(path):
            if (length := node.end_lineno - node.lineno + 1) > MAX_FUNCTION_LINES:
                found.append(f"{path}:{node.name} has {length} lines")
    assert found == []


@pytest.mark.parametrize("stem", TASK_FILES)
def test_prefect_tasks_are_thin(stem):
    assert len((ROOT / "tasks" / f"{stem}.py").read_text().splitlines()) <= MAX_TASK_LINES


def test_no_file_has_a_name_that_says_nothing():
    assert [str(path) for path in tracked() if VAGUE_NAMES & {part.removesuffix(".py") for part in path.parts}] == []


def test_every_parameter_and_return_is_annotated():
    found = []
    for path in python_files("flows", "tasks"):
        for node in functions(path):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            bare = [a.arg for a in arguments if a is not None and a.annotation is None and a.arg not in ("self", "cls")]
            if bare or node.returns is None:
                found.append(f"{path}:{node.lineno} {node.name}({', '.join(bare)})")
    assert found == []


def test_no_exception_is_swallowed():
    found = []
    for path in python_files("flows", "tasks", "tests"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body):
                found.append(f"{path}:{node.lineno}")
    assert found == []


def sections(model: type[BaseModel] = Config) -> set[type[BaseModel]]:
    inner = {t for field in model.model_fields.values() for t in (field.annotation, *getattr(field.annotation, "__args__", ()))}
    below = {t for t in inner if isinstance(t, type) and issubclass(t, Section)}
    return {model}.union(*(sections(section) for section in below))


def test_every_setting_has_a_sentence_under_it():
    found = sections()
    assert len(found) >= 10
    bare = [f"{s.__name__}.{name}" for s in found for name, field in s.model_fields.items() if not field.description]
    assert bare == []


def test_nothing_outside_of_the_tests_knows_one_machine():
    found = []
    for path in tracked():
        if path.parts[0] != "tests" and path.suffix in TEXT_SUFFIXES:
            for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
                if match := ONE_MACHINE.search(line):
                    found.append(f"{path}:{number} says {match.group()}")
    assert found == []
