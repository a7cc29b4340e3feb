"""What stands between us and a tracker: slow, and now and then it loses an answer."""

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Fault = Callable[[str, int], str | int]
"""Path of a call, how often it was called before -> `lost` (done, no answer), `cut` (neither done),
a status in place of the answer, or an empty word."""


class TrackingProxy:
    """`with proxy:` forwards all calls to the port of a server, `delay` seconds late."""

    def __init__(
        self, port: int, *, delay: float = 0.0, fault: Fault = lambda path, num: ""
    ) -> None:
        self.delay, self.fault = delay, fault
        self.calls: list[str] = []
        lock, proxy = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = self.path.partition("?")[0]
                with lock:
                    count = proxy.calls.count(path)
                    proxy.calls.append(path)
                time.sleep(proxy.delay)
                fault = proxy.fault(path, count)
                self.close_connection = True
                if fault == "cut":
                    return
                if isinstance(fault, int):
                    self.answer(fault, b'{"error_code": "INTERNAL_ERROR", "message": "ill"}')
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                upstream.request(
                    self.command,
                    self.path,
                    body,
                    {"Content-Type": self.headers.get("Content-Type", "application/json")},
                )
                found = upstream.getresponse()
                content = found.read()
                upstream.close()
                if fault != "lost":
                    self.answer(found.status, content)

            def answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", "application/json")
                self.send_header("Connection", "close")
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
