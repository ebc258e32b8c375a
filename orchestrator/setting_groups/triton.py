"""Settings of the Triton that is started here, or used elsewhere."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, field_validator, model_validator

from inference.servers import TritonServers
from orchestrator.access.loopback import is_loopback
from orchestrator.fields import Port


class TritonSettings(BaseModel):
    """Addresses, ports, the secret and the program."""

    triton_host: str = Field("127.0.0.1", description="address that a tritonserver started here listens on")
    triton_exposed: bool = Field(
        False, description="whether triton_host may be an address that other machines reach, behind a firewall of yours"
    )
    triton_http_port: Port | None = Field(
        None, description="HTTP port of a tritonserver started here; none: no HTTP, which nothing here needs"
    )
    triton_grpc_port: Port = Field(8001, description="gRPC port of a tritonserver started here")
    triton_metrics_port: Port = Field(8002, description="metrics port of a tritonserver started here")
    triton_supervisor_port: Port = Field(
        8003, description="metrics port of the command triton, of what it counts itself"
    )
    triton_url: str | None = Field(
        None,
        description="gRPC address of the Triton to use: host:port, or of several ip:port,ip:port or dns:///name:port; "
        "none: the one started here",
    )
    triton_secret_file: Path | None = Field(
        None, description="secret that Triton demands with each call; none: triton_secret in the data folder"
    )
    triton_binary: Path | None = Field(
        None, description="tritonserver to start; none: from PATH, else the embedded one"
    )

    @field_validator("triton_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        return TritonServers(value).url

    @model_validator(mode="after")
    def _triton_is_exposed_on_purpose(self) -> TritonSettings:
        if not is_loopback(self.triton_host) and not self.triton_exposed:
            raise ValueError(
                f"triton_host={self.triton_host} can be reached from other machines, and Triton has no encryption and "
                "no limits: use 127.0.0.1, or set triton_exposed=true where a firewall lets only the orchestrator in"
            )
        return self

    @property
    def triton_grpc_url(self) -> str:
        """The gRPC address in use."""
        return self.triton_url or f"{self.triton_host}:{self.triton_grpc_port}"
