"""Public docstrings say of every parameter what it is, with a type."""

import inspect
import re
import sys
from pathlib import Path

import pytest
from numpydoc.validate import validate

import fastbp

ROOT = Path(__file__).resolve().parents[1]
# Parameters that are not described (PR01) or not there (PR02), in another order (PR03), without a
# type (PR04); no summary (GL08, SS01); nothing on what is returned or yielded (RT01, YD01).
DEMANDED = {"GL08", "PR01", "PR02", "PR03", "PR04", "RT01", "SS01", "YD01"}


def documented():
    """Names of the API's pages, with the members that they show."""
    for page in sorted((ROOT / "docs" / "api").glob("*.rst")):
        module = "fastbp"
        text = page.read_text(encoding="utf-8")
        for kind, name, members in re.findall(
            r"\.\. (\w+):: ([\w.]+)\n(?: +:members:(.*)\n)?", text
        ):
            if kind == "currentmodule":
                module = name
            elif kind in ("autoclass", "autofunction", "autoexception"):
                yield f"{module}.{name}"
                yield from (
                    f"{module}.{name}.{each.strip()}" for each in members.split(",") if each
                )


CASES = list(documented())


def elsewhere(name):
    """Parameters of a class that are described as attributes or fields, or by one of its bases."""
    module, _, kind = name.rpartition(".")
    value = getattr(sys.modules.get(module), kind, None)
    if not inspect.isclass(value):
        return set()
    text = "\n".join(inspect.getdoc(each) or "" for each in inspect.getmro(value))
    lists = re.findall(r"^([\w, ]+) : ", text, re.M)
    fields = getattr(value, "_fields", ())  # of a NamedTuple, which has types for all
    return {name.strip() for names in lists for name in names.split(",")} | set(fields)


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_is_described_with_a_type(name):
    errors = {code: text for code, text in validate(name)["errors"] if code in DEMANDED}
    if set(re.findall(r"'([*\w]+)'", errors.get("PR01", ""))) <= elsewhere(name):
        errors.pop("PR01", None)
    assert errors == {}


def test_the_reference_has_every_public_name_once():
    assert len(set(CASES)) == len(CASES) > 120
    modules = {name for name in fastbp.__all__ if inspect.ismodule(getattr(fastbp, name))}
    assert {f"fastbp.{name}" for name in set(fastbp.__all__) - modules} <= set(CASES)
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.rst"))
    for module in modules:
        assert pages.count(f".. automodule:: fastbp.{module}\n") == 1
