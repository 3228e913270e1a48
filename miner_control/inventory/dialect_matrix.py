# SPDX-License-Identifier: Apache-2.0
"""Matrix of dialects and capabilities: one row for each firmware and range of versions.

Intents come from the capability files; their wire form is described here. The page `docs/reference/dialects.md` is made
from the same rows (`python -m miner_control.inventory.dialect_matrix > docs/reference/dialects.md`).
"""

from collections.abc import Iterable, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from kernel.receipt import Unsupported
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import STOCK, InstallFirmware, Intent, RollBackFirmware
from miner_control.fleet.driver import Access
from miner_control.inventory.capability import Capability, Target, load_capabilities

_MARKED = ("Reboot", "Locate", "SetPools", "SetCredential", "InstallFirmware", "RollBackFirmware")
_UPDATES: Mapping[str, Intent] = {
    "InstallFirmware": InstallFirmware("", ""),
    "RollBackFirmware": RollBackFirmware(STOCK),
}

# dialect -> (protocol for reading, protocol for writing, source of its power figure, evidence of sleep)
_WIRE: Mapping[str, tuple[str, str, str, str]] = {
    "antminer": (
        "cgminer RPC 4028, else CGI 80",
        "CGI 80 with digest; before 2020 as a form",
        "firmware's estimate (`new_api`), older models none",
        "work mode 1 (before 2020: 254) in `stats` or the configuration, and no rate",
    ),
    "whatsminer": (
        "cgminer RPC 4028",
        "RPC 4028, token and AES-256-ECB",
        "supply",
        "`mineroff` true in `status`",
    ),
    "whatsminer_v3": (
        "RPC 4433, length-framed",
        "RPC 4433, signed with salt and time",
        "supply",
        "`working` false, and no error that stops it",
    ),
    "luxos": (
        "cgminer RPC 4028",
        "RPC 4028, one session a miner",
        "estimate, or supply where it says so",
        "`CurtailMode` Sleep",
    ),
    "braiins": (
        "REST 80 from 25.07; older: cgminer RPC 4028",
        "REST 80 with a login token; older: RPC `pause`, `resume`",
        "firmware's estimate",
        "status paused",
    ),
    "vnish": (
        "HTTP 80 /api/v1",
        "HTTP 80 with unlock and bearer",
        "estimate, or supply where it is metered",
        "state stopped",
    ),
    "avalon": (
        "cgminer RPC 4028, bracket text",
        "RPC 4028 `ascset`, by the miner's own clock; A10: boards off, reboot",
        "supply; A10: behind it",
        "`SoftOFF` set and idle; A10: boards without power, and commanded by the hub",
    ),
    "cgminer": (
        "cgminer RPC 4028",
        "none: relatives and foreign firmwares are only read",
        "as reported, if at all",
        "none",
    ),
    "epic": (
        "HTTP 4028",
        "HTTP 4028, password in each request",
        "supply, or estimate where it has no meter",
        "idling after Stop, in idle hours of its own, or with its pool connected",
    ),
    "auradine": ("RPC 4028; what it refuses: HTTP 8080", "HTTP 8080 with token", "supply", "`Sleep` on"),
    "bitaxe": ("HTTP 80", "HTTP 80, no password", "board sensor", "`miningPaused`"),
}

# dialect -> (transfer of an image, source of that); the dialects themselves give the reason why others cannot
_UPLOAD: Mapping[str, tuple[str, str]] = {
    "antminer": ("form to `upgrade.cgi`", "an open client's source; no device"),
    "whatsminer": ("`update_firmware`, `ready`, size and image", "an open client's source; no device"),
    "whatsminer_v3": ("`set.system.update_firmware`, `ready`, size and image", "maker's API description; no device"),
    "braiins": ("form to `upgrade/system-upgrade`", "maker's API description 26.04; no device"),
    "vnish": ("form to `firmware/update`", "maker's API description 1.3.4; no device"),
    "epic": ("form to `systemupdate`", "maker's API description 1.30; no device"),
    "bitaxe": ("image as the body of `system/OTA`", "the firmware's source; no device"),
}
_BACK: Mapping[str, str] = {
    "braiins": "only to the maker's own (`restore-stock`)",
    "vnish": "only to the maker's own (`firmware/remove`)",
}


def dialect_matrix(capability_files: Iterable[Path] | None = None) -> list[dict[str, Any]]:
    """One row for each firmware and range of versions; every row has the same columns. Without files: those shipped.

    Raises ConfigError where a capability file has faults, KeyError where one names an unknown dialect.
    """
    if capability_files is None:
        with as_file(files("configs") / "profiles" / "firmware") as place:
            return dialect_matrix(sorted(place.glob("*.toml")))
    return [_row(capability) for editions in load_capabilities(capability_files).values() for capability in editions]


