"""`lookalike serve`: gunicorn with threaded workers that map the same index files and so share their memory.

With one shared listening socket, the worker that is idle first accepts most connections, and connections stay open for
many requests: one worker may end up with nearly all of them while the others idle. So where the kernel can distribute
connections (SO_REUSEPORT on Linux), every worker also listens on a socket of its own once its release is warm.

The parent process imports neither `serving.app` nor `serving.services`: native libraries hang in a process that was
forked after they had started threads, and Prometheus' client must not be imported before PROMETHEUS_MULTIPROC_DIR is
set. Workers import them after the fork.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from gunicorn.app.base import BaseApplication

from artifacts.config import ServerConfig
from artifacts.errors import LookalikeError
from serving.overload.worker import Worker

if TYPE_CHECKING:
    from serving.services import Services

_WARM_UP_SECONDS = 60
#: Threads beyond those that search or wait: they refuse excess searches and answer health checks.
_SPARE_THREADS = 8
_BACKLOG = 2048


class Server(BaseApplication):
    """gunicorn, configured by a `ServerConfig` instead of its own files and flags.

    Args:
        config: of the server.
        listener: listening socket; the server takes it over and closes it.
        folder: temporary folder that the workers share; removed when the server ends.
    """

    def __init__(self, config: ServerConfig, listener: socket.socket, folder: Path) -> None:
        self._config, self.folder = config, folder
        self.fd = listener.detach()  # gunicorn closes it
        super().__init__()

    def load_config(self) -> None:
        processes = self._config.processes
        options: dict[str, Any] = {
            "bind": f"fd://{self.fd}",
            "workers": processes.workers,
            "worker_class": Worker,
            # A waiting search occupies a thread, as one in progress does.
            "threads": processes.threads + processes.queue + _SPARE_THREADS + Worker.keepalive_threads,
            "preload_app": False,
            # Longer than load balancers keep an idle connection: if the server closed it first, a balancer could send
            # a request on a connection that is just being closed.
            "keepalive": 75,
            "limit_request_line": 8190,  # for long filters in a URL; longer ones fit in a POST to /v1/search
            "loglevel": "warning",
            "when_ready": _announce,
            "post_worker_init": _warm_up,
            "worker_int": _ignore_further_interrupts,
            "worker_exit": _shut_down,
            "child_exit": _forget_metrics,
            "on_exit": _remove_folder,
            "proc_name": "lookalike",
        }
        assert self.cfg is not None  # noqa: S101  (BaseApplication has just made it)
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        from serving.app import create_app

        return create_app(self._config, shared_dir=self.folder / "verified")


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket beside which workers may listen on the same port.

    Args:
        host: name or address.
        port: 0 takes a free one.

    Raises:
        LookalikeError: the port is in use, or the address is not one of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if port:
            # SO_REUSEPORT would let two servers share the port unnoticed: bind without it first.
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        return _listening_socket(family, address)
    except OSError as error:
        raise LookalikeError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def _listening_socket(family: int, address: Any) -> socket.socket:
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it. Without it a response's body waits 40 ms for the acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    listener.listen(_BACKLOG)
    listener.set_inheritable(True)
    return listener


def run(config: ServerConfig) -> None:
    """Serve until a signal ends the process.

    Raises:
        LookalikeError: the address cannot be listened on.
    """
    processes = config.processes
    listener = listen(processes.host, processes.port)
    # One thread per native call: requests run in parallel already, and more threads would compete with each other.
    os.environ.setdefault("OMP_NUM_THREADS", str(processes.native_threads))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(processes.native_threads))
    configure_logging()
    sys.argv = sys.argv[:1]  # gunicorn would parse the flags of `lookalike serve`
    # `on_exit` removes it in the parent. A `with` block would remove it in every worker that ends, since a worker's
    # exit unwinds this function too.
    folder = Path(tempfile.mkdtemp(prefix="lookalike-server-"))
    for name in ("verified", "metrics"):
        (folder / name).mkdir()
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if processes.workers > 1:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder / "metrics")
    Server(config, listener, folder).run()


def configure_logging() -> None:
    """Log JSON lines to stderr, or readable lines if it is a terminal."""
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


# ── gunicorn's hooks ─────────────────────────────────────────────────────────────────────────────────────────────────


def _services(worker: Any) -> Services:
    from serving.services import services_of

    return services_of(worker.wsgi)


def _announce(server: Any) -> None:
    host, port = server.LISTENERS[0].sock.getsockname()[:2]
    print(f"Lookalike is listening on http://{host}:{port}/ (Ctrl-C ends it)", flush=True)


def _warm_up(worker: Any) -> None:
    """Wait until a new worker has loaded its release, so that a worker that replaces another fails no request.

    After a minute the worker starts anyway and answers 503 with the reason, which is more helpful than no answer.
    """
    services = _services(worker)
    for _ in range(_WARM_UP_SECONDS):
        if services.watcher.first_poll.wait(1):
            break
        worker.notify()  # or the parent would take the worker for hung and kill it
    # Modules and models live as long as the process. A full garbage collection that scans them would delay every
    # request for a quarter of a second.
    gc.collect()
    gc.freeze()
    worker.load_shedder = services.load_shedder
    if worker.cfg.workers > 1 and sys.platform == "linux":
        shared = worker.sockets[0]
        worker.sockets = [*worker.sockets, _listening_socket(shared.sock.family, shared.getsockname())]


def _ignore_further_interrupts(_worker: Any) -> None:
    """Let a worker that stops at once do so undisturbed.

    Ctrl-C reaches every process of the terminal, and then the parent signals its workers again: the second signal would
    interrupt `_shut_down` or skip it. The parent kills a worker that takes longer than gunicorn's grace period.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        # Not SIG_IGN: Python reports a signal that had arrived just before as "ignored due to race condition".
        signal.signal(number, lambda *_: None)


def _shut_down(_server: Any, worker: Any) -> None:
    """Write out a worker's events and close its release."""
    if getattr(worker, "wsgi", None) is not None:  # unset if the worker ended before it had loaded the app
        _services(worker).close()
    # Python's last garbage collection skips frozen objects. DuckDB's module is one of them, and its bindings print
    # hundreds of functions and types as leaked when they outlive the interpreter.
    gc.unfreeze()


def _remove_folder(server: Any) -> None:
    shutil.rmtree(server.app.folder, ignore_errors=True)


def _forget_metrics(_server: Any, worker: Any) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)
