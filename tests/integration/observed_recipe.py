"""A recipe beside the observed pipeline."""

from __future__ import annotations

from tests.integration.learning.retrainer import recipe as recipe_of
from tests.integration.observed import PIPELINE

recipe = recipe_of(f"{PIPELINE}-doubt")
