"""A server on the loopback with the part of the Hugging Face hub's HTTP API that models need.

Repositories are dicts of bytes by file name, by revision. Weights are redirected to another
address, as large files of the hub are. Commits of `huggingface_hub` are stored. Xet transfers are
not supported.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"
LARGE = (".safetensors", ".bin")


@dataclass
class Repository:
    """Files by revision; ``main`` is the default one."""

    revisions: dict[str, dict[str, bytes]]
    gated: bool = False
    private: bool = False

    def files(self, revision):
        for name, files in self.revisions.items():
            if revision in (name, commit_of(name)):
                return files
        return None

    def commit(self, revision):
        return next(commit_of(n) for n in self.revisions if revision in (n, commit_of(n)))


def commit_of(revision):
    return hashlib.sha1(revision.encode()).hexdigest()


@dataclass
class HubServer:
    """What the server holds, and what it was asked.

    `faults` are taken from the front, one a request that a fault applies to: "429", "500", "close"
    (no answer), "half" (half of a file, then the connection is closed).
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)  # gated repositories that TOKEN may read
    faults: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    uploaded: dict[str, bytes] = field(default_factory=dict)

    def add(self, name, folder, revision="main", **rules):
        """Hold the files of a folder as a revision of a repository."""
        files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        self.repositories.setdefault(name, Repository({}, **rules)).revisions[revision] = files

    @property
    def url_of_large_files(self):
        """Another host for the client, as with the hub."""
        return self.url.replace("127.0.0.1", "localhost")

    def gets(self, ending=""):
        return [path for method, path, _ in self.requests if method == "GET" and ending in path]


@contextmanager
def hub_server():
    """Serve an empty hub; yields its `HubServer`."""
    hub = HubServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._read()

    def do_GET(self):
        self._read()

    def do_POST(self):
        self._write()

    def do_PUT(self):
        self._write()

    def _begin(self):
        """Note the request; returns its path and fault, or no path if the fault has answered."""
        path = urlsplit(self.path).path.strip("/")
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        faults = self.hub.faults
        if not faults or (faults[0] == "half" and self.command != "GET"):
            return path, None
        fault = faults.pop(0)
        if fault == "half":
            return path, fault
        if fault == "close":
            self.close_connection = True
        else:
            self._answer(int(fault), headers={"Retry-After": "0"})
        return None, fault

    def _read(self):
        path, fault = self._begin()
        if path is None:
            return
        if path == "api/whoami-v2":
            return self._json({"name": "tester", "type": "user", "orgs": [], "auth": {}})
        if path.startswith("large/"):
            found = [
                blob
                for repository in self.hub.repositories.values()
                for files in repository.revisions.values()
                for blob in files.values()
                if hashlib.sha256(blob).hexdigest() == path.removeprefix("large/")
            ]
            return self._send(found[0], {}, fault)
        is_api = path.startswith("api/models/")
        parts = [unquote(part) for part in path.removeprefix("api/models/").split("/")]
        owner, name, kind, revision = [*parts[:4], *["", "main"][len(parts) - 2 :]]
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if self._refused(repository, f"{owner}/{name}"):
            return None
        files = repository.files(revision)
        if files is None:
            return self._answer(404, error="RevisionNotFound")
        commit = repository.commit(revision)
        if not is_api:
            return self._file(files, "/".join(parts[4:]), commit, fault)
        if kind == "tree":
            return self._json([self._entry(*item) for item in files.items()])
        return self._json(
            {"id": f"{owner}/{name}", "sha": commit, "siblings": [{"rfilename": n} for n in files]}
        )

    def _refused(self, repository, name):
        authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not authorised):
            # Whether a private repository exists is not revealed.
            self._answer(404 if authorised else 401, error="RepoNotFound")
            return True
        if repository.gated and not authorised:
            self._answer(401, error="GatedRepo")
            return True
        if repository.gated and name not in self.hub.accepted:
            self._answer(403, error="GatedRepo")
            return True
        return False

    def _file(self, files, name, commit, fault):
        if name not in files:
            return self._answer(404, {"X-Repo-Commit": commit}, error="EntryNotFound")
        blob = files[name]
        digest = hashlib.sha256(blob).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest}"'}
        if name.endswith(LARGE):
            headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(blob))}
            return self._answer(
                302, headers | {"Location": f"{self.hub.url_of_large_files}/large/{digest}"}
            )
        return self._send(blob, headers, fault)

    def _send(self, blob, headers, fault):
        """Send a file, or what a Range requests of it."""
        first, status = 0, 200
        if wanted := self.headers.get("Range"):
            first = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers = headers | {"Content-Range": f"bytes {first}-{len(blob) - 1}/{len(blob)}"}
            status = 206
        part = blob[first:]
        self._head(status, headers | {"Content-Length": str(len(part)), "Accept-Ranges": "bytes"})
        if self.command == "HEAD":
            return
        if fault == "half":
            part, self.close_connection = part[: len(part) // 2], True
        self.wfile.write(part)

    @staticmethod
    def _entry(name, blob):
        digest = hashlib.sha256(blob).hexdigest()
        entry = {"type": "file", "path": name, "size": len(blob), "oid": digest[:40]}
        if name.endswith(LARGE):
            entry["lfs"] = {"oid": digest, "size": len(blob), "pointerSize": 130}
        return entry

    def _write(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _ = self._begin()
        if path is None:
            return None
        if path.startswith("upload/"):
            self.hub.uploaded[path.removeprefix("upload/")] = body
            return self._answer(200)
        if path == "api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401)
        if path == "api/repos/create":
            request = json.loads(body)
            name = f"{request.get('organization') or 'tester'}/{request['name']}"
            # The former is of versions below 2.
            private = request.get("private") or request.get("visibility") == "private"
            exists = name in self.hub.repositories
            self.hub.repositories.setdefault(name, Repository({"main": {}}, private=private))
            return self._json({"url": f"{self.hub.url}/{name}"}, 409 if exists else 200)
        if path.endswith("info/lfs/objects/batch"):
            return self._json(
                {
                    "transfer": "basic",
                    "objects": [
                        {
                            **item,
                            "actions": {"upload": {"href": f"{self.hub.url}/upload/{item['oid']}"}},
                        }
                        for item in json.loads(body)["objects"]
                    ],
                }
            )
        owner, name, action, revision = path.removeprefix("api/models/").split("/")
        if action == "preupload":
            modes = [
                {"path": item["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if item["path"].endswith(LARGE) else "regular"}
                for item in json.loads(body)["files"]
            ]  # fmt: skip
            return self._json({"files": modes})
        return self._commit(f"{owner}/{name}", body, revision)

    def _commit(self, name, body, revision):
        files = self.hub.repositories[name].revisions[revision]
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
        commit = commit_of(revision)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        return self._json({"commitUrl": url, "commitOid": commit})

    def _json(self, value, status=200):
        body = json.dumps(value).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer(self, status, headers=(), error=None):
        named = {"X-Error-Code": error} if error else {}
        self._head(status, {**dict(headers), **named, "Content-Length": "0"})

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
