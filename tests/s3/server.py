"""A real server that speaks S3, as a child process: S3Proxy, which keeps objects in a folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.broker.jars import FETCH_SECONDS_MAX, cache_folder
from streams.broker.java import find_java, find_maven
from streams.broker.ports import free_port, is_listening

HERE: Final = Path(__file__).parent
READY_SECONDS_MAX: Final = 60.0
KEY, SECRET = "tester", "a-secret"


class S3Server:
    """Buckets are folders of `root`."""

    def __init__(self, folder: Path) -> None:
        self.root: Final = folder / "buckets"
        self.root.mkdir()
        self.port: Final = free_port()
        self._folder: Final = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it. The machine's own role is looked for where nobody answers."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_METADATA_ENDPOINT": "http://127.0.0.1:1",
        }

    def make_bucket(self, name: str) -> Path:
        (self.root / name).mkdir()
        return self.root / name

    def start(self) -> None:
        settings = self._folder / "s3proxy.conf"
        settings.write_text(
            f"s3proxy.authorization=aws-v2-or-v4\ns3proxy.endpoint=http://127.0.0.1:{self.port}\n"
            f"s3proxy.identity={KEY}\ns3proxy.credential={SECRET}\n"
            f"jclouds.provider=filesystem-nio2\njclouds.filesystem.basedir={self.root}\n"
        )
        command = [
            find_java().path, "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dlogback.configurationFile={HERE / 'logback.xml'}", "-cp", f"{_jars()}/*",
            "org.gaul.s3proxy.Main", "--properties", str(settings),
        ]  # fmt: skip
        log = self._folder / "s3proxy.log"
        with log.open("ab") as said:
            self._process = subprocess.Popen(command, stdout=said, stderr=said)
        ends_at = time.monotonic() + READY_SECONDS_MAX
        while not is_listening(self.port):
            assert self._process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < ends_at, log.read_text()[-2000:]
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def s3_server() -> Iterator[S3Server]:
    with tempfile.TemporaryDirectory(prefix="descant-s3-") as folder:
        server = S3Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _jars() -> Path:
    """Fetched once (28 MB). A folder that exists is complete: it is filled under another name."""
    digest = hashlib.sha256((HERE / "pom.xml").read_bytes()).hexdigest()[:8]
    folder = cache_folder() / f"s3-for-tests-{digest}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=folder.name + ".", dir=folder.parent) as temporary:
            shutil.copy(HERE / "pom.xml", temporary)
            command = [
                find_maven(), "--batch-mode", "-q", "--file", f"{temporary}/pom.xml", "dependency:copy-dependencies",
                f"-DoutputDirectory={temporary}/jars",
            ]  # fmt: skip
            subprocess.run(command, check=True, timeout=FETCH_SECONDS_MAX)
            try:
                Path(temporary, "jars").rename(folder)
            except OSError:
                assert folder.is_dir()  # another process was quicker
    return folder
