"""`Times` under the path that scripts know."""

from timeeval.times import Times, timer

__all__ = ["Times", "timer"]
