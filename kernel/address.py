# SPDX-License-Identifier: Apache-2.0
"""Internet addresses as people and machines write them: IPv6 in brackets where a port follows, one form of each kept."""

from ipaddress import ip_address


def authority(host: str, port: int) -> str:
    """`10.0.0.5:80`, `[fd00::5]:80`: what stands in URLs and messages."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_address(text: str) -> str:
    """An address in its one form: no brackets, IPv6 compressed and in lower case. ValueError on what is none, a name too."""
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    return str(ip_address(bare))
