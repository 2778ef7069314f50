"""What tests ask of XLA and of JAX's compilation cache: to be quick where speed is not what is tested, and to end."""

import functools
import importlib.metadata

# Most of a test is compilation, and XLA compiles nine times faster without optimisation and with its older emitters of
# loops, which JAX 0.11 and later have no more.
FAST = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1" + (
    " --xla_cpu_use_fusion_emitters=false" if importlib.metadata.version("jax").startswith("0.10.") else ""
)

# Where eight devices share two processors, one may be late by more than the 40 s after which XLA ends the process.
PATIENT = " --xla_cpu_collective_call_terminate_timeout_seconds=600 --xla_cpu_collective_timeout_seconds=600"


def compile_programs_of_several_devices_anew() -> None:
    """Programs of several CPU devices are not taken from the persistent compilation cache.

    One that was read back no longer keeps its collectives in one order on all devices (JAX 0.10 to 0.12): each device
    waits in another one, until no thread is left and all stand still.
    """
    from jax._src import compilation_cache  # here: JAX reads its environment when it is imported

    read = compilation_cache.get_executable_and_time

    @functools.wraps(read)
    def read_of_one_device(cache_key, compile_options, backend, executable_devices, *rest):
        if len(executable_devices) > 1:
            return None, None
        return read(cache_key, compile_options, backend, executable_devices, *rest)

    compilation_cache.get_executable_and_time = read_of_one_device
