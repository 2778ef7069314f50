"""Which of many sets of features are nearly the same: MinHash sketches, and clusters of those that agree.

A sketch keeps, of a set, the least value under each of NUM_HASHES hash functions; the share of places at which two
sketches agree estimates the Jaccard similarity of their sets, |A and B| / |A or B| (Broder, "On the resemblance and
containment of documents", 1997). Clusters are found by locality-sensitive hashing with bands of one row: for each hash
function the sketches are sorted by their value, and only neighbours of equal value are compared. With N sketches that
takes N log N steps for each hash function, and never more than NEIGHBOURS comparisons a value, however many share it.
"""

import base64
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

NUM_HASHES = 256
MIN_FEATURES = 16  # of a set: agreement of fewer says too little
NEIGHBOURS = 8  # with which a value is compared among equal ones
FEATURES_AT_ONCE = 256  # hashed: what a cache holds
COMPARED_AT_ONCE = 4096  # pairs of sketches: bounds memory
_SEEDS = np.random.default_rng(2**31 - 1).integers(0, 2**64, NUM_HASHES, np.uint64)


def sketch(features: np.ndarray) -> np.ndarray | None:
    """The sketch of a set.

    Args:
      features: uint64 [N], in any order, repetitions do not count.

    Returns:
      uint32 [NUM_HASHES]; None where there are fewer than MIN_FEATURES different features.
    """
    features = np.unique(features)
    if len(features) < MIN_FEATURES:
        return None
    least = np.full(NUM_HASHES, ~np.uint64(0))
    for start in range(0, len(features), FEATURES_AT_ONCE):
        some = features[start : start + FEATURES_AT_ONCE]
        least = np.minimum(least, _mixed(some ^ _SEEDS[:, None]).min(axis=1))
    return (least >> np.uint64(32)).astype(np.uint32) ^ least.astype(np.uint32)


def _mixed(values: np.ndarray) -> np.ndarray:
    """A bijection of uint64 whose values look random: the end of MurmurHash3 (Appleby, 2011)."""
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xFF51AFD7ED558CCD)
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


class Clusters:
    """Disjoint sets of the numbers 0 to N - 1, which only grow together (union-find, with paths halved)."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def root(self, member: int) -> int:
        """The least member of the cluster that `member` is in."""
        parents = self._parents
        while parents[member] != member:
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member

    def unite(self, first: int, second: int) -> None:
        """Makes one cluster of those of two members."""
        low, high = sorted((self.root(first), self.root(second)))
        self._parents[high] = low

    def unite_equal(self, keys: Iterable[Iterable[Hashable]]) -> None:
        """Unites members that have a key in common: the keys of each in order, any number of them."""
        first_of: dict[Hashable, int] = {}
        for member, several in enumerate(keys):
            for key in several:
                self.unite(first_of.setdefault(key, member), member)

    def unite_alike(self, sketches: Sequence[np.ndarray | None], min_agreement: float) -> None:
        """Unites members whose sketches agree at a share of at least `min_agreement` of their places.

        Args:
          sketches: of each member in order, uint32 [NUM_HASHES]; None is like nothing.
          min_agreement: in (0, 1].
        """
        members = np.array([member for member, one in enumerate(sketches) if one is not None])
        if len(members) < 2:
            return
        table = np.stack([sketches[member] for member in members])
        for column in table.T:
            order = np.argsort(column, kind="stable")
            for first, second in _neighbours(column[order]):
                self._unite_if_alike(table, members, order[first], order[second], min_agreement)

    def _unite_if_alike(
        self, table: np.ndarray, members: np.ndarray, first: np.ndarray, second: np.ndarray, min_agreement: float
    ) -> None:
        """Of pairs of rows of `table`, int [P] each, unites those that agree and are not together yet."""
        roots = self._roots()[members]
        apart = roots[first] != roots[second]
        first, second = first[apart], second[apart]
        for start in range(0, len(first), COMPARED_AT_ONCE):
            a, b = first[start : start + COMPARED_AT_ONCE], second[start : start + COMPARED_AT_ONCE]
            alike = (table[a] == table[b]).mean(axis=1) >= min_agreement
            for one, other in zip(members[a[alike]].tolist(), members[b[alike]].tolist(), strict=True):
                self.unite(one, other)

    def roots(self) -> list[int]:
        """The least member of each one's cluster, in order."""
        return self._roots().tolist()

    def _roots(self) -> np.ndarray:
        """The same, int [N]: all walk towards their roots at once, each step twice as far."""
        found = np.array(self._parents, np.int64)
        while len(found) and (found[found] != found).any():
            found = found[found]
        return found


def _neighbours(values: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Places, int [P] each, of equal values at most NEIGHBOURS apart; `values` [N] are sorted."""
    for distance in range(1, NEIGHBOURS + 1):
        first = np.flatnonzero(values[:-distance] == values[distance:])
        if len(first) == 0:
            return
        yield first, first + distance


def to_text(made: np.ndarray | None) -> str:
    """A sketch as text, for JSON: "" is none."""
    return "" if made is None else base64.b64encode(made.astype("<u4")).decode("ascii")


def from_text(text: str) -> np.ndarray | None:
    """The sketch that `to_text` wrote."""
    return np.frombuffer(base64.b64decode(text), "<u4") if text else None


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """The share of places at which two sketches agree: an estimate of the Jaccard similarity of their sets."""
    return float(np.mean(first == second))
