"""Plays in Jon Bosak's XML: one document a play, laid out for reading, one section a speech."""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

import defusedxml
from defusedxml import ElementTree

from knts.cli.extract.document import Document, Metadata, Refused, TextBuilder, file_title

_PLACES = ("INDUCT", "PROLOGUE", "ACT", "EPILOGUE")
_SCENES = ("SCENE", "PROLOGUE", "EPILOGUE")


def from_xml(path: str, data: bytes) -> Iterator[Document]:
    """The play. Raises Refused for XML that is broken, has entities of its own, or is no play."""
    try:
        root: Element = ElementTree.fromstring(data)
    except defusedxml.DefusedXmlException as error:
        raise Refused(f"XML with entities or references of its own is not taken ({type(error).__name__})") from error
    except (ParseError, ValueError) as error:
        raise Refused(f"is not well-formed XML ({error})") from error
    if root.tag != "PLAY":
        raise Refused(f"XML with the root <{root.tag[:40]}> is not known; plays (<PLAY>) are")
    yield _play(path, root)


def _play(path: str, root: Element) -> Document:
    title = _text(root.find("TITLE"))
    build = TextBuilder()
    _front(build, root, title)
    for place in root:
        if place.tag in _PLACES:
            _place(build, place)
    notes = "\n".join(_text(note) for note in root.findall("FM/P"))
    build.section(notes, "About this text")
    if not build.length:
        raise Refused("the play has no text")
    named = title or file_title(path)
    return build.document(path, named, metadata={"play": named}, others={"lang": "en"})


def _front(build: TextBuilder, root: Element, title: str) -> None:
    build.section(title, title)
    lines = [_text(root.find("PERSONAE/TITLE"))]
    for person in root.findall("PERSONAE/*"):
        if person.tag == "PERSONA":
            lines.append(_text(person))
        elif person.tag == "PGROUP":
            group = ", ".join(_text(member) for member in person.findall("PERSONA"))
            lines.append(f"{group}: {_text(person.find('GRPDESCR'))}")
    build.section("\n".join(line for line in lines if line), "Dramatis Personae")
    build.section(_text(root.find("SCNDESCR")), "Scene")


def _place(build: TextBuilder, place: Element) -> None:
    """An act, or a prologue, induction or epilogue that stands beside the acts."""
    metadata: Metadata = {"act": _label(place)}
    scenes = [part for part in place if part.tag in _SCENES]
    opening = [part for part in place if part.tag not in _SCENES]
    _speeches(build, opening, _text(place.find("TITLE")), metadata)
    for scene in scenes:
        _speeches(build, list(scene), _text(scene.find("TITLE")), {**metadata, "scene": _label(scene)})


def _speeches(build: TextBuilder, parts: list[Element], heading: str, metadata: Metadata) -> None:
    """The heading with what precedes the first speech, then each speech with the directions that follow it."""
    where = ", ".join(str(value) for value in metadata.values())
    lines = [heading] if heading else []
    speakers: list[str] = []

    def close() -> None:
        told: Metadata = {"speaker": speakers[0] if len(speakers) == 1 else speakers} if speakers else {}
        title = f"{where}: {', '.join(speakers)}" if speakers else heading
        build.section("\n".join(lines), title, {**metadata, **told})

    for part in parts:
        if part.tag == "SPEECH":
            close()
            speakers = [name for speaker in part.findall("SPEAKER") if (name := _text(speaker))]
            lines = [*([" and ".join(speakers)] if speakers else []), *_lines(part)]
        elif part.tag in ("STAGEDIR", "SUBHEAD", "SUBTITLE"):
            lines.append(_line(part))
    close()


def _lines(speech: Element) -> Iterator[str]:
    for part in speech:
        if part.tag != "SPEAKER" and (line := _line(part)):
            yield line


def _line(part: Element) -> str:
    """A spoken line, with stage directions in brackets."""
    if part.tag == "STAGEDIR":
        return f"[{_text(part)}]"
    pieces = [part.text or ""]
    for inner in part:
        pieces += [f" [{_text(inner)}] " if inner.tag == "STAGEDIR" else _text(inner), inner.tail or ""]
    return " ".join("".join(pieces).split())


def _label(place: Element) -> str:
    """The short name of an act or scene: "SCENE I" of "SCENE I.  Elsinore. A platform before the castle."."""
    name = re.split(r"[.:]", _text(place.find("TITLE")))[0].strip()
    return name or place.tag


def _text(element: Element | None) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())
