# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path

import pytest

from kernel.errors import ConfigError, TransportError
from kernel.reading import Absence
from miner_control.fleet.driver import Answer, Http, Request, Rpc
from miner_control.inventory.asset_register import AssetRegister, inventory_csv, load_register
from miner_control.inventory.discover import Difference, Found, compare, targets
from miner_control.inventory.identified import Identity
from miner_control.inventory.identify import CGMINER, FLUX, FRAMED, WEB, identify

ASKED = targets(["10.0.0.0/24"], ["10.0.0.0/8"])


def test_ranges():
    assert list(targets(["10.0.0.5-10.0.0.7", "10.0.0.9"], ["10.0.0.0/8"])) == [
        "10.0.0.5",
        "10.0.0.6",
        "10.0.0.7",
        "10.0.0.9",
    ]
    assert len(ASKED) == 254 and ASKED.holds("10.0.0.1") and not ASKED.holds("10.0.1.1") and not ASKED.holds("name")
    six = targets(["fd00::10/126"], ["fd00::/8"])
    assert list(six) == ["fd00::10", "fd00::11", "fd00::12", "fd00::13"]


def test_only_allowed_networks_are_asked_and_all_faults_are_named():
    with pytest.raises(ConfigError) as caught:
        targets(["8.8.8.0/24", "10.0.0.9-10.0.0.1", "nonsense", "10.0.0.0/8"], ["10.0.0.0/8", "what"], most=1000)
    text = str(caught.value)
    for part in (
        "8.8.8.0/24",
        "not inside one allowed",
        "the end comes before",
        "'nonsense'",
        "'what'",
        "more than 1000",
    ):
        assert part in text
    with pytest.raises(ConfigError, match="empty"):
        targets(["10.0.0.1"], [])


def ask(ports: dict[int, int], answers: dict[str, bytes | Exception | Answer]) -> Identity | None:
    """Drive the talk with answers by what was asked; what has none hangs up."""
    talk = identify(ports)
    try:
        request: Request = next(talk)
        while True:
            if isinstance(request, Rpc):
                body = json.loads(request.payload)
                key = f"{request.port} {body.get('command', body.get('cmd'))}"
            else:
                assert isinstance(request, Http) and not request.writes
                key = f"{request.port} {request.path}"
            answer = answers.get(key, TransportError(Absence.UNREACHABLE, "hung up"))
            if isinstance(answer, Exception):
                request = talk.throw(answer)
            else:
                request = talk.send(answer if isinstance(answer, Answer) else Answer(answer, 200))
    except StopIteration as end:
        return end.value


def version(**reported: str) -> bytes:
    return json.dumps({"STATUS": [{"STATUS": "S"}], "VERSION": [reported]}).encode() + b"\0"


