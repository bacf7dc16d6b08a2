"""Degenerate repetition: a response that ends in the same text over and over (paper, section 4.6).

A response loops where, with white space evened out, it ends in at least three copies of one text and those copies
are at least 200 characters long together. Every rotation of the repeated text is the same loop, so where the last copy
was cut does not matter. A response that got out of its loop and then said something else does not end in one.

    ends_in_loop("So x = 4. " + "Wait, let me check. " * 40)  # True
"""

MIN_COPIES = 3
MIN_CHARACTERS = 200
# The end of the text, looked for further back: each place where it stands again is a candidate for the loop's length.
_PROBE = 24
# A loop in which the probe itself stands more often than this inside one copy is not looked for, so that time stays
# linear in the text's length.
_MAX_CANDIDATES = 64


def ends_in_loop(text: str) -> bool:
    """Whether a response ends in degenerate repetition. Linear in the text's length."""
    text = " ".join(text.split())
    if len(text) < MIN_CHARACTERS:
        return False
    end = len(text) - _PROBE
    probe, place = text[end:], end
    for _ in range(_MAX_CANDIDATES):
        # Occurrences may overlap: a loop can be shorter than the probe.
        place = text.rfind(probe, 0, place + _PROBE - 1)
        if place < 0 or (end - place) * MIN_COPIES > len(text):
            return False
        if _has_period(text, end - place):
            return True
    return False


def _has_period(text: str, period: int) -> bool:
    """Whether enough of the text's end repeats itself every `period` characters."""
    length = max(MIN_COPIES * period, MIN_CHARACTERS)
    return length <= len(text) and text[-length:-period] == text[-length + period :]
