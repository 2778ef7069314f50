"""What `command_line.python` writes as an executable: `python -m MODULE ARGUMENTS...`, run by tests/fork_server.py.

The command has this process's environment, folder and streams; signals are passed on to it, and its exit code or the
signal that ended it is this process's. Anything but `-m` is left to the Python itself.
"""

import json
import os
import signal
import socket
import sys


def main(python: str, address: str) -> None:
    if sys.argv[1:2] != ["-m"]:
        os.execv(python, [python, *sys.argv[1:]])
    request = {
        "module": sys.argv[2],
        "arguments": sys.argv[3:],
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        data = f"{json.dumps(request)}\n".encode()
        sent = socket.send_fds(server, [data], [0, 1, 2])
        server.sendall(data[sent:])
        answers = server.makefile()
        child = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(child, number))
        code = int(answers.readline())
    if code < 0:
        if -code in (signal.SIGINT, signal.SIGTERM):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
