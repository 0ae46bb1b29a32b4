"""A server on the loopback with the S3 API: moto, in threads of this process."""

import logging
import threading
from contextlib import contextmanager
from pathlib import PurePosixPath
from urllib.request import urlopen

from pyarrow import fs


class S3Server:
    """Its objects, and how often it fails.

    With `fail_every` = 10, each tenth request of an object is answered by 503 Slow Down.
    """

    def __init__(self, application):
        self._application, self._lock = application, threading.Lock()
        self.url = ""
        self.requests = self.failed = self.fail_every = 0

    def empty(self):
        """Go back to an empty bucket, and no failures."""
        self.fail_every = 0
        urlopen(f"{self.url}/moto-api/reset", data=b"").close()
        made, _ = fs.FileSystem.from_uri("s3://bucket?allow_bucket_creation=true")
        made.create_dir("bucket")
        self.requests = self.failed = 0

    def __call__(self, environment, start):
        with self._lock:
            self.requests += 1
            fails = bool(self.fail_every) and self.requests % self.fail_every == 0
            self.failed += fails
        if not fails:
            return self._application(environment, start)
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        start("503 Slow Down", [("Content-Type", "application/xml")])
        return [b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"]

    def add(self, file, uri):
        """Store a local file; returns its URI."""
        storage, path = fs.FileSystem.from_uri(f"{uri}/{file.name}")
        with storage.open_output_stream(path, compression=None) as out:
            out.write(file.read_bytes())
        return f"{uri}/{file.name}"

    def contents(self, uri):
        """Return the objects below a URI by their paths."""
        storage, home = fs.FileSystem.from_uri(uri)
        found = {}
        for info in storage.get_file_info(fs.FileSelector(home, recursive=True)):
            if info.type == fs.FileType.File:
                with storage.open_input_stream(info.path, compression=None) as stored:
                    found[PurePosixPath(info.path).relative_to(home)] = stored.read()
        return found


@contextmanager
def s3_server(set_variable):
    """Serve; `set_variable(name, value)` sets where, for this process and those begun later."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    s3 = S3Server(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, s3, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    set_variable("AWS_ENDPOINT_URL", url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        set_variable(name, "of-the-tests")
    set_variable("AWS_DEFAULT_REGION", "us-east-1")
    try:
        s3.url = url
        yield s3
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
