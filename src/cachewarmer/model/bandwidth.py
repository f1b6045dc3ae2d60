"""The bandwidth limit of a job, which may depend on the time of day. Pure: the time is an argument."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cachewarmer.errors import InvalidValue
from cachewarmer.values import dataclass

DAY_MINUTES = 24 * 60
MOST_HOURS = 48
"""Maximum number of periods in a bandwidth: enough for one every half hour."""
MOST_RATE = (1 << 63) - 1
_HOURS = r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})"


class Hours(NamedTuple):
    """A period of the day with its own rate."""

    start: int
    """Minutes after midnight."""
    stop: int
    """The first minute after the period. If this is not above ``start``, the period continues past midnight."""
    rate: int
    """Bytes per second; 0: no limit."""

    def has(self, minute: int) -> bool:
        """Whether a minute of the day lies in the period."""
        if self.start < self.stop:
            return self.start <= minute < self.stop
        return minute >= self.start or minute < self.stop

    def minutes(self) -> Iterator[range]:
        """The minutes of the day that lie in the period, as one or two ranges."""
        if self.start < self.stop:
            yield range(self.start, self.stop)
        else:
            yield range(self.start, DAY_MINUTES)
            yield range(self.stop)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """The bandwidth limit of a job as a whole, in bytes per second.

    The periods in ``hours``, which do not overlap, have their own rates; ``rate`` is for the rest of the day.
    """

    rate: int = 0
    """0: no limit."""
    hours: tuple[Hours, ...] = ()

    def at(self, minute: int) -> int:
        """The rate at a minute after midnight; 0: no limit."""
        return next((one.rate for one in self.hours if one.has(minute)), self.rate)

    @property
    def rates(self) -> list[int]:
        """All rates that it can have in the course of a day."""
        return [self.rate, *(one.rate for one in self.hours)]

    @property
    def lowest(self) -> int:
        """The lowest rate that is a limit; 0 if there is none."""
        return min((rate for rate in self.rates if rate), default=0)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a job that hold it. A program that does not know about hours uses the lowest rate."""
        return {"max_bandwidth": self.lowest, "max_bandwidth_hours": self.text() if self.hours else ""}

    def text(self, shown: Callable[[int], str] = str) -> str:
        """The text that ``parse`` reads; ``shown`` formats a rate."""
        if not self.hours:
            return shown(self.rate)
        parts = [f"{_time(one.start)}-{_time(one.stop)}={shown(one.rate)}" for one in self.hours]
        return ",".join([*parts, f"={shown(self.rate)}"])

    @classmethod
    def parse(cls, text: str, rate_of: Callable[[str], int]) -> Bandwidth:
        """Parses a rate, or rates by the time of day: ``08:00-20:00=RATE,=RATE``.

        The rate without a time is for the rest of the day, which else has no limit. ``rate_of`` parses a rate.

        Raises:
            InvalidValue: the text is neither, or two periods overlap. Errors of ``rate_of`` are passed on.
        """
        if "=" not in text:
            return cls(rate_of(text))
        parts = text.split(",")
        if len(parts) > MOST_HOURS:
            raise InvalidValue(f"more than {MOST_HOURS} rates by time of day")
        rest: int | None = None
        hours: list[Hours] = []
        taken: set[int] = set()
        for part in parts:
            when, equals, rate = part.strip().partition("=")
            if equals and not when and rest is None:
                rest = rate_of(rate)
                continue
            found = re.fullmatch(_HOURS, when.strip())
            if not equals or found is None:
                raise InvalidValue(
                    f"{part.strip()[:100]!r} is not a rate by time of day: write 08:00-20:00=200Mbit,=2Gbit"
                )
            one = Hours(_minute(found[1], found[2]) % DAY_MINUTES, _minute(found[3], found[4]), rate_of(rate))
            minutes = {minute for span in one.minutes() for minute in span}
            if minutes & taken:
                raise InvalidValue(f"{when.strip()} overlaps with other hours")
            taken |= minutes
            hours.append(one)
        return cls(rest or 0, tuple(hours))


def _minute(hour: str, minute: str) -> int:
    found = int(hour) * 60 + int(minute)
    if int(minute) >= 60 or found > DAY_MINUTES:
        raise InvalidValue(f"{hour}:{minute} is not a time of day")
    return found


def _time(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def bytes_per_second(text: str) -> int:
    """Parses a rate as it is stored: a decimal number. Raises ``InvalidValue`` for anything else."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= MOST_RATE):
        raise InvalidValue(f"{text[:100]!r} is not a number of bytes per second")
    return int(text)
