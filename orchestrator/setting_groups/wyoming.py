"""Settings of the port that speaks Wyoming, the protocol of Home Assistant's voice services."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, model_validator

from orchestrator.access.loopback import is_loopback
from orchestrator.fields import Port

Network = Annotated[str, AfterValidator(lambda value: str(ipaddress.ip_network(value)))]


class WyomingSettings(BaseModel):
    """Where Wyoming is spoken, and with whom: it has no keys."""

    wyoming_port: Port | None = Field(
        None,
        description="port on which Home Assistant makes the avatar speak by Wyoming, usually 10200; none: it is off",
    )
    wyoming_host: str = Field("127.0.0.1", description="address that wyoming_port is opened on")
    wyoming_clients: tuple[Network, ...] = Field(
        (),
        description="addresses and networks that may use wyoming_port beside this machine: Wyoming has no keys, so a "
        "wyoming_host beyond loopback needs them",
    )

    @model_validator(mode="after")
    def _wyoming_is_open_on_purpose(self) -> WyomingSettings:
        if self.wyoming_port is not None and not is_loopback(self.wyoming_host) and not self.wyoming_clients:
            raise ValueError(
                f"wyoming_host={self.wyoming_host} can be reached from other machines, and Wyoming has no keys: use "
                'localhost, or name those that may speak, as in wyoming_clients=["192.168.1.20", "10.2.0.0/16"]'
            )
        return self

    def may_use_wyoming(self, address: str) -> bool:
        """Whether this client may make the avatar speak."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return parsed.is_loopback or any(parsed in ipaddress.ip_network(network) for network in self.wyoming_clients)
