"""Take part in a meeting of nodes: what takes several turns and several machines at once to find out."""

from __future__ import annotations

import concurrent.futures
import errno
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from provisioning.node import mark_places

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

AT_A_TIME = 16
PATIENCE_SECONDS = 120


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Obey ``{"do": "clock" | "listen" | "reach" | "mark" | "end", ...}``, one answer each."""
    del args
    listeners = []  # type: List[socket.socket]
    try:
        while True:
            asked = channel.receive(timeout=PATIENCE_SECONDS)
            if asked is None or asked["do"] == "end":
                return {}
            if asked["do"] == "clock":
                channel.event({"time": time.time()})
            elif asked["do"] == "listen":
                try:
                    listeners.append(listen(asked["ports"]))
                except OSError as error:
                    channel.event({"error": error.strerror or str(error)})
                else:
                    channel.event({"port": listeners[-1].getsockname()[1]})
            elif asked["do"] == "reach":
                channel.event({"unreached": reach(asked["targets"], asked["timeout"])})
            elif asked["do"] == "mark":
                channel.event(mark_places.main(asked["args"], channel))
            else:
                raise ValueError("nobody here can %s" % asked["do"])
    finally:
        for listener in listeners:
            listener.close()


def listen(ports: List[int]) -> socket.socket:
    """Accept connections on all addresses at the first of these ports that is free, and close each at once."""
    server = _serve(ports)

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return server


def _serve(ports: List[int]) -> socket.socket:
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    for port in ports[:-1]:
        try:
            return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return socket.create_server(("", ports[-1]), family=family, dualstack_ipv6=dual)


def reach(targets: List[List[Any]], timeout: float) -> List[List[str]]:
    """Try to connect to each ``[name, host, port]``; return ``[name, where, cause]`` of those that are not reached."""

    def one(target: List[Any]) -> Optional[List[str]]:
        name, host, port = target
        try:
            socket.create_connection((host, port), timeout).close()
        except OSError as error:
            cause = "no answer within %g s" % timeout if isinstance(error, socket.timeout) else error.strerror
            return [name, "%s:%d" % (host, port), cause or str(error)]
        return None

    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        return [found for found in pool.map(one, targets) if found is not None]
