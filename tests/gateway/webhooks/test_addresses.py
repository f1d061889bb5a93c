from ipaddress import ip_address, ip_network

import pytest

from tbscreen_gateway.webhooks.addresses import AllowedReceivers, is_public, literal_address
from tbscreen_gateway.webhooks.policy import parse_allowed

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "100.63.255.255",
    "100.128.0.0",
    "169.253.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "::ffff:8.8.8.8",
    "2002:808:808::1",
    "64:ff9b::808:808",
]

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "224.0.1.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:0.0.0.0",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2001:10::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_callback_may_go_to_a_public_address(address: str) -> None:
    assert is_public(ip_address(address))
    assert AllowedReceivers().permit("h", ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_callback_may_go_to_no_other(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not AllowedReceivers().permit("h", ip_address(address))


def test_what_the_operator_allows_is_permitted_and_nothing_beside_it() -> None:
    allowed = AllowedReceivers(
        hosts=frozenset({"pacs.clinic.lan"}),
        networks=(ip_network("10.20.0.0/16"), ip_network("fd00:1::/32")),
    )
    assert allowed.permit("pacs.clinic.lan", ip_address("192.168.7.7"))
    assert not allowed.permit("www.pacs.clinic.lan", ip_address("192.168.7.7"))
    assert allowed.permit("any", ip_address("10.20.255.1"))
    assert not allowed.permit("any", ip_address("10.21.0.1"))
    assert allowed.permit("any", ip_address("fd00:1::9"))
    assert not allowed.permit("any", ip_address("fd00:2::9"))
    assert allowed.permit("any", ip_address("8.8.8.8"))


def test_a_name_is_no_address() -> None:
    assert literal_address("10.0.0.1") == ip_address("10.0.0.1")
    assert literal_address("::1") == ip_address("::1")
    assert literal_address("ten.example") is None


@pytest.mark.parametrize(
    "address",
    ["198.51.7.9", "10.20.0.1", "::ffff:198.51.7.9", "64:ff9b::c633:709", "2a00:1::9"],
)
def test_what_the_operator_has_ruled_out_is_not_permitted_though_public_or_allowed(
    address: str,
) -> None:
    receivers = parse_allowed("10.20.0.0/16, pacs.lan", "198.51.7.0/24,10.20.0.1,2a00:1::/32,x.org")
    assert not receivers.permit("any", ip_address(address))
    assert not receivers.permit("pacs.lan", ip_address(address))
    assert not receivers.permit("x.org", ip_address("8.8.8.8"))
    assert receivers.permit("any", ip_address("198.51.8.9"))
    assert receivers.permit("any", ip_address("10.20.0.2"))
