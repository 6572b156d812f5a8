"""The same work on many nodes at a time, where one node's failure is that node's alone."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from provisioning.errors import ProvisionError, UnreachableError

if TYPE_CHECKING:
    from provisioning.inventory import Node

__all__ = ["for_each", "guarded", "together"]

T = TypeVar("T")


def for_each(
    nodes: Sequence[Node],
    fn: Callable[[Node], T],
    *,
    parallel: int,
    timeout: float | None = None,
    progress: Callable[[Node, T | ProvisionError], None] | None = None,
) -> dict[str, T | ProvisionError]:
    """Run a function for each node.

    Parameters
    ----------
    nodes : sequence of Node
    fn : callable
        Called in threads of their own.
    parallel : int
        Nodes at a time.
    timeout : float, optional
        Seconds that one node may take; then its row is an error, and its thread is left to end by itself.
    progress : callable, optional
        Called in this thread with each node and its value or error as soon as it has one.

    Returns
    -------
    dict
        Node name -> value, or the `ProvisionError` of that node, in the order of `nodes`. Any other exception of `fn`
        is wrapped in one.

    Notes
    -----
    Ctrl-C is raised here at once: the threads are daemons and nobody waits for them.
    """
    waiting = list(reversed(nodes))
    running: dict[str, tuple[Node, float]] = {}
    done: dict[str, T | ProvisionError] = {}
    answers: queue.SimpleQueue[tuple[Node, T | ProvisionError]] = queue.SimpleQueue()

    def run(node: Node) -> None:
        answers.put((node, guarded(fn, node)))

    def note(node: Node, outcome: T | ProvisionError) -> None:
        if running.pop(node.name, None) is not None:
            done[node.name] = outcome
            if progress is not None:
                progress(node, outcome)

    while waiting or running:
        while waiting and len(running) < max(1, parallel):
            node = waiting.pop()
            running[node.name] = (node, time.monotonic())
            threading.Thread(target=run, args=(node,), name=f"node-{node.name}", daemon=True).start()
        try:
            note(*answers.get(timeout=0.2))
        except queue.Empty:
            now = time.monotonic()
            for node, since in list(running.values()):
                if timeout is not None and now - since > timeout:
                    note(node, UnreachableError(f"was not done within {timeout:g} s", host=node.name))
    return {node.name: done[node.name] for node in nodes}


def together(calls: Iterable[Callable[[], object]]) -> None:
    """Make calls that fail with nothing, each in a thread of its own, and wait for all of them."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def guarded(fn: Callable[[Node], T], node: Node) -> T | ProvisionError:
    """Call a function for a node; whatever it raises is that node's error.

    Parameters
    ----------
    fn : callable
    node : Node

    Returns
    -------
    object
        What `fn` returns, or a `ProvisionError` with the node as its host.
    """
    try:
        return fn(node)
    except ProvisionError as error:
        if error.host is None:
            error.host = node.name
        return error
    except Exception as error:  # noqa: BLE001 - a defect met on one node must not hide what the others did
        wrapped = ProvisionError(f"internal error: {type(error).__name__}: {error}", host=node.name)
        wrapped.details = traceback.format_exc()
        return wrapped
