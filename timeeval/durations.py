"""Time spans written as people write them: ``Duration("1 hour 30 minutes")``."""

import re
from typing import Protocol, runtime_checkable

#: Seconds per unit. A month has 30.5 days and a year 366, as in the library whose objects are accepted alike.
_SECONDS = {
    "millisecond": 0.001,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
    "week": 604800.0,
    "month": 2635200.0,
    "year": 31622400.0,
    "decade": 316224000.0,
    "century": 3162240000.0,
}

#: Spellings apart from the unit's own name and its plural. Only the one-letter ones depend on upper and lower case.
_SPELLINGS = {
    **{unit: unit for unit in _SECONDS},
    **{f"{unit}s": unit for unit in _SECONDS if unit != "century"},
    "centuries": "century",
    "milisecond": "millisecond",
    "miliseconds": "millisecond",
    "msec": "millisecond",
    "msecs": "millisecond",
    "ms": "millisecond",
    "sec": "second",
    "secs": "second",
    "min": "minute",
    "mins": "minute",
    "hr": "hour",
    "hrs": "hour",
}
_LETTERS = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "M": "month",
    "y": "year",
    "Y": "year",
    "D": "decade",
    "c": "century",
    "C": "century",
}

_PART = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]+)\s*(?:,|\band\b)?", re.ASCII)


@runtime_checkable
class TimeSpan(Protocol):
    """Anything that knows its length in seconds, e.g. ``durations.Duration`` or :class:`Duration`."""

    def to_seconds(self) -> float:
        """Length in seconds."""
        ...  # pragma: no cover


class Duration:
    """A span of time.

    Parameters
    ----------
    representation
        Numbers with units, in any order, separated by blanks, commas, ``and`` or nothing: ``"8 hours"``,
        ``"2 days, 3h"``, ``"1h30m"``. Units are centuries (c), decades (D), years (y), months (M), weeks (w), days (d),
        hours (h), minutes (m), seconds (s) and milliseconds (ms), each also in singular. Several parts add up.

    Raises
    ------
    ValueError
        If the text is not a list of numbers with units.

    Notes
    -----
    Two durations of the same length are equal, whatever they were written as.
    """

    __slots__ = ("representation", "seconds")

    representation: str
    seconds: float

    def __init__(self, representation: str) -> None:
        self.representation = representation
        self.seconds = _parse(representation)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Duration):
            return NotImplemented
        return self.seconds == other.seconds

    def __hash__(self) -> int:
        return hash(self.seconds)

    def __repr__(self) -> str:
        return f"<Duration {self.representation}>"

    def _to(self, unit: str) -> float:
        return round(self.seconds / _SECONDS[unit], 2)

    def to_centuries(self) -> float:
        """Length in centuries, rounded to two digits."""
        return self._to("century")

    def to_decades(self) -> float:
        """Length in decades, rounded to two digits."""
        return self._to("decade")

    def to_years(self) -> float:
        """Length in years of 366 days, rounded to two digits."""
        return self._to("year")

    def to_months(self) -> float:
        """Length in months of 30.5 days, rounded to two digits."""
        return self._to("month")

    def to_weeks(self) -> float:
        """Length in weeks, rounded to two digits."""
        return self._to("week")

    def to_days(self) -> float:
        """Length in days, rounded to two digits."""
        return self._to("day")

    def to_hours(self) -> float:
        """Length in hours, rounded to two digits."""
        return self._to("hour")

    def to_minutes(self) -> float:
        """Length in minutes, rounded to two digits."""
        return self._to("minute")

    def to_seconds(self) -> float:
        """Length in seconds, rounded to two digits."""
        return self._to("second")

    def to_milliseconds(self) -> float:
        """Length in milliseconds, rounded to two digits."""
        return self._to("millisecond")

    def to_miliseconds(self) -> float:
        """Length in milliseconds, rounded to two digits (the spelling of the library ``durations``)."""
        return self._to("millisecond")


def as_own(span: TimeSpan) -> Duration:
    """Return a duration of another library as ours, in its words if we can read them."""
    try:
        own = Duration(getattr(span, "representation", ""))
    except (TypeError, ValueError):
        own = Duration(f"{span.to_seconds():.6f} seconds")
    return own if own.to_seconds() == span.to_seconds() else Duration(f"{span.to_seconds():.6f} seconds")


def _parse(text: object) -> float:
    if not isinstance(text, str):
        msg = f"A duration is written as text such as '8 hours', not as {type(text).__name__} ({text!r})."
        raise TypeError(msg)
    total, position = 0.0, 0
    stripped = text.strip()
    while position < len(stripped):
        part = _PART.match(stripped, position)
        unit = part and (_LETTERS.get(part["unit"]) or _SPELLINGS.get(part["unit"].lower()))
        if not part or not unit:
            msg = (
                f"{text!r} is not a duration (cannot read {stripped[position:].strip()!r}). Write numbers with units, "
                "e.g. '8 hours', '1 minute 30 seconds', '2 days, 3h'."
            )
            raise ValueError(msg)
        total += float(part["number"]) * _SECONDS[unit]
        position = part.end()
    if not stripped:
        msg = "A duration must not be empty; write e.g. '8 hours'."
        raise ValueError(msg)
    return total
