"""How many cores control groups pay for, read from files as Linux has them."""

import pytest

from fastbp import threads
from fastbp.quotas import memory_limits, quotas


def written(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"cpu.max": "200000 100000\n"}, [2]),
        ("0::/", {"cpu.max": "max 100000\n"}, []),
        ("0::/a/b", {"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "50000 100000\n"}, [1.5, 0.5]),
        ("0::/elsewhere", {"cpu.max": "400000 100000\n"}, [4]),
        (
            "4:memory:/a\n1:cpu,cpuacct:/a\n0::/",
            {"cpu/a/cpu.cfs_quota_us": "300000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            [3],
        ),
        (
            "1:cpu:/",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            [],
        ),
        ("1:cpuset:/a", {"cpu/a/cpu.cfs_quota_us": "1\n", "cpu/a/cpu.cfs_period_us": "1\n"}, []),
        ("rubbish\n\n", {"cpu.max": "rubbish"}, []),
        ("0::/", {"cpu.max": "1000 0\n"}, []),
    ],
)
def test_quotas_of_both_versions(groups, files, expected, tmp_path):
    own = tmp_path / "own"
    own.write_text(groups)
    assert list(quotas(written(tmp_path / "root", files), own)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert list(quotas(tmp_path, tmp_path / "absent")) == []


@pytest.mark.parametrize(("found", "most"), [([], 64), ([2.5, 8], 2), ([0.3], 1)])
def test_a_container_starts_no_more_threads_than_its_quota_pays_for(found, most, monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads.kernels, "loop_threads", lambda: 64)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(threads, "quotas", lambda: iter(found))
    threads._quota.cache_clear()
    try:
        assert threads.available() == most
        monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {3}, raising=False)
        assert threads.available() == 1
        monkeypatch.setenv("NUMBA_NUM_THREADS", "64")  # by whoever knows better
        assert threads.available() == 64
    finally:
        threads._quota.cache_clear()


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a", {"a/memory.max": "1048576\n", "memory.max": "max\n"}, [1 << 20]),
        ("4:memory:/a", {"memory/a/memory.limit_in_bytes": "4096\n"}, [4096]),
        ("4:cpu:/a", {"memory/a/memory.limit_in_bytes": "4096\n"}, []),
        ("0::/", {"memory.max": "rubbish"}, []),
    ],
)
def test_limits_of_memory_of_both_versions(groups, files, expected, tmp_path):
    own = tmp_path / "own"
    own.write_text(groups)
    assert list(memory_limits(written(tmp_path / "root", files), own)) == expected
