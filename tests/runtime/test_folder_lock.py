"""Two processes never write to one folder."""

import os
import socket
import subprocess
import sys

import pytest

from musicgen_jax.runtime import folder_lock
from musicgen_jax.runtime.errors import UserError

HOLD = "import sys; from musicgen_jax.runtime import folder_lock\nwith folder_lock.hold(sys.argv[1], 'training'):\n    "


def test_the_second_is_told_who_the_first_is(tmp_path):
    with (
        folder_lock.hold(tmp_path, "training"),
        pytest.raises(UserError, match=f"training by process {os.getpid()} on {socket.gethostname()} since .* UTC"),
        folder_lock.hold(tmp_path, "training"),
    ):
        raise AssertionError("held twice")
    assert os.listdir(tmp_path) == []
    with folder_lock.hold(tmp_path, "training"):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path):
    command = [
        sys.executable,
        "-c",
        HOLD + "import os; print('held', flush=True); os.kill(os.getpid(), 9)",
        str(tmp_path),
    ]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert (killed.returncode, killed.stdout) == (-9, "held\n")
    with folder_lock.hold(tmp_path, "training"):
        pass
