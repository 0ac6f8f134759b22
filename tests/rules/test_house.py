"""The law of the house: a folder imports lower floors only, and loads only the libraries that it names."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.record.layout import (
    bases_folder,
    compiled_folder,
    datasets_folder,
    deployed_folder,
    digest_cache,
    finetunes_folder,
    mlflow_folder,
    predictions_folder,
    prefect_folder,
    registry_folder,
    runs_folder,
    services_folder,
)
from tests.rules.house import (
    LIBRARIES,
    README,
    TABLE,
    WORKER,
    file_arrows,
    floor_of,
    longest_chain,
    modules,
    room_arrows,
    room_of,
    rooms,
    said,
    table_of_rooms,
)
from tests.rules.repository import ROOT, imports, python_files, tree


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_folder_says_its_floor_and_what_it_loads_and_keeps_to_both(room: str) -> None:
    floor, allowed = said(rooms()[room])
    assert allowed <= LIBRARIES, f"{room} names {sorted(allowed - LIBRARIES)}, which the rule does not know"
    loaded = set()
    for module, path in modules().items():
        if room_of(module) == room:
            loaded |= {name.split(".")[0] for name in imports(path)} & LIBRARIES
            upward = {other for other in file_arrows()[module] if room_of(other) != room and floor_of(room_of(other)) >= floor}
            assert upward == set(), f"{path} is on floor {floor:g} and imports {sorted(upward)} of a floor that is not lower"
    assert loaded <= allowed, (
        f"{room} loads {sorted(loaded - allowed)}, which the first sentence of its __init__.py does not say"
    )
    assert allowed <= loaded, f"{room} no longer loads {sorted(allowed - loaded)}; take it out of the sentence"


def test_the_page_of_the_house_names_every_folder_with_its_floor() -> None:
    found = TABLE.search(README.read_text(encoding="utf-8"))
    assert found is not None
    floors = {re.split(r" *\| *", line)[2]: re.split(r" *\| *", line)[1] for line in found.group().splitlines()[2:]}
    assert floors == {f"`{room.replace('.', '/')}/`": f"{said(init)[0]:g}" for room, init in rooms().items()}
    assert found.group() == table_of_rooms(), "run: python -m tests.rules.house --write"


def test_the_ranks_entry_point_loads_nothing_and_stands_below_the_verbs() -> None:
    assert {room_of(other) for other in file_arrows()[WORKER]} <= {"tasks.record", "tasks.training.model"}
    assert floor_of(WORKER) < floor_of("tasks")


def test_there_are_seven_floors_and_no_circle_of_folders() -> None:
    arrows = room_arrows()
    assert {int(floor_of(room)) for room in arrows} == set(range(1, 8))
    chain = longest_chain(arrows)
    assert [floor_of(room) for room in chain] == sorted((floor_of(room) for room in chain), reverse=True)


def loaded_by(module_names: list[str], unwanted: tuple[str, ...]) -> str:
    """Import the modules in a fresh interpreter; which unwanted top-level packages that loaded, and by which module first."""
    code = (
        "import importlib, sys\n"
        f"unwanted = {unwanted!r}\n"
        "seen = set()\n"
        f"for name in {module_names!r}:\n"
        "    importlib.import_module(name)\n"
        "    for found in set(unwanted) & set(sys.modules) - seen:\n"
        "        print(f'{name} loads {found}')\n"
        "        seen.add(found)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout


PROCESSES = {
    "flows and verbs": (("flows", "tasks"), ("torch", "transformers", "datasets", "accelerate", "mlflow")),
    "ranks and preparation": (("tasks.data", "tasks.training", WORKER), ("prefect", "mlflow")),
    "supervisor": (("tasks.record", "tasks.config", "tasks.launch"), ("prefect", "mlflow", "torch", "numpy")),
    "planner": (("tasks.planning",), ("prefect", "mlflow", "torch", "transformers")),
}
"""Which folders a kind of process imports, and what must not be loaded by that: start-up time, memory, contexts on GPUs."""


@pytest.mark.parametrize("process", PROCESSES)
def test_no_process_loads_what_it_must_not(process: str) -> None:
    folders, unwanted = PROCESSES[process]
    exact = ("flows", "tasks")
    names = [
        module
        for module in modules()
        if (room := room_of(module)) in folders or any(room.startswith(f"{f}.") for f in folders if f not in exact)
    ]
    names = [name for name in names if not name.endswith("__main__")]
    assert len(names) > len(folders)
    assert loaded_by(names, unwanted) == ""


def test_mlflow_is_imported_inside_functions_only() -> None:
    """It takes seconds to import."""
    for path in python_files("flows", "tasks"):
        early = {name for name in imports(path, everywhere=False) if name.split(".")[0] == "mlflow"}
        assert not early, f"{path} imports {sorted(early)} when it is imported; move it into the function"


def test_no_file_of_flows_is_named_like_a_library() -> None:
    names = {path.stem for path in python_files("flows")}
    assert names & {"datasets", "evaluate", "torch", "transformers", "accelerate", "prefect", "mlflow", "tokenizers"} == set()


def test_only_the_layout_names_a_folder_of_the_home() -> None:
    """Neither joined to a path, `home / "runs"`, nor in a pattern, `glob("runs/*")`."""
    made = (
        runs_folder, datasets_folder, bases_folder, finetunes_folder, deployed_folder, predictions_folder, services_folder,
        prefect_folder, mlflow_folder, registry_folder, compiled_folder,
    )  # fmt: skip
    names = {place(Path("home")).name for place in made} | {digest_cache(Path("home")).parent.name}
    found = []
    for path in python_files("flows", "tasks"):
        if path != Path("tasks/record/layout.py"):
            for node in ast.walk(tree(path)):
                joined = [node.right] if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else []
                called = node.args if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else []
                globbed = called if called and node.func.attr in ("glob", "rglob", "joinpath") else []
                texts = [one.value for one in (*joined, *globbed) if isinstance(one, ast.Constant)]
                found += [f"{path}:{node.lineno} {text}" for text in texts if str(text).split("/")[0] in names]
    assert found == [], "ask tasks/record/layout.py for it"


def test_a_folder_holds_no_code_in_its_first_file() -> None:
    """The page that explains a folder is nothing but that."""
    for init in rooms().values():
        assert len(tree(init).body) == 1 and ast.get_docstring(tree(init)), f"{init} holds code"
