"""Flags of XLA for tests that need neither its speed nor the bits that it computes in production."""

import importlib.metadata

# Most of a test is compilation, and XLA compiles nine times faster without optimisation and with its older emitters of
# loops, which JAX 0.11 and later have no more.
FAST = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1" + (
    " --xla_cpu_use_fusion_emitters=false" if importlib.metadata.version("jax").startswith("0.10.") else ""
)

# Where eight devices share two processors, one may be late by more than the 40 s after which XLA ends the process.
PATIENT = " --xla_cpu_collective_call_terminate_timeout_seconds=600 --xla_cpu_collective_timeout_seconds=600"
