"""Where each reply begins in the store's file: 24 to 48 bytes a reply, a quarter of what a dictionary takes.

offsets = Offsets()
offsets.set(key, 4096)
offsets.find(key)  ->  4096
"""

from array import array


class Offsets:
    """A hash table with open addressing. Keys are hashes already, of 64 bits; values are under 2**64."""

    def __init__(self) -> None:
        self._n = 0
        self._allot(1 << 10)

    def find(self, key: int) -> int | None:
        slot = self._find_slot(key or 1)
        return self._values[slot] if self._keys[slot] else None

    def set(self, key: int, value: int) -> None:
        key = key or 1  # 0 marks a free slot
        slot = self._find_slot(key)
        self._n += not self._keys[slot]
        self._keys[slot], self._values[slot] = key, value
        if 3 * self._n > 2 * len(self._keys):
            self._grow()

    def __len__(self) -> int:
        return self._n

    def _find_slot(self, key: int) -> int:
        """The key's slot, or the free one where it belongs."""
        keys, mask = self._keys, self._mask
        slot = key & mask
        while keys[slot] not in (0, key):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._allot(2 * len(keys))
        for key, value in zip(keys, values, strict=True):
            if key:
                slot = self._find_slot(key)
                self._keys[slot], self._values[slot] = key, value

    def _allot(self, size: int) -> None:
        self._keys, self._values, self._mask = array("Q", [0]) * size, array("Q", [0]) * size, size - 1
