"""A real server that speaks S3 (S3Proxy, over a folder), as a child process; its jars come from Maven, once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from streams.broker.jars import cache_folder
from streams.broker.java import find_java, find_maven
from streams.broker.ports import free_port

START_SECONDS: Final = 60.0
FETCH_SECONDS: Final = 600.0


@dataclass(frozen=True)
class Server:
    endpoint: str
    folder: Path
    """Of buckets, each a folder of its objects."""
    identity: str = "tester"
    credential: str = "the testers secret"

    @property
    def variables(self) -> dict[str, str]:
        """What every S3 client reads."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.identity,
            "AWS_SECRET_ACCESS_KEY": self.credential,
        }


def jars() -> Path:
    """Fetched into another folder and renamed: what is there is complete."""
    with as_file(files("tests.s3") / "pom.xml") as pom:
        digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:8]
        folder = cache_folder() / f"s3-for-tests-{digest}"
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            own = shutil.copy(pom, temporary)
            command = [find_maven(), "-q", "-B", "-f", own, "dependency:copy-dependencies"]
            found = Path(temporary, "jars")
            subprocess.run([*command, f"-DoutputDirectory={found}"], check=True, timeout=FETCH_SECONDS)
            if not folder.is_dir():  # another process may have been sooner
                found.rename(folder)
        return folder


@contextmanager
def s3_server(folder: Path) -> Iterator[Server]:
    """Buckets are the folders below `folder`."""
    server = Server(f"http://127.0.0.1:{free_port()}", folder)
    with tempfile.TemporaryDirectory() as own, as_file(files("tests.s3") / "logback.xml") as logback:
        settings = Path(own, "s3proxy.properties")
        settings.write_text(
            f"s3proxy.endpoint={server.endpoint}\n"
            "s3proxy.authorization=aws-v2-or-v4\n"
            f"s3proxy.identity={server.identity}\n"
            f"s3proxy.credential={server.credential}\n"
            "jclouds.provider=filesystem-nio2\n"
            "jclouds.identity=none\n"
            "jclouds.credential=none\n"
            f"jclouds.filesystem.basedir={folder}\n"
        )
        command = [find_java().path, "-Xmx128m", f"-Dlogback.configurationFile={logback}", "-cp", f"{jars()}{os.sep}*"]
        said = Path(own, "said")
        with said.open("wb") as log:
            process = subprocess.Popen(
                [*command, "org.gaul.s3proxy.Main", "--properties", str(settings)], stdout=log, stderr=log
            )
        try:
            _until_answers(server.endpoint, process, said)
            yield server
        finally:
            process.kill()
            process.wait()


def _until_answers(endpoint: str, process: subprocess.Popen[bytes], said: Path) -> None:
    ends_at = time.monotonic() + START_SECONDS
    while time.monotonic() < ends_at:
        try:
            urllib.request.urlopen(endpoint, timeout=2).close()  # noqa: S310 our own child
        except urllib.error.HTTPError:
            return  # it refuses who does not say who asks
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the S3 server does not answer: {said.read_text(errors='replace')[-500:]}")
