"""Settings of a pipeline's processes: flag over environment over default; read once, passed down, never global."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.core.answered import IDEMPOTENCY_WINDOW
from streams.core.ingress import DEADLINE_SECONDS, REQUEST_BYTES_MAX
from streams.errors import ConfigError


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


PositiveInt = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
PositiveSeconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Raises ConfigError, code `config.setting`, that names the variable and never a value."""

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            prefix = self.model_config.get("env_prefix", "")
            problems = error.errors(include_input=False, include_url=False, include_context=False)
            where = "; ".join(f"{prefix}{'_'.join(map(str, p['loc'])).upper()}: {p['msg']}" for p in problems)
            raise ConfigError(f"a setting cannot be used: {where}.", code="config.setting") from None


class KafkaSettings(Settings):
    """How to reach Kafka. TLS and SASL pass straight through to librdkafka."""

    model_config = SettingsConfigDict(
        env_prefix="DESCANT_KAFKA_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )
    bootstrap: str = "localhost:9092"
    """host:port[,host:port]; `--bootstrap` and KAFKA_BOOTSTRAP_SERVERS come first."""
    security_protocol: str = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    ssl_ca_location: str | None = None
    """File with the certificate authority of the brokers."""
    ssl_certificate_location: str | None = None
    """File with this client's certificate, where brokers ask for one."""
    ssl_key_location: str | None = None
    """File with its private key."""
    ssl_key_password: SecretStr | None = None
    """Never printed."""
    sasl_mechanism: str | None = None
    """PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER."""
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    """Never printed."""
    producer_records: PositiveInt = 200_000
    """Records that a process holds while the brokers are away or slow; when so many wait, it waits too."""

    def client(self) -> dict[str, str | int | float | bool]:
        """What every client of ours starts from, in librdkafka's names."""
        found: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security_protocol,
            "log_level": 2,  # it repeats every failed connection, each second; we wait for brokers anyway
            "log.connection.close": False,
            # A broker that has fallen silent keeps its connections. By default each request to it is waited for 60 s,
            # and what a client sends behind it; its partitions have had another leader for long by then.
            "socket.timeout.ms": 10_000,
        }
        if self.ssl_ca_location is not None:
            found["ssl.ca.location"] = self.ssl_ca_location
        if self.ssl_certificate_location is not None:
            found["ssl.certificate.location"] = self.ssl_certificate_location
        if self.ssl_key_location is not None:
            found["ssl.key.location"] = self.ssl_key_location
        if self.ssl_key_password is not None:
            found["ssl.key.password"] = self.ssl_key_password.get_secret_value()
        if self.sasl_mechanism is not None:
            found["sasl.mechanism"] = self.sasl_mechanism
        if self.sasl_username is not None and self.sasl_password is not None:
            found["sasl.username"] = self.sasl_username
            found["sasl.password"] = self.sasl_password.get_secret_value()
        return found


class PipelineSettings(Settings):
    """What all processes of one pipeline must agree on."""

    model_config = SettingsConfigDict(env_prefix="DESCANT_", frozen=True, extra="forbid", use_attribute_docstrings=True)
    partitions: PositiveInt = 6
    """Of each topic of the pipeline; the most instances that can share a stage. Fixed once the topics exist."""
    lanes: PositiveInt = 8
    """Partitions of each model's prompt topic: the most workers that can share a model."""
    routing: str = "descant"
    """The policy by which prompts go to workers: descant, round_robin, least_pending_tokens, and the published ones."""
    replication: PositiveInt = 1
    """3 or more in production, with min.insync.replicas 2; 1 loses what its one disk loses."""
    deadline_seconds: PositiveSeconds = DEADLINE_SECONDS
    """Given to a request that names no deadline; the answer is then a typed error."""
    request_bytes_max: PositiveInt = REQUEST_BYTES_MAX
    """A larger request is answered with an error and goes to dead letters."""
    admission_window: PositiveInt = 2_000
    """Requests in the pipeline at once, per partition; more wait in `requests`, where they cost nothing."""
    idempotency_window: PositiveInt = IDEMPOTENCY_WINDOW
    """Answered ids remembered per partition: a repetition within it is the same request and gets no second answer."""
    session_seconds: PositiveSeconds = 6.0
    """After this silence an instance is replaced. The broker may refuse less than its minimum (45 by default)."""
    retention_hours: PositiveInt = 24
    """Of internal topics: at least the longest deadline plus the longest outage."""
