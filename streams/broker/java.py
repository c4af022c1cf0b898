"""The Java runtime that runs Kafka, and the Maven that fetches it."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from streams.errors import ConfigError

JAVA_MIN = 17
"""Kafka 4 brokers do not start on less."""

INSTALL_JAVA = (
    "Install JDK 17 or newer (Debian and Ubuntu: apt install openjdk-17-jdk-headless; macOS: brew install openjdk@17) "
    "or set JAVA_HOME to one. To use a Kafka that already runs, give --bootstrap or set KAFKA_BOOTSTRAP_SERVERS."
)
INSTALL_MAVEN = (
    "Install Maven (Debian and Ubuntu: apt install maven; macOS: brew install maven); it is needed once. "
    "To use a Kafka that already runs, give --bootstrap or set KAFKA_BOOTSTRAP_SERVERS."
)


class Java(NamedTuple):
    """A Java runtime that can run the broker."""

    path: str
    build: str
    """What `-version` says: names the very build, whose class archives no other build can use."""

    @property
    def can_archive_classes(self) -> bool:
        """Whether it has the archive of its own classes that ours builds on; a runtime made by jlink has none."""
        return "sharing" in self.build


def has_java() -> bool:
    """Whether there is a Java at all; says nothing of its version."""
    return _java_path() is not None


def find_java() -> Java:
    """A `java` that can run the broker: JAVA_HOME's, else the first on PATH.

    Raises ConfigError: broker.java_missing, broker.java_too_old, broker.java_broken.
    """
    path = _java_path()
    if path is None:
        raise ConfigError(f"Kafka needs Java, and no java was found. {INSTALL_JAVA}", code="broker.java_missing")
    try:
        shown = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{path} cannot be run: {error}. {INSTALL_JAVA}", code="broker.java_broken") from error
    said = shown.stderr + shown.stdout
    version = java_version(said)
    if shown.returncode or version is None:
        first = next(iter(said.strip().splitlines()), f"exit status {shown.returncode}")
        raise ConfigError(f"{path} -version fails: {first}. {INSTALL_JAVA}", code="broker.java_broken")
    if version < JAVA_MIN:
        raise ConfigError(
            f"{path} is Java {version}, and Kafka needs {JAVA_MIN} or newer. {INSTALL_JAVA}",
            code="broker.java_too_old",
        )
    return Java(path, said)


def java_version(said: str) -> int | None:
    """The feature release in what `java -version` says ("1.8.0_402" is 8), or None if it says none."""
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else None


def find_maven() -> str:
    """The path of `mvn`. Raises ConfigError, broker.maven_missing."""
    path = shutil.which("mvn")
    if path is None:
        raise ConfigError(
            f"Kafka's jars are not in the cache yet, and no mvn was found to fetch them. {INSTALL_MAVEN}",
            code="broker.maven_missing",
        )
    return path


def _java_path() -> str | None:
    home = os.environ.get("JAVA_HOME")
    if home and os.access(in_home := Path(home, "bin", "java"), os.X_OK):
        return str(in_home)
    return shutil.which("java")
