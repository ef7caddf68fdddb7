"""Digits in a Chinese text as they are read: 2024年 digit by digit, 3.5% as 百分之三点五."""

from __future__ import annotations

import re

_DIGITS = "零一二三四五六七八九"
_MONEY = {"¥": "元", "￥": "元", "$": "美元", "€": "欧元", "£": "英镑"}
_PLACES = ("", "十", "百", "千")
_GROUPS = ("", "万", "亿", "万亿")

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_YEAR = re.compile(r"(?<!\d)\d{4}(?=\s*年)")
_CLOCK = re.compile(r"(?<!\d)([01]?\d|2[0-3])[:：]([0-5]\d)(?![\d:：])")
_FRACTION = re.compile(r"(?<![\d/])(\d{1,3})/(\d{1,3})(?![\d/])")
_PERCENT = re.compile(rf"({_NUMBER})\s*[%％]")
_COST = re.compile(rf"([¥￥$€£])\s*({_NUMBER})")
_RANGE = re.compile(r"(?<=\d)\s*[-–~～]\s*(?=\d)")
_MINUS = re.compile(r"(?<![\w\u4e00-\u9fff])-(?=\d)")
_DEGREES = re.compile(r"°\s*[Cc]|℃")
_TWO_OF = re.compile(r"(?<![\d.,])2(?=[个位只次件条张本家周天年种点])")
_PLAIN = re.compile(_NUMBER)


def read_numbers(text: str) -> str:
    """The text with its digits written as Chinese words."""
    text = _YEAR.sub(lambda m: _one_by_one(m[0]), text)
    text = _CLOCK.sub(_clock, text)
    text = _FRACTION.sub(lambda m: f"{_number(m[2])}分之{_number(m[1])}", text)
    text = _PERCENT.sub(lambda m: f"百分之{_number(m[1])}", text)
    text = _COST.sub(lambda m: f"{_number(m[2])}{_MONEY[m[1]]}", text)
    text = _DEGREES.sub("摄氏度", text)
    text = _RANGE.sub("到", text)
    text = _MINUS.sub("负", text)
    text = _TWO_OF.sub("两", text)
    return _PLAIN.sub(lambda m: _number(m[0]), text)


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    words = "两点" if hour == 2 else f"{_whole(hour)}点"
    if minute == 0:
        return words
    return f"{words}{'零' if minute < 10 else ''}{_whole(minute)}分"


def _number(digits: str) -> str:
    whole, _, decimals = digits.replace(",", "").partition(".")
    if len(whole) > 8 or (len(whole) > 1 and whole.startswith("0")):
        words = _one_by_one(whole)  # a telephone number, a code
    else:
        words = _whole(int(whole))
    return f"{words}点{_one_by_one(decimals)}" if decimals else words


def _one_by_one(digits: str) -> str:
    return "".join(_DIGITS[int(digit)] for digit in digits)


def _whole(number: int) -> str:
    if number == 0:
        return _DIGITS[0]
    words, group = "", 0
    while number:
        number, part = divmod(number, 10_000)
        if part:
            gap = "零" if number and part < 1000 else ""
            words = gap + _below_ten_thousand(part) + _GROUPS[group] + words
        elif words and not words.startswith("零"):
            words = "零" + words
        group += 1
    return words.removeprefix("一") if words.startswith("一十") else words


def _below_ten_thousand(number: int) -> str:
    words, gap = "", False
    for place in range(3, -1, -1):
        digit = number // 10**place % 10
        if digit:
            words += ("零" if gap and words else "") + _DIGITS[digit] + _PLACES[place]
            gap = False
        else:
            gap = True
    return words
