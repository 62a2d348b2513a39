"""/healthz, /readyz and /metrics over HTTP, on a thread of their own; on this machine alone unless told otherwise."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serving.errors import ServingError
from serving.runtime.status import Metrics, Status

HOST = "127.0.0.1"


class PortTaken(ServingError):
    """The port for the endpoints cannot be listened on."""


class Endpoints:
    """Answers while the block runs. Port 0 takes a free one, which `port` then tells; PortTaken if it is not free.

    200 means yes and 503 no; the body says why, as JSON.
    """

    def __init__(self, status: Status, metrics: Metrics, port: int, host: str = HOST) -> None:
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(status, metrics))
        except OSError as error:
            raise PortTaken(
                f"{host}:{port} cannot be listened on ({error.strerror}); name another health_port, or 0 for none."
            ) from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoints", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(status: Status, metrics: Metrics) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # s: a client that says nothing does not hold a thread

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry))
            elif path in ("/healthz", "/readyz"):
                problems = status.unhealthy() if path == "/healthz" else status.unready()
                body = {**status.as_dict(), "problems": problems}
                self._answer(503 if problems else 200, "application/json", json.dumps(body).encode())
            else:
                self._answer(404, "text/plain", b"/healthz, /readyz or /metrics\n")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds: no line for each."""

    return Handler
