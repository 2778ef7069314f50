"""Peak rates and memory of accelerators, from their makers' data sheets."""

import dataclasses

from musicgen_jax import config

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator. Rates are peaks: no program reaches them.

    Attributes:
      name: as in a topology, "v5e".
      flops: operations a second of dense matrix products with 16-bit inputs and float32 sums.
      hbm_bytes: memory.
      hbm_bytes_per_second: its bandwidth.
      link_bytes_per_second: out of the chip over all its fast links together (half of what sheets call bidirectional).
      network_bytes_per_second: out of the chip to other slices or nodes.
      torus_dimensions: of the TPU's links; 0 for GPUs, which a switch joins.
      node_size: chips that the fast links join; 0 for TPUs, where they join the whole slice.
      source: the page that these figures are from.
    """

    name: str
    flops: float
    hbm_bytes: int
    hbm_bytes_per_second: float
    link_bytes_per_second: float
    network_bytes_per_second: float
    torus_dimensions: int
    node_size: int
    source: str

    @property
    def is_tpu(self) -> bool:
        """TPUs are compiled for; GPUs are estimated."""
        return self.torus_dimensions > 0

    @property
    def usable_bytes(self) -> int:
        """Bytes of its memory that a program may have.

        A TPU's runtime and compiler keep a quarter of a GiB, CUDA and NCCL take about one.
        """
        return self.hbm_bytes - (GIB // 4 if self.is_tpu else GIB)


def _tpu(
    name: str, teraflops: float, gib: int, gigabytes: float, links: float, network: float, dimensions: int
) -> Chip:
    """links: GB/s in one direction; network: GB/s of a chip's share of its host's adapters."""
    page = f"Google Cloud documentation, page 'TPU {name}' (cloud.google.com/tpu/docs/{name})"
    return Chip(name, teraflops * 1e12, gib * GIB, gigabytes * 1e9, links * 1e9, network * 1e9, dimensions, 0, page)


def _gpu(name: str, teraflops: float, gigabytes: int, bandwidth: float, nvlink: float, title: str) -> Chip:
    """nvlink: GB/s in one direction. Nodes of eight; one 400 Gb/s adapter a GPU, 100 Gb/s for the V100."""
    network = 12.5e9 if name == "v100" else 50e9
    page = f"NVIDIA, '{title}'"
    return Chip(name, teraflops * 1e12, gigabytes * 10**9, bandwidth * 1e9, nvlink * 1e9, network, 0, 8, page)


CHIPS = {
    chip.name: chip
    for chip in (
        _tpu("v4", 275, 32, 1200, 300, 6.25, 3),  # network: as v5p's, the page has none
        _tpu("v5e", 197, 16, 819, 200, 3.125, 2),
        _tpu("v5p", 459, 95, 2765, 600, 6.25, 3),
        _tpu("v6e", 918, 32, 1640, 400, 12.5, 2),
        _gpu("h100", 989.4, 80, 3350, 450, "H100 Tensor Core GPU data sheet (SXM)"),
        _gpu("h200", 989.4, 141, 4800, 450, "H200 Tensor Core GPU data sheet (SXM)"),
        _gpu("a100", 312, 80, 2039, 300, "A100 80GB Tensor Core GPU data sheet (SXM)"),
        _gpu("v100", 125, 32, 900, 150, "V100 Tensor Core GPU data sheet (SXM2)"),
    )
}


def chip(name: str) -> Chip:
    """The chip called `name`; UserError lists those there are."""
    config.require(name in CHIPS, f"chip {name!r}: must be one of {', '.join(CHIPS)}")
    return CHIPS[name]
