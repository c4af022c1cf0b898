"""Registries of their own, so that tests never meet in the global one."""

from __future__ import annotations

import pytest

from assertions import Registry


@pytest.fixture
def registry() -> Registry:
    return Registry()
