"""Folders of one process each: gone with it, or with whoever comes next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groundswell.adapters.own_folder import own_folder
from groundswell.errors import DataDirectoryError

KILLED = """
import os, signal, sys
from pathlib import Path
from groundswell.adapters.own_folder import own_folder

with own_folder(Path(sys.argv[1])) as folder:
    (folder / "large").write_bytes(bytes(1000))
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_gone_after_the_block_and_each_has_its_own(tmp_path: Path) -> None:
    parent = tmp_path / "not" / "there yet"
    with own_folder(parent) as one, own_folder(parent) as other:
        assert one != other
        (one / "file").write_text("kept while it is needed")
        with own_folder(parent):
            assert (one / "file").exists(), "somebody is at work there"
    assert not list(parent.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip())
    assert (left / "large").exists(), killed.stderr
    with own_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "scratch").write_text("not a folder")
    with pytest.raises(DataDirectoryError, match="GROUNDSWELL_DATA_DIR"), own_folder(tmp_path / "scratch"):
        pass
