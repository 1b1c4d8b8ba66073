"""Files into documents: sections are exact slices, titles are found, and what can't be taken is refused by name."""

import io
from pathlib import Path
from typing import Any

import orjson
import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts import schemas
from knts.cli.extract import SUFFIXES, Document, Refused, extract
from knts.cli.extract.document import TextBuilder

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


def one(path: str, data: bytes) -> Document:
    (document,) = extract(path, data)
    assert isinstance(document, Document)
    return document


def sections(document: Document) -> list[tuple[str, str]]:
    return [(section.title, document.text[section.start : section.end]) for section in document.sections]


def assert_well_formed(document: Document) -> None:
    """Sections stand in order, within the text and apart; the whole fits the event's schema."""
    end = 0
    for section in document.sections:
        assert end <= section.start < section.end <= len(document.text)
        end = section.end
    assert schemas.faults("knts.document.upserted.v1", {"version": 1, **document.as_json()}) == []


# -- Markdown and text ------------------------------------------------------------------------------------------------

MARKDOWN = """---
title: front matter is no heading
---
intro
# A *b* `c` [link](u)
text
```
# no heading
```
## Sub
x

Set
ext
===
> # quoted
end"""


def test_markdown_keeps_its_text_and_is_cut_at_headings() -> None:
    document = one("guide/a.md", MARKDOWN.encode())
    assert (document.id, document.title, document.text) == ("guide/a.md", "A b c link", MARKDOWN)
    assert sections(document) == [
        ("", "---\ntitle: front matter is no heading\n---\nintro\n"),
        ("A b c link", "# A *b* `c` [link](u)\ntext\n```\n# no heading\n```\n"),
        ("A b c link › Sub", "## Sub\nx\n\n"),
        ("Set ext", "Set\next\n===\n> # quoted\nend"),
    ]
    assert_well_formed(document)


@given(st.lists(st.one_of(WORDS, st.sampled_from(["# h", "## h2", "h\n===", "```", "---", "\r\n", "\r", "- # x", ""]))))
def test_markdown_sections_tile_the_text_from_the_first_heading(parts: list[str]) -> None:
    text = "x" + "\n".join(parts)
    document = one("a.md", text.encode())
    assert document.text == text.removeprefix("\ufeff")
    assert_well_formed(document)
    if document.sections:
        assert "".join(part for _, part in sections(document)) == text
        assert sum(1 for title, _ in sections(document) if title) <= text.count("#") + text.count("=") + text.count("-")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_counted(ending: str) -> None:
    document = one("a.md", ending.join(["# One", "a", "# Two", "b"]).encode())
    assert [title for title, _ in sections(document)] == ["One", "Two"]
    assert sections(document)[1][1] == f"# Two{ending}b"


def test_plain_text_is_named_after_its_file() -> None:
    document = one("notes/to-do_list.txt", "\ufeffbuy milk".encode())
    assert (document.title, document.text, document.sections) == ("to do list", "buy milk", ())


# -- HTML -------------------------------------------------------------------------------------------------------------

PAGE = b"""<!doctype html><html lang="en-GB"><head><title> The
 title </title><script>alert(1)</script><style>p {}</style></head><body>
before<h1>One  two</h1><p>text &amp; <b>more</b> \xe2\x82\xac</p><h2>Sub</h2><ul><li>a<li>b</ul>
<h1>Three</h1></body></html>"""


def test_a_page_gives_its_readable_text_in_sections() -> None:
    document = one("a.html", PAGE)
    assert (document.title, document.others) == ("The title", {"lang": "en-GB"})
    assert "alert" not in document.text
    assert "text & more €" in document.text
    found = sections(document)
    assert [title for title, _ in found] == ["", "One two", "One two › Sub", "Three"]
    assert all(text.lstrip().startswith(title.split(" › ")[-1]) for title, text in found if title)
    assert_well_formed(document)


def test_a_page_may_declare_its_charset() -> None:
    page = b'<html><head><meta charset="iso-8859-1"></head><body><h1>caf\xe9</h1></body></html>'
    assert one("a.htm", page).title == "café"


@given(
    st.lists(st.sampled_from(["<h1>", "</h1>", "<p>", "a", "é", "<h2>b</h2>", "<table><tr><td>", "&lt;", "<pre>\n"]))
)
def test_pages_of_any_shape_have_exact_sections(parts: list[str]) -> None:
    document = one("a.html", ("x" + "".join(parts)).encode())
    assert_well_formed(document)


# -- JSON lines -------------------------------------------------------------------------------------------------------


