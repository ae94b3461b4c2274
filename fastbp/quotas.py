"""How many cores the control groups of a Linux process pay for, as containers have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_GROUPS = Path("/proc/self/cgroup")


def quotas(root: Path = _ROOT, groups: Path = _GROUPS) -> Iterator[float]:
    """Quotas in cores of the process's groups, and of those that they are in.

    Version 2 has them in ``cpu.max``, version 1 in two files below ``cpu``
    (Linux, Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst).
    """
    try:
        lines = groups.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        inner = Path(group.lstrip("/"))
        for folder in (inner, *inner.parents):  # in a container, only the last may be there
            quota = _version_2(top / folder) if not controllers else _version_1(top / folder)
            if quota is not None and quota > 0:
                yield quota


def _version_2(folder: Path) -> float | None:
    try:
        most, period = (folder / "cpu.max").read_text().split()
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _version_1(folder: Path) -> float | None:
    try:
        most, period = (
            int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        return most / period
    except (OSError, ValueError, ZeroDivisionError):
        return None
