# SPDX-License-Identifier: Apache-2.0
"""`mining-hub new`: each skeleton passes its own test as written, and a hub uses it once it is installed."""

import json
import os
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hub.cli.new import Kind, skeleton
from tests.builders.distribution import installed_distribution
from tests.recorded.pack import unpack
from tests.recorded.shipped import migrated

ROOT = Path(__file__).resolve().parents[3]

SITE = """\
[hub]
name = "hub"
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
inventory = "inventory.csv"
[[sites.feeders]]
name = "f1"
cap_w = 2e6
[[sites.meters]]
name = "main"
role = "main"
profile = "acme-one"
host = "127.0.0.1"
"""


def run(*arguments: str, cwd: Path, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    places = [str(ROOT), *([str(path)] if path else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def command(*words: str, cwd: Path, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return run("-c", "from hub.cli import main; main()", *words, cwd=cwd, path=path)


def written(kind: Kind, folder: Path) -> dict[str, Path]:
    """Files of a new skeleton by name."""
    done = command("new", kind, "acme-one", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return {Path(name).name: folder / name for name in json.loads(done.stdout.splitlines()[-1])["files"]}


def installed(files: dict[str, Path], folder: Path) -> Path:
    """What an installer makes of a skeleton: its module and entry points on the path."""
    project = tomllib.loads(files["pyproject.toml"].read_text())["project"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in rows.items())
        for group, rows in project["entry-points"].items()
    )
    name = project["name"]
    module = files[name.replace("-", "_") + ".py"].read_text()
    return installed_distribution(folder / "lib", name, points, module, version=project["version"])


@pytest.mark.parametrize("kind", Kind)
def test_a_skeleton_passes_its_own_test(kind: Kind, tmp_path: Path) -> None:
    files = written(kind, tmp_path)
    (test,) = [path for name, path in files.items() if name.startswith("test_")]
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(test), cwd=tmp_path)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("kind", Kind)
def test_a_skeleton_is_clean_and_says_what_to_edit(kind: Kind, tmp_path: Path) -> None:
    done = command("new", kind, "acme-one", cwd=tmp_path)
    assert "Next: edit" in done.stderr and "python -m pytest" in done.stderr
    rules = ("--isolated", "--no-cache", "--line-length", "120", "--select", "E,F,W,B,UP,SIM,C4")
    lint = run("-m", "ruff", "check", *rules, str(tmp_path), cwd=tmp_path)
    assert lint.returncode == 0, lint.stdout
    assert any("EDIT" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_nothing_is_overwritten_and_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    written(Kind.REPORT, tmp_path)
    again = command("new", "report", "acme-one", cwd=tmp_path)
    assert again.returncode == 2 and "is there already" in again.stderr
    refused = command("new", "report", "../Acme", cwd=tmp_path)
    assert refused.returncode == 2 and "is no name" in refused.stderr
    assert len(list(tmp_path.iterdir())) == 1


def test_a_new_meter_is_read_by_the_site_and_a_frame_that_says_otherwise_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(SITE.replace('inventory = "inventory.csv"\n', ""))
    missing = command("config", "check", "hub.toml", cwd=tmp_path)
    assert missing.returncode == 2 and "acme-one" in missing.stderr
    profile = written(Kind.METER, tmp_path)["acme-one.toml"]
    assert command("config", "check", "hub.toml", cwd=tmp_path).returncode == 0
    profile.write_text(profile.read_text().replace("power_w = 12500.0", "power_w = 12501.0"))
    wrong = command("config", "check", "hub.toml", cwd=tmp_path)
    assert wrong.returncode == 2 and "power_w decodes to 12500.0, not 12501.0" in wrong.stderr


def test_a_new_dialect_is_known_to_the_inventory_with_its_ports_and_capabilities(tmp_path: Path) -> None:
    files = written(Kind.DIALECT, tmp_path)
    (tmp_path / "hub.toml").write_text(SITE.replace("acme-one", "abb_b23"))
    (tmp_path / "inventory.csv").write_text("device,model,dialect,host,feeder\nm1,Antminer S21,acme-one,10.0.0.1,f1\n")
    unknown = command("config", "check", "hub.toml", cwd=tmp_path)
    assert unknown.returncode == 2 and "'acme-one' is none" in unknown.stderr
    lib = installed(files, tmp_path)
    assert command("config", "check", "hub.toml", cwd=tmp_path, path=lib).returncode == 2, (
        "its capabilities are not there"
    )
    (tmp_path / "profiles" / "firmware").mkdir(parents=True)
    files["acme-one.toml"].rename(tmp_path / "profiles" / "firmware" / "acme-one.toml")
    found = command("config", "check", "hub.toml", cwd=tmp_path, path=lib)
    assert found.returncode == 0, found.stderr


def test_a_new_report_is_made_and_verified_of_a_recorded_hub(tmp_path: Path) -> None:
    lib = installed(written(Kind.REPORT, tmp_path), tmp_path)
    folder = migrated(unpack(tmp_path / "hub"))
    span = ("--from", "2026-01-01T00:00:00Z", "--until", "2027-01-01T00:00:00Z")
    unknown = command("report", "make", str(folder), "acme-one", *span, cwd=tmp_path)
    assert unknown.returncode == 2 and "site-energy, treasury-statement" in unknown.stderr
    made = command("report", "make", str(folder), "acme-one", *span, "--json", cwd=tmp_path, path=lib)
    assert made.returncode == 0, made.stderr
    path = next(Path(name) for name in json.loads(made.stdout.splitlines()[-1])["files"] if name.endswith(".json"))
    assert "payout.received" in {line["kind"] for line in json.loads(path.read_bytes())["kinds"]}
    verdict = command("report", "verify", str(path), "--json", cwd=tmp_path, path=lib)
    assert json.loads(verdict.stdout.splitlines()[-1])["signature"] == "valid"
    without = command("report", "verify", str(path), "--json", cwd=tmp_path)
    assert "not a report of a known kind" in json.loads(without.stdout.splitlines()[-1])["reason"]


class Market(BaseHTTPRequestHandler):
    """A price for each hour of a day far ahead."""

    def do_GET(self) -> None:
        hours = [{"start": f"2036-03-02T{hour:02}:00:00+05:00", "kzt_per_kwh": 14.25} for hour in range(24)]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"published": "2026-03-01T13:00:00+05:00", "hours": hours}).encode())

    def log_message(self, *values: object) -> None:
        """Nothing is printed."""


def test_a_new_feed_is_named_in_the_configuration_and_polled(tmp_path: Path) -> None:
    lib = installed(written(Kind.FEED, tmp_path), tmp_path)
    server = HTTPServer(("127.0.0.1", 0), Market)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = f'{{ url = "http://127.0.0.1:{server.server_port}/" }}'
    table = f'[[feeds]]\nkind = "acme-one"\nname = "market"\ncurve = "price/day_ahead"\noptions = {options}\n'
    site = SITE.replace('inventory = "inventory.csv"\n', "").replace("acme-one", "abb_b23")
    (tmp_path / "hub.toml").write_text(site + table)
    try:
        unknown = command("config", "check", "hub.toml", cwd=tmp_path)
        assert unknown.returncode == 2 and "csv_folder, hashprice" in unknown.stderr
        assert command("config", "check", "hub.toml", cwd=tmp_path, path=lib).returncode == 0
        found = json.loads(command("doctor", "hub.toml", "--json", cwd=tmp_path, path=lib).stdout.splitlines()[-1])
    finally:
        server.shutdown()
        server.server_close()
    checks = {check["what"]: check for check in found["checks"]}
    assert checks["plug-in feed acme-one"]["text"] == "mining-hub-acme-one-feed 0.1.0"
    assert checks["feed market"]["ok"] and "price/day_ahead" in checks["feed market"]["text"]


def test_every_template_is_used() -> None:
    folder = ROOT / "hub" / "cli" / "skeletons"
    held = {path.relative_to(folder).parts[0] for path in folder.rglob("*.txt")}
    assert held == {str(kind) for kind in Kind}
    for kind in Kind:
        assert len(list((folder / kind).glob("*.txt"))) == len(skeleton(kind, "acme-one"))
        assert not any("${" in text for text in skeleton(kind, "acme-one").values())
