"""The book of the examples: its passages, labelled by chapter.

`fanshawe.txt` is from three chapters of Nathaniel Hawthorne's Fanshawe (1828), which is in the public domain. Any text file
will do whose chapters begin with a line such as "CHAPTER IV".
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import wingbeat

BOOK = Path(__file__).with_name("fanshawe.txt")


@dataclass
class Passage:
    """Some paragraphs of a chapter."""

    chapter: str
    number: int  # within the chapter, from 1
    text: str

    @property
    def label(self) -> str:
        return f"{self.chapter}.{self.number}"


def passages(path: Path = BOOK, length: int = 2000) -> list[Passage]:
    """The book in passages of about `length` characters, which end where paragraphs do, within a chapter."""
    parts = re.split(r"^CHAPTER (\w+)\.?$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    front, chapters = parts[0], list(zip(parts[1::2], parts[2::2]))
    result = []
    for chapter, text in chapters or [("all", front)]:
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
        for number, lines in enumerate(divide(paragraphs, length), 1):
            result.append(Passage(chapter, number, "\n\n".join(lines)))
    return result


def divide(paragraphs: list[str], length: int) -> list[list[str]]:
    """Groups of paragraphs, nearly even: each goes where its middle falls if the whole is cut into equal parts."""
    whole = sum(map(len, paragraphs))
    n = max(1, round(whole / length))
    groups: list[list[str]] = [[] for _ in range(n)]
    start = 0
    for paragraph in paragraphs:
        groups[(2 * start + len(paragraph)) * n // (2 * whole + 1)].append(paragraph)
        start += len(paragraph)
    # What little is left beside a long paragraph joins it: short texts have embeddings of a kind of their own.
    result: list[list[str]] = []
    for group in groups:
        if result and min(sum(map(len, group)), sum(map(len, result[-1]))) < length / 2:
            result[-1] += group
        else:
            result.append(group)
    return result


def sentences(text: str) -> list[str]:
    """Sentences of a text, and parts of them, as long as what one types into a search: 30 to 110 characters."""
    return [part for part in re.split(r"(?<=[.!?;,])[\"\s]+", text) if 30 <= len(part) <= 110]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """What the examples' command lines share: which model, which book."""
    result = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--model", metavar="FILE", help="a model file; by default the bundled demo model")
    result.add_argument("--device", default="auto", help="auto (the default), cpu, gpu, gpu:N")
    result.add_argument("--book", metavar="FILE", type=Path, default=BOOK, help="another text")
    return result


def open_model(arguments: argparse.Namespace) -> wingbeat.Model:
    """The model that a command line asks for."""
    try:
        if arguments.model is None:
            return wingbeat.Model.demo(device=arguments.device)
        return wingbeat.Model.load(arguments.model, device=arguments.device)
    except wingbeat.WingbeatError as error:
        sys.exit(str(error))
