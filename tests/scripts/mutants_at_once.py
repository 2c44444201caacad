#!/usr/bin/env python3
"""Changes the code in small ways, as `cargo mutants` does, and says which changes no test notices; but compiles all changes at once.

    tests/scripts/mutants_at_once.py -f FILE ... [more arguments of cargo mutants --list] [-- ARGUMENTS OF cargo test [-- TESTS]]
    tests/scripts/mutants.sh at-once patterns        # the files and the tests of a part

`cargo mutants` compiles for each change, which takes a minute where the whole-system tests are linked, and runs all tests. Here a copy of
the repository in target/mutants, with a target folder of its own, has all changes: each is a branch that a variable of the environment
takes, `if crate::mutant(17) { a - b } else { a + b }`. What does not compile is found in the compiler's errors and left out, and what
rust_operands.py does not understand is listed as not tried. Then each test runs once by itself without a change, which says how long it
takes and which branches it comes to; and for each change those tests run that come to it, the quickest first, until one fails. A test
that takes far longer than without the change has noticed it, too. Operators keep their places in an expression: `a && b && c` becomes
`(a || b) && c`, where cargo mutants would make it `a || b && c`.

TESTS, parts of names, choose among the tests of packages that are not changed; --test-package adds packages. Names and lines of changes
are those of cargo mutants, and so is the list of those that are left out, with reasons, in .cargo/mutants.toml. Exit code 1 if any survives.
Needs: cargo install cargo-mutants; Linux.
"""
import collections
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from rust_operands import Odd, Source

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
COPY = TARGET / "mutants"
BUILT = COPY / "target"  # not TARGET: cargo would take what is built there for that of the repository
MEMORY = 16 << 30
MARK = re.compile(r"/\*(\d+)([<>\[\]])\*/")
GENERATED = """
/// Whether this change of the code is the one to try; says that it was asked.
pub(crate) fn mutant(index: usize) -> bool {
    use std::{fs::File, io::Write, sync::{LazyLock, atomic::{AtomicBool, Ordering}}};
    static CHOSEN: LazyLock<Option<usize>> = LazyLock::new(|| std::env::var("SSLM_MUTANT").ok()?.parse().ok());
    static REACHED: LazyLock<Option<File>> =
        LazyLock::new(|| File::options().append(true).create(true).open(std::env::var_os("SSLM_MUTANTS_REACHED")?).ok());
    static SEEN: [AtomicBool; %d] = [const { AtomicBool::new(false) }; %d];
    if let Some(mut file) = REACHED.as_ref().filter(|_| !SEEN[index].swap(true, Ordering::Relaxed)) {
        file.write_all(format!("{index}\\n").as_bytes()).unwrap();
    }
    *CHOSEN == Some(index)
}
"""