def _row(can: Capability) -> dict[str, Any]:
    reads, writes, power_source, sleep_evidence = _WIRE[can.dialect]
    return {
        "dialect": can.dialect,
        "firmware": can.name,
        "versions": _versions(can),
        "reads": reads,
        "writes": writes,
        "session": can.session,
        "joined_commands": can.joined_commands,
        "connections": can.connections,
        "intents": sorted(can.intents),
        "sleep": "Sleep" in can.intents,
        "sleep_evidence": sleep_evidence,
        "power_target": _target(can.power_target) if "PowerTarget" in can.intents else None,
        "power_percent": _target(can.percent) if "PowerPercent" in can.intents else None,
        "modes": [mode.name for mode in can.modes],
        "install_firmware": _UPLOAD[can.dialect][0] if "InstallFirmware" in can.intents else None,
        "install_firmware_source": _UPLOAD[can.dialect][1] if "InstallFirmware" in can.intents else None,
        "roll_back_firmware": _BACK[can.dialect] if "RollBackFirmware" in can.intents else None,
        "no_firmware": {
            name: _unsupported_text(can.dialect, intent) for name, intent in _UPDATES.items() if name not in can.intents
        },
        "power_source": power_source,
        "random_start_delay_s": can.random_start_delay_s,
        **{name: figure.value for name, figure in can.dynamics.items()},
        "assumed": sorted(name for name, figure in can.dynamics.items() if figure.provenance.value == "assumed"),
    }


def _unsupported_text(dialect: str, intent: Intent) -> str:
    """The dialect's reason; "" where only this range of versions lacks the intent."""
    talk = DIALECTS[dialect].carry_out(Access("", "", {}), intent, 0)
    try:
        next(talk)
    except StopIteration as end:
        return end.value.text if isinstance(end.value, Unsupported) else ""
    return ""


def _versions(can: Capability) -> str:
    if can.low and can.high:
        return f"{can.low} up to {can.high}"
    return f"from {can.low}" if can.low else f"before {can.high}" if can.high else "all"


def _target(target: Target | None) -> dict[str, Any] | None:
    if target is None:
        return None
    return {
        "low_share": target.low.value,
        "high_share": target.high.value,
        "step_w": target.step_w,
        "needs_restart": target.needs_restart,
        "temporary": target.temporary,
    }


def matrix_page(rows: list[dict[str, Any]]) -> str:
    """The page of the manual: capabilities and times of each firmware."""
    lines = [
        "# Dialects and capabilities",
        "",
        "Made from the capability files and the dialects; `mining-hub miners dialects --json` gives the same.",
        "Figures in *italics* are assumed and are replaced by learnt ones.",
        "",
        "| dialect | versions | sleep | power target | percent | modes | reboot | locate | pools | password | install | back |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        marks = [_mark(name in row["intents"]) for name in _MARKED]
        modes = ", ".join(row["modes"]) if "SetMode" in row["intents"] else "no"
        cells = [
            f"{row['firmware']} (`{row['dialect']}`)",
            row["versions"],
            _mark(row["sleep"]),
            _range(row["power_target"]),
            _range(row["power_percent"]),
            modes,
            *marks,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| dialect | read over | written over | session | joined | connections | power figure | evidence of sleep |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"`{row['dialect']}` {row['versions']}",
            *(str(row[name]) for name in ("reads", "writes", "session", "joined_commands", "connections")),
            row["power_source"],
            row["sleep_evidence"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Firmware: basis of the roll-out of an image. Each image is checked against its SHA-256 before a byte is sent; settings",
        "are kept; the version read back is the proof. To go back to an earlier release, its image is installed.",
        "",
        "| dialect | install firmware | source | roll back |",
        "|---|---|---|---|",
    ]
    for row in rows:
        why = row["no_firmware"]
        cells = [
            f"`{row['dialect']}` {row['versions']}",
            row["install_firmware"] or f"no: {why['InstallFirmware'] or 'an older release'}",
            row["install_firmware_source"] or "",
            row["roll_back_firmware"] or f"no: {why['RollBackFirmware'] or 'an older release'}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| dialect | asleep W | ramp up s | ramp down s | lost by a start s | least on s | least off s | random delay s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        names = ("sleep_w", "ramp_up_s", "ramp_down_s", "start_lost_s", "min_on_s", "min_off_s")
        figures = [f"*{row[name]:g}*" if name in row["assumed"] else f"{row[name]:g}" for name in names]
        lines.append(
            f"| `{row['dialect']}` {row['versions']} | {' | '.join(figures)} | {row['random_start_delay_s']:g} |"
        )
    return "\n".join(lines) + "\n"


def _mark(able: bool) -> str:
    return "yes" if able else "no"


def _range(target: Mapping[str, Any] | None) -> str:
    if target is None:
        return "no"
    text = f"{target['low_share']:.0%} to {target['high_share']:.0%}, {target['step_w']:g} W steps"
    if target["needs_restart"]:
        text += ", restarts"
    return text + (", temporary" if target["temporary"] else "")


if __name__ == "__main__":
    print(matrix_page(dialect_matrix()), end="")
