"""Walking along the causes of an exception."""

from collections.abc import Iterator


def exc_causes(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and everything that led to it.

    Parameters
    ----------
    exc
        Where to begin; the cause of each exception comes before its context, and none comes twice.
    """
    seen: set[int] = set()
    waiting = [exc]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__context__, current.__cause__]
