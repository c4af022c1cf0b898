"""Every metric that Descant's processes export: names, units and meaning in one place.

A process serves them with `--metrics`; docs/metrics.md is written from this module by `descant docs metrics`.
Labels never hold request ids, keys or anything else that a client chooses.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics import MetricWrapperBase

from streams.errors import ConfigError

SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LONG: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)

# -- consumer groups: every stage, ingress, the closer, the workers of a model ---------------------------------------

RECORDS: Final = Counter("descant_records_read", "Records that members of the group have read.", ["group"])
SLOTS: Final = Gauge("descant_slots_owned", "Slots (partition i of all inputs) that this process owns.", ["group"])
TAKEOVER_SECONDS: Final = Histogram(
    "descant_takeover_seconds",
    "From the assignment of a slot until it has replayed what its last owner left.",
    ["group"],
    buckets=LONG,
)

# -- requests ---------------------------------------------------------------------------------------------------------

ACCEPTED: Final = Counter(
    "descant_requests_accepted",
    "Records that ingress wrote to `accepted`, by kind: item, error (it was no valid request) or cancel.",
    ["pipeline", "kind"],
)
WAITING: Final = Gauge(
    "descant_requests_waiting", "Requests read by this ingress that wait for room in the pipeline.", ["pipeline"]
)
OPEN: Final = Gauge("descant_requests_open", "Requests without an answer, at this closer.", ["pipeline"])
CLOSED: Final = Counter(
    "descant_requests_closed",
    "Requests that ended, by reason: answered, error, failed, cancelled, deadline, duplicate.",
    ["pipeline", "reason"],
)
ANSWER_SECONDS: Final = Histogram(
    "descant_answer_seconds", "From a request's acceptance until its answer is committed.", ["pipeline"], buckets=LONG
)
TRANSACTION_SECONDS: Final = Histogram(
    "descant_transaction_seconds", "The closer's transactions: answers, control and offsets.", ["pipeline"],
    buckets=SHORT,
)  # fmt: skip
DEAD_LETTERS: Final = Counter(
    "descant_dead_letters", "Records that could not be used, by reason.", ["pipeline", "reason"]
)

# -- stages -----------------------------------------------------------------------------------------------------------

RUNS: Final = Counter(
    "descant_runs",
    "Executions of a stage's function, by outcome: done, failed (it raised, or took too long) or stopped (superseded, "
    "or its request ended).",
    ["pipeline", "stage", "outcome"],
)
RUN_SECONDS: Final = Histogram(
    "descant_run_seconds",
    "Duration of a stage's function, waiting for its inputs included; plain functions over plain values are not timed.",
    ["pipeline", "stage"],
    buckets=(*SHORT, 30, 60),
)

# -- models -----------------------------------------------------------------------------------------------------------

PROMPTS: Final = Counter(
    "descant_prompts",
    "Prompts that this worker is done with, by outcome: done, refused (too long, bad options) or stopped.",
    ["model", "outcome"],
)
PROMPTS_WAITING: Final = Gauge("descant_prompts_waiting", "Prompts of this worker without a first token.", ["model"])
PROMPTS_RUNNING: Final = Gauge("descant_prompts_running", "Prompts whose text is being generated.", ["model"])
ROUTED: Final = Counter(
    "descant_prompts_routed",
    "Prompts that this process sent to a lane, by what decided: wait, prefix, decode, others (who decode there), tie, "
    "only (one worker), no_worker; rule where the policy is not the default one.",
    ["model", "reason"],
)
TOKENS: Final = Counter("descant_tokens_generated", "Tokens that this worker's engine gave.", ["model"])
RESUMED: Final = Counter(
    "descant_tokens_resumed", "Tokens of texts that were continued, instead of generated again.", ["model"]
)
FIRST_TOKEN_SECONDS: Final = Histogram(
    "descant_first_token_seconds",
    "From the moment that a worker takes a prompt up until its first token.",
    ["model"],
    buckets=SHORT,
)

PROMPT_TOKENS: Final = Counter(
    "descant_prompt_tokens",
    "Tokens of prompts that got a first token: cached (found in the prefix cache) or computed.",
    ["model", "source"],
)
KV_BLOCKS: Final = Gauge(
    "descant_kv_blocks", "Blocks of the engine's KV cache, by state: used or free; where the engine says.",
    ["model", "state"],
)  # fmt: skip

# -- assertions: each process that judges, and the one of a group that reads the pipelines ----------------------------

ASSERTION_EVALUATED: Final = Counter(
    "descant_assertion_evaluated",
    "Examples that this process gave the assertion; one that is judged again because its window changed counts again.",
    ["assertion"],
)
ASSERTION_ABSTAINED: Final = Counter(
    "descant_assertion_abstained", "Of these, those that it could not judge, and said so.", ["assertion"]
)
ASSERTION_FIRED: Final = Counter("descant_assertion_fired", "Of these, those that it found wrong.", ["assertion"])
ASSERTION_ERRORS: Final = Counter(
    "descant_assertion_errors",
    "Of these, those that broke the assertion: raised, timed_out, or refused (what it returned is no severity).",
    ["assertion", "fault"],
)
ASSERTION_LATE: Final = Counter(
    "descant_assertion_late", "Examples left out because they came later than the assertion allows.", ["assertion"]
)
ASSERTION_SECONDS: Final = Gauge(
    "descant_assertion_seconds",
    "Duration of one call, quantiles since the process began to judge a partition; the slowest partition's.",
    ["assertion", "quantile"],
)
ASSERTION_SEVERITY: Final = Gauge(
    "descant_assertion_severity",
    "Severities found, quantiles since the process began to judge a partition; the highest partition's.",
    ["assertion", "quantile"],
)
ASSERTION_STATE: Final = Gauge(
    "descant_assertion_state",
    "1 for the state that the assertion is in: untried, healthy, silent (1,000 examples and never fired), failing "
    "(recent examples broke it) or broken (most of them did, or it hung and is no longer called).",
    ["assertion", "state"],
)
FLAGS: Final = Counter(
    "descant_flags", "Records written to `assertions.flags`: provisional, standing, withdrawn.", ["assertion", "state"]
)
FLAG_SECONDS: Final = Histogram(
    "descant_flag_seconds",
    "From an example's time on its topic until its flag is handed to Kafka, at its first writing.",
    ["assertion"],
    buckets=SHORT,
)
ENFORCED: Final = Counter(
    "descant_enforced", "Decisions of assertions that enforce, by decision.", ["assertion", "decision"]
)
INTAKE_OPEN: Final = Gauge("descant_intake_open_requests", "Requests that the intake holds.", ["pipeline"])
INTAKE_BEHIND_SECONDS: Final = Gauge(
    "descant_intake_behind_seconds",
    "Age of what the intake has read of the partition that is furthest back; 0 at the ends.",
    ["group"],
)
INTAKE_UNREADABLE: Final = Counter(
    "descant_intake_unreadable",
    "Records of the pipelines that cannot be judged: not whole, no JSON, or too large.",
    ["group"],
)

# -- learning ---------------------------------------------------------------------------------------------------------

LABELS: Final = Gauge("descant_labels", "Standing labels of a model's examples.", ["model"])
LABELS_PENDING: Final = Gauge("descant_labels_pending", "Examples of a model that wait for a label.", ["model"])
RETRAININGS: Final = Counter(
    "descant_retrainings", "Retraining jobs that ended, by outcome: promoted, held (by the gate) or failed.",
    ["model", "outcome"],
)  # fmt: skip

MODEL_VERSION: Final = Gauge(
    "descant_model_version",
    "Version that this process serves with, by role: current (0: none was promoted yet) or canary (0: there is none).",
    ["model", "role"],
)
MODEL_REFUSED: Final = Counter(
    "descant_model_refused",
    "Versions that this process could not load, by reason; the version before goes on. Restore the artefact, or roll "
    "back.",
    ["model", "reason"],
)
JUDGED: Final = Gauge(
    "descant_assertion_judged", "Flags of the assertion whose example people have labelled.", ["model", "assertion"]
)
CONFIRMED: Final = Gauge(
    "descant_assertion_confirmed",
    "Those of them whose label is not what the model had said: confirmed ÷ judged is the assertion's precision.",
    ["model", "assertion"],
)
FIRES: Final = Gauge(
    "descant_assertion_fires",
    "Share of replayed traffic on which the assertion fires, with the version before (role parent) and with the "
    "current one.",
    ["model", "assertion", "role"],
)

# -- the console ------------------------------------------------------------------------------------------------------

HTTP_SECONDS: Final = Histogram(
    "descant_http_seconds",
    "Calls of the gateway, from the request to the first byte of its answer, by method and class of status.",
    ["method", "status"],
    buckets=SHORT,
)
HTTP_STREAMS: Final = Gauge("descant_http_streams", "Event streams that are open.")

# -- the process ------------------------------------------------------------------------------------------------------

PRODUCER_QUEUE: Final = Gauge("descant_producer_queue", "Records that are produced and not acknowledged yet.")


def catalogue() -> list[MetricWrapperBase]:
    """All of them, in the order of this file."""
    return [metric for metric in globals().values() if isinstance(metric, MetricWrapperBase)]


def serve_metrics(address: str) -> None:
    """Answer `GET /metrics` on [HOST:]PORT from a thread of its own; without a host to this machine only.

    Raises ConfigError when the address is none, or taken.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"--metrics takes a port or HOST:PORT, not {address!r}.", code="config.metrics")
    try:
        start_http_server(int(port), host or "127.0.0.1", registry=REGISTRY)
    except OSError as error:
        raise ConfigError(
            f"metrics cannot be served on {address} ({error.strerror or error}). Choose another --metrics.",
            code="config.metrics",
        ) from None
