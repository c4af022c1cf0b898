"""The files that the images install from: by hash, from nowhere in particular, and in agreement with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINS = ROOT / "deploy" / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    file: extras.split() for file, extras in re.findall(r"^pin (\S+) (.+)$", (ROOT / "deploy/pin.sh").read_text(), re.M)
}


def pinned(file: str) -> dict[str, str]:
    lines = (PINS / f"{file}.txt").read_text().splitlines()
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)( ; .+)? \\", line) for line in lines if not line.startswith(" ")]
    assert all(found), "every line is a version, and hashes follow"
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def required(extras: list[str]) -> Iterator[Requirement]:
    yield from map(Requirement, PROJECT["dependencies"])
    for extra in extras:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
            if requirement.name == "descant":
                yield from required(sorted(requirement.extras))
            else:
                yield requirement


@pytest.mark.parametrize("file", EXTRAS)
def test_pins_are_what_the_project_asks_for(file: str) -> None:
    versions = pinned(file)
    for requirement in required(EXTRAS[file]):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is missing: run deploy/pin.sh"
        assert requirement.specifier.contains(version), f"{requirement} is not met by {version}: run deploy/pin.sh"


@pytest.mark.parametrize("file", EXTRAS)
def test_every_pin_has_hashes_and_no_address(file: str) -> None:
    text = (PINS / f"{file}.txt").read_text()
    assert "://" not in text
    assert "--index" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block[:60]


def test_the_images_install_these_and_nothing_else() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    used = set(re.findall(r"--require-hashes --requirements deploy/requirements/([\w-]+)\.txt", dockerfile))
    assert used == set(EXTRAS) == {path.stem for path in PINS.glob("*.txt")}
    assert "pyproject.toml --extra" not in dockerfile
