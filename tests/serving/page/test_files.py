"""The page's files: complete, and independent of other servers."""

from __future__ import annotations

import re

from serving.app import PAGE


def test_page_files_reference_only_each_other() -> None:
    texts = {path: path.read_text() for path in PAGE.rglob("*") if path.is_file()}
    for path, text in texts.items():
        hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)) - {"http://www.w3.org"}
        assert not hosts, f"{path.name} references {hosts}"
    document = texts[PAGE / "index.html"]
    # The content security policy forbids inline scripts and styles.
    assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=", document)
    referenced = {PAGE / name for name in re.findall(r'"/page/([\w./-]+)"', document)}
    for path, text in texts.items():
        referenced |= {(path.parent / name).resolve() for name in re.findall(r'from "(\.{1,2}/[\w./-]+)"', text)}
    assert {path.resolve() for path in referenced} == {path.resolve() for path in texts.keys() - {PAGE / "index.html"}}