class Rewritten:
    """A file with all of its changes as branches. `sites` are places of changes: start, end, kind, and changes with what is there then."""

    KINDS = ["FnValue", "MatchArm", "MatchArmGuard", "StructField", "UnaryOperator", "BinaryOperator"]

    def __init__(self, path, mutants):
        self.source, self.sites, self.odd = Source((ROOT / path).read_bytes()), {}, set()
        for index, mutant in mutants.items():
            try:
                start, end, text = self.site(mutant)
                self.sites.setdefault((start, -end, self.KINDS.index(mutant["genre"])), []).append((index, text))
            except (Odd, KeyError, ValueError, StopIteration):
                self.odd.add(index)

    def site(self, mutant):
        source, replacement = self.source, mutant["replacement"]
        start, end = (source.place(mutant["span"][side]) for side in ("start", "end"))
        token = source.starts.index(start)
        match mutant["genre"]:
            case "BinaryOperator":
                first, last = source.binary(token)
                return first, last, source.text[first:start] + replacement + source.text[end:last]
            case "UnaryOperator":
                last = source.ends[source.end(token, casts=False) - 1]
                return start, last, source.text[end:last]
            case "StructField":
                comma, all_tokens = source.ends.index(end), range(len(source.tokens))
                base = next(k for k in all_tokens[comma:] if source.tokens[k] == "..")
                closing = next(k for k in all_tokens[base:] if source.tokens[k] == "}" and source.pairs[k] < token)
                if source.tokens[token + 1] != ":":
                    raise Odd
                text = source.text[source.ends[base] : source.starts[closing]]
                return source.starts[token + 2], source.ends[comma - 1], f"({text}).{source.tokens[token]}"
        return start, end, replacement

    def text(self, left_out):
        """All of it, without these changes. Comments say where each of the others begins and ends, and its place around it."""
        sites = [(key, [change for change in changes if change[0] not in left_out]) for key, changes in sorted(self.sites.items())]
        return self.between(0, len(self.source.text), [(key, changes) for key, changes in sites if changes])

    def between(self, place, end, sites):
        written = []
        while sites:
            (start, minus_end, kind), changes = sites[0]
            within = [site for site in sites[1:] if site[0][0] < -minus_end]
            written += [self.source.text[place:start], self.changed(start, -minus_end, self.KINDS[kind], changes, within)]
            place, sites = -minus_end, sites[1 + len(within) :]
        return "".join([*written, self.source.text[place:end]])

    def changed(self, start, end, kind, changes, within):
        first, source = changes[0][0], self.source
        if kind == "MatchArm":
            arrow = next(s for s, token in zip(source.starts, source.tokens) if s >= start and token == "=>")
            guard = f"/*{first}<*/ if !crate::mutant({first}) /*{first}>*/"
            return f"/*{first}[*/{source.text[start:arrow]}{guard}{self.between(arrow, end, within)}/*{first}]*/"
        branch, behind = ("return {};", "") if kind == "FnValue" else ("{}", "else")
        branches = "".join(f"/*{i}<*/ if crate::mutant({i}) {{ {branch.format(text)} }} {behind} /*{i}>*/" for i, text in changes)
        inner = self.between(start, end, within)
        return f"/*{first}[*/{branches} {inner}/*{first}]*/" if kind == "FnValue" else f"(/*{first}[*/{branches} {{ {inner} }}/*{first}]*/)"


def blamed(text, spans):
    """Which change an error is about: the branch that it names, else the innermost place around it."""
    marks = {(m[2], int(m[1])): m.start() for m in MARK.finditer(text)}
    for begin, close in ("<>", "[]"):
        for start, end in spans:
            around = [(marks[close, i] - at, i) for (mark, i), at in marks.items() if mark == begin and at <= start and end <= marks[close, i]]
            if around:
                return min(around)[1]
    return None


