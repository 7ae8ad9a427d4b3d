"""Cores and memory within the limits of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundswell.adapters.hardware import free_memory, usable_cores


@pytest.mark.parametrize(("cpu_max", "cores"), [("50000 100000\n", 1), ("100000 100000\n", 1), ("max 100000\n", None)])
def test_a_share_of_a_core_counts_as_one_and_no_limit_as_the_machine(
    tmp_path: Path, cpu_max: str, cores: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)
    assert usable_cores(tmp_path) == (cores or usable_cores(tmp_path / "absent"))


def test_a_container_s_memory_is_what_its_limit_leaves(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert free_memory(tmp_path) == 600_000
    (tmp_path / "memory.current").write_text("4000000\n")
    assert free_memory(tmp_path) == 0


def test_without_limits_the_machine_s_free_memory_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    machine = free_memory(tmp_path / "absent")
    assert machine is None or machine > 2**20
