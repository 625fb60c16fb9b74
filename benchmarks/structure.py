"""Figures of the code's structure: `python benchmarks/structure.py CHECKOUT [CHECKOUT …]`, a column for each checkout.

Counted by the syntax tree, without running anything. One-word names are definitions (functions and methods, classes) whose
name has one part: `load`, `_load`, `Plan`; names with two leading underscores are left out. A circle is a strongly
connected set of entries at the top of the core (modules or packages) that import each other, imports in functions
included, or of modules inside one package.
"""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("interpdisc_core", "tasks", "flows", "deploy")
MAX_LINES = 350


def list_files(root: Path, *folders: str) -> list[Path]:
    """Python files that git tracks below the folders."""
    output = subprocess.run(["git", "ls-files", *folders], cwd=root, capture_output=True, text=True, check=True).stdout
    return [root / name for name in output.splitlines() if name.endswith(".py") and (root / name).exists()]


def iter_definitions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("__"):
            yield node


def is_one_word(name: str) -> bool:
    bare = name.strip("_")
    return "_" not in bare and len(re.findall(r"[A-Z][a-z0-9]*", bare)) <= 1


def count_circles(edges: dict[str, set[str]]) -> int:
    """Strongly connected sets of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles = 0

    def visit(node: str) -> None:
        nonlocal circles
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = [stack.pop()]
            while members[-1] != node:
                members.append(stack.pop())
            circles += len(members) > 1

    sys.setrecursionlimit(10_000)
    for node in list(edges):
        if node not in index:
            visit(node)
    return circles


def read_imports(root: Path) -> dict[str, set[str]]:
    """Imports between the modules of the core, by module name."""
    modules = {}
    for path in list_files(root, "interpdisc_core"):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    edges: dict[str, set[str]] = defaultdict(set)
    for name, path in modules.items():
        _ = edges[name]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    target = f"{node.module}.{alias.name}"
                    target = target if target in modules else node.module
                    if target in modules and target != name:
                        edges[name].add(target)
    return edges


def find_entry(module: str) -> str:
    """The entry at the top of the core that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def measure(root: Path) -> dict[str, str]:
    """The figures of one checkout, as text."""
    files = list_files(root, *PACKAGES)
    texts = {path: path.read_text() for path in files}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    core = [path for path in files if path.relative_to(root).parts[0] == "interpdisc_core"]
    top = {path.relative_to(root).parts[1] for path in core} - {"__init__.py"}
    edges = read_imports(root)
    between: dict[str, set[str]] = defaultdict(set)
    for module, targets in edges.items():
        _ = between[find_entry(module)]
        # The package itself only hands names on, lazily.
        between[find_entry(module)] |= {find_entry(target) for target in targets} - {find_entry(module), ""}
    _ = between.pop("", None)
    within = {name: {t for t in targets if find_entry(t) == find_entry(name)} for name, targets in edges.items()}
    functions, classes = [], []
    for path in core:
        for node in iter_definitions(trees[path]):
            (classes if isinstance(node, ast.ClassDef) else functions).append(node.name)
    # Tasks and flows may bear the name of the function that they call.
    public = Counter(
        node.name
        for path in files
        if path.relative_to(root).parts[0] in ("interpdisc_core", "deploy")
        for node in trees[path].body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    )
    repeated = [name for name, count in public.items() if count > 1]
    tests = list_files(root, "tests")
    return {
        "entries at the top of the core": f"{sum('.' not in name for name in top)} packages, {sum('.' in name for name in top)} modules",
        "import circles between them": str(count_circles(between)),
        "import circles inside a package": str(count_circles(within)),
        f"files above {MAX_LINES} lines": str(sum(text.count("\n") > MAX_LINES for text in texts.values())),
        "one-word function names in the core": f"{sum(map(is_one_word, functions)) / len(functions):.0%} of {len(functions)}",
        "one-word class names in the core": f"{sum(map(is_one_word, classes)) / len(classes):.0%} of {len(classes)}",
        "public names defined more than once": str(len(repeated)),
        "`# fmt: skip`": str(sum(text.count("# fmt: skip") for text in texts.values())),
        "lines wider than 120": str(sum(len(line) > 120 for text in texts.values() for line in text.splitlines())),
        "lines of code, application and library": f"{sum(text.count(chr(10)) for text in texts.values()):,}",
        "statements, application and library": f"{sum(isinstance(n, ast.stmt) for t in trees.values() for n in ast.walk(t)):,}",
        "lines of tests": f"{sum(path.read_text().count(chr(10)) for path in tests):,}",
        "repeated names": ", ".join(sorted(repeated)[:12]) + (" …" if len(repeated) > 12 else ""),
    }


def main() -> None:
    columns = [measure(Path(argument).resolve()) for argument in sys.argv[1:] or ["."]]
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


if __name__ == "__main__":
    main()