def test_json_lines_are_documents_and_further_keys_metadata() -> None:
    lines = [
        {"id": "a", "title": "A", "text": "x", "url": "/a", "tags": ["t"], "year": 1603, "by": ["W", "S"]},
        {"_id": 7, "text": "abc", "metadata": {"k": 1}, "sections": [{"start": 0, "end": 2, "title": "s"}]},
        {"text": "z"},
    ]
    data = b"\n\n".join(orjson.dumps(line) for line in lines) + b"\n"
    first, second, third = (found for found in extract("d/all.jsonl", data) if isinstance(found, Document))
    assert first.as_json() == {
        "id": "a",
        "title": "A",
        "text": "x",
        "url": "/a",
        "tags": ["t"],
        "metadata": {"year": 1603, "by": ["W", "S"]},
    }
    assert (second.id, second.metadata, sections(second)) == ("7", {"k": 1}, [("s", "ab")])
    assert third.id == "d/all.jsonl#5"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "line 2: is not JSON"),
        (b"[1]", "line 2: is not a JSON object"),
        (b'{"id": "a"}', 'line 2: "text" is missing or empty'),
        (b'{"text": " "}', 'line 2: "text" is missing or empty'),
        (b'{"text": "x", "author": {"name": "W"}}', 'line 2: "author" is neither a name of ours nor metadata'),
        (b'{"text": "x", "metadata": 1}', 'line 2: "metadata" is not an object'),
        (b'{"text": "x", "sections": [{"start": 0}]}', "line 2: a section has no whole-number"),
        (b'{"text": "x", "sections": [{"start": 0, "end": 2}]}', "line 2: a section from 0 to 2 is not within"),
    ],
)
def test_a_bad_line_is_refused_and_the_others_are_taken(line: bytes, why: str) -> None:
    first, second, third = extract("a.jsonl", b'{"text": "x"}\n' + line + b'\n{"text": "y"}')
    assert isinstance(first, Document)
    assert isinstance(third, Document)
    assert isinstance(second, Refused)
    assert str(second).startswith(why)


# -- PDF --------------------------------------------------------------------------------------------------------------


