"""The socket by which the thread of a query calls Python: Py4J keeps it open after the query, for good.

Every query has a thread of its own, so a process that swaps its query at every promotion would run out of files. Py4J
(0.10.9) offers no way to close one connection; it is found among those that Java keeps, by its port.
"""

import logging
from typing import Any

from pyspark import SparkContext

log = logging.getLogger(__name__)


def port_of_this_call() -> int | None:
    """Java's port of the connection through which this thread is being called; None where there is none."""
    try:
        gateway: Any = SparkContext._gateway
        return int(gateway._gateway_client.get_thread_connection().socket.getpeername()[1])
    except Exception:  # inner parts of Py4J, which another release may have otherwise
        return None


def close(port: int) -> None:
    """Close Java's connection of that port, whose thread must have ended; harmless where it is not found."""
    try:
        _close(port)
    except Exception as error:  # as above: what is left open costs a file, and no lead
        log.debug("the connection of port %d stays open: %s", port, error)


def _close(port: int) -> None:
    gateway: Any = SparkContext._gateway
    client = gateway.java_gateway_server.getCallbackClient()
    lock, connections = (_field(client, name) for name in ("lock", "connections"))
    lock.lock()
    try:
        mine = [c for c in connections.toArray() if int(c.getSocket().getLocalPort()) == port]
        for connection in mine:
            connections.remove(connection)
    finally:
        lock.unlock()
    for connection in mine:
        connection.shutdown()


def _field(client: Any, name: str) -> Any:
    """A protected field of py4j.CallbackClient, which the client is a kind of."""
    field = client.getClass().getSuperclass().getDeclaredField(name)
    field.setAccessible(True)
    return field.get(client)
