"""``/metrics``, ``/healthz`` and ``/readyz`` of a worker, on prometheus-client's own WSGI application."""

from __future__ import annotations

import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from schemas.errors import ConnectionProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a request: a half-read scrape must not hold up a health check."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing of each scrape."""


class HealthServer:
    """Serves until ``close``. ``problem`` returns why the worker is not ready, empty when it is."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, problem: Callable[[], str]) -> None:
        """Listen; port 0 takes a free one (``port`` tells which). Raises ConnectionProblem when it is taken."""
        metrics = make_wsgi_app(registry)

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "/")
            if path == "/metrics":
                answer: Iterable[bytes] = metrics(environ, start_response)
                return answer
            status, text = {"/healthz": ("200 OK", "ok"), "/readyz": ("200 OK", "ready")}.get(
                path, ("404 Not Found", "look at /metrics, /healthz or /readyz")
            )
            if path == "/readyz" and problem():
                status, text = "503 Service Unavailable", problem()
            start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
            return [text.encode() + b"\n"]

        try:
            self._server = make_server(host, port, application, server_class=_Server, handler_class=_Silent)
        except OSError as error:
            what = f"cannot listen on {host}:{port} ({error.strerror})"
            raise ConnectionProblem(what, "set http.port in monitor.yaml to a free port") from error
        self.port: int = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
