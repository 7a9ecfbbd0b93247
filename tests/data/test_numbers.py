"""Formatting of numbers."""

import pytest

from hybrid_batch.data.terminal.numbers import format_count, format_number, format_percent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123456, "0.0123"),
        (1.2345, "1.23"),
        (20, "20"),
        (0.001, "0.001"),
        (999.6, "1,000"),
        (20_649.0, "20,600"),
        (-3.14159, "-3.14"),
        (float("inf"), "inf"),
    ],
)
def test_three_digits_and_no_exponent(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (0.001, "<1%"), (0.006, "1%"), (0.5, "50%"), (0.994, "99%"), (0.999, ">99%"), (1, "100%")],
)
def test_a_share_above_0_or_below_1_is_never_rounded_to_it(share, text):
    assert format_percent(share) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 classes"), (1, "1 class"), (2, "2 classes"), (1200, "1,200 classes")]
)
def test_a_count_has_its_noun_in_the_right_number(number, text):
    assert format_count(number, "class", "classes") == text
