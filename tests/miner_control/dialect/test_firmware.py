# SPDX-License-Identifier: Apache-2.0
"""The wire steps of an image: nothing leaves unless its hash is right, and each firmware gets it in its maker's shape."""

import hashlib
from typing import Any

import orjson
import pytest

from kernel.reading import Reading
from kernel.receipt import Accepted, Receipt, Refused, Unsupported
from miner_control.control.readback import carries_evidence, is_version, shows, tier_of
from miner_control.dialect import DIALECTS
from miner_control.dialect.whatsminer_token import make_token, opened, sealed
from miner_control.fleet.command import (
    FIRMWARE_DEADLINE_S,
    STOCK,
    InstallFirmware,
    Intent,
    RollBackFirmware,
    Sleep,
    command,
    deadline_of,
    intent_from_json,
    intent_json,
    receipt_json,
)
from miner_control.fleet.driver import Answer, Http, Request, Rpc
from miner_control.fleet.envelope import Envelope
from miner_control.jobs.dry_run import DryRun, step_text
from telemetry.collect.source import Tier
from tests.miner_control.dialect.play import NOW_MS, Play

IMAGE = b"\x1f\x8b" + bytes(range(256)) * 40
SHA256 = hashlib.sha256(IMAGE).hexdigest()
INSTALL = InstallFirmware("2.0", SHA256, IMAGE)
ABLE = sorted(name for name, dialect in DIALECTS.items() if "InstallFirmware" in dialect.supports())
UNABLE = sorted(set(DIALECTS) - set(ABLE))
TOKEN = make_token("secret", {"time": "1234", "salt": "abcdefgh", "newsalt": "hgfedcba"}, NOW_MS)


def play_of(dialect: str, **table: Any) -> Play:
    """A peer that takes everything; `table` is added to its answers."""
    play = Play(dialect, PEERS[dialect] | table)
    play.access.memory |= {"salt": "s", "clock_ahead_s": 0, "token_until_ms": NOW_MS + 10**9}
    play.access.memory["token"] = TOKEN if dialect == "whatsminer" else "t"
    return play


def v2_answer(message: str, code: int = 131) -> dict[str, Any]:
    plain = {"STATUS": "S" if code == 131 else "E", "When": 1, "Code": code, "Msg": message, "Description": ""}
    return {"enc": orjson.loads(sealed(TOKEN, plain))["data"]}


PEERS: dict[str, dict[str, Any]] = {
    "antminer": {
        "GET /cgi-bin/get_system_info.cgi": {"minertype": "Antminer S21"},
        "POST /cgi-bin/upgrade.cgi": {"stats": "success", "code": "U000", "msg": "OK!"},
    },
    "braiins": {
        "POST /api/v1/upgrade/system-upgrade": Answer(b"", 204),
        "POST /api/v1/upgrade/restore-stock": Answer(b"", 204),
    },
    "vnish": {"POST /api/v1/firmware/update": {"after": 3}, "POST /api/v1/firmware/remove": {"after": 3}},
    "epic": {"POST /systemupdate": {"result": True, "error": None}},
    "bitaxe": {"POST /api/system/OTA": b"Firmware update complete, rebooting now!\n"},
    "whatsminer": {},
    "whatsminer_v3": {},
}


def drive(play: Play, intent: Intent, answers: list[Any] | None = None) -> Receipt:
    """As `Play.carry_out`; the RPC of Whatsminers is answered in turn, since an image is no JSON to look up."""
    if answers is None:
        return play.carry_out(intent)
    talk = DIALECTS[play.dialect].carry_out(play.access, intent, NOW_MS)
    try:
        request: Request = next(talk)
        for answer in answers:
            play.asked.append(request)
            request = talk.send(Answer(orjson.dumps(answer)))
        pytest.fail(f"asks for more: {request}")
    except StopIteration as end:
        receipt: Receipt = end.value
        return receipt


def answers_of(dialect: str) -> list[Any] | None:
    if dialect == "whatsminer":
        return [v2_answer("ready"), v2_answer("ok")]
    if dialect == "whatsminer_v3":
        return [{"code": 0, "when": 1, "msg": "ready"}, {"code": 0, "when": 1, "msg": "ok"}]
    return None


def parts_of(request: Request) -> tuple[bytes, ...]:
    payload = request.body if isinstance(request, Http) else request.payload
    assert isinstance(payload, tuple)
    return payload


