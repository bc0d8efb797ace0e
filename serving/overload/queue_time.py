"""How long a request waited before a thread began to handle it."""

from __future__ import annotations

import socket
import struct
import sys
import threading

#: Offset of tcpi_last_data_recv in Linux's struct tcp_info: milliseconds since data last arrived, uint32 (linux/tcp.h).
_LAST_DATA_RECEIVED = 52

_current_request = threading.local()


def record_queue_time(seconds: float) -> None:
    """Set the queue time of the request that this thread handles."""
    _current_request.queue_time = seconds


def queue_time() -> float:
    """Return the seconds that this thread's request waited before it was handled; 0 if no worker recorded them."""
    return getattr(_current_request, "queue_time", 0.0)


def seconds_since_data(connection: socket.socket) -> float:
    """Return the seconds since data last arrived, which the kernel rounds to some milliseconds.

    Returns:
        0 if the kernel does not report it: not Linux, not TCP, or the connection is closed.
    """
    if sys.platform != "linux":
        return 0.0
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED + 4)
    except OSError:  # not TCP, or closed meanwhile
        return 0.0
    return struct.unpack_from("I", info, _LAST_DATA_RECEIVED)[0] / 1000