def pdf(*pages: str, title: str = "", password: str | None = None) -> bytes:
    """A PDF with a line of text on each page."""
    writer = pypdf.PdfWriter()
    font = pypdf.generic.DictionaryObject(
        {
            pypdf.generic.NameObject("/Type"): pypdf.generic.NameObject("/Font"),
            pypdf.generic.NameObject("/Subtype"): pypdf.generic.NameObject("/Type1"),
            pypdf.generic.NameObject("/BaseFont"): pypdf.generic.NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(200, 200)
        fonts = pypdf.generic.DictionaryObject({pypdf.generic.NameObject("/F1"): font})
        page[pypdf.generic.NameObject("/Resources")] = pypdf.generic.DictionaryObject(
            {pypdf.generic.NameObject("/Font"): fonts}
        )
        content = pypdf.generic.StreamObject()
        content.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode() if text else b"")
        page[pypdf.generic.NameObject("/Contents")] = writer._add_object(content)
    if title:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_pdf_has_a_section_for_each_page_with_text() -> None:
    document = one("a/report.pdf", pdf("Hello there", "", "The end", title="A report"))
    assert (document.title, document.text) == ("A report", "Hello there\n\nThe end")
    assert sections(document) == [("Page 1", "Hello there"), ("Page 3", "The end")]
    assert [section.metadata for section in document.sections] == [{"page": 1}, {"page": 3}]
    assert_well_formed(document)


def test_a_pdf_that_anybody_may_open_is_read_though_encrypted() -> None:
    assert one("a.pdf", pdf("open", password="")).text == "open"


# -- plays ------------------------------------------------------------------------------------------------------------

PLAY = b"""<?xml version="1.0"?><!DOCTYPE PLAY SYSTEM "play.dtd">
<PLAY><TITLE>The Play</TITLE><FM><P>Free.</P></FM>
<PERSONAE><TITLE>Persons</TITLE><PERSONA>ANN, a  queen. </PERSONA>
<PGROUP><PERSONA>BOB</PERSONA><PERSONA>CAL</PERSONA><GRPDESCR>lords.</GRPDESCR></PGROUP></PERSONAE>
<SCNDESCR>SCENE  A wood.</SCNDESCR><PLAYSUBT>PLAY</PLAYSUBT>
<ACT><TITLE>ACT I</TITLE>
<PROLOGUE><TITLE>PROLOGUE</TITLE><SPEECH><SPEAKER>Chorus</SPEAKER><LINE>Hear.</LINE></SPEECH></PROLOGUE>
<SCENE><TITLE>SCENE I.  A wood.</TITLE><STAGEDIR>Enter ANN</STAGEDIR>
<SPEECH><SPEAKER>ANN</SPEAKER><LINE><STAGEDIR>Aside</STAGEDIR> Who's there?</LINE><LINE>Speak!</LINE></SPEECH>
<STAGEDIR>Enter two</STAGEDIR>
<SPEECH><SPEAKER>BOB</SPEAKER><SPEAKER>CAL</SPEAKER><LINE>We.</LINE></SPEECH>
</SCENE></ACT>
<EPILOGUE><TITLE>EPILOGUE</TITLE><SPEECH><LINE>Bye.</LINE></SPEECH></EPILOGUE></PLAY>"""


def test_a_play_is_laid_out_with_a_section_for_each_speech() -> None:
    document = one("plays/the.xml", PLAY)
    assert (document.id, document.title, document.metadata) == ("plays/the.xml", "The Play", {"play": "The Play"})
    assert sections(document) == [
        ("The Play", "The Play"),
        ("Dramatis Personae", "Persons\nANN, a queen.\nBOB, CAL: lords."),
        ("Scene", "SCENE A wood."),
        ("ACT I", "ACT I"),
        ("PROLOGUE", "PROLOGUE"),
        ("ACT I, PROLOGUE: Chorus", "Chorus\nHear."),
        ("SCENE I. A wood.", "SCENE I. A wood.\n[Enter ANN]"),
        ("ACT I, SCENE I: ANN", "ANN\n[Aside] Who's there?\nSpeak!\n[Enter two]"),
        ("ACT I, SCENE I: BOB, CAL", "BOB and CAL\nWe."),
        ("EPILOGUE", "EPILOGUE"),
        ("EPILOGUE", "Bye."),
        ("About this text", "Free."),
    ]
    assert [section.metadata for section in document.sections][6:10] == [
        {"act": "ACT I", "scene": "SCENE I"},
        {"act": "ACT I", "scene": "SCENE I", "speaker": "ANN"},
        {"act": "ACT I", "scene": "SCENE I", "speaker": ["BOB", "CAL"]},
        {"act": "EPILOGUE"},
    ]
    assert_well_formed(document)


def shakespeare() -> list[Path]:
    import os

    folder = Path(os.environ.get("KNTS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    return sorted((folder / "shakespeare").glob("*.xml"))


@pytest.mark.skipif(not shakespeare(), reason="the plays are not at KNTS_DATA")
def test_no_line_of_the_plays_is_lost() -> None:
    from defusedxml import ElementTree

    for path in shakespeare():
        data = path.read_bytes()
        document = one(path.name, data)
        assert_well_formed(document)
        root: Any = ElementTree.fromstring(data)
        spoken = [speech for speech in root.iter("SPEECH") if any(True for _ in speech.iter("LINE"))]
        speeches = [section for section in document.sections if "speaker" in section.metadata]
        assert len(speeches) == len([speech for speech in spoken if (speech.findtext("SPEAKER") or "").strip()])
        kept = " ".join(document.text.split()).replace("[", "").replace("]", "")
        for line in root.iter("LINE"):
            spoken_words = " ".join("".join(line.itertext()).split())
            assert spoken_words.replace("[", "").replace("]", "") in kept


# -- what is refused --------------------------------------------------------------------------------------------------

BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE PLAY [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><PLAY><TITLE>&b;</TITLE></PLAY>"""
OUTSIDE = b"""<!DOCTYPE PLAY [<!ENTITY x SYSTEM "file:///etc/passwd">]><PLAY><TITLE>&x;</TITLE></PLAY>"""


@pytest.mark.parametrize(
    ("path", "data", "why"),
    [
        ("a.md", b"caf\xe9", "not UTF-8 (byte 0xe9 at position 3)"),
        ("a.txt", b"a\0b", "looks like a binary file"),
        ("a.md", b" \n", "is empty"),
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b"\xff", "not UTF-8"),
        ("a.html", b"", "is empty"),
        ("a.html", b"<html><body><script>x</script></body></html>", "has no readable text"),
        ("a.html", b"<p>caf\xe9</p>", "is not UTF-8 and declares no charset"),
        ("a.xml", b"<PLAY>", "is not well-formed XML"),
        ("a.xml", b"<feed/>", "XML with the root <feed> is not known"),
        ("a.xml", b"<PLAY/>", "the play has no text"),
        ("a.xml", BOMB, "XML with entities or references of its own is not taken (EntitiesForbidden)"),
        ("a.xml", OUTSIDE, "XML with entities or references of its own is not taken (EntitiesForbidden)"),
        ("a.pdf", b"%PDF-1.7 rubbish", "is not a readable PDF"),
        ("a.pdf", b"", "is not a readable PDF"),
        ("a.pdf", pdf("secret", password="x"), "is encrypted; it can't be read without its password"),
        ("a.pdf", pdf("", ""), "has no text (scanned pages need OCR first)"),
        ("a.exe", b"x", "files named *.exe are not known; these are: .htm .html"),
        ("Makefile", b"x", "files named *Makefile are not known"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(path: str, data: bytes, why: str) -> None:
    with pytest.raises(Refused) as refused:
        list(extract(path, data))
    assert str(refused.value).startswith(why)


@given(st.sampled_from(sorted(SUFFIXES)), st.one_of(st.binary(max_size=300), WORDS.map(str.encode)))
def test_no_file_makes_it_fail_otherwise(suffix: str, data: bytes) -> None:
    try:
        for found in extract(f"a{suffix}", data):
            if isinstance(found, Document):
                assert_well_formed(found)
    except Refused as refused:
        assert str(refused)


@given(st.lists(st.tuples(WORDS, st.booleans())))
def test_the_builders_sections_are_what_was_put_there(pieces: list[tuple[str, bool]]) -> None:
    build = TextBuilder()
    for piece, is_section in pieces:
        if is_section:
            build.section(piece, "t")
        else:
            build.add(piece)
    document = build.document("a", "A")
    wanted = [piece for piece, is_section in pieces if is_section and piece.strip()]
    assert [document.text[section.start : section.end] for section in document.sections] == wanted
