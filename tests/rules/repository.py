"""What git tracks, read once for the rules."""

import ast
import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def tracked() -> list[Path]:
    """Files that are tracked, or new and not ignored, relative to the root; those deleted in the working tree are left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [Path(name) for name in sorted(set(found)) if (ROOT / name).exists()]


def python_files(*folders: str) -> list[Path]:
    """Tracked Python files below the folders."""
    return [path for path in tracked() if path.suffix == ".py" and path.parts[0] in folders]


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Modules that the file imports; `everywhere=False`: only those that importing the file imports."""
    nodes = ast.walk(tree(path)) if everywhere else at_import(tree(path))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def at_import(node: ast.AST):
    """Nodes that run when the module is imported: not the bodies of functions, nor what is for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from at_import(child)
