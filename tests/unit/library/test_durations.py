# ruff: noqa: S301 - the tests unpickle what they pickled
import copy
import pickle
import subprocess
import sys
from functools import partial
from types import ModuleType

import pytest

from timeeval import ResourceConstraints
from timeeval.durations import Duration, TimeSpan
from timeeval.run.packing import Packer, decode


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8 hours", 28800.0),
        ("1 minute 30 seconds", 90.0),
        ("1 minute", 60.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("2 days, 3h", 183600.0),
        ("1 day and 2 hours", 93600.0),
        ("1hour", 3600.0),
        ("30 s", 30.0),
        ("300 miliseconds", 0.3),
        ("300 milliseconds", 0.3),
        ("2 w", 1209600.0),
        ("1 month", 2635200.0),
        ("1M", 2635200.0),
        ("1m", 60.0),
        ("1 year", 31622400.0),
        ("1 decade", 316224000.0),
        ("1 century", 3162240000.0),
        ("1 minutes 2 hours", 7260.0),
        ("1 second, 2 seconds", 3.0),
        ("1.5 hours", 5400.0),
        ("10 min", 600.0),
        ("10 sec", 10.0),
        ("2 Hours", 7200.0),
        ("  3 hrs ", 10800.0),
        ("0 seconds", 0.0),
    ],
)
def test_texts(text, seconds):
    duration = Duration(text)
    assert duration.to_seconds() == seconds
    assert str(duration) == repr(duration) == f"<Duration {text}>"


@pytest.mark.parametrize(
    "text", ["", "  ", "90", "abc", "1 foo", "-1 hour", "1 hour and 1 foo", "1e3 s", "1 hour!", "h"]
)
def test_what_is_not_a_duration(text):
    with pytest.raises(ValueError, match="uration"):
        Duration(text)


def test_a_number_is_not_a_duration():
    with pytest.raises(TypeError, match="written as text"):
        Duration(90)


def test_all_units():
    day = Duration("1 day")
    assert day.to_miliseconds() == day.to_milliseconds() == 86400000.0
    assert (day.to_minutes(), day.to_hours(), day.to_days()) == (1440.0, 24.0, 1.0)
    assert (day.to_weeks(), day.to_months(), day.to_years()) == (0.14, 0.03, 0.0)
    assert Duration("1 century").to_decades() == 10.0
    assert Duration("1 century").to_centuries() == 1.0
    assert Duration("1 ms").to_seconds() == 0.0
    assert Duration("1 ms").seconds == 0.001


def test_equality_is_by_length():
    assert Duration("1 hour") == Duration("60 minutes")
    assert hash(Duration("1 hour")) == hash(Duration("60 minutes"))
    assert Duration("1 hour") != Duration("1 minute")
    assert Duration("1 hour") != 3600


def test_copies():
    hour = Duration("1 hour")
    assert pickle.loads(pickle.dumps(hour)) == copy.deepcopy(hour) == hour


def test_anything_that_knows_its_seconds_is_a_time_span():
    class Foreign:
        def to_seconds(self):
            return 1.0

    assert isinstance(Foreign(), TimeSpan)
    assert isinstance(Duration("1 s"), TimeSpan)
    assert not isinstance(1.0, TimeSpan)


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_the_library_can_be_imported_where_it_is_not_installed():
    code = "import timeeval; from durations import Duration; print(Duration.__module__, Duration('2 minutes'))"
    assert run(code) == "timeeval.durations <Duration 2 minutes>"


def test_the_library_is_used_where_it_is_installed(tmp_path):
    (tmp_path / "durations.py").write_text("class Duration: pass\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import timeeval; from durations import Duration"
    assert run(f"{code}; print(Duration.__module__)") == "durations"


@pytest.mark.parametrize(
    ("representation", "seconds", "expected"),
    [("8 hours", 28800.0, "8 hours"), ("nonsense", 0.0, "0.000000 seconds"), ("1 day", 90.5, "90.500000 seconds")],
)
def test_durations_of_the_library_reach_machines_without_it(monkeypatch, tmp_path, representation, seconds, expected):
    class Foreign:
        def __init__(self):
            self.representation = representation

        def to_seconds(self):
            return seconds

    Foreign.__module__, Foreign.__qualname__ = "durations", "Duration"
    with monkeypatch.context() as patch:
        library = ModuleType("durations")
        library.Duration = Foreign
        patch.setitem(sys.modules, "durations", library)
        limits = ResourceConstraints(train_timeout=Foreign())
        _, payload = decode(Packer(tmp_path).pack_calls([partial(print, limits)], "limits"))
    (call,) = pickle.loads(payload)
    assert call.args[0].train_timeout == Duration(expected)
    assert repr(call.args[0].train_timeout) == f"<Duration {expected}>"