@pytest.mark.parametrize("dialect", ABLE)
def test_an_image_is_sent_as_it_is_and_once(dialect: str) -> None:
    play = play_of(dialect)
    receipt = drive(play, INSTALL, answers_of(dialect))
    assert isinstance(receipt, Accepted), receipt
    holders = [request for request in play.asked if isinstance(_payload(request), tuple)]
    assert len(holders) == 1 and holders[0].writes
    assert sum(part is IMAGE for part in parts_of(holders[0])) == 1, "the very same bytes, not a copy of them"
    assert all(request.writes for request in play.asked if not _reads(request))


def _payload(request: Request) -> Any:
    return request.body if isinstance(request, Http) else request.payload


def _reads(request: Request) -> bool:
    return isinstance(request, Http) and request.method == "GET"


@pytest.mark.parametrize("dialect", ABLE)
@pytest.mark.parametrize(
    ("intent", "code"),
    [
        (InstallFirmware("2.0", "0" * 64, IMAGE), "sha256"),
        (InstallFirmware("2.0", "", IMAGE), "sha256"),
        (InstallFirmware("2.0", SHA256, IMAGE + b"x"), "sha256"),
        (InstallFirmware("2.0", SHA256), "image"),
    ],
    ids=["other hash", "no hash", "other image", "no image"],
)
def test_a_wrong_hash_sends_nothing(dialect: str, intent: InstallFirmware, code: str) -> None:
    play = play_of(dialect)
    receipt = play.carry_out(intent)
    assert isinstance(receipt, Refused) and receipt.code == code and len(receipt.text) > 30, receipt
    assert not play.asked


@pytest.mark.parametrize("dialect", UNABLE)
def test_dialects_without_upload_give_the_reason_and_send_nothing(dialect: str) -> None:
    for intent in (INSTALL, RollBackFirmware(), RollBackFirmware(STOCK)):
        play = Play(dialect, {})
        receipt = play.carry_out(intent)
        assert isinstance(receipt, Unsupported) and len(receipt.text.split()) > 6, receipt
        assert not play.asked


def test_antminer_takes_a_form_and_proves_the_password_before_the_image() -> None:
    play = play_of("antminer")
    drive(play, INSTALL)
    first, upload = play.asked
    assert isinstance(first, Http) and (first.method, first.digest, first.writes) == ("GET", True, False)
    assert isinstance(upload, Http) and upload.digest
    head, image, tail = parts_of(upload)
    mark = upload.headers["Content-Type"].removeprefix("multipart/form-data; boundary=").encode()
    assert (
        head.startswith(b"--" + mark + b"\r\n") and head.endswith(b"\r\n\r\n") and tail == b"\r\n--" + mark + b"--\r\n"
    )
    assert b'name="firmware"; filename="firmware.tar.gz"' in head and mark not in image


@pytest.mark.parametrize(
    "answer",
    [Answer(b"", 404), Answer(b"", 413), {"stats": "error", "code": "U001", "msg": "bad signature"},
     b"<html>" + b" " * 200 + b"<h1>System upgrade failed</h1></html>"],
    ids=["no page", "too large", "refused", "old page"],
)  # fmt: skip
def test_antminer_that_refuses_an_image(answer: Any) -> None:
    receipt = drive(play_of("antminer", **{"POST /cgi-bin/upgrade.cgi": answer}), INSTALL)
    assert isinstance(receipt, Refused), receipt


def test_antminer_with_a_wrong_password_is_sent_no_image() -> None:
    play = play_of("antminer", **{"GET /cgi-bin/get_system_info.cgi": Answer(b"", 401)})
    assert isinstance(drive(play, INSTALL), Refused) and len(play.asked) == 1


def test_braiins_tells_size_and_hash_first() -> None:
    play = play_of("braiins")
    drive(play, INSTALL)
    (upload,) = play.asked
    head, _, _ = parts_of(upload)
    assert head.index(b'name="metadata"') < head.index(b'name="data"')
    reported = orjson.loads(head[head.index(b"{") : head.index(b"}") + 1])
    assert reported == {"size": len(IMAGE), "hash": SHA256, "discard_settings": False, "disable_cleanup": False}
    assert isinstance(upload, Http) and upload.headers["Authorization"] == "Bearer t"


def test_braiins_busy_with_another_task_refuses() -> None:
    busy = Answer(b'{"message":"Another system task is already in progress."}', 409)
    receipt = drive(play_of("braiins", **{"POST /api/v1/upgrade/system-upgrade": busy}), INSTALL)
    assert isinstance(receipt, Refused) and receipt.code == "409" and "in progress" in receipt.text


