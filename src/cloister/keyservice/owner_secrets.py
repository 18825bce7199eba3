"""What an owner does with secrets of a key service, and with where else their values come from.

Values and tokens go sealed, and only to a service that proved what it runs; none comes back.

Spec: key-release-v1.
"""

from __future__ import annotations

from cloister.crypto.hpke import HPKEPublicKey
from cloister.crypto.signature import VerifyingKey
from cloister.keyservice.genuine import ServiceReference
from cloister.keyservice.owner_call import OwnerCall
from cloister.keyservice.secret_messages import SecretFact, secret_value_info
from cloister.keyservice.source_messages import (
    ServiceFact,
    SourceFact,
    reference_to_value,
    source_token_info,
)
from cloister.wire import Value

__all__ = ["OwnerSecrets", "OwnerSources"]


class OwnerSecrets:
    """The opaque secrets of policies."""

    def __init__(self, call: OwnerCall) -> None:
        """Ask by this."""
        self._call = call

    def put(
        self,
        value: bytes,
        *,
        namespace: str,
        policy: str,
        name: str,
        epoch: int,
        service_hpke: HPKEPublicKey,
    ) -> None:
        """Entrust the value of an opaque secret to the key service, for one epoch.

        Asking again with the same value succeeds; with another it is refused (`config.exists`).

        Raises:
            RefusedError: The service does not prove that it is what was pinned; nothing was sent.
        """
        self._call.require_genuine(service_hpke)
        info = secret_value_info(
            service=self._call.service.identity.raw,
            namespace=namespace,
            policy=policy,
            name=name,
            epoch=epoch,
        )
        arguments: dict[str, Value] = {
            "namespace": namespace,
            "policy": policy,
            "name": name,
            "epoch": epoch,
            "sealed_value": service_hpke.seal(value, info=info),
        }
        self._call.do("secret.put", arguments).end()

    def list(self, *, namespace: str, policy: str) -> tuple[SecretFact, ...]:
        """List the secrets of a policy, every epoch that resolves; never a value."""
        fields = self._call.do("secret.list", {"namespace": namespace, "policy": policy})
        facts = tuple(SecretFact.from_value(item) for item in fields.array("secrets"))
        fields.end()
        return facts


class OwnerSources:
    """The stores and the other key services whose values policies may name."""

    def __init__(self, call: OwnerCall) -> None:
        """Ask by this."""
        self._call = call

    def put(
        self,
        token: bytes,
        *,
        namespace: str,
        name: str,
        address: str,
        ca: bytes,
        service_hpke: HPKEPublicKey,
    ) -> None:
        """Register a store whose values policies of a namespace may name; its token goes sealed.

        Asking again with the same facts succeeds; with others it is refused (`config.exists`).

        Raises:
            RefusedError: The service does not prove that it is what was pinned; nothing was sent.
        """
        self._call.require_genuine(service_hpke)
        info = source_token_info(
            service=self._call.service.identity.raw,
            namespace=namespace,
            name=name,
            address=address,
            ca=ca,
        )
        arguments: dict[str, Value] = {
            "namespace": namespace,
            "name": name,
            "address": address,
            "ca": ca,
            "sealed_token": service_hpke.seal(token, info=info),
        }
        self._call.do("source.put", arguments).end()

    def pin(
        self,
        *,
        namespace: str,
        name: str,
        address: str,
        service: VerifyingKey,
        trust_domain: str,
        hpke_key: HPKEPublicKey,
        reference: ServiceReference,
    ) -> None:
        """Register another key service whose secrets policies of a namespace may name.

        Asking again with the same facts succeeds; with others it is refused (`config.exists`).

        Args:
            namespace: Whose policies.
            name: How they name it.
            address: `HOST:PORT` of the other service.
            service: Its identity.
            trust_domain: Its trust domain's name.
            hpke_key: Its key for secrets.
            reference: What it must prove to run, each time before it is asked.
        """
        arguments: dict[str, Value] = {
            "namespace": namespace,
            "name": name,
            "address": address,
            "service": service.raw,
            "trust_domain": trust_domain,
            "hpke_key": hpke_key.raw,
            "reference": reference_to_value(reference),
        }
        self._call.do("source.pin", arguments).end()

    def vaults(self, namespace: str) -> tuple[SourceFact, ...]:
        """List a namespace's vaults, with what is wanted from each; never a token."""
        return self._read(namespace)[0]

    def services(self, namespace: str) -> tuple[ServiceFact, ...]:
        """List the key services that are a namespace's sources, likewise."""
        return self._read(namespace)[1]

    def _read(self, namespace: str) -> tuple[tuple[SourceFact, ...], tuple[ServiceFact, ...]]:
        fields = self._call.do("source.list", {"namespace": namespace})
        vaults = tuple(SourceFact.from_value(item) for item in fields.array("sources"))
        services = tuple(ServiceFact.from_value(item) for item in fields.array("services"))
        fields.end()
        return vaults, services

    def remove(self, namespace: str, name: str) -> None:
        """Take a source and its token away; values that came from it stay."""
        self._call.do("source.remove", {"namespace": namespace, "name": name}).end()
