import random
import sys

from drp.chat.store import Offsets


def test_it_finds_what_a_dictionary_finds() -> None:
    draw, offsets, expected = random.Random(0), Offsets(), dict[int, int]()
    for value in range(20_000):
        # Few distinct low bits, so that slots collide; keys are set again as well.
        key = draw.randrange(3000) << 40 | draw.randrange(8)
        offsets.set(key, value)
        expected[key or 1] = value
    assert len(offsets) == len(expected)
    assert all(offsets.find(key) == value for key, value in expected.items())
    assert [offsets.find(key << 40 | 9) for key in range(3000)] == [None] * 3000


def test_the_extreme_keys_and_values_are_held() -> None:
    offsets = Offsets()
    for key in (0, 2**64 - 1):
        assert offsets.find(key) is None
        offsets.set(key, 2**64 - 1)
        assert offsets.find(key) == 2**64 - 1


def test_a_reply_takes_less_than_fifty_bytes() -> None:
    draw, offsets = random.Random(0), Offsets()
    for _ in range(10_000):
        offsets.set(draw.getrandbits(64), 1)
    assert sys.getsizeof(offsets._keys) + sys.getsizeof(offsets._values) < 50 * 10_000
