"""What tests share lies in tests/support: no test is imported, and no product code leans on the tests."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.checkout import ROOT


def imported_modules(source: str, package: str) -> Iterator[str]:
    """Full names of all that a module of `package` imports, inside functions too; a name may be a module's or not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, node.module] if node.module else parents)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Pairs of a file of the checkout and a name that it imports."""
    for path in sorted(folder.rglob("*.py")):
        package = ".".join(path.relative_to(ROOT).parent.parts)
        yield from ((str(path.relative_to(ROOT)), name) for name in imported_modules(path.read_text(), package))


def is_of_a_test(name: str) -> bool:
    return name.startswith("tests.") and any(part.startswith("test_") or part == "conftest" for part in name.split("."))


def test_no_test_is_imported_by_another_file() -> None:
    found = list(imports_in(ROOT / "tests"))
    assert any(name.startswith("tests.support.") for _, name in found)
    assert [f"{file} imports {name}" for file, name in found if is_of_a_test(name)] == []


def test_product_code_imports_no_tests() -> None:
    rooms = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    found = [pair for room in rooms for pair in imports_in(ROOT / room)]
    assert [f"{file} imports {name}" for file, name in found if name.split(".")[0] == "tests"] == []


def test_imports_are_seen_in_every_form() -> None:
    source = """
import tests.one.test_a
def late():
    from tests.two import test_b
    from ..two.test_c import name
    from . import test_d
"""
    assert [name for name in imported_modules(source, "tests.one") if is_of_a_test(name)] == [
        "tests.one.test_a",
        "tests.two.test_b",
        "tests.two.test_c.name",
        "tests.one.test_d",
    ]
