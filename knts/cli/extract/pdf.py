"""PDF files: the text that pypdf finds, one section a page."""

import io
from collections.abc import Iterator

import pypdf
import pypdf.errors

from knts.cli.extract.document import Document, Refused, TextBuilder, file_title


def from_pdf(path: str, data: bytes) -> Iterator[Document]:
    """One document. Raises Refused for a PDF that is broken, encrypted, or holds pictures of text alone."""
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refused("is encrypted; it can't be read without its password")
        build = _pages(reader)
        named = str((reader.metadata.title if reader.metadata else None) or "")
    except pypdf.errors.DependencyError as error:
        raise Refused("is encrypted by a method that needs another library; decrypt it first") from error
    except Refused:
        raise
    except Exception as error:  # a broken PDF makes pypdf fail in any way: the file is refused by name
        raise Refused(f"is not a readable PDF ({type(error).__name__}: {str(error)[:100]})") from error
    if not build.length:
        raise Refused("has no text (scanned pages need OCR first)")
    yield build.document(path, _clean(named).strip() or file_title(path))


def _pages(reader: pypdf.PdfReader) -> TextBuilder:
    build = TextBuilder()
    for number, page in enumerate(reader.pages, 1):
        build.section(_clean(page.extract_text()), f"Page {number}", {"page": number})
    return build


def _clean(text: str) -> str:
    """The text without what UTF-8 can't carry: some fonts map glyphs to lone surrogates, or to NUL."""
    return text.encode("utf-8", "ignore").decode().replace("\0", "")