@pytest.mark.parametrize(
    ("ports", "answers", "dialect", "model"),
    [
        ([CGMINER], {"4028 version": version(BMMiner="1.0", Type="Antminer S19 Pro")}, "antminer", "Antminer S19 Pro"),
        ([CGMINER], {"4028 version": version(LUXminer="2025", Type="Antminer S21")}, "luxos", "Antminer S21"),
        ([CGMINER], {"4028 version": version(CGMiner="4.9", Type="Antminer S19 (Vnish 1.2.0)")}, "vnish", "Antminer S19"),
        ([CGMINER], {"4028 version": version(**{"BOSminer+": "0.9"})}, "braiins", ""),
        ([CGMINER], {"4028 version": version(PROD="AvalonMiner 1466", MODEL="1466")}, "avalon", "Avalon 1466"),
        ([CGMINER], {"4028 version": version(PROD="Avalon Q", MODEL="Q")}, "avalon", "Avalon Q"),
        ([CGMINER], {"4028 version": version(GCMiner="0.5")}, "auradine", ""),
        ([CGMINER], {"4028 version": b'{"STATUS":"E","Msg":"invalid cmd"}',
                     "4028 get_version": b'{"STATUS":"S","Msg":{"api_ver":"2.0.5","fw_ver":"2023"}}',
                     "4028 devdetails": b'{"DEVDETAILS":[{"Model":"M50S"}]}'}, "whatsminer", "M50S"),
        ([CGMINER], {"4028 /capabilities": b'{"Model":"AntMiner S19 XP"}'}, "epic", "AntMiner S19 XP"),
        ([FRAMED], {"4433 get.device.info": b'{"msg":{"miner":{"type":"M60S_VK40"}}}'}, "whatsminer_v3", "M60S_VK40"),
        ([FRAMED], {"4433 get.device.info": b'{"msg":{"miner":{"type":"M60S_VK40"},"network":"down","system":null}}'},
         "whatsminer_v3", "M60S_VK40"),
        ([WEB], {"80 /api/system/info": b'{"ASICModel":"BM1368","boardVersion":"401"}'}, "bitaxe", "401"),
        ([WEB], {"80 /api/system/info": b'{"ASICModel":"BM1370","deviceModel":"NerdQAxe++"}'}, "bitaxe", "NerdQAxe++"),
        ([WEB], {"80 /api/system/info": b'{"identity":{"hwModel":"NMAxe","fwVersion":"v2.9.31"}}'}, "bitaxe", "NMAxe"),
        ([WEB], {p: Answer(b"", 404) for p in ("80 /api/system/info", "80 /api/v1/info", "80 /api/v1/version/")}
            | {"80 /cgi-bin/get_system_info.cgi": Answer(b"", 401, {"www-authenticate": 'Digest realm="antMiner"'})},
         "antminer", ""),
        ([FLUX], {"8080 /ipreport": b'{"IPReport":[{"model":"AT2880","SerialNo":"S1"}]}'}, "auradine", "AT2880"),
        ([CGMINER], {"4028 version": version(StrangeMiner="9")}, "", ""),
        ([CGMINER], {"4028 version": version(CGMiner="4.9.0"),
                     "4028 stats": b'{"STATS":[{"CGMiner":"4.9.0","Type":"Antminer S7"}{"STATS":0,"GHS 5s":4700}]}'},
         "antminer", "Antminer S7"),
        ([CGMINER], {"4028 version": b"STATUS=S,Code=22|VERSION,CGMiner=4.10.0,API=3.7|",
                     "4028 stats": b'{"STATS":[{"ID":"AV70","MM ID1":"Ver[7411706-3162860] DNA[01] Temp[38]"}]}'},
         "avalon", "Avalon 741"),
        ([CGMINER], {"4028 version": version(CGMiner="4.9.2"),
                     "4028 devdetails": b'{"DEVDETAILS":[{"Driver":"bitmicro","Model":"M20S"}]}'}, "whatsminer", "M20S"),
        ([CGMINER], {"4028 version": version(CGMiner="4.12"), "4028 devdetails": b'{"DEVDETAILS":[{"Model":"X9"}]}'}, "", ""),
    ],
)  # fmt: skip
def test_identification_by_what_answers(ports: list[int], answers: dict[str, bytes], dialect: str, model: str):
    found = ask({port: port for port in ports}, answers)  # type: ignore[arg-type]
    assert found is not None and (found.dialect, found.model) == (dialect, model)


BOTH = {
    "4028 version": b'{"STATUS":"E","Code":14,"Msg":"invalid cmd"}',
    "4028 get_version": b'{"STATUS":"S","Msg":{"fw_ver":"20250321.14.Rel"}}',
    "4028 devdetails": b'{"STATUS":"E","Msg":"invalid cmd"}',
    "4433 get.device.info": b'{"msg":{"system":{"fwversion":"20250321.14.Rel"},"miner":{"type":"M50_VH75","miner-sn":"SN1"}}}',
}


def test_of_two_open_ports_the_better_protocol_is_taken_whatever_the_other_says_of_itself():
    for more in ({}, {"4028 get_version": b'{"STATUS":"S","Msg":{"api_ver":"whatsminer v3.0.1","fw_ver":"2025"}}'}):
        found = ask({CGMINER: 4028, FRAMED: 4433}, BOTH | more)  # type: ignore[arg-type]
        assert found is not None and (found.dialect, found.model, found.serial) == ("whatsminer_v3", "M50_VH75", "SN1")
        assert found.ports == (("rpc", 4433),)


def test_one_port_completes_what_the_other_leaves_open_and_stock_yields_to_the_firmware_on_top():
    info = {"fw_name": "Vnish", "fw_version": "1.2.7", "miner": "Antminer S21", "serial": "SN9"}
    pages = {"80 /api/system/info": Answer(b"", 404), "80 /api/v1/info": json.dumps(info).encode()}
    stock = {"4028 version": version(BMMiner="1.0", Type="Antminer S21")}
    found = ask({CGMINER: 4028, WEB: 80}, stock | pages)  # type: ignore[arg-type]
    assert found is not None and (found.dialect, found.firmware, found.serial) == ("vnish", "1.2.7", "SN9")
    named = {"4028 version": version(CGMiner="4.9", Type="Antminer S21 (Vnish 1.2.7)")}
    found = ask({CGMINER: 4028, WEB: 80}, named | pages)  # type: ignore[arg-type]
    assert found is not None and (found.serial, dict(found.ports)) == ("SN9", {"rpc": 4028, "http": 80})


