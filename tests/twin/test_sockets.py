# SPDX-License-Identifier: Apache-2.0
"""The twin on real sockets, asked by peers that are not the hub: plain sockets, curl (digest), openssl, mbpoll."""

import hashlib
import json
import re
import socket
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.servers import need
from tests.twins import Twin, await_ports, rpc, running_twin, say

MODELS = {"antminer-s21": 1, "antminer-s19-pro": 1, "whatsminer-m50s": 2}


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with running_twin(tmp_path_factory.mktemp("twin"), miners=24, models=MODELS, feeders=2) as found:
        yield found


@pytest.fixture(autouse=True)
def healthy(twin: Twin) -> Iterator[None]:
    yield
    twin.fault({"devices": [miner["device"] for miner in twin.miners], "faults": []})


def of_model(twin: Twin, model: str, number: int = 0) -> dict[str, Any]:
    return [miner for miner in twin.miners if miner["model"] == model][number]


def page(miner: dict[str, Any], path: str, body: object = None, user: str = "root:simulated") -> tuple[int, Any]:
    """curl with digest: (HTTP status, JSON or text)."""
    url = f"http://{miner['host']}:{miner['ports']['http']}{path}"
    more = [] if body is None else ["-d", json.dumps(body)]
    argv = [need("curl"), "-s", "--digest", "-u", user, "-w", "\n%{http_code}", *more, url]
    text, _, status = subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout.rpartition("\n")
    try:
        return int(status), json.loads(text)
    except json.JSONDecodeError:
        return int(status), text


