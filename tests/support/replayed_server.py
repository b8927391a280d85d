"""A server without models for tests of the replayer: `python replayed_server.py WAY --port=… --rest_api_port=…`.

WAY is "serves", "fails" (ends at once), "half" (opens only the gRPC port) or "stays" (SIGTERM ends neither it nor its
child). REST has the status of one model, m; /die ends the process, /missing is not there, others count the requests.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Counts requests and answers in the forms of TensorFlow Serving."""

    asked = 0

    def do_GET(self) -> None:
        if self.path == "/die":
            os._exit(3)
        type(self).asked += 1
        state = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        content: object = {"model_version_status": [state]} if self.path == "/v1/models/m" else {"asked": self.asked}
        body = json.dumps(content).encode()
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    way, *flags = sys.argv[1:]
    ports = {name: int(port) for name, _, port in (flag.partition("=") for flag in flags) if name.endswith("port")}
    print("way:", way, flush=True)  # noqa: T201
    if way == "fails":
        print("Failed to start server. Error: no models", flush=True)  # noqa: T201
        raise SystemExit(255)
    with socket.create_server(("127.0.0.1", ports["--port"])):
        if way == "stays":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *flags])
        if way == "half":
            signal.pause()
        ThreadingHTTPServer(("127.0.0.1", ports["--rest_api_port"]), Handler).serve_forever()


main()
