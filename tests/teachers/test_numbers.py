"""Numbers read by value: what counts as the same number, and which number a text states."""

import time

import pytest

from drp.teachers.numbers import find_figures, find_quantities, find_unknown, find_values, locate_numbers


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("1200 people", "1,200 people"),
        ("1,200 people", "1200 people"),
        (r"10{,}000 and 10,\!000", "10000"),
        ("27 dollars", "$27.00"),
        ("27.0", "27"),
        ("0.5 of it", "half of it"),
        ("0.5 of it", r"\frac{1}{2} of it"),
        ("0.5 of it", r"\frac12 of it"),
        ("1/2 of it", "0.5 of it"),
        (r"\dfrac{13}{15}", "13/15"),
        ("0.2 of 25", "20% of 25"),
        (r"20\% of 25", "0.2 of 25"),
        ("12 eggs", "a dozen eggs"),
        ("2x + 3", "twice x, and three"),
        ("1,200,000", "1.2 million"),
        ("25", "twenty-five"),
        ("twenty-five", "25"),
        ("twenty-five thousand", "25,000"),
        ("25 thousand", "25,000"),
        ("half the cake", "0.5 of the cake"),
        ("x² = 9", "x^2 = 9"),
        ("½ cup", "1/2 cup"),
        ("The total is 18.", "so 18"),
        ("from 1 to 200", "the interval (1,200)"),
        ("Step 2: add 3. In case 1, 3.", "3"),
        ("1. Add 7.\n2. Take 8.", "7 and 8"),
    ],
)
def test_numbers_written_another_way_are_known(text: str, source: str) -> None:
    assert find_unknown(text, find_values(source)) == ()


@pytest.mark.parametrize(
    ("text", "source", "invented"),
    [
        ("They ate 41 slices.", "5 pies of 8 slices make 40", "41 (in 'They ate 41 slices.')"),
        ("so 15", "120/8", "15 (in"),
        ("0.667", "0.6667", "0.667 (in"),
        ("42. This is it", "no numbering", "42 (in"),
        ("1201", "1,200 and 1", "1201 (in"),
        ("seventeen apples", "16 apples", "seventeen (in"),
        ("1.5", "1 and 5", "1.5 (in"),
        ("2,000", "2 and 0", "2,000 (in"),
        ("1,500", "1 and 500", "1,500 (in"),
        ("twenty-five", "20 and 5", "twenty-five (in"),
    ],
)
def test_invented_numbers_are_named_with_their_place(text: str, source: str, invented: str) -> None:
    [unknown] = find_unknown(text, find_values(source))
    assert invented in unknown


def test_huge_numbers_are_compared_without_arithmetic() -> None:
    huge = "7" * 20_000
    text = f"{huge}/{huge}%"
    assert find_unknown(text, find_values(text)) == ()
    assert len(find_unknown(huge, find_values(huge[1:]))) == 1


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("5 pies of 8 make 40.00", {"5", "8", "40"}),
        ("(1,200) and 10{,}000", {"1200", "10000"}),
        (r"\frac12 is 50%", {"1", "2", "0.5", "50"}),
        ("120/8 = 15", {"120", "8", "15"}),
        ("twenty-five hundred, twice", {"2500", "2"}),
        ("half a dozen", {"0.5", "12"}),
        ("First, both of the squares, and the third", set()),
    ],
)
def test_quantities_are_the_likeliest_readings(text: str, values: set[str]) -> None:
    assert find_quantities(text) == values


def test_figures_are_the_numbers_written_in_digits() -> None:
    assert find_figures("twelve of 1,200 in 3/4, x²") == {"1200", "3", "4", "2"}


def test_located_numbers_have_offsets_and_a_ratio_is_one_number() -> None:
    text = r"1,200 of 3/4 or \frac{1}{3}, not 8 / 20, and 3/0 is nothing"
    located = locate_numbers(text)
    assert [text[number.start : number.end] for number in located] == ["1,200", "3/4", r"\frac{1}{3}", "8", "20"]
    assert [number.value for number in located] == ["1200", "0.75", "1/3", "8", "20"]


def test_reading_takes_time_in_proportion_to_the_length() -> None:
    def seconds(n: int) -> float:
        text = "So 3 * 4 = 12, and 1/2 of twenty-five is 12.5, that is 50%.\n" * n
        begun = time.perf_counter()
        assert find_unknown(text, find_values(text)) == ()
        return time.perf_counter() - begun

    seconds(10)
    assert seconds(4000) < 40 * max(seconds(400), 0.005)


def test_quantities_have_one_spelling() -> None:
    assert find_quantities("1,200 and 20.00 and half of 40%") == {"1200", "20", "0.5", "40", "0.4"}
    assert "0.25" in find_quantities("\\frac{1}{4}")
