"""Kafka's jars: fetched once by Maven, kept in the user's cache, shared by every broker on the machine."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from streams.broker.java import find_maven
from streams.broker.settings import KAFKA_VERSION
from streams.errors import ConfigError

Progress = Callable[[str], None]

# About 43 MB: 6 s from a near mirror, minutes over a poor line. Whoever waits longer than this waits for nothing.
FETCH_SECONDS_MAX = 900.0

LOCK_POLL_SECONDS = 0.2

_DOWNLOADED = re.compile(r"Downloaded from \S+ \S*/(?P<file>[^/\s]+\.jar) \((?P<size>[\d.]+ \w+)")


def cache_folder() -> Path:
    """Where we keep what can be fetched again: XDG_CACHE_HOME/descant."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "descant"


def kafka_jars(on_progress: Progress) -> Path:
    """The folder with Kafka's jars, fetched first if they are not there.

    Processes that ask at once wait for the one that fetches. A folder that exists is complete: it is filled under
    another name and renamed. Its name holds a digest of the pom, so a newer Descant fetches its own.

    Raises ConfigError: broker.maven_missing, broker.jars (cannot be fetched or kept; the sentence says why).
    """
    pom = files("streams.broker") / "pom.xml"
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:8]
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}-{digest}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_name(folder.name + ".lock"), on_progress), as_file(pom) as pom_path:
            if not folder.is_dir():
                _fetch(pom_path, folder, on_progress)
    except OSError as error:
        raise ConfigError(
            f"Kafka's jars cannot be kept under {folder.parent}: {error.strerror}. "
            "Make room there or set XDG_CACHE_HOME to a folder that can be written to.",
            code="broker.jars",
        ) from error
    return folder


def _fetch(pom: Path, folder: Path, on_progress: Progress) -> None:
    maven = find_maven()
    on_progress(f"fetching Apache Kafka {KAFKA_VERSION} with Maven (43 MB, once)")
    with tempfile.TemporaryDirectory(prefix=folder.name + ".", dir=folder.parent) as temporary:
        # Maven is given a copy: it must not find, or write, anything beside the pom in the installed package.
        own_pom = Path(shutil.copy(pom, temporary))
        jars = Path(temporary, "jars")
        # fmt: off
        command = [maven, "--batch-mode", "-Dstyle.color=never", "--file", str(own_pom),
                   "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        # fmt: on
        said = _run_maven(command, on_progress)
        if not list(jars.glob("kafka_*.jar")):
            raise ConfigError(
                f"Maven could not fetch Apache Kafka {KAFKA_VERSION}: {_reason(said)} "
                f"Check the network and Maven's settings, then try again; `mvn -f {pom} dependency:copy-dependencies` "
                "shows all of what it says. To use a Kafka that already runs, give --bootstrap or set "
                "KAFKA_BOOTSTRAP_SERVERS.",
                code="broker.jars",
            )
        jars.rename(folder)
    on_progress(f"Apache Kafka {KAFKA_VERSION} is in {folder}")


def _run_maven(command: list[str], on_progress: Progress) -> list[str]:
    """Run Maven to its end, or to the time limit; returns its last lines."""
    said: deque[str] = deque(maxlen=200)
    fetched = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as maven:
        limit = threading.Timer(FETCH_SECONDS_MAX, maven.kill)
        limit.start()
        try:
            for line in maven.stdout or ():
                said.append(line.rstrip())
                if jar := _DOWNLOADED.search(line):
                    fetched += 1
                    on_progress(f"fetched {jar['file']} ({jar['size']}), {fetched} so far")
        except BaseException:
            maven.kill()
            raise
        finally:
            limit.cancel()
    return list(said)


def _reason(said: list[str]) -> str:
    errors = [line.removeprefix("[ERROR]").strip() for line in said if line.startswith("[ERROR]")]
    return next((error for error in errors if error), "it ended without an error and without the jars")[:300]


@contextmanager
def _lock(path: Path, on_progress: Progress) -> Iterator[None]:
    """Hold `path` alone among all processes of this machine; the lock goes with the process, however it ends."""
    with path.open("w") as held:
        ends_at = time.monotonic() + FETCH_SECONDS_MAX
        waited = False
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends_at:
                    raise ConfigError(
                        f"another process has been fetching Kafka's jars for {FETCH_SECONDS_MAX:.0f} s "
                        f"(it holds {path}). End it and try again.",
                        code="broker.jars",
                    ) from None
                if not waited:
                    on_progress("another process is fetching Apache Kafka; waiting for it")
                    waited = True
                time.sleep(LOCK_POLL_SECONDS)
        yield
