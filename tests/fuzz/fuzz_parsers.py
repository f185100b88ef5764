"""Feeds one of hcopt's parsers with what atheris (libFuzzer) makes up, guided by which lines of hcopt it reaches.

    .venv/bin/python -m tests.fuzz.fuzz_parsers config.yaml -max_total_time=60

Without arguments it lists the parsers. What follows a parser's name are libFuzzer's own options. It begins with valid
files; an input that makes a parser raise anything but `HcoptError` is written to `crash-…`, and belongs into
`tests/fuzz/corpus/PARSER/` once hcopt is mended: the tests run everything there is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["hcopt", "google.protobuf.text_format"]):
        from tests.support.parsers import PARSERS, parse, valid_files
    if len(sys.argv) < 2 or sys.argv[1] not in PARSERS:
        sys.exit(f"usage: fuzz_parsers PARSER [libFuzzer's options]; parsers: {', '.join(PARSERS)}")
    name = sys.argv[1]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        (Path(scratch) / "valid").mkdir()
        place, corpus = Path(scratch) / "place", Path(scratch) / "corpus"
        place.mkdir()
        corpus.mkdir()
        known = Path(__file__).parent / "corpus" / name
        seeds = [*valid_files(Path(scratch) / "valid")[name], *(file.read_bytes() for file in known.glob("*"))]
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], lambda content: parse(name, content, place))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
