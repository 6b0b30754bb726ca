"""Kinds of documents: which reader takes which file, by the end of its name.

Foreign formats are read by code that crashes, hangs and eats memory on hostile files: their readers
are named here and loaded by `reading_program`, in a process of its own.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from engine.documents.readers.interface import Reader, Reading, Unreadable
from engine.documents.readers.markdown import read_markdown
from engine.documents.readers.plain import read_text
from engine.documents.readers.rst import read_rst
from engine.documents.readers.source import read_source
from engine.documents.readers.table import read_json_lines, read_table

_MB = 1024 * 1024

# Some 2,000 pages of text. What is larger was not written by anybody.
_WRITTEN = 10 * _MB
# Settings and schemas are written; what is larger was exported by a program.
_EXPORTED = 2 * _MB
# Pictures count in these, and are not read.
_WITH_PICTURES = 100 * _MB
# Cutting so many short lines takes 5 s and 100 MB.
_MOST_LINES = 200_000
# Of one table or list of records: some 10,000 chunks.
_RECORDS = 10 * _MB


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of all files of one kind."""

    name: str
    """See `Document.kind`."""
    largest_bytes: int
    """Of a file that is read."""
    reader: Reader | str
    """Or where it is below `engine.documents.readers`, as module:function, to be read outside."""
    has_title: bool = True
    """Whether its first heading is what a person would call it, where it gives no title itself."""

    @property
    def is_foreign(self) -> bool:
        """Whether it is read in a process of its own."""
        return isinstance(self.reader, str)


_KINDS = (
    (Kind("markdown", _WRITTEN, read_markdown), "md markdown mdown mkd mdx qmd rmd"),
    (Kind("text", _WRITTEN, read_text), "txt text adoc asciidoc org tex bib srt vtt"),
    (Kind("rst", _WRITTEN, read_rst), "rst"),
    (Kind("text", _EXPORTED, read_text), "log xml"),
    (Kind("csv", _RECORDS, read_table, has_title=False), "csv tsv"),
    (Kind("json-lines", _RECORDS, read_json_lines), "jsonl ndjson"),
    (Kind("html", _WRITTEN, "html:read_html"), "html htm xhtml"),
    (Kind("notebook", 20 * _MB, "notebook:read_notebook"), "ipynb"),
    (Kind("pdf", _WITH_PICTURES, "pdf:read_pdf", has_title=False), "pdf"),
    (Kind("docx", _WITH_PICTURES, "docx:read_docx"), "docx docm"),
    (Kind("email", 50 * _MB, "mail:read_message"), "eml"),
    (Kind("email", 50 * _MB, "mail:read_mailbox", has_title=False), "mbox"),
)
_SOURCE = (
    (
        _WRITTEN,
        """
        py pyi pyw pyx c h cc cpp cxx hh hpp hxx m mm cs java kt kts scala groovy gradle go rs swift
        zig nim d dart js mjs cjs jsx ts mts cts tsx vue svelte astro php rb pl pm lua r jl hs elm
        ml mli fs fsx fsi ex exs erl hrl clj cljs cljc lisp el scm rkt sh bash zsh fish ps1 psm1 bat
        cmd graphql gql proto thrift asm s v sv vhd vhdl f90 f95 for pas vb tcl awk cmake mk css
        scss sass less toml ini cfg conf properties tf hcl nix in ac m4 am gram asdl inc rc def ld
        vcxproj props targets proj csproj sln wxs xsl xslt xsd dtd patch diff man service bzl gn gyp
        """,
    ),
    (_EXPORTED, "sql json jsonc json5 yaml yml"),
)
_NAMES = """
    readme license licence copying authors contributors changelog changes news notice todo install
    makefile gnumakefile dockerfile containerfile rakefile gemfile procfile justfile jenkinsfile
    vagrantfile codeowners acks history setup
"""
_KIND_OF: dict[str, Kind] = {
    **{"." + suffix: kind for kind, suffixes in _KINDS for suffix in suffixes.split()},
    **{
        suffix: Kind("source", largest_bytes, partial(read_source, suffix=suffix))
        for largest_bytes, suffixes in _SOURCE
        for suffix in map(".{}".format, suffixes.split())
    },
    **dict.fromkeys(_NAMES.split(), Kind("text", _WRITTEN, read_text)),
}

_DOCUMENTS = """
    doc:Word-97 odt:OpenDocument rtf:RTF ppt:PowerPoint pptx:PowerPoint xls:Excel xlsx:Excel
    epub:EPUB msg:Outlook
"""
# Large, and nothing that anybody looks for is written there.
_GENERATED = {
    "it is a lock file": "package-lock.json npm-shrinkwrap.json pnpm-lock.yaml .lock",
    "it is minified": ".min.js .min.mjs .min.css",
    "it is a source map": ".map",
}
_UNREAD = {
    "." + suffix: f"{name} files are not read yet"
    for suffix, name in (pair.split(":") for pair in _DOCUMENTS.split())
} | {ending: reason for reason, endings in _GENERATED.items() for ending in endings.split()}


def is_read(name: str) -> bool:
    """Whether files of that name are covered."""
    return _key(name) in _KIND_OF and not why_unread(name)


def why_unread(name: str) -> str:
    """Why a file of a known kind is left out; empty for what is read, and for what is no text."""
    lower = name.lower()
    return next((reason for ending, reason in _UNREAD.items() if lower.endswith(ending)), "")


def kind_of(name: str) -> Kind:
    """The kind of a file whose name or path `is_read`."""
    return _KIND_OF[_key(name)]


def read(name: str, content: bytes) -> Reading:
    """Reads a file of a kind that is not foreign.

    Raises:
        Unreadable: The bytes are no text, or more lines than anybody writes.
    """
    reader = kind_of(name).reader
    if isinstance(reader, str):
        raise TypeError(f"{name} is to be read by engine.documents.reading")
    if (lines := content.count(b"\n")) > _MOST_LINES:
        raise Unreadable(f"it has {lines:,} lines, more than {_MOST_LINES:,}")
    return reader(content)


def _key(name: str) -> str:
    path = PurePath(name.lower())
    return path.suffix or path.name
