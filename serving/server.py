"""`lookalike serve`: gunicorn with threaded workers. Each worker maps the same index; the pages are shared.

Connections that wait for a worker belong to whichever takes them first, and they are kept for many requests: one worker
may end up with nearly all of them while the others idle. So where the kernel can deal connections out (Linux's
SO_REUSEPORT), every worker listens at the port by itself too, from when its release is warm.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import structlog
from gunicorn.app.base import BaseApplication

from artifacts.config import ServerConfig
from artifacts.errors import LookalikeError
from serving.overload.worker import STAYING, Worker
from serving.services import services_of

_WARM_UP_SECONDS = 60
_SPARE_THREADS = 8
_BACKLOG = 2048


class Server(BaseApplication):
    """gunicorn, configured by Settings in place of its own files and flags.

    Args:
        listener: taken over.
        folder: what the workers know together; gone when the server ends.
    """

    def __init__(self, config: ServerConfig, listener: socket.socket, folder: Path) -> None:
        self._config, self.folder = config, folder
        self.fd = listener.detach()  # it is gunicorn's to close now
        super().__init__()

    def load_config(self) -> None:
        processes = self._config.processes
        options: dict[str, Any] = {
            "bind": f"fd://{self.fd}",
            "workers": processes.workers,
            "worker_class": Worker,
            # Those that wait hold a thread each; a few more say no to what is too much, and tell of health.
            "threads": processes.threads + processes.queue + _SPARE_THREADS + STAYING,
            # Native libraries hang in a process that was forked after they had started threads: workers import them.
            "preload_app": False,
            # Longer than load balancers keep an idle connection: who closes it first must not be the one that is asked.
            "keepalive": 75,
            "limit_request_line": 8190,  # filters in a URL may be long; longer ones go by POST /v1/search
            "loglevel": "warning",
            "when_ready": _announce,
            "post_worker_init": _warm_up,
            "worker_exit": _close,
            "child_exit": _forget_metrics,
            "on_exit": _remove_folder,
            "proc_name": "lookalike",
        }
        assert self.cfg is not None  # noqa: S101  (BaseApplication has just made it)
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        from serving.app import create_app

        return create_app(self._config, shared_dir=self.folder / "checked")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; workers may listen beside it.

    Raises:
        LookalikeError: somebody else does, or there is no such address.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if port:
            # Beside one that shares its port, anybody's own would share it, too, and unknowingly.
            with socket.socket(family) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
        return _shared(family, address)
    except OSError as error:
        raise LookalikeError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def _shared(family: int, address: Any) -> socket.socket:
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections have it from here. Without it an answer's body waits 40 ms for its head to be acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    listener.listen(_BACKLOG)
    listener.set_inheritable(True)
    return listener


def run(config: ServerConfig) -> None:
    """Serve until told to stop.

    Raises:
        LookalikeError: the address cannot be listened on.
    """
    processes = config.processes
    listener = listen(processes.host, processes.port)
    # One thread inside each native call: requests run beside each other, and more threads would only get in the way.
    os.environ.setdefault("OMP_NUM_THREADS", str(processes.native_threads))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(processes.native_threads))
    configure_logging()
    sys.argv = sys.argv[:1]  # gunicorn would read our flags as its own
    # Removed by `on_exit` in the parent. A `with` would do so in every worker that ends: it leaves this function too.
    folder = Path(tempfile.mkdtemp(prefix="lookalike-server-"))
    for name in ("checked", "metrics"):
        (folder / name).mkdir()
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if processes.workers > 1:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder / "metrics")
    Server(config, listener, folder).run()


def configure_logging() -> None:
    """JSON lines on stderr, or readable ones on a terminal."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if not terminal else structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr)
        if terminal
        else structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )


def _announce(server: Any) -> None:
    host, port = server.LISTENERS[0].sock.getsockname()[:2]
    print(f"Lookalike is listening on http://{host}:{port}/ (Ctrl-C ends it)", flush=True)


def _warm_up(worker: Any) -> None:
    """A worker takes no request before its first release is warm, so one that replaces another fails nobody.

    After a minute it does so anyway, and says 503: whoever asks learns more from that than from silence.
    """
    watcher = services_of(worker.wsgi).watcher
    for _ in range(_WARM_UP_SECONDS):
        if watcher.first_poll.wait(1):
            break
        worker.notify()  # or it would be taken for dead
    # Modules and models live as long as the process. Looking through all of them for garbage, as Python does now and
    # then, would hold up every request for a quarter of a second.
    gc.collect()
    gc.freeze()
    worker.load_shedder = services_of(worker.wsgi).load_shedder
    if worker.cfg.workers > 1 and sys.platform == "linux":
        shared = worker.sockets[0]
        worker.sockets = [*worker.sockets, _shared(shared.sock.family, shared.getsockname())]


def _close(_server: Any, worker: Any) -> None:
    """A worker that ends writes out its events and lets go of its release: DuckDB complains of what is left open."""
    if worker.wsgi is not None:  # None if it ended before it had loaded the app
        services_of(worker.wsgi).close()


def _remove_folder(server: Any) -> None:
    shutil.rmtree(server.app.folder, ignore_errors=True)


def _forget_metrics(_server: Any, worker: Any) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)