def cargo(*arguments, check=False):
    """What cargo says, message by message, in the copy."""
    command = ["cargo", *arguments, "--locked", "--message-format=json"]
    done = subprocess.run(command, cwd=COPY, env={**os.environ, "CARGO_TARGET_DIR": str(BUILT)}, stdout=subprocess.PIPE, text=True)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def copy_tree(rewritten, crates, left_out, count):
    """The repository with all changes; files that are as before stay untouched, so that little is compiled anew."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, COPY / name
        if not source.is_file():
            continue
        data = rewritten[name].text(left_out).encode("latin-1") if name in rewritten else source.read_bytes()
        if name in crates:
            data += (GENERATED % (count, count)).encode()
        if not target.exists() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            shutil.copymode(source, target)


def left_out_by_errors(messages, rewritten):
    """The changes that do not compile."""
    wrong, texts = set(), {name: (COPY / name).read_text("latin-1") for name in rewritten}
    for error in (m["message"] for m in messages if m["reason"] == "compiler-message" and m["message"]["level"] == "error"):
        places, spans = {}, [span for message in [error, *error["children"]] for span in message["spans"]]
        for span in sorted(spans, key=lambda span: not span["is_primary"]):
            while span["file_name"] not in rewritten and span["expansion"]:
                span = span["expansion"]["span"]
            places.setdefault(span["file_name"], []).append((span["byte_start"], span["byte_end"]))
        found = [blamed(texts[name], places[name]) for name in places if name in rewritten]
        if spans and not set(found) - {None}:
            sys.exit(error["rendered"])
        wrong |= set(found) - {None}
    return wrong


class Tests:
    """What notices changes: each test as its program and its name, how long it takes, and which branches it comes to."""

    def __init__(self, messages, changed, filters):
        self.seconds, self.reached = {}, {}
        programs = [m for m in messages if m["reason"] == "compiler-artifact" and m["executable"] and m["profile"]["test"]]
        self.folders = {m["executable"]: Path(m["manifest_path"]).parent for m in programs}
        self.names = {m["executable"]: m["target"]["name"] for m in programs}
        for program in programs:
            path, is_changed = program["executable"], any(Path(program["manifest_path"]).is_relative_to(COPY / c) for c in changed)
            listed = subprocess.run([path, "--list", "--format=terse"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
            for name in (line.removesuffix(": test") for line in listed if line.endswith(": test")):
                if is_changed or not filters or any(part in name for part in filters):
                    self.try_alone(path, name)

    def try_alone(self, path, name):
        """Runs it without a change."""
        note, begin = BUILT / "reached", time.monotonic()
        note.unlink(missing_ok=True)
        if not self.passes(path, [name], 600, SSLM_MUTANTS_REACHED=str(note)):
            return print(f"left out, since it fails without a change: {name}")
        self.seconds[path, name] = time.monotonic() - begin
        self.reached[path, name] = {int(line) for line in note.read_text().splitlines()} if note.exists() else set()

    def passes(self, path, names, seconds, **variables):
        """Whether these tests pass, in so many seconds of the processor."""
        limited = ["nice", "-n10", "prlimit", f"--cpu={seconds:.0f}", f"--as={MEMORY}", path, "--exact", *names]
        environment = {**os.environ, "RUST_TEST_THREADS": "1", "CARGO_TARGET_DIR": str(BUILT), **variables}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        with subprocess.Popen(limited, cwd=self.folders[path], env=environment, start_new_session=True, **quiet) as child:
            try:
                return child.wait(1800) == 0
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                return False

    def noticed_by(self, index):
        """The program whose tests notice a change; else whether any test came to it."""
        about = sorted((t for t in self.seconds if index in self.reached[t]), key=self.seconds.get)
        groups = []
        for test in about:
            if not groups or groups[-1][0][0] != test[0] or sum(map(self.seconds.get, groups[-1])) > 2:
                groups.append([])
            groups[-1].append(test)
        for group in groups:
            seconds = 10 + 20 * sum(map(self.seconds.get, group))
            if not self.passes(group[0][0], [name for _, name in group], seconds, SSLM_MUTANT=str(index)):
                return self.names[group[0][0]], True
        return None, bool(about)


def parts(arguments):
    """Those for the list, for building, and for the test programs; and further packages."""
    behind = [[]]
    for word in arguments:
        behind[-1].append(word) if word != "--" else behind.append([])
    choice, building, filters = (behind + [[], []])[:3]
    packages = [choice[i + 1] for i, word in enumerate(choice) if word == "--test-package"]
    return [word for i, word in enumerate(choice) if "--test-package" not in (word, *choice[max(i - 1, 0) : i])], building, filters, packages


def main():
    if len(sys.argv) < 2 or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    choice, building, filters, packages = parts(sys.argv[1:])
    command = ["cargo", "mutants", "--list", "--json", *choice]
    listed = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)
    files = collections.defaultdict(dict)
    for index, mutant in enumerate(listed):
        files[mutant["file"]][index] = mutant
    rewritten = {name: Rewritten(name, mutants) for name, mutants in files.items()}
    changed = {name.split("/src/")[0] for name in files}
    packages = [part for name in sorted({m["package"] for m in listed} | set(packages)) for part in ("-p", name)]
    odd, broken = set().union(*(file.odd for file in rewritten.values())), set()
    while True:
        copy_tree(rewritten, {f"{name}/src/lib.rs" for name in changed}, odd | broken, len(listed))
        wrong = left_out_by_errors(cargo("check", "--lib", *packages), rewritten)
        if not wrong:
            break
        broken |= wrong
        print(f"{len(broken)} of {len(listed)} do not compile", flush=True)
    if "sslm-tests" in packages:
        cargo("build", "--workspace", "--bins", "--lib", check=True)  # tools, which some tests run, and would build otherwise
    tests = Tests(cargo("test", "--no-run", *packages, *building, check=True), changed, filters)
    print(f"{len(tests.seconds)} tests, {sum(tests.seconds.values()):.0f} s", flush=True)
    counts, survive = collections.Counter({"not tried": len(odd), "do not compile": len(broken)}), 0
    tried = sorted(set(range(len(listed))) - odd - broken)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
        for index, (program, is_reached) in zip(tried, workers.map(tests.noticed_by, tried)):
            if program:
                counts[f"noticed by {program}"] += 1
            else:
                survive += 1
                print(listed[index]["name"] + ("" if is_reached else " (no test comes there)"), flush=True)
    for index in sorted(odd):
        print(f"not tried: {listed[index]['name']}")
    print(f"{len(listed)} changes: {survive} survive, " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    sys.exit(1 if survive else 0)


if __name__ == "__main__":
    main()
