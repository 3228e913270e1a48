# SPDX-License-Identifier: Apache-2.0
"""Internet addresses as text: one canonical form, IPv6 in brackets before a port."""

from ipaddress import ip_address


def authority(host: str, port: int) -> str:
    """Host and port as in URLs and messages: `10.0.0.5:80`, `[fd00::5]:80`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_address(text: str) -> str:
    """Canonical text of an address: no brackets, IPv6 compressed and in lower case.

    ValueError where the text is no IP address; a host name is none.
    """
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    return str(ip_address(bare))
