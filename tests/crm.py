"""A CRM on this machine that hot leads are posted to."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Crm:
    """A receiver that answers by lead: a list of status codes, the last of which stays."""

    answers: dict[str, list[int]] = field(default_factory=dict)
    seen: list[tuple[str, dict, dict]] = field(default_factory=list)
    url: str = ""
    retry_after: str = "0"
    said: bytes = b""
    connections: int = 0

    def answer(self, headers: dict, body: dict) -> int:
        """Note a request; the code that it is answered with."""
        key = headers["Idempotency-Key"]
        said = self.answers.get(key, [200])
        count = self.keys()[key]
        self.seen.append((key, headers, body))
        return said[min(count, len(said) - 1)]

    def keys(self) -> Counter:
        """How often each key has come."""
        return Counter(key for key, _, _ in self.seen)


@contextmanager
def receiving() -> Iterator[Crm]:
    """A receiver that listens until the end of the block."""
    receiver = Crm()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            receiver.connections += 1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(receiver.answer(dict(self.headers), body))
            self.send_header("Retry-After", receiver.retry_after)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(receiver.said)))
            self.end_headers()
            self.wfile.write(receiver.said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/leads"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