@pytest.mark.parametrize(
    ("ports", "answers", "dialect", "model", "says"),
    [
        ([CGMINER], {"4028 version": b'{"STATUS":[{"STATUS":"E","Msg":"Invalid command"}]}',
                     "4028 stats": b'{"STATS":[{"Type":"Antminer S21 Pro (Vnish 1.2.7)","CompileTime":"2025"}]}'},
         "vnish", "Antminer S21 Pro", ""),
        ([CGMINER], {"4028 version": version(BMMiner="4.11.1", Type="S19-88 v.2.6.0.39 ")}, "cgminer", "S19-88", ""),
        ([CGMINER], {"4028 version": version(BDMiner="4.11.1")}, "", "", "BDMiner=4.11.1"),
        ([WEB], {"80 /api/v1/system":
                 b'{"system-info":{"manufacturer":"Proto","product_name":"Proto Rig","os":{"version":"1.8.0"}}}'},
         "", "", "Proto Rig 1.8.0"),
        ([WEB], {"80 /cgi-bin/get_system_info.cgi": b'{"Algorithm":"Scrypt","minertype":"DG-Home1"}'},
         "", "", "DG-Home1 Scrypt"),
        ([WEB], {"80 /cgi-bin/get_system_info.cgi": b'{"Algorithm":"Scrypt","minertype":"Antminer L9"}'},
         "", "", "Antminer L9 Scrypt"),
        ([WEB], {"80 /api/info_v1": b'{"network_info":{"result":{"macaddr":"02:00:00:00:00:01"}}}'},
         "", "", "MSKMiner"),
    ],
)  # fmt: skip
def test_relatives_and_makers_of_other_coins_are_no_stock_miners_and_say_what_they_are(
    ports: list[int], answers: dict[str, bytes], dialect: str, model: str, says: str
):
    found = ask({port: port for port in ports}, answers)  # type: ignore[arg-type]
    assert found is not None and (found.dialect, found.model) == (dialect, model)
    assert says in found.reported_text


def test_texts_of_an_identity_are_one_line_and_zeros_name_nobody():
    reported = {"minertype": "Antminer S19\n\u202e[bold]\x07", "serinum": "0000000000", "macaddr": "00:00:00:00:00:00"}
    found = ask({WEB: 80}, {"80 /cgi-bin/get_system_info.cgi": json.dumps(reported).encode()})
    assert found is not None and (found.model, found.serial, found.mac) == ("Antminer S19 [bold]", "", "")


def test_a_serial_number_that_is_none_makes_no_two_miners_one():
    info = {
        "fw_name": "Vnish",
        "serial": "N/A",
        "miner": "S19",
        "system": {"network_status": {"mac": "FE:00:00:00:00:01"}},
    }
    answers = {"80 /api/system/info": Answer(b"", 404), "80 /api/v1/info": json.dumps(info).encode()}
    found = ask({WEB: 80}, answers)  # type: ignore[arg-type]
    assert found is not None and (found.serial, found.mac) == ("", "fe:00:00:00:00:01")


