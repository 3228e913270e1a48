# SPDX-License-Identifier: Apache-2.0
"""Reference page of device profiles, generated from the profiles.

`python -m telemetry.device.profile_page > docs/reference/profiles.md`; a test checks that the page is current.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from telemetry.device.profile import FOLDERS, Profile, catalogue

_HEAD = """# Device profiles

A device model is one TOML file in `configs/profiles`. This page is made from those files
(`python -m telemetry.device.profile_page > docs/reference/profiles.md`); do not edit it.

**Checked** gives the degree of verification of a profile and its basis:
*frame*: it decodes the bytes or documents written in its file to the values given there, and these come from the
protocol's own documentation, a recording or a foreign program (the count says how many metrics those frames hold; the
others were read in the named source); *source*: addresses, types and scales were read in the
named source; *unverified*: neither. Metrics in *not verified* are outside of that check even so: compare them with the
device's display before billing on them.
"""

_KEYS = """
## The keys of a profile

| key | meaning |
|---|---|
| `make`, `model`, `kind`, `wire` | what it is; `kind` is the schema (meter, container, sensor, switch); `wire` one of modbus, sunspec, mqtt, http, mercury, iec61107, sparkplug |
| `source_url`, `notes` | where the map was read; what a reader must know |
| `[checked]` `status`, `by`, `unverified`, `frame` | see above; a frame holds raw registers, documents or answers and `expect = { metric = value }` in canonical units |
| `[parameters]` | what a site fills in, with defaults: transformer ratios, full scales, direction |
| `[modbus]` `function`, `word_order`, `byte_order`, `max_registers`, `max_gap`, `unit_id`, `offset` | defaults of the points; the most registers in one read; the most unwanted registers read through; the parameter that is added to every address |
| `[documents]` | MQTT topic templates with `{id}`, or HTTP paths, by name; `{ at = ["a", "b"], partial = true }` is reported on several topics, and a value that it omits stays as it was |
| `[points]` `metric = { ... }` | one entry a metric of the kind's schema |
| point: `address`, `function`, `type`, `length`, `bit`, `word_order`, `byte_order`, `unit_id`, `sum_unit_ids`, `scale_address` | Modbus: wire address (0-based); u16 i16 u32 i32 u64 i64 f32 f64 text bit; the same register of several controllers added up; a register with the power of ten |
| point: `document`, `pointer` | JSON: a pointer, or several that are added up; types number, numeral (a number as text), text, json |
| point: `answer`, `index` | named answers: a request in hex (Mercury), a parameter's name (IEC 61107), a metric's name (Sparkplug) |
| point: `unit`, `scale`, `offset`, `linear`, `multiply` | value = (raw * scale, or along low..high for raw 0..full, + offset) * ratios, in `unit`; converted to the metric's unit |
| point: `sentinels`, `labels`, `low`, `high`, `tier` | raw values that mean none ("nan" too); state texts of codes; possible range; fast, slow or daily |
| `[switch.<name>]` | outputs on Modbus: `count` (or the name of a parameter), `function` (5, 15: coils; 6, 16: registers), `address`, `step`, `on`, `off`, `bit` (outputs are bits of one register), `read_function`, `read_address`, `read_step`, `read_on`, `read_off`, `read_bit`, `unit_id` |
| `[command.<name>]` | outputs over MQTT: `topic`, and the payloads `on` and `off`, or one JSON `body`; over HTTP: `on` and `off` are the paths that are fetched. Places: `{id}` `{index}` `{index0}` `{number}` `{number0}` `{operate}` (1 or 0) |
"""  # noqa: E501


def page(folders: Iterable[tuple[str, Iterable[Profile]]]) -> str:
    """The page as Markdown, from (folder name, profiles) pairs."""
    parts = [_HEAD]
    for name, profiles in folders:
        parts.append(f"\n## {name.capitalize()}\n\n| profile | device | wire | checked | by | not verified |")
        parts.append("|---|---|---|---|---|---|")
        parts += [_row(profile) for profile in sorted(profiles, key=lambda profile: profile.name)]
    return "\n".join(parts) + "\n" + _KEYS


def current(configs: Path) -> str:
    """The page of all profiles of a `configs/profiles` folder. ConfigError with the faults of all of them."""
    profiles = catalogue(configs)
    return page(
        (folder, [profiles[path.stem] for path in sorted((configs / folder).glob("*.toml"))]) for folder in FOLDERS
    )


def _row(profile: Profile) -> str:
    check = profile.check
    device = f"[{profile.make} {profile.model}]({profile.source_url})"
    unverified = ", ".join(check.unverified) if check.status != "unverified" else "all"
    proved = {metric for frame in check.frames for metric in frame.expect}
    status = f"{check.status} ({len(proved)} of {len(profile.points)} metrics)" if proved else str(check.status)
    cells = (f"`{profile.name}`", device, profile.wire, status, check.by, unverified)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(current(Path(__file__).parents[2] / "configs" / "profiles"))