def test_one_answer_ends_with_nul_and_closes(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    answer = rpc(miner, {"command": "summary"})
    assert answer.endswith(b"\0") and answer.count(b"\0") == 1
    summary = json.loads(answer[:-1])["SUMMARY"][0]
    assert summary["GHS 5s"] == pytest.approx(200_000, rel=0.15)


def test_joined_commands_where_the_firmware_knows_them(twin: Twin) -> None:
    joined = {"command": "summary+stats+pools"}
    new = json.loads(rpc(of_model(twin, "Antminer S21"), joined).rstrip(b"\0"))
    assert set(new) == {"summary", "stats", "pools", "id"}
    old = json.loads(rpc(of_model(twin, "Antminer S19 Pro"), joined).rstrip(b"\0"))
    assert old["STATUS"][0]["STATUS"] == "E"
    whats = json.loads(rpc(of_model(twin, "Whatsminer M50S"), {"command": "summary+devs+pools"}).rstrip(b"\0"))
    assert len(whats["devs"][0]["DEVS"]) == 3


def test_new_api_tells_watts_and_the_old_firmware_does_not(twin: Twin) -> None:
    asked = {"command": "stats", "new_api": True}
    miner = of_model(twin, "Antminer S21")
    new = json.loads(rpc(miner, asked).rstrip(b"\0"))["STATS"][0]
    truth = twin.truth(miner["device"])
    assert new["watt"] == pytest.approx(truth["power_w"], rel=0.03) and new["miner-mode"] == 0
    assert b"watt" not in rpc(of_model(twin, "Antminer S19 Pro"), asked)


def test_digest_is_really_checked(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    assert page(miner, "/cgi-bin/get_system_info.cgi")[0] == 200
    assert page(miner, "/cgi-bin/get_system_info.cgi", user="root:wrong")[0] == 401
    plain = f"GET /cgi-bin/stats.cgi HTTP/1.1\r\nHost: {miner['host']}\r\nConnection: close\r\n\r\n".encode()
    assert say(miner["host"], miner["ports"]["http"], plain).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("model", ["Antminer S21", "Antminer S19 Pro"])
def test_an_antminer_sleeps_and_wakes_over_its_page(twin: Twin, model: str) -> None:
    miner = of_model(twin, model, 1)
    _, conf = page(miner, "/cgi-bin/get_miner_conf.cgi")
    assert conf["bitmain-work-mode"] == "0"
    body = {"pools": conf["pools"], "miner-mode": 1, "bitmain-work-mode": "1"}
    assert page(miner, "/cgi-bin/set_miner_conf.cgi", body)[1]["stats"] == "success"
    truth = twin.until(miner["device"], "hashrate_hs", 0.0)
    assert truth["state"] == "asleep"
    twin.until(miner["device"], "power_w", lambda watts: watts < 30)
    assert page(miner, "/cgi-bin/get_miner_conf.cgi")[1]["bitmain-work-mode"] == "1"
    assert json.loads(rpc(miner, {"command": "summary"})[:-1])["SUMMARY"][0]["GHS 5s"] == 0
    page(miner, "/cgi-bin/set_miner_conf.cgi", body | {"miner-mode": 0, "bitmain-work-mode": "0"})
    assert twin.until(miner["device"], "state", "hashing", 60)["power_w"] > 2500
    assert twin.truth(miner["device"])["pools"] == [[pool["url"], pool["user"]] for pool in conf["pools"]]


def test_only_its_own_key_moves_a_firmware(twin: Twin) -> None:
    old = of_model(twin, "Antminer S19 Pro", 2)
    assert page(old, "/cgi-bin/set_miner_conf.cgi", {"bitmain-work-mode": "1"})[1]["stats"] == "success"
    assert twin.truth(old["device"])["asleep"] is False


def openssl_crypt(secret: str, salt: str) -> str:
    argv = [need("openssl"), "passwd", "-1", "-salt", salt, secret]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip().split("$")[3]


def whatsminer_write(miner: dict[str, Any], command: dict[str, Any], password: str = "simulated") -> dict[str, Any]:
    """A v2 write made from the published recipe, with openssl's md5crypt."""
    token = json.loads(rpc(miner, {"cmd": "get_token"}))["Msg"]
    key = openssl_crypt(password, token["salt"])
    sign = openssl_crypt(key + token["time"], token["newsalt"])
    plain = json.dumps({"token": sign} | command).encode()
    plain += b"\0" * (-len(plain) % 16)
    cipher = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.ECB())
    sealer, opener = cipher.encryptor(), cipher.decryptor()
    data = b64encode(sealer.update(plain) + sealer.finalize()).decode()
    answer = json.loads(rpc(miner, {"enc": 1, "data": data}))
    if "enc" not in answer:
        return dict(answer)
    raw = b64decode(answer["enc"])
    return dict(json.loads((opener.update(raw) + opener.finalize()).rstrip(b"\0")))


def test_a_whatsminer_is_written_under_token_and_aes(twin: Twin) -> None:
    miner = of_model(twin, "Whatsminer M50S")
    assert whatsminer_write(miner, {"cmd": "power_off", "respbefore": "true"})["Code"] == 131
    twin.until(miner["device"], "state", "asleep")
    assert json.loads(rpc(miner, {"command": "status"}))["Msg"]["mineroff"] == "true"
    assert whatsminer_write(miner, {"cmd": "power_on"})["Code"] == 131
    twin.until(miner["device"], "state", "hashing", 60)
    assert whatsminer_write(miner, {"cmd": "set_power_pct", "percent": "60"})["Code"] == 131
    nominal_w = twin.truth(miner["device"])["nominal_w"]
    twin.until(miner["device"], "power_w", lambda watts: watts == pytest.approx(0.6 * nominal_w, rel=0.08))


def test_a_wrong_password_or_token_is_refused(twin: Twin) -> None:
    miner = of_model(twin, "Whatsminer M50S", 1)
    assert whatsminer_write(miner, {"cmd": "power_off"}, password="wrong")["Code"] == 135
    assert twin.truth(miner["device"])["asleep"] is False


def test_meters_over_a_foreign_modbus_client(twin: Twin) -> None:
    """mbpoll reads the ABB feeder meter: power at 0x5B14 in 0.01 W, energy at 0x5000 in 0.01 kWh."""
    meter = twin.ready["meters"][1]
    argv = [need("mbpoll"), "-m", "tcp", "-p", str(meter["port"]), "-a", str(meter["unit"]), "-1", "-c", "1", "-B"]
    reported = subprocess.run(
        [*argv, "-t", "4:int", "-r", str(0x5B14 + 1), meter["host"]], capture_output=True, text=True
    )
    found = re.search(r"\[\d+\]:\s+(\d+)", reported.stdout)
    assert found, reported.stdout + reported.stderr
    truth = twin.truth()
    assert int(found[1]) / 100 == pytest.approx(truth["meters"][1]["power_w"], rel=0.02)
    factor = twin.ready["losses"]["feeder_factor"]
    feeders = sum(each["power_w"] for each in truth["meters"][1:])
    assert feeders == pytest.approx(truth["miners_power_w"] * factor, rel=1e-9)


def test_a_meter_refuses_what_it_does_not_hold(twin: Twin) -> None:
    meter = twin.ready["meters"][0]
    frame = bytes((0, 1, 0, 0, 0, 6, meter["unit"], 3, 0xF0, 0, 0, 2))
    with socket.create_connection((meter["host"], meter["port"]), timeout=5) as line:
        line.sendall(frame)
        assert line.recv(256)[7:] == bytes((0x83, 2))
        line.sendall(frame[:6] + bytes((99,)) + frame[7:])
        assert line.recv(256)[7:] == bytes((0x83, 11))


def test_a_meter_that_splits_its_answers_is_dead_or_frozen(twin: Twin) -> None:
    meter = twin.ready["meters"][1]
    name = meter["device"].rsplit("/", 1)[1]
    ask = bytes((0, 7, 0, 0, 0, 6, meter["unit"], 3, 0x5B, 0x14, 0, 2))
    twin.fault({"meter": name, "faults": ["segments"]})
    with socket.create_connection((meter["host"], meter["port"]), timeout=5) as line:
        for _ in range(20):  # A reader that the machine keeps waiting finds both pieces in one.
            line.sendall(ask)
            first = line.recv(256)
            if len(first) < 13:
                assert len(first + line.recv(256)) == 13
                break
        else:
            pytest.fail("never in two pieces")
    twin.fault({"meter": name, "faults": ["dead"]})
    with socket.create_connection((meter["host"], meter["port"]), timeout=0.3) as line:
        line.sendall(ask)
        with pytest.raises(TimeoutError):
            line.recv(256)
    twin.fault({"meter": name, "faults": []})


# --- faults on the wire -------------------------------------------------------------------------------------------------


def test_hung_accepts_and_never_answers(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    twin.fault({"device": miner["device"], "faults": ["hung"]})
    assert rpc(miner, {"command": "summary"}, timeout_s=0.5) == b""


def test_dead_and_refused_close_the_port_and_open_it_again(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    for fault in ("dead", "refused"):
        twin.fault({"device": miner["device"], "faults": [fault]})
        await_ports(miner, opened=False)
        twin.fault({"device": miner["device"], "faults": []})
        await_ports(miner, opened=True)
        assert rpc(miner, {"command": "version"})


def test_a_port_that_was_taken_meanwhile_is_opened_as_soon_as_it_is_free(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    twin.fault({"device": miner["device"], "faults": ["refused"]})
    await_ports(miner, opened=False)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((miner["host"], miner["ports"]["http"]))
        other.listen()
        twin.fault({"device": miner["device"], "faults": []})
        time.sleep(0.6)
    await_ports(miner, opened=True)


def test_hashless_draws_power_and_hashes_nothing(twin: Twin) -> None:
    miner = of_model(twin, "Whatsminer M50S", 2)
    twin.fault({"device": miner["device"], "faults": ["hashless"]})
    summary = json.loads(rpc(miner, {"command": "summary"}).rstrip(b"\0"))["SUMMARY"][0]
    assert summary["MHS av"] == 0 and summary["Power"] > 2500
    assert json.loads(rpc(miner, {"command": "status"}))["Msg"]["mineroff"] == "false"


@pytest.mark.parametrize("fault", ["missing_comma", "stray_comma", "list_comma", "raw_newline", "double_quote",
                                   "leading_comma", "truncated", "garbage"])  # fmt: skip
def test_malformed_answers_are_malformed(twin: Twin, fault: str) -> None:
    miner = of_model(twin, "Antminer S21")
    command = {"command": "pools" if fault == "raw_newline" else "stats"}
    twin.fault({"device": miner["device"], "faults": [fault]})
    answer = rpc(miner, command).rstrip(b"\0")
    assert answer
    with pytest.raises(ValueError):
        json.loads(answer)


def test_inf_nan_come_as_texts_that_are_no_numbers(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    twin.fault({"device": miner["device"], "faults": ["inf_nan"]})
    assert json.loads(rpc(miner, {"command": "stats"})[:-1])["STATS"][1]["GHS 5s"] == "inf"


def test_no_nul_keeps_the_socket_open(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    twin.fault({"device": miner["device"], "faults": ["no_nul"]})
    with socket.create_connection((miner["host"], miner["ports"]["rpc"]), timeout=20) as line:
        line.sendall(b'{"command":"version"}')
        heard = line.recv(65_536)
        json.loads(heard)
        line.settimeout(0.5)
        with pytest.raises(TimeoutError):
            line.recv(1)


def test_an_answer_in_three_segments_is_whole_at_the_end(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    twin.fault({"device": miner["device"], "faults": ["segments"]})
    for _ in range(20):  # A reader that the machine keeps waiting finds two pieces in one.
        with socket.create_connection((miner["host"], miner["ports"]["rpc"]), timeout=20) as line:
            line.sendall(b'{"command":"stats"}')
            parts = []
            while chunk := line.recv(65_536):
                parts.append(chunk)
        json.loads(b"".join(parts)[:-1])
        if len(parts) == 3:
            return
    pytest.fail(f"never in three pieces, last in {len(parts)}")


def test_ten_megabytes(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    twin.fault({"device": miner["device"], "faults": ["huge"]})
    assert len(rpc(miner, {"command": "summary"})) > 10_000_000


def test_it_reboots_in_the_middle_of_an_answer_and_comes_back(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21", 3)
    began_ms = twin.truth(miner["device"])["started_ms"]
    twin.fault({"device": miner["device"], "faults": ["reboot_mid_reply"]})
    answer = rpc(miner, {"command": "summary"})
    assert answer and not answer.endswith(b"\0")
    assert twin.truth(miner["device"])["started_ms"] > began_ms
    twin.fault({"device": miner["device"], "faults": []})
    twin.until(miner["device"], "state", "hashing", 60)


def test_a_clock_wrong_by_a_day(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    before = json.loads(rpc(miner, {"command": "version"})[:-1])["STATUS"][0]["When"]
    twin.fault({"device": miner["device"], "faults": ["clock_off"]})
    after = json.loads(rpc(miner, {"command": "version"})[:-1])["STATUS"][0]["When"]
    assert abs(after - before) == pytest.approx(86_400, abs=5)


@pytest.mark.parametrize(
    ("fault", "status", "stats"), [("write_404", 404, None), ("refuses_writes", 200, "error"), ("deaf", 200, "success")]
)
def test_writes_that_have_no_effect(twin: Twin, fault: str, status: int, stats: str | None) -> None:
    miner = of_model(twin, "Antminer S21", 2)
    twin.fault({"device": miner["device"], "faults": [fault]})
    reported, body = page(miner, "/cgi-bin/set_miner_conf.cgi", {"miner-mode": 1, "bitmain-work-mode": "1"})
    assert reported == status
    if stats is not None:
        assert body["stats"] == stats
    assert twin.truth(miner["device"])["asleep"] is False


def test_a_command_with_a_lost_reply_takes_effect(twin: Twin) -> None:
    miner = of_model(twin, "Whatsminer M50S", 3)
    token = json.loads(rpc(miner, {"cmd": "get_token"}))["Msg"]
    key = openssl_crypt("simulated", token["salt"])
    sign = openssl_crypt(key + token["time"], token["newsalt"])
    plain = json.dumps({"token": sign, "cmd": "power_off"}).encode()
    plain += b"\0" * (-len(plain) % 16)
    sealer = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.ECB()).encryptor()
    data = b64encode(sealer.update(plain) + sealer.finalize()).decode()
    twin.fault({"device": miner["device"], "faults": ["lost_reply"]})
    assert rpc(miner, {"enc": 1, "data": data}) == b""
    assert twin.truth(miner["device"])["asleep"] is True


def test_a_shed_that_half_happens_and_frozen_telemetry(twin: Twin) -> None:
    miner = of_model(twin, "Whatsminer M50S", 4)
    before = twin.truth(miner["device"])["power_w"]
    twin.fault({"device": miner["device"], "faults": ["half_shed", "frozen"]})
    assert whatsminer_write(miner, {"cmd": "power_off"})["Code"] == 131
    twin.until(miner["device"], "power_w", lambda watts: watts == pytest.approx(before / 2, rel=0.05))
    summary = json.loads(rpc(miner, {"command": "summary"}).rstrip(b"\0"))["SUMMARY"][0]
    assert summary["Power"] == pytest.approx(before, rel=0.05)


def test_slow_answers_after_five_to_eight_seconds(twin: Twin) -> None:
    miner = of_model(twin, "Antminer S21")
    twin.fault({"device": miner["device"], "faults": ["slow"]})
    begun = time.monotonic()
    assert rpc(miner, {"command": "version"}, timeout_s=40)
    assert 4.9 < time.monotonic() - begun < 12.0, "5 to 8 s, and what the machine takes"


def test_an_unknown_fault_is_named(twin: Twin) -> None:
    with pytest.raises(AssertionError, match="unknown faults"):
        twin.fault({"device": twin.miners[0]["device"], "faults": ["tired"]})
