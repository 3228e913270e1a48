# SPDX-License-Identifier: Apache-2.0
"""The lenient reader: each malformed shape seen in the wild is read without inventing anything."""

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernel.errors import DecodeError
from miner_control.dialect import cgminer

SHAPES = {
    "no comma between objects": (b'{"STATS":[{"a":1}{"b":2}],"id":1}', {"STATS": [{"a": 1}, {"b": 2}], "id": 1}),
    "comma before the brace": (b'{"STATS":[{"a":1,}],"id":1}', {"STATS": [{"a": 1}], "id": 1}),
    "comma after the bracket": (b'{"STATS":[,{"a":1}],"id":1}', {"STATS": [{"a": 1}], "id": 1}),
    "raw newline in a text": (b'{"Msg":"two\nlines","id":1}', {"Msg": "two lines", "id": 1}),
    "doubled quote": (b'{"x":1,""temp0":5}', {"x": 1, "temp0": 5}),
    "inf and nan": (b'{"a":inf,"b":-nan,"c":NaN,"d":1}', {"a": None, "b": None, "c": None, "d": 1}),
    "a worker called nan": (
        b'{"User":"acct:nan","a":[nan,1,-inf],"b":nan ,}',
        {"User": "acct:nan", "a": [None, 1, None], "b": None},
    ),
    "comma at the beginning": (b',{"a":1}\x00', {"a": 1}),
    "list shaped like a dict": (
        b'{"Msg":{"error_code":["110":"2024-01-01"]}}',
        {"Msg": {"error_code": [{"110": "2024-01-01"}]}},
    ),
    "cut at the buffer's end": (b'{"STATS":[{"a":1,"b":[1,2],"c":"tex', {"STATS": [{"a": 1, "b": [1, 2]}]}),
    "cut within a number": (b'{"a":1,"b":12', {"a": 1}),
    "trailing NUL and newline": (b'{"a":1}\n\x00', {"a": 1}),
    "two documents": (b'{"a":1}{"b":2}', {"a": 1}),
    "lost beginning": (b'"a":1,"b":2}', {"a": 1, "b": 2}),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_malformed_shape(shape: str) -> None:
    sent, meant = SHAPES[shape]
    assert cgminer.parse(sent) == meant


def test_text_form() -> None:
    found = cgminer.parse(b"STATUS=S,When=5,Code=11,Msg=Summary|SUMMARY,Elapsed=60,MHS av=1.5|\x00")
    assert found["STATUS"][0]["Code"] == "11"
    assert cgminer.section(found, "SUMMARY") == [{"Elapsed": "60", "MHS av": "1.5"}]
    many = cgminer.parse(b"STATUS=S,Code=7|POOL=0,URL=a,Status=Alive|POOL=1,URL=b|")
    assert [entry["URL"] for entry in many["POOLS"]] == ["a", "b"]


@pytest.mark.parametrize("nothing", [b"", b"\x00", b"   \n", b"<html>404</html>", b"[1,2]", b"12", b"\xff\xfe\x00\x01"])
def test_nothing_to_read_is_a_decode_error(nothing: bytes) -> None:
    with pytest.raises(DecodeError):
        cgminer.parse(nothing)


@given(st.binary(max_size=300))
@example(b' "')
@example(b', ,"')
def test_no_bytes_ever_raise_anything_else(data: bytes) -> None:
    try:
        assert isinstance(cgminer.parse(data), dict)
    except DecodeError:
        pass


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1, max_size=6), _JSON, max_size=5))
def test_good_json_is_read_as_it_is(document: dict[str, object]) -> None:
    assert cgminer.parse(orjson.dumps(document)) == document


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 99) | st.text("xyz", max_size=4), min_size=1), st.data()
)
def test_a_cut_reply_never_invents_a_value(document: dict[str, object], data: st.DataObject) -> None:
    whole = orjson.dumps({"STATS": [document]})
    cut = data.draw(st.integers(1, len(whole) - 1))
    try:
        found = cgminer.parse(whole[:cut])
    except DecodeError:
        return
    for entry in cgminer.section(found, "STATS"):
        assert entry.items() <= document.items()


@pytest.mark.parametrize(
    ("reply", "meant"),
    [
        ({"STATUS": [{"STATUS": "E", "Code": 45, "Msg": "Access denied"}]}, ("45", "Access denied")),
        ({"STATUS": "E", "Code": 14, "Msg": "invalid command"}, ("14", "invalid command")),
        ({"STATUS": [{"STATUS": "S", "Code": 11, "Msg": "ok"}]}, None),
        ({"STATUS": {"STATUS": "F", "code": 3, "msg": "dead"}}, ("3", "dead")),
        ({}, None),
        ({"STATUS": []}, None),
    ],
)
def test_refusals(reply: dict[str, object], meant: object) -> None:
    assert cgminer.refusal(reply) == meant
