"""One file per kind of document: bytes to text and its headings."""
