# SPDX-License-Identifier: Apache-2.0
"""Ports of a unit with their responders: every dialect of the twin in one table."""

from collections.abc import Callable, Mapping

from twin import antminer, auradine, avalon, bitaxe, braiins, epic, luxos, vnish, whatsminer, whatsminer_v3
from twin.lines import Factory, FrameLine, HttpLine, HttpResponder, LineContext, RpcLine, RpcResponder
from twin.site import Unit

Made = dict[str, tuple[int, Factory]]

ACCOUNTS: Mapping[str, str] = {
    "antminer": antminer.ACCOUNT,
    "auradine": auradine.ACCOUNT,
    "avalon": avalon.ACCOUNT,
    "bitaxe": bitaxe.ACCOUNT,
    "braiins": braiins.ACCOUNT,
    "epic": epic.ACCOUNT,
    "luxos": luxos.ACCOUNT,
    "vnish": vnish.ACCOUNT,
    "whatsminer": whatsminer.ACCOUNT,
    "whatsminer_v3": whatsminer_v3.ACCOUNT,
}


def responders(host_addresses: LineContext) -> Mapping[str, Callable[[Unit], Made]]:
    """For each dialect, the ports of a unit: name to (port, connection factory)."""
    spec, site = host_addresses.site.spec, host_addresses.site

    def rpc(responder: RpcResponder) -> Callable[[Unit], Made]:
        return lambda unit: {"rpc": (spec.rpc_port, lambda: RpcLine(host_addresses, unit, responder))}

    def frames(responder: RpcResponder) -> Callable[[Unit], Made]:
        return lambda unit: {"rpc": (spec.v3_port, lambda: FrameLine(host_addresses, unit, responder))}

    def http(responder: HttpResponder) -> Callable[[Unit], Made]:
        return lambda unit: {"http": (spec.http_port, lambda: HttpLine(host_addresses, unit, responder))}

    stock, canaan = antminer.Antminer(site), avalon.Avalon(site)
    host_addresses.tickers.append(canaan.tick)
    stock_rpc, stock_http = rpc(stock), http(stock)
    return {
        "antminer": lambda unit: stock_rpc(unit) | stock_http(unit),
        "auradine": http(auradine.Auradine(site)),
        "avalon": rpc(canaan),
        "bitaxe": http(bitaxe.Bitaxe(site)),
        "braiins": http(braiins.Braiins(site)),
        "epic": http(epic.Epic(site)),
        "luxos": rpc(luxos.LuxOS(site)),
        "vnish": http(vnish.VNish(site)),
        "whatsminer": rpc(whatsminer.Whatsminer(site)),
        "whatsminer_v3": frames(whatsminer_v3.WhatsminerV3(site)),
    }
