"""What each container may do: as the engine runs it, and as the file asks for it."""

import json
from typing import Any

import pytest

from support.compose import ComposeStack
from support.containers import docker

SERVICES = ("redis", "gateway", "worker", "models-init", "secrets-init")

MOUNTS: dict[str, dict[str, bool]] = {
    "redis": {"/data": True, "/run/tbscreen": False},
    "gateway": {
        "/var/lib/tbscreen/blobs": True,
        "/var/lib/tbscreen/models": False,
        "/var/lib/tbscreen/keys": False,
        "/var/lib/tbscreen/audit": True,
        "/run/tbscreen": False,
    },
    # It erases the uploads that it has answered.
    "worker": {
        "/var/lib/tbscreen/blobs": True,
        "/var/lib/tbscreen/models": False,
        "/run/tbscreen": False,
    },
    "models-init": {"/var/lib/tbscreen/models": True},
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_the_least_rights(stack: ComposeStack, service: str) -> None:
    containers = stack.containers(service)
    assert containers
    for container in containers:
        facts = stack.inspect(container)
        host = facts["HostConfig"]
        assert facts["Config"]["User"] not in ("", "root", "0")
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["PidsLimit"] > 0 and host["Memory"] > 0
        assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]}["core"] == 0


@pytest.mark.parametrize("service", MOUNTS)
def test_a_container_sees_what_it_needs_and_writes_what_it_must(
    stack: ComposeStack, service: str
) -> None:
    for container in stack.containers(service):
        mounts = stack.inspect(container)["Mounts"]
        assert {mount["Destination"]: mount["RW"] for mount in mounts} == MOUNTS[service]


def test_secrets_are_each_services_own(stack: ComposeStack) -> None:
    volumes = {
        service: {
            mount["Name"].rpartition("_")[2]
            for container in stack.containers(service)
            for mount in stack.inspect(container)["Mounts"]
            if mount["Destination"] == "/run/tbscreen"
        }
        for service in ("redis", "gateway", "worker")
    }
    assert volumes == {
        "redis": {"redis-secrets"},
        "gateway": {"gateway-secrets"},
        "worker": {"worker-secrets"},
    }


def test_every_service_is_written_down_with_the_least_rights(stack: ComposeStack) -> None:
    services: dict[str, dict[str, Any]] = json.loads(
        stack.compose("--profile", "admin", "config", "--format", "json")
    )["services"]
    assert set(services) == {*SERVICES, "admin", "training"}
    for service in services.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert int(service["mem_limit"]) > 0 and service["pids_limit"] > 0
        assert not service.get("privileged") and not service.get("cap_add")


def test_only_the_gateway_can_be_reached_or_reach_out(stack: ComposeStack) -> None:
    for service in SERVICES:
        for container in stack.containers(service):
            networks = stack.inspect(container)["NetworkSettings"]["Networks"]
            outside = [name for name in networks if _leads_out(name)]
            assert bool(outside) == (service == "gateway"), (service, outside)
            published = stack.inspect(container)["HostConfig"]["PortBindings"] or {}
            hosts = {bound["HostIp"] for ports in published.values() for bound in ports}
            # Others reach it only where the operator says so.
            assert hosts == ({"127.0.0.1"} if service == "gateway" else set())


def _leads_out(network: str) -> bool:
    # `none` has no interface but its own loopback, and yet is not marked internal.
    if network == "none":
        return False
    return docker("network", "inspect", "--format", "{{.Internal}}", network) != "true"
