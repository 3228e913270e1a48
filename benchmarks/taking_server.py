# SPDX-License-Identifier: Apache-2.0
"""HTTP server that reads each request and answers 204: `python -m benchmarks.taking_server PORT`."""

import http.server
import sys


class Taking(http.server.BaseHTTPRequestHandler):
    """Accepts every request and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Taking).serve_forever()
