"""A model server that tells what it got and does what the test says.

Answers are JSON: {"server", "method", "path", "headers", "length", "sha256"}. The request header
`x-do` asks for something else:

    close    the connection ends without an answer
    silent   nothing, until the client goes away
    stream   server-sent events, one for each call of step(), until end() or cut()
    wait     an answer like any other, after end()
"""
import hashlib
import http.server
import json
import queue
import threading


class EchoServer:
    def __init__(self, name, address=("127.0.0.1", 0)):
        self.name = name
        self.requests = []  # (path, headers, body)
        self.trailers = []  # behind chunked bodies, line by line
        self.healthy = True
        self.gone = threading.Event()  # a client went away from a silent or streaming request
        self._pieces = queue.Queue()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path == "/health":
                    self._send(200 if outer.healthy else 500, b"")
                else:
                    self.do_POST()

            def do_POST(self):
                body = self._body()
                outer.requests.append((self.path, dict(self.headers), body))
                do = self.headers.get("x-do")
                if do == "close":
                    self.close_connection = True
                elif do == "silent":
                    try:
                        self.rfile.read(1)
                    except OSError:
                        pass
                    self.close_connection = True
                    outer.gone.set()
                elif do == "stream":
                    self._stream()
                elif do == "wait":
                    outer._pieces.get(timeout=60)
                    self._send(200, b"{}")
                else:
                    told = {
                        "server": outer.name,
                        "method": self.command,
                        "path": self.path,
                        "headers": {k.lower(): v for k, v in self.headers.items()},
                        "length": len(body),
                        "sha256": hashlib.sha256(body).hexdigest(),
                    }
                    self._send(200, json.dumps(told).encode())

            def _body(self):
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                outer.trailers.append([])
                while line := self.rfile.readline().strip():
                    outer.trailers[-1].append(line)
                return b"".join(parts)

            def _send(self, status, body):
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _stream(self):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self.close_connection = True
                try:
                    while (piece := outer._pieces.get(timeout=60)) is not None:
                        if piece == b"":
                            return  # cut: no last chunk
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:
                    outer.gone.set()

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                pass

        self._server = Server(address, Handler)
        self.port = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def step(self, piece=b"data: {}\n\n"):
        self._pieces.put(piece)

    def end(self):
        self._pieces.put(None)

    def cut(self):
        self._pieces.put(b"")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
