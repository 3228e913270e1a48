# SPDX-License-Identifier: Apache-2.0
"""The write cipher against values made by OpenSSL, and a round trip through an independent reading of the wire."""

import base64
import hashlib

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from miner_control.dialect.whatsminer_token import make_token, md5_crypt, opened, sealed

# openssl passwd -1 -salt SALT PASSWORD
OPENSSL = [
    ("admin", "BQ5hoXV9", "RxmaDUO33TS7O26yeMHZ81"),
    ("password", "abc", "BXBqpb9BZcZhXLgbee.0s/"),
    ("a-very-long-password-of-more-than-16-chars", "12345678", "nuhf4FQ5NWyOOpb71fI0k0"),
    ("x", "longsalt123", "k/mBLyLQHWN.TiK5hxzmP."),
]


@pytest.mark.parametrize(("password", "salt", "meant"), OPENSSL)
def test_md5_crypt_as_openssl_has_it(password: str, salt: str, meant: str) -> None:
    assert md5_crypt(password, salt) == meant


def test_a_sealed_command_opens_with_the_documented_key() -> None:
    token = make_token("admin", {"time": "5626", "salt": "BQ5hoXV9", "newsalt": "jbzkfQls"}, now_ms=0)
    body = orjson.loads(sealed(token, {"cmd": "power_off"}))
    key = hashlib.sha256(b"RxmaDUO33TS7O26yeMHZ81").digest()
    engine = Cipher(algorithms.AES(key), modes.ECB()).decryptor()
    plain = engine.update(base64.b64decode(body["data"])) + engine.finalize()
    sent = orjson.loads(plain.rstrip(b"\x00"))
    assert body["enc"] == 1
    assert sent == {"cmd": "power_off", "token": md5_crypt("RxmaDUO33TS7O26yeMHZ81" + "5626", "jbzkfQls")}


def test_answers_open_wrapped_in_lines_or_not() -> None:
    token = make_token("admin", {"time": "1", "salt": "aaaaaaaa", "newsalt": "bbbbbbbb"}, now_ms=0)
    text = orjson.loads(sealed(token, {"STATUS": "S", "padding": "x" * 90}))["data"]
    wrapped = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    for shape in (text, wrapped):
        plain = opened(token, {"enc": shape})
        assert plain is not None and orjson.loads(plain)["STATUS"] == "S"
    assert opened(token, {"STATUS": "E"}) is None
