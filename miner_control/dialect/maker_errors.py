# SPDX-License-Identifier: Apache-2.0
"""Error codes with a text for people. A code that is not listed is told as its number: never guessed."""

from collections.abc import Mapping

# What the API's own answer codes mean (Whatsminer v1/v2).
WHATSMINER_API: Mapping[str, str] = {
    "14": "invalid command",
    "23": "invalid JSON",
    "45": "no permission (the write API is off, or this address may not write)",
    "131": "command OK",
    "132": "command error",
    "134": "token OK",
    "135": "token not valid",
    "136": "too many tokens",
    "137": "base64 not readable",
}

WHATSMINER: Mapping[str, str] = {
    "110": "intake fan speed error",
    "111": "exhaust fan speed error",
    "218": "power supply input voltage too low",
    "264": "power supply transfer error",
    "265": "power supply unknown error",
    "266": "power supply unknown error",
    "267": "power supply watchdog protection",
    "270": "power supply input over-voltage warning",
    "600": "environment temperature too high",
}


def whatsminer_text(code: str) -> str:
    """`code text`, or the code alone."""
    return f"{code} {WHATSMINER[code]}" if code in WHATSMINER else code
