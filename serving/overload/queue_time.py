"""How long a request waited before a thread began to work on it."""

from __future__ import annotations

import socket
import struct
import sys
import threading

#: Where struct tcp_info of Linux has the milliseconds since data came last, a uint32 (linux/tcp.h).
_LAST_DATA_RECEIVED = 52

current_request = threading.local()


def queue_time() -> float:
    """Seconds that the request of this thread waited before it was looked at; 0 where no such worker serves it."""
    return getattr(current_request, "queue_time", 0.0)


def seconds_since_data(connection: socket.socket) -> float:
    """Seconds since data came last, by the kernel; to some milliseconds. 0 where it does not tell."""
    if sys.platform != "linux":
        return 0.0
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED + 4)
    except OSError:  # no TCP, or closed meanwhile
        return 0.0
    return struct.unpack_from("I", told, _LAST_DATA_RECEIVED)[0] / 1000
