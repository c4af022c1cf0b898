"""Every error that Descant raises on purpose, as one tree.

DescantError
├── FlowError      a pipeline that cannot work, refused when it is traced
├── ConfigError    a setting, or something on this machine, that the user must change
├── RecordError    a record from outside that cannot be used; goes to dead letters with `code` as its reason
├── StageError     a stage, model or engine that failed on one item; becomes a typed error answer
└── BrokerError    Kafka, or the embedded broker, cannot do what was asked
    └── LostContactError   a client has forgotten its cluster, and a new one must be made

Users branch on `code` (stable, dotted) and read the sentence: what happened, between which named things, and what to
do now. No message ever holds a payload or a prompt.
"""


class DescantError(Exception):
    """Root of the tree."""

    code: str = "descant"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class FlowError(DescantError):
    """A pipeline that cannot work: unrelated ancestries, a loop, a type that does not fit."""

    code = "flow"


class ConfigError(DescantError):
    """A setting, or something on this machine, that the user must change."""

    code = "config"


class RecordError(DescantError):
    """A record that cannot be used; its bytes go to dead letters with `code` as the reason."""

    code = "record"


class StageError(DescantError):
    """A stage, a model or an engine failed on one item."""

    code = "stage"


class BrokerError(DescantError):
    """Kafka, or the embedded broker, cannot do what was asked."""

    code = "broker"


class LostContactError(BrokerError):
    """A client has forgotten its cluster and will not find it again; whoever made it must make a new one."""

    code = "broker.contact"
