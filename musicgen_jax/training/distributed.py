"""Several processes that train together: how they find each other, whether all are there, and how they end.

Not started by chance: a process is one of several if launch/local_processes.sh started it, which sets three environment
variables, or with `--distributed` on a cluster that JAX knows (Cloud TPU pods, GKE, Slurm, Open MPI).
"""

import atexit
import collections
import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.runtime.errors import UnreachableError
from musicgen_jax.sharding import meshes
from musicgen_jax.training import preemption, roll_call

START_SECONDS = 600  # for all processes to come: the hosts of a large slice are ready minutes apart
ALL_REDUCE_SECONDS = 300  # for every process to start its devices and to add up a number together
SHUTDOWN_SECONDS = 60  # processes that succeed end within moments of each other
NOTICE_SECONDS = 1.0  # after an error: to learn whether another process caused it
LAST_WORDS_SECONDS = 5.0  # for a failing process to print its error


class Place(NamedTuple):
    """This process among all. `address` is HOST:PORT of process 0; `local_device_ids` None means all of the host's."""

    address: str
    num_processes: int
    process_id: int
    local_device_ids: Sequence[int] | None = None


@contextlib.contextmanager
def processes(mesh_config: config.MeshConfig, cluster: bool = False) -> Iterator[None]:
    """Context in which all processes of the run are connected; nothing to do for one alone.

    Before it is entered no JAX device may be asked for. If one process fails inside, all end, each with one line that
    names the process and the cause; none waits for ever. After Ctrl-C (`preemption.Interrupted`) they part in peace.

    Args:
      mesh_config: how many processes and devices there must be.
      cluster: whether this is one process of a cluster's job (--distributed).

    Raises:
      UserError: the number of processes or devices is not what the config says, or hosts have different numbers of
        devices.
      UnreachableError: a process is missing (named), or the first all-reduce does not finish.
    """
    place = find_place(cluster)
    _check_num_processes(mesh_config.num_processes, place.num_processes if place else 1)
    if place is None or place.num_processes == 1:
        yield
        return
    company = roll_call.gather(place.address, place.num_processes, place.process_id, START_SECONDS)
    try:
        jax.distributed.initialize(**_arguments(place))
        _check_devices(mesh_config, company.hosts)
        interrupted = None
        try:
            yield
        except preemption.Interrupted as error:  # on every process, once all have saved
            interrupted = error
    except BaseException as error:
        _fail(company, error)
        raise
    company.close()
    jax.distributed.shutdown()
    if interrupted is not None:
        raise interrupted


def find_place(cluster: bool = False) -> Place | None:
    """What the environment says, or with `cluster` the cluster's job; None if this process is on its own.

    Raises:
      UserError: `cluster` (--distributed) is given where there is none, or a variable is missing.
    """
    names = [f"MUSICGEN_JAX_{name}" for name in ("COORDINATOR", "NUM_PROCESSES", "PROCESS_ID")]
    found = [os.environ.get(name) for name in names]
    if any(found):
        config.require(all(found), f"{', '.join(names)}: set all three or none; launch/local_processes.sh sets them")
        return Place(found[0], int(found[1]), int(found[2]))
    if not cluster:
        return None
    from jax._src import clusters  # the public initialize() does the same, but tells nobody what it has found

    place = clusters.ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, START_SECONDS)
    config.require(
        None not in place[:3],
        "`distributed`: this is no Cloud TPU, GKE, Slurm or Open MPI job; without a cluster start processes with "
        "launch/local_processes.sh, or leave the flag out to train in one process",
    )
    return Place(*place)


def _check_num_processes(wanted: int, started: int) -> None:
    config.require(
        wanted in (0, started),
        f"mesh.num_processes={wanted}, but {started} {'was' if started == 1 else 'were'} started: start {wanted} "
        "(`distributed` on every host of the cluster, or launch/local_processes.sh), or correct the config",
    )


def _arguments(place: Place) -> dict:
    return {
        "coordinator_address": place.address,
        "num_processes": place.num_processes,
        "process_id": place.process_id,
        "local_device_ids": place.local_device_ids,
        "cluster_detection_method": "deactivate",
        "initialization_timeout": START_SECONDS,
        "shutdown_timeout_seconds": SHUTDOWN_SECONDS,
    }


def _check_devices(mesh_config: config.MeshConfig, hosts: list[str]) -> None:
    """Counts devices and adds up a one from each, in a thread: a device or network that hangs must not hang the run."""
    outcome: list[BaseException | int] = []

    def check() -> None:
        try:
            outcome.append(_all_reduce(mesh_config, hosts))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=check, daemon=True)
    thread.start()
    thread.join(ALL_REDUCE_SECONDS)
    if not outcome:
        raise UnreachableError(
            f"all {len(hosts)} processes are there, but the first all-reduce did not finish within "
            f"{ALL_REDUCE_SECONDS:.0f} s: the devices of one host do not start (another program may hold them), or the "
            f"network between the hosts is closed; hosts: {', '.join(hosts)}"
        )
    if isinstance(outcome[0], BaseException):
        raise outcome[0]


def _all_reduce(mesh_config: config.MeshConfig, hosts: list[str]) -> int:
    counts = collections.Counter(device.process_index for device in jax.devices())
    usual = max(counts.values())
    short = [f"process {p} (host {host}) has {counts[p]}" for p, host in enumerate(hosts) if counts[p] < usual]
    config.require(not short, f"hosts must have equally many devices, {usual} each, but {'; '.join(short)}")
    mesh = meshes.make_mesh(mesh_config)  # compares the number of devices with the config
    ways = meshes.batch_ways(mesh)
    config.require(
        ways % len(hosts) == 0,
        f"mesh {' x '.join(meshes.BATCH_AXES)} = {ways} must be a multiple of the {len(hosts)} processes, each of "
        "which reads its own part of the batch: make mesh.tensor smaller",
    )
    sharding = jax.sharding.NamedSharding(mesh, jax.P(mesh.axis_names))
    ones = jax.make_array_from_callback((mesh.size,), sharding, lambda _: np.ones(1, np.int32))
    total = int(jax.jit(jnp.sum)(ones))
    config.require(total == mesh.size, f"the first all-reduce gave {total} instead of {mesh.size}: a device is faulty")
    return total


def _fail(company: roll_call.Company, error: BaseException) -> None:
    """Tells the others; from here on this process ends soon, whatever its threads or JAX's shutdown wait for."""
    # Where another process is the cause, the watching thread ends this one meanwhile, with a better message.
    threading.Event().wait(NOTICE_SECONDS)
    company.tell_failure(" ".join(f"{type(error).__name__}: {error}".split())[:500])
    atexit.register(_leave)  # before JAX's own: its shutdown waits for processes that wait for this one
    timer = threading.Timer(LAST_WORDS_SECONDS, _leave)
    timer.daemon = True
    timer.start()


def _leave() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)
