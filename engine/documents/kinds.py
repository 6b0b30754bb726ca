"""Which reader takes which file, by the end of its name."""

from pathlib import PurePath

from engine.documents.readers.interface import Reader, Reading
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

_DOCUMENTS = """
    pdf:PDF doc:Word docx:Word odt:OpenDocument rtf:RTF ppt:PowerPoint pptx:PowerPoint xls:Excel
    xlsx:Excel epub:EPUB ipynb:Jupyter
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
    return _key(name) in _READERS and not why_unread(name)


def why_unread(name: str) -> str:
    """Why a file of a known kind is left out; empty for what is read, and for what is no text."""
    lower = name.lower()
    return next((reason for ending, reason in _UNREAD.items() if lower.endswith(ending)), "")


def read(name: str, content: bytes) -> Reading:
    """Reads a file whose name `is_read`.

    Raises:
        Unreadable: The bytes are no text.
    """
    return _READERS[_key(name)](content)


def _key(name: str) -> str:
    path = PurePath(name.lower())
    return path.suffix or path.name
