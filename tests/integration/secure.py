"""A Kafka that lets nobody do anything: SCRAM-SHA-512 over TLS, an authorizer, and no access but what a test gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AclBindingFilter,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from streams.access import Access
from streams.broker import EmbeddedKafka, Listener
from streams.broker.ports import free_port
from streams.runtime.authorization import OPERATIONS, RESOURCES, set_access
from streams.settings import KafkaSettings

LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"
MECHANISM = "SCRAM-SHA-512"
PASSWORD = "correct horse battery staple"  # noqa: S105 — of a broker that lives for one test


@dataclass
class SecureKafka:
    broker: EmbeddedKafka
    address: str
    """Of the secure listener."""
    ca: Path

    @property
    def operator(self) -> KafkaSettings:
        """By the plain listener, as the super user."""
        return KafkaSettings(bootstrap=self.broker.bootstrap)

    def user(self, name: str) -> KafkaSettings:
        """Settings of a user, who is made if need be and may do nothing yet."""
        made = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096), PASSWORD.encode()
        )
        admin = AdminClient(self.operator.client())  # its futures end with it
        for future in admin.alter_user_scram_credentials([made]).values():
            future.result(30)
        return KafkaSettings(
            bootstrap=self.address,
            security_protocol="SASL_SSL",
            ssl_ca_location=str(self.ca),
            sasl_mechanism=MECHANISM,
            sasl_username=name,
            sasl_password=PASSWORD,
        )

    def environment(self, name: str) -> dict[str, str]:
        """The same, for a process."""
        self.user(name)
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.address,
            "DESCANT_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "DESCANT_KAFKA_SSL_CA_LOCATION": str(self.ca),
            "DESCANT_KAFKA_SASL_MECHANISM": MECHANISM,
            "DESCANT_KAFKA_SASL_USERNAME": name,
            "DESCANT_KAFKA_SASL_PASSWORD": PASSWORD,
        }

    def allow(self, name: str, access: Iterable[Access]) -> None:
        set_access(self.operator, access, f"User:{name}")

    def forbid(self, name: str, access: Access) -> None:
        """Take one permission away again."""
        given = AclBindingFilter(
            RESOURCES[access.resource],
            access.name,
            ResourcePatternType.PREFIXED if access.is_prefix else ResourcePatternType.LITERAL,
            f"User:{name}",
            "*",
            OPERATIONS[access.operation],
            AclPermissionType.ALLOW,
        )
        admin = AdminClient(self.operator.client())  # its futures end with it
        for future in admin.delete_acls([given]).values():
            assert len(list(future.result(30))) == 1


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    ca, keystore = folder / "ca.pem", folder / "broker.pem"
    authority.cert_pem.write_to_path(str(ca))
    # Kafka reads PKCS #8 only.
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keystore.write_bytes(key + b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    listener = Listener(
        port=free_port(),
        protocol="SASL_SSL",
        settings={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "sasl.enabled.mechanisms": MECHANISM,
            f"{MECHANISM.lower()}.sasl.jaas.config": f"{LOGIN} required;",
        },
        broker={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # who comes by the plain listener: the broker itself, and the test
            "allow.everyone.if.no.acl.found": "false",
        },
    )
    with EmbeddedKafka(listener=listener) as broker:
        yield SecureKafka(broker, f"127.0.0.1:{listener.port}", ca)
