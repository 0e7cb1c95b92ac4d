"""coverage.py PARSERS BUILD [FILE]: how much of each parser the fuzz targets reach

BUILD was made with --coverage and its fuzz targets have run. PARSERS names the files that read bytes from outside, each
with its functions that do not; of what is left LEAST percent of the lines must have run. With FILE, the lines of it
that did not are printed. Exit status 1: too few somewhere.
"""
import collections
import json
import os
import subprocess
import sys

LEAST = 90


def parsers(path):
    with open(path) as text:
        for line in text:
            words = line.split("#")[0].split()
            if words:
                yield words[0], set(words[1:])


def counts(build):
    """{file: {line: (function, how often)}}, summed over the programs that have a file of their own."""
    lines = collections.defaultdict(dict)
    for folder, _, names in os.walk(build):
        for name in names:
            if not name.endswith(".gcda"):
                continue
            told = subprocess.run(["gcov", "--json-format", "--stdout", name], cwd=folder, capture_output=True, check=True)
            for report in map(json.loads, told.stdout.splitlines()):
                for file in report["files"]:
                    for line in file["lines"]:
                        n = lines[file["file"]].get(line["line_number"], ("", 0))[1]
                        lines[file["file"]][line["line_number"]] = (line.get("function_name", ""), n + line["count"])
    return lines


def main():
    table, build = sys.argv[1:3]
    shown = sys.argv[3] if len(sys.argv) > 3 else None
    few = 0
    lines = counts(build)
    print("percent lines parser")
    for path, not_reading in parsers(table):
        full = next((f for f in lines if f.endswith("/" + path)), None)
        here = {at: n for at, (function, n) in lines.get(full, {}).items() if function not in not_reading}
        known = {function for function, _ in lines.get(full, {}).values()}
        reached = sum(1 for n in here.values() if n)
        percent = 100 * reached / len(here) if here else 0
        if percent < LEAST or not not_reading <= known:
            few += 1
        print(f"{percent:7.1f} {len(here):5} {path}" + (f"  less than {LEAST}" if percent < LEAST else ""))
        if not not_reading <= known:
            print(f"{path} has no function {' '.join(sorted(not_reading - known))}: mend {table}")
        if shown == path:
            with open(full) as source:
                for at, text in enumerate(source, 1):
                    if at in here and not here[at]:
                        print(f"{at:6}: {text}", end="")
    if few:
        print(f"{few} with too few: seeds for tests/data/fuzz/, or a target that goes on where this one ends")
    sys.exit(1 if few else 0)


main()
