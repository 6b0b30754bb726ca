"""Numbers between two bounds, as regular expressions over their decimal digits.

Numbers are written without exponent and with at most 15 significant digits where a bound is near:
so different texts are different double-precision numbers, in the same order, and a number that is
within its bounds as text is so for every program that reads it.
"""

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

_DIGITS = 15
_PLACES = 12
_PRECISION = 700

GREATEST = 10**_DIGITS - 1
"""Numbers without a bound are written up to this one."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that an answer may have; both bounds belong to it."""

    low: Decimal | None = None
    high: Decimal | None = None
    above: Decimal | None = None
    """An exclusive lower bound."""
    below: Decimal | None = None
    """An exclusive upper bound."""
    whole: bool = False
    multiple: int = 1
    """Of which each is a multiple; other than 1 only where all are whole."""

    def holds(self, number: Decimal) -> bool:
        """Whether a number is in the range."""
        return (
            (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
            and (not self.whole or number == number.to_integral_value())
            and (not self.whole or number % self.multiple == 0)
        )

    @property
    def is_empty(self) -> bool:
        """Whether no number at all is in the range."""
        if self.whole:
            return self.written() is None
        pairs = ((self.low, self.high), (self.above, self.high), (self.low, self.below))
        strict = (*pairs[1:], (self.above, self.below))
        return any(a is not None and b is not None and a > b for a, b in pairs) or any(
            a is not None and b is not None and a >= b for a, b in strict
        )

    def written(self) -> "Range | None":
        """The part that is written out: closed, on a decimal grid; None if it is empty."""
        bounds = [b for b in (self.low, self.high, self.above, self.below) if b is not None]
        size = max((len(_digits(abs(bound))[0]) for bound in bounds), default=1)
        whole = self.whole or size > _DIGITS
        step = Decimal(1).scaleb(0 if whole else -min(_PLACES, _DIGITS - size))
        with localcontext() as context:
            context.prec = _PRECISION
            low = _grid(self.low, self.above, step, ROUND_CEILING)
            high = _grid(self.high, self.below, step, ROUND_FLOOR)
            if self.multiple != 1:
                one, end = Decimal(self.multiple), Decimal(GREATEST)
                least = min(-end, (high or 0) - one) if low is None else low
                most = max(end, (low or 0) + one) if high is None else high
                low = (least / one).to_integral_value(ROUND_CEILING) * one
                high = (most / one).to_integral_value(ROUND_FLOOR) * one
            if low is not None and high is not None and low > high:
                return None
        return replace(self, low=low, high=high, above=None, below=None, whole=whole)

    def pattern(self) -> list[str]:
        """Regular expressions that a written range's numbers match all of."""
        size = max(
            (len(str(abs(int(b)))) for b in (self.low, self.high) if b is not None),
            default=_DIGITS,
        )
        size = max(size, _DIGITS) if self.low is None or self.high is None else size
        places = 0 if self.whole else _PLACES
        fraction = f"(\\.[0-9]{{1,{places}}})?" if places else ""
        shape = f"-?(0|[1-9][0-9]{{0,{size - 1}}}){fraction}"
        return [shape, *_at_least(self.low), *_at_most(self.high)]


def _grid(
    bound: Decimal | None, exclusive: Decimal | None, step: Decimal, rounding: str
) -> Decimal | None:
    """The nearest bound on the grid that keeps to both."""
    inward = step if rounding == ROUND_CEILING else -step
    bounds: list[Decimal] = []
    if bound is not None:
        bounds.append((bound / step).to_integral_value(rounding) * step)
    if exclusive is not None:
        rounded = (exclusive / step).to_integral_value(rounding) * step
        bounds.append(rounded + inward if rounded == exclusive else rounded)
    if not bounds:
        return None
    return max(bounds) if rounding == ROUND_CEILING else min(bounds)


def _at_least(low: Decimal | None) -> list[str]:
    if low is None:
        return []
    if low > 0:
        return [_far(low)]
    return [f"[0-9.]+|-(?:{_near(-low)})"]


def _at_most(high: Decimal | None) -> list[str]:
    if high is None:
        return []
    if high < 0:
        return [f"-(?:{_far(-high)})"]
    return [f"-[0-9.]+|(?:{_near(high)})"]


def _digits(number: Decimal) -> tuple[str, str]:
    whole, _, fraction = f"{number:f}".partition(".")
    return whole, fraction.rstrip("0")


def _far(number: Decimal) -> str:
    """Numbers without a sign that are at least this one."""
    whole, fraction = _digits(number)
    any_fraction = "(\\.[0-9]+)?"
    parts = [f"[1-9][0-9]{{{len(whole)},}}{any_fraction}"]
    for index, digit in enumerate(whole):
        if digit != "9":
            rest = f"[0-9]{{{len(whole) - index - 1}}}"
            parts.append(f"{whole[:index]}[{int(digit) + 1}-9]{rest}{any_fraction}")
    if not fraction:
        return "|".join([*parts, f"{whole}{any_fraction}"])
    for index, digit in enumerate(fraction):
        if digit != "9":
            parts.append(f"{whole}\\.{fraction[:index]}[{int(digit) + 1}-9][0-9]*")
    return "|".join([*parts, f"{whole}\\.{fraction}[0-9]*"])


def _near(number: Decimal) -> str:
    """Numbers without a sign that are at most this one."""
    whole, fraction = _digits(number)
    any_fraction = "(\\.[0-9]+)?"
    parts = [f"(0|[1-9][0-9]{{0,{len(whole) - 2}}}){any_fraction}"] if len(whole) > 1 else []
    for index, digit in enumerate(whole):
        least = 1 if index == 0 and len(whole) > 1 else 0
        if int(digit) > least:
            rest = f"[0-9]{{{len(whole) - index - 1}}}"
            parts.append(f"{whole[:index]}[{least}-{int(digit) - 1}]{rest}{any_fraction}")
    for index, digit in enumerate(fraction):
        if index:
            parts.append(f"{whole}\\.{fraction[:index]}")
        if digit != "0":
            parts.append(f"{whole}\\.{fraction[:index]}[0-{int(digit) - 1}][0-9]*")
    exact = f"{whole}\\.{fraction}0*" if fraction else f"{whole}\\.0+"
    return "|".join([*parts, whole, exact])