def test_braiins_before_the_rest_api_takes_none() -> None:
    play = play_of("braiins")
    play.access.memory["way"] = "rpc"
    receipt = drive(play, INSTALL)
    assert isinstance(receipt, Unsupported) and "25.07" in receipt.text and not play.asked


def test_vnish_and_epic_keep_the_settings_and_epic_gets_the_hash() -> None:
    for dialect, reported in (
        ("vnish", b'name="keep_settings"\r\n\r\ntrue'),
        ("epic", b'name="keepsettings"\r\n\r\ntrue'),
    ):
        play = play_of(dialect)
        drive(play, INSTALL)
        assert reported in parts_of(play.asked[-1])[0]
    head = parts_of(play.asked[-1])[0]
    assert f'name="checksum"\r\n\r\n{SHA256}'.encode() in head and b'name="password"\r\n\r\nsecret' in head
    assert b'name="update.zip"; filename="update.zip"' in head


def test_epic_that_answers_200_and_false_refuses() -> None:
    table = {"POST /systemupdate": {"result": False, "error": "checksum mismatch"}}
    receipt = drive(play_of("epic", **table), INSTALL)
    assert isinstance(receipt, Refused) and "checksum" in receipt.text


def test_axeos_takes_the_bare_image() -> None:
    play = play_of("bitaxe")
    drive(play, INSTALL)
    (upload,) = play.asked
    assert isinstance(upload, Http) and upload.headers["Content-Type"] == "application/octet-stream"
    assert parts_of(upload) == (IMAGE,)


def test_whatsminer_update_waits_for_ready_and_sends_the_size() -> None:
    play = play_of("whatsminer")
    drive(play, INSTALL, answers_of("whatsminer"))
    ask, upload = play.asked
    assert isinstance(ask, Rpc) and ask.keeps_line and isinstance(ask.payload, bytes)
    plain = opened(TOKEN, {"enc": orjson.loads(ask.payload)["data"]})
    assert plain is not None and orjson.loads(plain) == {"cmd": "update_firmware", "token": TOKEN.sign}
    assert isinstance(upload, Rpc) and not upload.keeps_line and not upload.length_prefixed
    assert parts_of(upload) == (len(IMAGE).to_bytes(4, "little"), IMAGE)
    assert "token" not in play.access.memory, "a restart forgets it"


def test_whatsminer_v3_sends_the_image_as_a_frame() -> None:
    play = play_of("whatsminer_v3")
    drive(play, INSTALL, answers_of("whatsminer_v3"))
    ask, upload = play.asked
    assert isinstance(ask, Rpc) and ask.keeps_line and b'"cmd":"set.system.update_firmware"' in ask.payload  # type: ignore[operator]
    assert isinstance(upload, Rpc) and upload.frame == (len(IMAGE).to_bytes(4, "little"), IMAGE)


@pytest.mark.parametrize(
    ("dialect", "answers"),
    [
        ("whatsminer", [v2_answer("busy")]),
        ("whatsminer", [{"STATUS": "E", "When": 1, "Code": 45, "Msg": "permission denied"}]),
        ("whatsminer", [v2_answer("ready"), v2_answer("command error", 132)]),
        ("whatsminer_v3", [{"code": 0, "msg": "ok"}]),
        ("whatsminer_v3", [{"code": -4, "msg": "no permission"}]),
        ("whatsminer_v3", [{"code": 0, "msg": "ready"}, {"code": -1, "msg": "image check failed"}]),
    ],
)
def test_whatsminer_that_refuses(dialect: str, answers: list[Any]) -> None:
    play = play_of(dialect)
    receipt = drive(play, INSTALL, answers)
    assert isinstance(receipt, Refused), receipt
    assert len(play.asked) == len(answers), "nothing is sent after a no"


@pytest.mark.parametrize("dialect", ["braiins", "vnish"])
def test_the_makers_own_firmware_is_gone_back_to_only_by_its_name(dialect: str) -> None:
    for version in ("", "1.2.3"):
        play = play_of(dialect)
        receipt = play.carry_out(RollBackFirmware(version))
        assert isinstance(receipt, Unsupported) and "install its image" in receipt.text and not play.asked
    play = play_of(dialect)
    assert isinstance(play.carry_out(RollBackFirmware(STOCK)), Accepted)
    (asked,) = play.asked
    assert asked.writes and isinstance(asked, Http) and asked.path.endswith(("restore-stock", "firmware/remove"))