class Always(dict[str, Answer]):
    """The same answer to whatever is asked."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def get(self, key: str, default: object = None) -> Answer:  # type: ignore[override]
        return self.answer


def test_who_answers_is_of_unknown_family_with_its_own_texts_and_silence_is_reported():
    printer = Answer(b"<html><title>Laser\n Jet</title>", 200, {"server": "Printer/1.0"})
    found = ask({WEB: 80}, Always(printer))  # type: ignore[arg-type]
    assert found is not None and found.dialect == "" and found.reported_text == "Printer/1.0; Laser Jet"
    locked = Answer(b"", 401, {"www-authenticate": 'Digest realm="Daoge Configuration"', "location": "https://x/"})
    found = ask({WEB: 80}, Always(locked))  # type: ignore[arg-type]
    assert found is not None and (found.dialect, found.reported_text) == ("", "Daoge Configuration; https://x/")
    bare = ask({WEB: 80}, Always(Answer(b"", 404)))  # type: ignore[arg-type]
    assert bare is not None and (bare.dialect, bare.reported_text) == ("", "HTTP 404 on port 80")
    with pytest.raises(TransportError):
        ask({CGMINER: 4028}, {"4028 version": TransportError(Absence.TIMED_OUT, "mute")})


RECORDINGS = {
    "luxos_2025.4.8": "luxos",
    "antminer_stock_2022-12": "antminer",
    "avalon_q": "avalon",
    "auradine": "auradine",
}


@pytest.mark.parametrize("folder", RECORDINGS)
def test_recorded_versions(folder: str):
    from os import environ

    shared = Path(environ.get("MINING_HUB_SHARED", Path(__file__).resolve().parents[4] / "shared"))
    path = shared / "recordings" / folder / "version.json"
    if not path.exists():
        pytest.skip(f"NO RECORDINGS at {path}: set MINING_HUB_SHARED to check against recorded answers")
    found = ask({CGMINER: 4028}, {"4028 version": path.read_bytes()})
    assert found is not None and found.dialect == RECORDINGS[folder]


def miner(host: str, serial: str = "", mac: str = "", model: str = "Antminer S21", dialect: str = "antminer") -> Found:
    return Found(host, Identity(dialect, "Bitmain", model, "1", (("rpc", 4028),), serial, mac))


def scan(register: AssetRegister, *found: Found) -> Difference:
    return compare(register, ASKED, found, "hub", "north")


def test_a_second_scan_finds_nothing_new_and_a_persons_edits_stay(tmp_path: Path):
    first = scan(
        AssetRegister(()), miner("10.0.0.1", "S1"), miner("10.0.0.2", "", "aa:00:00:00:00:02"), miner("10.0.0.3")
    )
    assert len(first.new) == 3 and len(set(first.new)) == 3
    path = tmp_path / "inventory.csv"
    path.write_text(
        inventory_csv(first.register).replace("unassigned", "f7", 1).replace("Antminer S21", "Antminer S21 200", 1)
    )
    edited = load_register(path, "hub", "north")
    again = scan(edited, miner("10.0.0.3"), miner("10.0.0.1", "S1"), miner("10.0.0.2", "", "aa:00:00:00:00:02"))
    assert again.lines() == []
    assert again.register.miners[0].feeder == "f7" and again.register.miners[0].model == "Antminer S21 200"


def test_moves_swaps_doubles_and_the_gone():
    first = scan(
        AssetRegister(()),
        miner("10.0.0.1", "S1", "aa:00:00:00:00:01"),
        miner("10.0.0.2", "S2"),
        miner("10.0.0.3", "S3"),
    )
    one, two, three = first.new
    found = scan(
        first.register,
        miner("10.0.0.9", "S1", "aa:00:00:00:00:01"),
        miner("10.0.0.2", "S2-new", "aa:00:00:00:00:02", dialect="luxos"),
        miner("10.0.0.50", "TWIN"),
        miner("10.0.0.51", "TWIN"),
        Found("10.0.0.60", None, "port 4028 open, mute"),
    )
    assert found.moved == ((one, "10.0.0.1", "10.0.0.9"),)
    assert (
        found.swapped[0][0] == two and "serial S2 -> S2-new" in found.swapped[0][1] and "luxos" in found.swapped[0][1]
    )
    assert found.gone == (three,)
    assert found.doubled == (("serial TWIN", ("10.0.0.50", "10.0.0.51")),)
    assert not found.new, "of two that claim one serial neither is taken in"
    assert found.unknown == (("10.0.0.60", "port 4028 open, mute"),)
    assert len(found.lines()) == 5
    assert {m.device for m in found.register.miners} == {one, two, three}


def test_miners_outside_the_ranges_are_not_gone():
    first = compare(
        AssetRegister(()), targets(["10.1.0.0/24"], ["10.0.0.0/8"]), [miner("10.1.0.1", "S1")], "hub", "north"
    )
    assert scan(first.register).gone == ()


@pytest.mark.parametrize("names", [("S1", ""), ("", "aa:00:00:00:00:01"), ("S1", "aa:00:00:00:00:01")])
def test_a_moved_miner_is_recognised_by_serial_or_mac(names: tuple[str, str]):
    first = scan(AssetRegister(()), miner("10.0.0.1", *names))
    moved = scan(first.register, miner("10.0.0.9", *names))
    assert [key for key, *_ in moved.moved] == list(first.new) and not moved.new
    board = scan(first.register, miner("10.0.0.9", names[0] and "S1", names[1] and "aa:00:00:00:00:77"))
    assert bool(board.new) != bool(names[0]), "a serial number outlives its control board"


def test_a_serial_number_that_two_claim_in_the_register_names_neither():
    two = scan(AssetRegister(()), miner("10.0.0.1"), miner("10.0.0.2")).register.miners
    twice = AssetRegister(tuple(replace(one, serial="S1") for one in two))
    found = scan(twice, miner("10.0.0.9", "S1"))
    assert not found.moved and len(found.new) == 1


def test_a_range_that_only_begins_in_an_allowed_network_is_refused():
    for text in ("10.0.0.0/23", "10.0.0.250-10.0.1.5", "fd00::/119"):
        with pytest.raises(ConfigError, match="not inside one allowed network"):
            targets([text], ["10.0.0.0/24", "fd00::/120"])
    assert len(targets(["10.0.0.250-10.0.0.255", "fd00::/120"], ["10.0.0.0/24", "fd00::/120"])) == 6 + 256
