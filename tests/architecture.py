"""The import graph and the sizes of the package; ``python -m tests.architecture`` prints them."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "similar_products"
FLOORS = [
    {"conf"},
    {"pictures"},
    {"encoders"},
    {"search"},
    {"query"},
    {"models", "visibility"},
    {"embedding"},
    {"catalogue", "tasks"},
    {"signals", "checks", "migrating", "spreadsheets", "templatetags", "management"},
    {"rest_framework", "admin"},
    {"merchandising"},
    {"apps"},
]
"""The rooms by floor, ground first. A room imports rooms of lower floors only."""


@dataclass(frozen=True)
class Import:
    """A dotted name that a module of a room imports, anywhere in it."""

    module: Path
    line: int
    name: str
    alias: str
    """The name that it has in the module."""

    @property
    def room(self) -> str:
        """The room of the package that it is from; empty for what is not the package's."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == PACKAGE.name and len(parts) > 1 else ""

    @property
    def runs_up(self) -> bool:
        return self.is_foreign and floor(self.room) >= floor(room_of(self.module))

    @property
    def is_foreign(self) -> bool:
        """Whether it is of another room of the package."""
        return self.room not in {"", room_of(self.module)}

    def __str__(self) -> str:
        return f"{self.module.relative_to(PACKAGE)}:{self.line} imports {self.name}"


@dataclass(frozen=True)
class Function:
    module: Path
    name: str
    lines: int

    def __str__(self) -> str:
        return f"{self.module.relative_to(PACKAGE)}: {self.name} has {self.lines} lines"


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(module: Path) -> str:
    """Return the name of the folder or module at the top of the package."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text())


def imports_of(module: Path) -> Iterator[Import]:
    """Yield what a module imports, also for type checking alone and in functions, with relative names made absolute."""
    package = [PACKAGE.name, *module.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name, alias.asname or alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(module, node.lineno, f"{stem}.{alias.name}", alias.asname or alias.name)


def arrows() -> dict[tuple[str, str], list[Import]]:
    """Return the imports of each pair of rooms of which the first imports the second."""
    found: dict[tuple[str, str], list[Import]] = {}
    for module in modules():
        for each in imports_of(module):
            if each.is_foreign:
                found.setdefault((room_of(module), each.room), []).append(each)
    return found


def private_names(module: Path) -> list[str]:
    """Return where a module uses what another room calls private, imported or as an attribute of a module."""
    foreign = [each for each in imports_of(module) if each.is_foreign]
    found = [str(each) for each in foreign if any(part.startswith("_") for part in each.name.split("."))]
    aliases = {each.alias: each for each in foreign if _is_module(each.name)}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner = aliases.get(ast.unparse(node.value))
            if owner is not None:
                found.append(f"{module.relative_to(PACKAGE)}:{node.lineno} uses {owner.name}.{node.attr}")
    return found


def _is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def functions() -> list[Function]:
    """Return the functions and methods, the longest first; a function's lines are those from its ``def`` on."""
    found = [
        Function(module, node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for module in modules()
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return sorted(found, key=lambda function: -function.lines)


def lines_by_room() -> Counter[str]:
    lines: Counter[str] = Counter()
    for module in modules():
        lines[room_of(module)] += len(module.read_text().splitlines())
    return lines


def lines_with_any() -> int:
    """Return on how many lines the word ``Any`` stands, imports and comments included."""
    return sum(bool(re.search(r"\bAny\b", line)) for module in modules() for line in module.read_text().splitlines())


def report() -> Iterator[str]:
    """Yield the lines of a summary of the package."""
    lines, graph = lines_by_room(), arrows()
    up = [each for imports in graph.values() for each in imports if each.runs_up]
    yield f"{len(lines)} rooms, {len(graph)} arrows, {len(up)} imports that run up"
    yield from (f"  {each}" for each in up)
    yield f"longest function: {functions()[0]}"
    yield f"lines with Any: {lines_with_any()}"
    yield f"lines: {lines.total():,}"
    yield from (f"  {room:<16}{count:>6,}" for room, count in lines.most_common())
    yield "arrows:"
    for room in lines:
        if targets := [target for source, target in graph if source == room]:
            yield f"  {room:<16}→ {', '.join(sorted(targets))}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in report())
