# SPDX-License-Identifier: Apache-2.0
"""Error codes with a text for people. A code that is not listed is returned as its number: no meaning is guessed.

Where the miner sends its own reason (Whatsminer v3, Braiins, LuxOS, ePIC), that reason is passed on without a look-up here.
Sources: the codes that makers publish for their tools, in new wording; those found in recordings are tested.
"""

from collections.abc import Mapping

# Answer codes of the API (Whatsminer v1/v2).
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

# The same of v3.
WHATSMINER_V3_API: Mapping[str, str] = {
    "-1": "failed",
    "-2": "invalid command",
    "-3": "invalid JSON item",
    "-4": "no permission (the API switch is off, or the password is the maker's own)",
    "-5": "out of memory",
}

WHATSMINER: Mapping[str, str] = {
    "110": "intake fan not detected",
    "111": "exhaust fan not detected",
    "120": "intake fan speed far off",
    "121": "exhaust fan speed far off",
    "130": "intake fan speed error",
    "131": "exhaust fan speed error",
    "140": "fan speed above its limit",
    "200": "supply not found",
    "201": "supply does not match the configuration",
    "202": "supply output voltage error",
    "203": "supply protects itself: surroundings too hot",
    "204": "supply limits its current: surroundings too hot",
    "205": "supply current error",
    "206": "supply input voltage low",
    "207": "supply limits its input current: bad input",
    "210": "supply error",
    "213": "supply input does not match its output",
    "216": "supply output unchanged for long",
    "217": "supply cannot be enabled",
    "218": "supply input voltage too low for this power mode",
    "219": "supply input current wrong",
    "233": "supply output over-temperature",
    "236": "supply output over-current",
    "240": "supply over-heated at its input stage",
    "243": "supply phases out of balance",
    "253": "supply fan error",
    "255": "supply output above its power",
    "263": "supply communication warning",
    "264": "supply transfer error",
    "265": "supply error without a name",
    "266": "supply error without a name",
    "267": "supply watchdog protection",
    "268": "supply output over-current",
    "269": "supply input over-current",
    "270": "supply input over-voltage",
    "271": "supply input under-voltage",
    "329": "control board temperature not readable",
    "600": "surroundings too hot",
    "610": "surroundings too hot for high power mode",
    "710": "control board restarted after an exception",
    "800": "firmware checksum error",
    "810": "firmware is for another kind of cooling",
    "2010": "all pools disabled",
    "2030": "pool rejects many shares",
    "2040": "pool does not support ASIC boost",
    "2310": "hashrate too low",
    "8410": "firmware is for another model",
}

# Families in which the last digit is the number of the board or pool.
_BY_PLACE: Mapping[str, str] = {
    "30": "board {} temperature sensor not found",
    "32": "board {} temperature not readable",
    "35": "board {} protects itself: too hot",
    "41": "board {} memory not found",
    "42": "board {} memory not readable",
    "43": "board {} chip sort unknown",
    "51": "board {} of another model",
    "53": "board {} not found",
    "54": "board {} chips not readable",
    "55": "board {} has bad chips",
    "56": "board {} out of balance",
    "202": "pool {} not connected",
    "511": "board {} frequency not reached in time",
}


# Codes with which a miner stops of itself, without a command.
_STOPS = frozenset({"53", "35", "41", "43"})
_STOPS_ALONE = frozenset(
    {"200", "201", "203", "210", "217", "218", "233", "236", "240", "255", "267", "268", "600", "610"}
)


def whatsminer_stops(code: str) -> bool:
    """Whether a Whatsminer stops mining for this error."""
    return code in _STOPS_ALONE or (len(code) == 3 and code[:-1] in _STOPS)


# Avalon: bits of a module (ECMM) and of its hash units (ECHU) that its maker's own page marks as failures. The other bits are
# warnings that occur on healthy machines too (idle, queue overflow, core test, a single CRC error) and are not reported.
AVALON_FAILS: Mapping[int, str] = {
    0x4: "no fan",
    0x40: "too hot",
    0x100: "loop failed",
    0x400: "PMU not valid",
    0x800: "power not good",
    0x1000: "PMU temperature sensor",
    0x2000: "input voltage",
    0x4000: "core voltage",
}
_AVALON_WARNS = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x80 | 0x200 | 0x8000 | 0x10000 | 0x20000
# The same for its supply.
AVALON_SUPPLY: Mapping[int, str] = {
    1: "input voltage low",
    2: "over hot",
    4: "over hot",
    8: "over hot",
    16: "input over-current",
    32: "output voltage low",
    64: "output over-current",
    2048: "fan failed",
}


def avalon_fails(bits: int) -> list[str]:
    """Failures in the error bits of a module or hash unit; unknown bits are returned as their number."""
    odd = bits & ~_AVALON_WARNS & ~sum(AVALON_FAILS)
    return [text for bit, text in AVALON_FAILS.items() if bits & bit] + ([str(odd)] if odd else [])


def avalon_supply(bits: int) -> str:
    """PSU fault text of an error bit field; a code without known bits is returned as its number."""
    return ", ".join(dict.fromkeys(text for bit, text in AVALON_SUPPLY.items() if bits & bit)) or str(bits)


def whatsminer_text(code: str) -> str:
    """`code text`, or the code alone where it is not known."""
    text = WHATSMINER.get(code)
    if text is None and len(code) in (3, 4) and code[:-1] in _BY_PLACE:
        text = _BY_PLACE[code[:-1]].format(code[-1])
    return f"{code} {text}" if text else code
