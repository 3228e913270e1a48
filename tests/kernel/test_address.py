# SPDX-License-Identifier: Apache-2.0
import pytest

from kernel.address import authority, plain_address


def test_an_address_before_a_port():
    assert authority("10.0.0.5", 80) == "10.0.0.5:80" and authority("fd00::5", 80) == "[fd00::5]:80"


def test_one_form_of_each():
    assert plain_address(" [FD00:0::0005] ") == "fd00::5" and plain_address("fe80::1%eth0") == "fe80::1%eth0"
    for text in ("", "name", "10.0.0.256", "[10.0.0.5"):
        with pytest.raises(ValueError, match="does not appear"):
            plain_address(text)
