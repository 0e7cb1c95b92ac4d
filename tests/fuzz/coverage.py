"""coverage.py PARSERS BUILD [FILE]: how much of each parser the fuzz targets reach, as TAP

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
                    of_file = lines[file["file"]]
                    for line in file["lines"]:
                        _, n = of_file.get(line["line_number"], ("", 0))
                        of_file[line["line_number"]] = (line.get("function_name", ""), n + line["count"])
    return lines


def judge(path, lines, not_reading):
    """What is wrong with this parser, and the lines that did not run."""
    here = {at: n for at, (function, n) in lines.items() if function not in not_reading}
    unknown = not_reading - {function for function, _ in lines.values()}
    percent = 100 * sum(1 for n in here.values() if n) / len(here) if here else 0
    print(f"# {percent:.1f} % of {len(here)} lines of {path}")
    if unknown:
        return f"it has no function {' '.join(sorted(unknown))}", []
    missed = [at for at, n in here.items() if not n]
    return ("" if percent >= LEAST else f"less than {LEAST} %: a seed in tests/data/fuzz, or a target that goes further"), missed


def main():
    table, build = sys.argv[1:3]
    failed = n = 0
    lines = counts(build)
    for n, (path, not_reading) in enumerate(parsers(table), 1):
        full = next((f for f in lines if f.endswith("/" + path)), "")
        wrong, missed = judge(path, lines.get(full, {}), not_reading)
        print(f"{'not ok' if wrong else 'ok'} {n} - fuzz_targets_reach {path}")
        if wrong:
            failed += 1
            print(f"# {wrong}")
        if path in sys.argv[3:]:
            with open(full) as source:
                text = source.readlines()
            print("".join(f"# {at:5}: {text[at - 1]}" for at in missed), end="")
    print(f"1..{n}")
    sys.exit(1 if failed else 0)


main()
