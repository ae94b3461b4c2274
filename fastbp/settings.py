"""Settings of an optimizer or a schedule: frozen, of plain numbers, kept as JSON without loss."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np

from fastbp import checks


@dataclass(frozen=True, repr=False)
class Settings:
    """What optimizers and schedules have in common."""

    def __post_init__(self) -> None:
        # JSON gives back floats, which compute otherwise than NumPy's scalars or fractions.
        for each in fields(self):
            object.__setattr__(self, each.name, _plain(getattr(self, each.name)))


Kind = TypeVar("Kind", bound=Settings)


def _plain(value: Any) -> Any:
    """A number as Python's own bool, int or float; anything else unchanged, for later checks."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        with contextlib.suppress(OverflowError):
            return float(value)
    return value


def describe(settings: Kind, kinds: Mapping[str, type[Kind]]) -> dict[str, Any] | None:
    """The settings as a JSON object for `restore`; None if they are of no such kind."""
    names = [name for name, kind in kinds.items() if type(settings) is kind]
    return {"name": names[0], **asdict(settings)} if names else None


def restore(what: str, description: Any, kinds: Mapping[str, type[Kind]]) -> Kind:
    """The settings that `describe` has described."""
    if not isinstance(description, Mapping):
        given = checks.shown(description)
        raise ValueError(f"{what} must be an object with a name and settings, got {given}.")
    values = dict(description)
    name = checks.choice(f"{what}.name", values.pop("name", None), kinds)
    try:
        return kinds[name](**values)
    except TypeError as error:  # settings too many or too few
        raise ValueError(f"{what} must have the settings of {name}: {error}.") from None
