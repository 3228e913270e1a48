# SPDX-License-Identifier: Apache-2.0
"""Device profiles and dated data of then in place of today's: a better figure of a miner model changes no old recording.

Alarm rules are those of today: their names are frozen, and what they raise is in the journal.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hub.config import CONFIGS
from hub.config.renamed import migrated as rewritten


@contextlib.contextmanager
def shipped_as(configs: Path) -> Iterator[None]:
    """While it lasts every module that knows the folder of what ships finds another one under its name."""
    knowing = [module for module in list(sys.modules.values()) if getattr(module, "CONFIGS", None) == CONFIGS]
    ours = [module for module in knowing if not module.__name__.startswith("tests.")]
    assert len(ours) > 1, "nothing is named CONFIGS any more: see how the folder of what ships is known now"
    with tempfile.TemporaryDirectory() as made:
        place = Path(made) / "configs"
        shutil.copytree(configs, place)
        shutil.copytree(CONFIGS / "alarms", place / "alarms", dirs_exist_ok=True)
        for path in (place / "profiles" / "firmware").glob("*.toml"):
            path.write_text(rewritten(path.read_text(encoding="utf-8"), path.name).text, encoding="utf-8")
        for module in ours:
            module.CONFIGS = place  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for module in ours:
                module.CONFIGS = CONFIGS  # type: ignore[attr-defined]


def migrated(folder: Path) -> Path:
    """The folder with its configuration under the names of today, rewritten as an operator's is. Returns the folder."""
    path = folder / "hub.toml"
    made = rewritten(path.read_text(encoding="utf-8"), path.name)
    assert made.changed, "the recording holds former names, and none was found"
    path.write_text(made.text, encoding="utf-8")
    return folder
