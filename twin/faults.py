# SPDX-License-Identifier: Apache-2.0
"""Faults of a simulated miner, meter or service. Each fault has a name; a unit may have several."""

from collections.abc import Mapping

MINER_FAULTS: Mapping[str, str] = {
    # the machine
    "hashless": "draws its power and hashes nothing",
    "dead": "no power, no answer at its address",
    "board": "one hash board dead",
    "worn": "draws a sixth more for the same hashes",
    "no_shares": "hashes, and its pool accepts no share of it though it calls itself alive",
    "overheat": "chips run hot until the protective stop",
    # the answers
    "hung": "accepts and never answers",
    "refused": "connections are refused though it works",
    "slow": "answers after 5 to 8 s",
    "no_nul": "answers without the closing NUL and keeps the socket open",
    "segments": "answers in three segments",
    "missing_comma": "`}{` between objects",
    "stray_comma": "`,}` before a closing brace",
    "list_comma": "`[,{` after an opening bracket",
    "raw_newline": "a raw line break inside a string",
    "double_quote": '`""temp0"` before a key',
    "inf_nan": "infinities and no-numbers, as texts, among the rates",
    "leading_comma": "an answer that starts with a comma",
    "truncated": "an answer cut at a buffer's size",
    "garbage": "bytes that are no text",
    "huge": "an answer of 10 MB",
    "reboot_mid_reply": "reboots in the middle of an answer",
    "lost_reply": "carries a command out and closes without an answer",
    "clock_off": "its clock is wrong by a day",
    "frozen": "its telemetry stands still",
    "duplicate_serial": "claims the serial number of its neighbour",
    # the commands
    "refuses_writes": "answers every write with an error",
    "write_404": "answers every write over HTTP with 404",
    "deaf": "acknowledges a command and does nothing",
    "half_shed": "sheds only half of its load when put to sleep",
    "foreign": "another system commands it too: it wakes within half a minute of a sleep",
    "own_schedule": "a schedule of the firmware itself is switched on (ATM, DPS, preset switcher)",
    "reboots_on_write": "reboots half-way through each command, which is lost",
    # an image of firmware
    "image_refused": "refuses every firmware image for its signature",
    "image_corrupt": "finds another checksum in every firmware image than the one sent with it",
    "image_ignored": "takes a firmware image, restarts and runs the old version",
    "image_bricks": "takes a firmware image and never comes back",
}

CURED_BY_POWER = frozenset({"hung"})
"""Faults that end when the unit loses its power and gets it again."""

METER_FAULTS: Mapping[str, str] = {
    "dead": "no answer",
    "exception": "answers each request with Modbus exception 4",
    "segments": "splits each answer in two TCP segments",
    "frozen": "its registers stand still",
}

SERVICE_FAULTS: Mapping[str, str] = {
    "pool_dead": "the pool answers 503",
    "rates_dead": "the rate feed answers 503",
    "venue_dead": "the venue answers 503",
    "container_silent": "containers publish nothing",
    "generation_off": "generation on site has tripped",
}
