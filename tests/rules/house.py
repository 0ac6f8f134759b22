"""The rooms of the house, their floors and the arrows between them, read off the code.

`python -m tests.rules.house` prints them: rooms, floors, arrows, and the longest chain of rooms and of files that import each
other. With `--write` it writes the rooms into tasks/README.md.
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path

from tests.rules.repository import ROOT, imports, module_name, python_files, tree

WORKER, WORKER_FLOOR = "tasks.worker", 5.0
"""A rank's entry point lies beside the verbs, for its short name, and is a room of its own."""
LIBRARIES = {
    "accelerate", "datasets", "matplotlib", "mlflow", "numba", "prefect", "prefect_ray", "pyarrow", "safetensors", "sklearn",
    "tokenizers", "torch", "transformers",
}  # fmt: skip
"""What is slow to load, or must not be in some processes; a folder says which of them it may load."""
README = ROOT / "tasks" / "README.md"
TABLE = re.compile(r"(?<=--write` -->\n)(.*?)(?=<!-- end of rooms -->)", re.DOTALL)
SENTENCE = re.compile(r"^Floor (\d(?:\.\d)?), loads ([\w, ]+): ")


def modules() -> dict[str, Path]:
    """Modules of the product by their dotted name."""
    return {module_name(path): path for path in python_files("flows", "tasks")}


def room_of(module: str) -> str:
    """The folder that a module lies in, dotted."""
    path = modules()[module]
    return WORKER if module == WORKER else ".".join(path.parent.parts)


def rooms() -> dict[str, Path]:
    """Every folder with code, and its `__init__.py`."""
    return {".".join(path.parent.parts): path.parent / "__init__.py" for path in modules().values()}


@cache
def said(init: Path) -> tuple[float, frozenset[str]]:
    """Floor and libraries by the first sentence of a folder's `__init__.py`; raises ValueError where it does not say."""
    found = SENTENCE.match(ast.get_docstring(tree(init)) or "")
    if found is None:
        raise ValueError(f"{init} does not begin with 'Floor N, loads LIBRARIES: ' or 'Floor N, loads no library: '")
    listed = found.group(2)
    return float(found.group(1)), frozenset() if listed == "no library" else frozenset(listed.split(", "))


def floor_of(room: str) -> float:
    return WORKER_FLOOR if room == WORKER else said(rooms()[room])[0]


@cache
def file_arrows() -> dict[str, frozenset[str]]:
    """Which modules of the product each module imports, inside of functions and for type checkers too."""
    known = modules()
    return {module: frozenset(imports(path) & known.keys() - {module}) for module, path in known.items()}


def room_arrows() -> dict[str, set[str]]:
    """Which rooms each room imports."""
    found: dict[str, set[str]] = {room_of(module): set() for module in modules()}
    for module, imported in file_arrows().items():
        found[room_of(module)] |= {room_of(other) for other in imported} - {room_of(module)}
    return found


def longest_chain(arrows: dict[str, set[str]] | dict[str, frozenset[str]]) -> list[str]:
    """The longest path, from top to bottom; what is in a circle is walked once."""

    def below(one: str, above: tuple[str, ...]) -> tuple[str, ...]:
        return max((longest(other, (*above, one)) for other in arrows[one] if other not in above), key=len, default=())

    known: dict[str, tuple[str, ...]] = {}

    def longest(one: str, above: tuple[str, ...] = ()) -> tuple[str, ...]:
        if one not in known:
            known[one] = (one, *below(one, above))
        return known[one]

    return list(max((longest(one) for one in arrows), key=len))


def table_of_rooms() -> str:
    """Every folder from the top floor down: floor, path, libraries, and what it is for, by its own first sentence."""
    rows = ["| floor | folder | may load | what is there |", "|---|---|---|---|"]
    for room, init in sorted(rooms().items(), key=lambda item: (-floor_of(item[0]), item[0])):
        floor, libraries = said(init)
        sentence = " ".join((ast.get_docstring(tree(init)) or "").split("\n\n")[0].split()).split(": ", 1)[1]
        rows.append(f"| {floor:g} | `{room.replace('.', '/')}/` | {', '.join(sorted(libraries))} | {sentence} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    if sys.argv[1:] == ["--write"]:
        README.write_text(TABLE.sub(lambda _: table_of_rooms(), README.read_text(encoding="utf-8")), encoding="utf-8")
        return
    arrows = room_arrows()
    for room in sorted(arrows, key=lambda name: (-floor_of(name), name)):
        print(f"{floor_of(room):<4g}{room:28}-> {', '.join(sorted(arrows[room]))}")
    number = sum(len(imported) for imported in arrows.values())
    print(f"{len(arrows)} rooms, {len({int(floor_of(room)) for room in arrows})} floors, {number} arrows")
    for name, chain in (("rooms", longest_chain(arrows)), ("files", longest_chain(file_arrows()))):
        print(f"longest chain of {name}, {len(chain)}: {' > '.join(chain)}")


if __name__ == "__main__":
    main()
