"""Which reader takes which file, by the end of its name."""

from pathlib import PurePath

from engine.documents.readers.interface import Reader
from engine.documents.readers.markdown import read_markdown
from engine.documents.readers.plain import read_source, read_text

_MARKDOWN = "md markdown mdown mkd mdx qmd rmd"
_TEXT = "txt text rst adoc asciidoc org log tex bib srt vtt csv tsv html htm xhtml xml"
_SOURCE = """
    py pyi pyx c h cc cpp cxx hh hpp hxx m mm cs java kt kts scala groovy gradle go rs swift zig nim
    d dart js mjs cjs jsx ts mts cts tsx vue svelte astro php rb pl pm lua r jl hs elm ml mli fs fsx
    fsi ex exs erl hrl clj cljs cljc lisp el scm rkt sh bash zsh fish ps1 psm1 bat cmd sql graphql
    gql proto thrift asm s v sv vhd vhdl f90 f95 for pas vb tcl awk cmake mk css scss sass less json
    jsonc json5 jsonl yaml yml toml ini cfg conf properties tf hcl nix
"""
_NAMES = """
    readme license licence copying authors contributors changelog changes news notice todo install
    makefile gnumakefile dockerfile containerfile rakefile gemfile procfile justfile jenkinsfile
    vagrantfile codeowners
"""

_READERS: dict[str, Reader] = {
    **{"." + suffix: read_markdown for suffix in _MARKDOWN.split()},
    **{"." + suffix: read_text for suffix in _TEXT.split()},
    **{"." + suffix: read_source for suffix in _SOURCE.split()},
    **dict.fromkeys(_NAMES.split(), read_text),
}

_UNREAD = {
    "." + suffix: f"{name} files are not read yet"
    for suffix, name in (
        ("pdf", "PDF"),
        ("doc", "Word"),
        ("docx", "Word"),
        ("odt", "OpenDocument"),
        ("rtf", "RTF"),
        ("ppt", "PowerPoint"),
        ("pptx", "PowerPoint"),
        ("xls", "Excel"),
        ("xlsx", "Excel"),
        ("epub", "EPUB"),
        ("ipynb", "Jupyter notebook"),
    )
}


def reader_of(name: str) -> Reader | None:
    """The reader for a file name, or None where its kind is not covered."""
    return _READERS.get(_key(name))


def why_unread(name: str) -> str:
    """Why a document of a known kind is left out; empty for what is no document."""
    return _UNREAD.get(_key(name), "")


def _key(name: str) -> str:
    path = PurePath(name.lower())
    return path.suffix or path.name
