"""Doubles as rapidjson 1.1.0 reads and writes them: fast, and sometimes wrong in the last place.

Only error messages show it: there a client sees a number of its request again. Reading multiplies or divides by one
rounded power of ten. Writing is the Grisu2 method (Florian Loitsch, "Printing Floating-Point Numbers Quickly and
Accurately with Integers", 2010) with rapidjson's slip: beyond nine places the last digit is not corrected.
"""

from __future__ import annotations

import math
import sys
from functools import cache

_MOST_NEGATIVE, _MOST_POSITIVE = 1 << 63, (1 << 64) - 1
_EXACT_FRACTION = (1 << 53) - 1
_SIGNIFICANT = 17
_TENTH_OF_LARGEST = 1.7976931348623157e307
_LARGEST_POWER = 308
_NO_MORE = 1 << 31
"""An exponent that makes every number zero."""


class TooBig(ValueError):
    """The number is beyond the largest double."""


def read(digits: str, fraction: str = "", power: str = "", *, negative: bool = False) -> float:
    """The double of a decimal number: digits before and after the point, and the exponent with its sign.

    Errors: TooBig.
    """
    value, rest, exact, significant = _integer(digits, _MOST_NEGATIVE if negative else _MOST_POSITIVE)
    for digit in rest:
        if value >= _TENTH_OF_LARGEST:
            raise TooBig(digits)
        value = value * 10.0 + int(digit)
    places = 0
    if fraction and not rest:
        while places < len(fraction) and exact <= _EXACT_FRACTION:
            exact = exact * 10 + int(fraction[places])
            places += 1
            significant += exact != 0
        value = float(exact)
        for digit in fraction[places:]:
            if significant >= _SIGNIFICANT:
                break
            value = value * 10.0 + int(digit)
            places += 1
            significant += value > 0.0
    value = _scaled(value, _exponent(power, places) - places)
    return -value if negative else value


def _integer(digits: str, limit: int) -> tuple[float, str, int, int]:
    """As a double, as far as 64 bits hold it; what is left of the text; as an integer; how many digits follow one."""
    held = min(len(digits), len(str(limit)))
    while held > 1 and int(digits[:held]) > limit:
        held -= 1
    exact = int(digits[:held] or "0")
    return float(exact), digits[held:], exact, max(held - 1, 0)


def _exponent(power: str, places: int) -> int:
    if not power:
        return 0
    size = power.lstrip("+-").lstrip("0")
    number = int(size or "0") if len(size) < len(str(_NO_MORE)) else _NO_MORE
    if power.startswith("-"):
        return -number
    if number > _LARGEST_POWER + places:
        raise TooBig(power)
    return number


def _scaled(value: float, power: int) -> float:
    if power < -_LARGEST_POWER:
        value = _scaled(value, -_LARGEST_POWER)
        power += _LARGEST_POWER
        if power < -_LARGEST_POWER:
            return 0.0
    return flushed(value * float(f"1e{power}") if power >= 0 else value / float(f"1e{-power}"))


def flushed(value: float) -> float:
    """Zero of the same sign for a number below the normal range: TensorFlow Serving parses with denormals off."""
    return value if abs(value) >= sys.float_info.min or value != value else math.copysign(0.0, value)


def write(value: float) -> str:
    """A finite double in few digits, in rapidjson's layout: at most 21 places before the point, 6 zeros after it."""
    if not value:
        return repr(value)
    sign = "-" if value < 0 else ""
    digits, exponent = _shortest(abs(value))
    point = len(digits) + exponent
    if exponent >= 0 and point <= 21:
        return f"{sign}{digits}{'0' * exponent}.0"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1}"


_WORD = (1 << 64) - 1


def _shortest(value: float) -> tuple[str, int]:
    """Digits and the power of ten of the last one."""
    mantissa, exponent = math.frexp(value)
    whole, exponent = int(mantissa * (1 << 53)), exponent - 53
    # The value and the middle to its neighbours, as 64-bit words that share an exponent.
    middle = whole << 11
    above = middle + (1 << 10)
    below = middle - (1 << (9 if whole == 1 << 52 else 10))
    exponent -= 11
    power, factor, shift = _power_of_ten(exponent)
    exponent += shift + 64
    high, low = _times(above, factor) - 1, _times(below, factor) + 1
    return _digits(_times(middle, factor), high, high - low, exponent, power)


def _digits(value: int, high: int, delta: int, exponent: int, power: int) -> tuple[str, int]:
    """The digits of `high`, until what is left is below `delta`, moved towards `value`."""
    bits = -exponent
    gap = (high - value) & _WORD
    whole, fraction = high >> bits, high & ((1 << bits) - 1)
    digits = ""
    # rapidjson counts at most nine digits here.
    for kappa in range(min(len(str(whole)), 9) - 1, -1, -1):
        digit, whole = divmod(whole, 10**kappa)
        if digit or digits:
            digits += str(digit)
        rest = (whole << bits) + fraction
        if rest <= delta:
            return _rounded(digits, delta, rest, 10**kappa << bits, gap), power + kappa
    places = 0
    while True:
        fraction, delta = fraction * 10 & _WORD, delta * 10 & _WORD
        digit, fraction = fraction >> bits, fraction & ((1 << bits) - 1)
        if digit or digits:
            digits += str(digit)
        places += 1
        if fraction < delta:
            left = gap * 10**places & _WORD if places < 9 else 0
            return _rounded(digits, delta, fraction, 1 << bits, left), power - places


def _rounded(digits: str, delta: int, rest: int, unit: int, gap: int) -> str:
    last = int(digits[-1])
    while rest < gap and delta - rest >= unit and (rest + unit < gap or gap - rest > rest + unit - gap):
        last -= 1
        rest += unit
    return digits[:-1] + str(last)


def _times(word: int, factor: int) -> int:
    """The upper half of a product of 64-bit words, rounded."""
    return (word * factor + (1 << 63)) >> 64


def _power_of_ten(exponent: int) -> tuple[int, int, int]:
    """The exponent of the digits that remain after scaling, and the scale: a 64-bit word and its binary exponent."""
    wanted = (-61 - exponent) * 0.30102999566398114 + 347
    index = (math.ceil(wanted) >> 3) + 1
    return 348 - 8 * index, *_word(8 * index - 348)


@cache
def _word(power: int) -> tuple[int, int]:
    """10**power as a rounded 64-bit word and its binary exponent."""
    if power >= 0:
        exact, scale = 10**power, 0
    else:
        scale = 64 - 4 * power
        exact = (1 << scale) // 10**-power
    shift = exact.bit_length() - 64
    if shift <= 0:
        return exact << -shift, shift - scale
    return (exact + (1 << (shift - 1))) >> shift, shift - scale
