"""What the control groups of a Linux process pay for, as containers have them: cores, memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_GROUPS = Path("/proc/self/cgroup")


def quotas(root: Path = _ROOT, groups: Path = _GROUPS) -> Iterator[float]:
    """Quotas in cores of the process's groups, and of those that they are in.

    Version 2 has them in ``cpu.max``, version 1 in two files below ``cpu``
    (Linux, Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst).
    """
    for version, folder in _folders("cpu", root, groups):
        quota = _version_2(folder) if version == 2 else _version_1(folder)
        if quota is not None and quota > 0:
            yield quota


def memory_limits(root: Path = _ROOT, groups: Path = _GROUPS) -> Iterator[int]:
    """Limits in bytes of the same groups' memory (cgroup-v2.rst and cgroup-v1/memory.rst)."""
    for version, folder in _folders("memory", root, groups):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            yield int((folder / name).read_text())


def _folders(controller: str, root: Path, groups: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of each group that a controller bounds the process by."""
    try:
        lines = groups.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        inner = Path(group.lstrip("/"))
        for folder in (inner, *inner.parents):  # in a container, only the last may be there
            yield (1 if controllers else 2), top / folder


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
