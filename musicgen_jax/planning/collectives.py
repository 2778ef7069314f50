"""Communication between devices in one training step, read from the compiled program."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
_BITS = {"pred": 8, "token": 0}  # every other type has its number of bits in its name
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{")
_OPERATION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_BETWEEN_SLICES = re.compile(r"= (.*?) send\(.*_xla_megascale_transfer_type=\"(\w+)\"")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_LOOP = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count":?=?\{"?n"?[:=]"?(\d+)')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One communication.

    Attributes:
      kind: one of `KINDS`.
      axes: of the mesh, along which it runs.
      group: devices that take part together.
      bytes: that each of them sends at one time, round a ring.
      count: times a step.
    """

    kind: str
    axes: tuple[str, ...]
    group: int
    bytes: float
    count: int


def read(program: str, shape: dict[str, int]) -> list[Collective]:
    """The collectives of a compiled program (`compiled.as_text()`).

    What a loop's body does counts for every turn. A collective that the compiler took to pieces, so that they overlap
    with other work and its loops, keeps its channel in all of them and counts as often as the rarest.

    Args:
      program: text of the optimised HLO.
      shape: of the mesh, axis -> size, in the order in which partitions are numbered.
    """
    computations, entry = _computations(program)
    found: dict[object, Collective] = {}
    for place, (line, count, inside) in enumerate(_executed(computations, entry, 1)):
        between = _BETWEEN_SLICES.search(line)
        if between:
            found[place] = _between_slices(between[1], between[2], shape["replica"], count)
        operation = _OPERATION.search(line)
        if not operation:
            continue
        groups = _groups(line, math.prod(shape.values()))
        # TPUs do a reduce-scatter as an all-reduce of which each keeps a part, in one fused operation.
        kind = "reduce-scatter" if "all-reduce-scatter" in inside else operation[2]
        group = 2 if kind == "collective-permute" else len(groups[0])
        if group == 1:
            continue
        result = _result_bytes(operation[1], bool(operation[3]), kind)
        sent = _sent(kind, result / group if kind != operation[2] else result, group)
        channel = re.search(r"channel_id=(\d+)", line)
        key = (channel[1], kind) if channel else place
        if key not in found or found[key].count > count:
            found[key] = Collective(kind, _axes(groups, shape), group, sent, count)
    return list(found.values())


def _between_slices(result: str, transfer: str, replicas: int, count: int) -> Collective:
    """What TPUs hand to their hosts, which reach the other slices by the network: the result's first array."""
    kind = transfer.lower().replace("_", "-")
    part = _array_bytes(result)[0]
    sent = _sent(kind, part, replicas) if kind == "all-reduce" else part * (replicas - 1)
    return Collective(kind, ("replica",), replicas, sent, count)


def bytes_by_axis(found: Iterable[Collective]) -> dict[str, float]:
    """Bytes that a chip sends in one step, by mesh axis; several axes at once are joined by "+"."""
    total: dict[str, float] = collections.defaultdict(float)
    for collective in found:
        total["+".join(collective.axes)] += collective.bytes * collective.count
    return dict(sorted(total.items()))


def _computations(program: str) -> tuple[dict[str, list[str]], str]:
    computations, entry, current = {}, "", []
    for line in program.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            current = computations[header[2]] = []
            entry = header[2] if header[1] else entry
        elif line.startswith("  "):
            current.append(line)
    return computations, entry


def _executed(computations: dict[str, list[str]], name: str, count: int) -> Iterator[tuple[str, int, str]]:
    """(line, times, name of its computation) of every instruction reached from a computation."""
    for line in computations.get(name, []):
        yield line, count, name
        loop = _LOOP.search(line)
        if loop:
            trips = _TRIPS.search(line)
            turns = int(trips[1]) if trips else _turns(computations[loop[1]])
            yield from _executed(computations, loop[2], count * turns)
        else:
            branches = _BRANCHES.search(line)
            called = _CALLED.findall(line) + (re.findall(r"[\w.\-]+", branches[1]) if branches else [])
            for other in called:
                yield from _executed(computations, other, count)


