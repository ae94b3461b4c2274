"""Imports go one way, and a module's private names are its own."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fastbp"
MODULES = {
    ".".join(("fastbp", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): ast.parse(path.read_text(encoding="utf-8"))
    for path in PACKAGE.rglob("*.py")
}
# What a NamedTuple has, and what notebooks look for.
OF_PYTHON = {"_replace", "_asdict", "_fields", "_field_defaults", "_make", "_repr_png_"}


def imported(body):
    """Modules that are imported with a module: not those that a function imports."""
    for node in body:
        match node:
            case ast.ImportFrom(module=module, names=names) if module:
                for each in names:
                    submodule = f"{module}.{each.name}"
                    yield submodule if submodule in (*MODULES, "fastbp.kernels") else module
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                # What a fit calls with its trainer may name it.
                yield from set(imported(node.body)) - {"fastbp.trainer"}
            case ast.If() | ast.Try() | ast.ClassDef() | ast.With():
                yield from imported(node.body)


def test_imports_have_no_circles():
    graph = {name: set(imported(tree.body)) & set(MODULES) for name, tree in MODULES.items()}
    assert graph["fastbp.network"] > {"fastbp.parameters", "fastbp.samples"}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("fastbp.parameters") < order.index("fastbp.network")


@pytest.mark.parametrize("name", sorted(MODULES))
def test_private_names_are_used_where_they_are_defined(name):
    tree, own, used = MODULES[name], set(OF_PYTHON), set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=private) | ast.ClassDef(name=private):
                own.add(private)
            case ast.Attribute(attr=private, ctx=ast.Store()):
                own.add(private)
            case ast.AnnAssign(target=ast.Name(id=private)) | ast.Name(id=private, ctx=ast.Store()):
                own.add(private)
            case ast.Attribute(value=value, attr=private) if private.startswith("_"):
                of_itself = ast.unparse(value) in ("self", "cls", "super()")
                if not private.startswith("__") and not of_itself:
                    used.add((ast.unparse(value), private))
            case ast.ImportFrom(module=module, names=names) if (module or "").startswith("fastbp"):
                used |= {(module, each.name) for each in names if each.name.startswith("_")}
    theirs = {f"{value}.{private}" for value, private in used if private not in own}
    if name.endswith(".sklearn"):  # whose estimators are scikit-learn's, private parts and all
        theirs = {each for each in theirs if "trainer" in each or "network" in each}
    if name == "fastbp.bench.peers":  # other libraries, by what is fastest there
        theirs -= {"self.torch._foreach_add_", "self.model._optimizer"}
    assert theirs == set()
