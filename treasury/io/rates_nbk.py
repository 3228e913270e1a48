# SPDX-License-Identifier: Apache-2.0
"""Official rates of the National Bank of Kazakhstan: `GET /rss/get_rates.cfm?fdate=DD.MM.YYYY`, XML.

Each item has title (currency), description (tenge, decimal text) and quant (number of currency units, not always 1).
"""

import re
from datetime import date
from xml.etree.ElementTree import Element, ParseError, fromstring

from kernel.errors import DecodeError
from kernel.money import decimal_to_int
from treasury.io.web import fetch, safe_url
from treasury.settlement import RecordedRate

RATE_DECIMALS = 8


class NationalBank:
    """Daily table of the bank."""

    def __init__(self, url: str = "https://nationalbank.kz") -> None:
        self._url = safe_url(url, "rates")

    async def rate(self, currency: str, day: date) -> RecordedRate | None:
        raw = await fetch("rates", "GET", f"{self._url}/rss/get_rates.cfm", params={"fdate": f"{day:%d.%m.%Y}"})
        return parse_rate(raw, currency, day, f"{self._url}/rss/get_rates.cfm?fdate={day:%d.%m.%Y}")


def parse_rate(raw: bytes, currency: str, day: date, source: str) -> RecordedRate | None:
    """Rate of a currency in a day's table; None where the table is empty or of another day. Raises DecodeError."""
    if b"<!" in raw.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
        raise DecodeError("rates", "declares entities or a document type: refused")
    try:
        root = fromstring(raw)
    except ParseError as error:
        raise DecodeError("rates", f"not XML: {error}") from None
    published = _day(root)
    items = [item for item in root.iter("item") if (item.findtext("title") or "").strip() == currency]
    if published != day or not items:
        return None
    if len(items) > 1:
        raise DecodeError(f"rates, {currency}", "occurs twice in the table")
    value, quant = (items[0].findtext("description") or "").strip(), (items[0].findtext("quant") or "").strip()
    try:
        if decimal_to_int(value, RATE_DECIMALS, "rate") <= 0 or decimal_to_int(quant, 0, "quant") <= 0:
            raise DecodeError(f"rates, {currency}", f"rate {value} for {quant} is not above zero")
    except ValueError as error:
        raise DecodeError(f"rates, {currency}", str(error)) from None
    return RecordedRate(currency, value, int(quant), published, day, source, raw)


def _day(root: Element) -> date:
    text = (root.findtext("date") or "").strip()
    found = re.fullmatch(r"(\d{2})\.(\d{2})\.(\d{4})", text)
    try:
        if found:
            return date(int(found[3]), int(found[2]), int(found[1]))
    except ValueError:
        pass
    raise DecodeError("rates.date", f"{text!r} is no day DD.MM.YYYY")