def test_a_miner_that_went_back_is_read_in_its_makers_dialect_and_else_in_its_own() -> None:
    play = play_of("vnish", **{"GET /api/v1/summary": {"miner": {"miner_type": "Antminer S21 (Vnish 1.3.3)"}}})
    play.carry_out(RollBackFirmware(STOCK))
    play.rpc_closed = True
    assert "Vnish" in str(play.read()["firmware"]), "it has not gone yet"
    stock = {"minertype": "Antminer S21", "system_filesystem_version": "Fri Aug 30 2024"}
    play.table = {"GET /cgi-bin/get_system_info.cgi": stock, "GET /cgi-bin/stats.cgi": {"STATS": [{"rate_5s": 0}]},
                  "GET /cgi-bin/summary.cgi": {"SUMMARY": [{"elapsed": 9}]}}  # fmt: skip
    assert play.read()["firmware"] == "Fri Aug 30 2024"


# --- proof ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "version", "is_it"),
    [
        ("1.3.3", "1.3.3", True), ("Vnish 1.3.3", "1.3.3", True), ("v2.14.0", "2.14.0", True), ("2.14.0", "V2.14.0", True),
        ("'20251209.16.Rel'", "20251209.16.Rel", True), ("Fri Aug 30 2024", "Fri Aug 30 2024", True),
        ("1.3.30", "1.3.3", False), ("11.3.3", "1.3.3", False), ("1.3.3-rc1", "1.3.3", False), ("1.3", "1.3.3", False),
        ("Fri Aug 30 2024", "2024", False), (None, "1.3.3", False), ("", "", False), ("1.3.3", "", False),
    ],
)  # fmt: skip
def test_a_version_is_named_whole_or_not_at_all(reported: object, version: str, is_it: bool) -> None:
    assert is_version(reported, version) is is_it


def reading(**values: Any) -> Reading:
    return Reading("h/s/m", "miner", 5, values)


def test_proof_is_the_version_read_back() -> None:
    envelope = Envelope("M", "F", (), "normal", 20.0, 1.0, 1.0, 1.0, 1.0, 1.0)

    def proves(intent: Intent, reported: str, was: str | None) -> bool:
        before = None if was is None else reading(firmware=was)
        return shows(intent, envelope, reading(firmware=reported), since_s=1.0, was_unreachable=True, before=before)

    assert proves(INSTALL, "2.0", "1.0") and not proves(INSTALL, "1.0", "1.0") and not proves(INSTALL, "2.1", "1.0")
    assert proves(RollBackFirmware(), "1.0", "2.0") and not proves(RollBackFirmware(), "2.0", "2.0")
    assert not proves(RollBackFirmware(), "2.0", None), "without a before there is no other"
    assert proves(RollBackFirmware(STOCK), "Fri Aug 30", "2.0") and not proves(RollBackFirmware("1.0"), "1.1", "2.0")
    assert tier_of(INSTALL) is tier_of(RollBackFirmware()) is Tier.DAILY
    assert (
        not carries_evidence(INSTALL, reading(power_w=3.0))
        and carries_evidence(INSTALL, reading(firmware="x"))
        and carries_evidence(Sleep(), reading())
    )


def test_the_image_stands_in_no_journal_and_no_text() -> None:
    assert intent_from_json(intent_json(INSTALL)) == InstallFirmware("2.0", SHA256)
    assert "data" not in intent_json(INSTALL) and "\\x" not in repr(INSTALL)
    made = command(1, "h/s/m", INSTALL, "campaign")
    assert made.deadline_s == FIRMWARE_DEADLINE_S == deadline_of(RollBackFirmware()) and deadline_of(Sleep()) == 120.0
    from kernel.receipt import Verified

    assert receipt_json(Verified(reading(firmware="2.0"), 3.0))["proof"] == {"firmware": "2.0"}


@pytest.mark.parametrize("dialect", ABLE)
def test_a_dry_run_shows_the_steps_and_not_the_image(dialect: str) -> None:
    large = InstallFirmware("2.0", hashlib.sha256(IMAGE * 800).hexdigest(), IMAGE * 800)
    play, rehearsal = play_of(dialect), DryRun(DIALECTS[dialect])
    receipt = play.drive(rehearsal.carry_out(play.access, large, NOW_MS))
    assert isinstance(receipt, Accepted), receipt
    lines = [step_text(step, play.access) for step in rehearsal.steps]
    assert f"... {len(IMAGE) * 800} bytes of firmware" in lines[-1] and lines[-1].startswith("WRITE")
    assert all(len(line) < 900 and "secret" not in line and line.isprintable() for line in lines), lines
    assert not play.writes(), "all was kept back"
