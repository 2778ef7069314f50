"""Who takes part: a missing process is named, a wrong count is refused, before JAX starts."""

import concurrent.futures
import socket

import pytest

from musicgen_jax import config
from musicgen_jax.training import distributed, roll_call

NAMES = ("MUSICGEN_JAX_COORDINATOR", "MUSICGEN_JAX_NUM_PROCESSES", "MUSICGEN_JAX_PROCESS_ID")


def gathered(*processes: tuple[int, int], seconds: float) -> list:
    """What `gather` gives or raises in threads, one for each (number, number of all) that comes."""
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        futures = [pool.submit(roll_call.gather, address, count, number, seconds) for number, count in processes]
        return [future.exception() or future.result() for future in futures]


def test_all_come():
    companies = gathered((0, 3), (2, 3), (1, 3), seconds=20)
    for company in companies:
        company.close()  # or a thread would end this process when the lines break
        assert company.hosts == [socket.gethostname()] * 3


def test_the_missing_one_is_named_to_all_that_came():
    for error in gathered((0, 4), (2, 4), seconds=2):
        assert isinstance(error, TimeoutError)
        assert "2 of 4 processes did not come within 2 s: missing 1, 3; present 0 (host" in str(error)


def test_process_0_is_missing():
    (error,) = gathered((1, 2), seconds=0.5)
    assert isinstance(error, TimeoutError) and "did not reach process 0 at 127.0.0.1:" in str(error)


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        (((0, 2), (1, 3)), "was started as one of 3 processes, process 0 (host"),
        (((0, 3), (1, 3), (1, 3)), "two processes have the number 1"),
    ],
)
def test_processes_that_disagree(processes, message):
    errors = gathered(*processes, seconds=20)
    assert all(isinstance(error, ValueError) and message in str(error) for error in errors[:2])


def test_a_stranger_at_the_door(monkeypatch):
    monkeypatch.setattr(roll_call, "HELLO_SECONDS", 0.5)
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(roll_call.gather, f"127.0.0.1:{port}", 2, 0, 20)
        for greeting in (b"GET / HTTP/1.0\r\n\r\n", b"[1]\n", b""):
            with connected(port) as stranger:
                stranger.sendall(greeting)
        second = pool.submit(roll_call.gather, f"127.0.0.1:{port}", 2, 1, 20)
        for company in (first.result(), second.result()):
            company.close()
            assert len(company.hosts) == 2


def connected(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            continue


@pytest.fixture
def alone(monkeypatch):
    """No variable says that there are others."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_place(monkeypatch, alone):
    assert distributed.find_place() is None
    monkeypatch.setenv(NAMES[0], "host:1")
    monkeypatch.setenv(NAMES[1], "4")
    with pytest.raises(ValueError, match="set all three or none"):
        distributed.find_place()
    monkeypatch.setenv(NAMES[2], "3")
    assert distributed.find_place() == distributed.Place("host:1", 4, 3)
    refused = pytest.raises(ValueError, match=r"mesh\.num_processes=2, but 4 were started: start 2")
    with refused, distributed.processes(config.MeshConfig(num_processes=2)):
        pass


def test_the_flag_without_a_cluster(alone):
    with pytest.raises(ValueError, match="no Cloud TPU, GKE, Slurm or Open MPI job"):
        distributed.find_place(cluster=True)


def test_one_process_is_left_in_peace(alone):
    with distributed.processes(config.MeshConfig()):
        pass
    refused = pytest.raises(ValueError, match=r"mesh\.num_processes=2, but 1 was started")
    with refused, distributed.processes(config.MeshConfig(num_processes=2)):
        pass
