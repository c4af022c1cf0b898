"""Assertions for language models that most pipelines want. Each function makes and registers one.

from assertions import library
refuses = library.refusal(on=draft)
agrees = library.contradiction(on=verdict, entity=lambda v: v.entity, says=lambda v: {"capital": v.value})
"""

from assertions.library.agreement import confidence_without_agreement, contradiction
from assertions.library.shape import broken_json, length_anomaly, repetition
from assertions.library.source import prompt_leakage, uncited_evidence, unsupported_numbers
from assertions.library.wording import language_switch, refusal

__all__ = [
    "broken_json",
    "confidence_without_agreement",
    "contradiction",
    "language_switch",
    "length_anomaly",
    "prompt_leakage",
    "refusal",
    "repetition",
    "uncited_evidence",
    "unsupported_numbers",
]
