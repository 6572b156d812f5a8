"""Imported by a program, so sent with it."""

from __future__ import annotations


class RefusedError(Exception):
    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def shout(text: str) -> str:
    return text.upper() + "!"
