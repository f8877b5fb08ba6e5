"""A small server on this machine that answers like the hub: which commit, which files, and the files themselves."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"


def commit(name: str) -> str:
    """The commit of a repository's main branch: 40 hexadecimal digits."""
    return hashlib.sha1(name.encode()).hexdigest()


@contextmanager
def hub(repositories: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve folders as repositories, ``owner/name`` -> folder.

    Yields:
        the address, for ``HF_ENDPOINT``, and a list that grows with the path of every file that was sent.
    """
    sent: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            if parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in repositories:
                self._describe("/".join(parts[2:4]), parts[4:])
            elif "/".join(parts[:2]) in repositories and parts[2:3] == ["resolve"]:
                self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body)
            else:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def _describe(self, name: str, rest: list[str]) -> None:
            if rest[:1] == ["revision"] and rest[1] not in ("main", "v1", commit(name)):
                self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            files = [path for path in sorted(repositories[name].rglob("*")) if path.is_file()]
            names = [str(path.relative_to(repositories[name])) for path in files]
            if rest[:1] == ["tree"]:
                answer: object = [
                    {"type": "file", "path": name, "size": path.stat().st_size, "oid": _etag(path)}
                    for name, path in zip(names, files, strict=True)
                ]
            else:
                answer = {"id": name, "sha": commit(name), "siblings": [{"rfilename": name} for name in names]}
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _file(self, name: str, revision: str, file: str, body: bool) -> None:
            path = repositories[name] / file
            if not path.is_file():
                self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit(name)})
                return
            if body:
                sent.append(f"{name}/{file}")
            self._send(200, path.read_bytes(), {"ETag": f'"{_etag(path)}"', "X-Repo-Commit": commit(name)}, body)

        def _send(self, code: int, content: bytes, headers: Mapping[str, str], body: bool = True) -> None:
            self.send_response(code)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body and self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the tests look at what was sent."""

    server = ThreadingHTTPServer((HOST, 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
