"""Private prediction: a model behind attested TLS, and its client.

Example::

    from cloister.inference import Client

    client = Client("https://10.0.0.7:8443", trust="domain.json", identity="spiffe://clinic/…/*")
    print(client.predict(images))
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloister.inference.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    """Import the client on first use: the server has no need of it."""
    if name == "Client":
        from cloister.inference.client import Client  # noqa: PLC0415  # loaded when it is named

        return Client
    raise AttributeError(name)