def _turns(condition: list[str]) -> int:
    """Number of turns of a loop that counts from 0 up to the constant in its condition."""
    constants = [int(number) for line in condition for number in re.findall(r"constant\((\d+)\)", line)]
    return max(constants, default=1)


def _groups(line: str, num_devices: int) -> list[list[int]]:
    """Who takes part with whom; for a permutation, (from, to)."""
    explicit = re.search(r"(?:replica_groups|source_target_pairs)=\{(\{.*?\})\}", line)
    if explicit:
        return [[int(i) for i in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", explicit[1])]
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line)
    if iota:
        target, source = ([int(size) for size in part.split(",")] for part in iota.groups()[:2])
        order = np.arange(math.prod(source)).reshape(source)
        if iota[3]:
            order = order.transpose([int(axis) for axis in iota[3].split(",")])
        return order.reshape(target).tolist()
    named = re.search(r"replica_groups=mesh\[(.*?)\] ?\{(.*?)\}", line)
    return _named_groups(named[1], named[2]) if named else [list(range(num_devices))]


def _named_groups(mesh: str, axes: str) -> list[list[int]]:
    """Of the form mesh['a'=2,'b'=8] {'b':(2)4}: those of a mesh's devices, counted row by row, that differ along an
    axis or, as (before)size, along a factor of one."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)}
    wanted = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", axes)
    factors, moving = [], []
    for name, size in sizes.items():
        parts = [(int(before), int(part)) for axis, before, part in wanted if axis == name and part]
        whole = any(axis == name and not part for axis, _, part in wanted)
        done = 1
        for before, part in sorted(parts):
            factors += [before // done, part]
            moving += [False, True]
            done = before * part
        factors.append(size // done)
        moving.append(whole)
    fixed = [axis for axis, moves in enumerate(moving) if not moves]
    order = [*fixed, *(axis for axis, moves in enumerate(moving) if moves)]
    width = math.prod(factor for factor, moves in zip(factors, moving, strict=True) if moves)
    return np.arange(math.prod(factors)).reshape(factors).transpose(order).reshape(-1, width).tolist()


def _axes(groups: list[list[int]], shape: dict[str, int]) -> tuple[str, ...]:
    """Mesh axes along which the members of a group differ."""
    coordinates = np.array(np.unravel_index(np.array(groups), tuple(shape.values())))
    varies = (coordinates != coordinates[..., :1]).any(axis=(1, 2))
    return tuple(axis for axis, differs in zip(shape, varies, strict=True) if differs)


def _result_bytes(result: str, started: bool, kind: str) -> float:
    """Of the result's arrays. One that is started names its operands before its results, and permutations two counters
    behind them."""
    sizes = _array_bytes(result)
    if started and kind != "all-reduce":
        sizes = [size for size, (_, dims) in zip(sizes, _ARRAY.findall(result), strict=True) if dims]
        return sum(sizes[len(sizes) // 2 :])
    return sum(sizes)


def _array_bytes(result: str) -> list[float]:
    """Bytes of each array that a type in the program's text names."""
    found = _ARRAY.findall(result)
    return [math.prod(int(size) for size in dims.split(",") if size) * _bits(dtype) / 8 for dtype, dims in found]


def _bits(dtype: str) -> int:
    return _BITS[dtype] if dtype in _BITS else int(re.search(r"\d+", dtype)[0])


def _sent(kind: str, result: float, group: int) -> float:
    """Bytes that one of `group` devices sends for a result of that size, round a ring."""
    others = (group - 1) / group
    if kind == "all-reduce":
        return 2 * result * others
    if kind == "reduce-scatter":
        return result * (group - 1)
    return result if kind == "collective-permute" else result * others
