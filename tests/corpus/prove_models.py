#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Proves the splitter on the corpus: makes each model, lets amp4ec verify its cuts, and writes docs/models.md.

    prove_models.py                     all models that make_models.py lists
    prove_models.py NAME... --group G   those alone; the table keeps the others' results
    prove_models.py --render            the table again, from the results

Results are kept, a line of JSON for each model: a run that was interrupted goes on where it ended. --again proves anew,
as is needed after amp4ec or a model has changed. The command exits with 1 when a cut that was tried is not equal, or
when a model could not be made or verified, and lists these.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass, field
from typing import Iterable, Iterator, Mapping

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MAKE_MODELS = ["/usr/bin/python3", str(REPOSITORY / "tests/corpus/make_models.py")]  # The Python that has torch.

MODES = ("plain", "optimized")
CALLS = 4  # Inputs on which each cut is tried, over all examples.
MARGIN = 2  # A cut costs more than its calls: it is split, and warmed up.
FEW_CUTS = 30  # So many are all tried, however long they take.
SAMPLE = 20  # How many are tried where all would take too long.
SLOWEST_MODE = "optimized"  # Its sample shows what all cuts would take.
BUDGET = 30.0  # Seconds that trying all cuts of a model in one mode may take.
SHORTEST_RUN = 1e-3  # Seconds below which the estimate of a run says nothing.
MAKE_LIMIT = 3600.0  # Seconds in which a model must be made.
MIB = 1 << 20


# -- What is known about models --------------------------------------------------------------------------------------


@functools.cache
def torchvision_operators() -> tuple[pathlib.Path, ...]:
    """The library with torchvision's own operators (nms, roi_align), without loading torchvision."""
    found = importlib.util.find_spec("torchvision")
    return tuple(pathlib.Path(found.origin).parent.glob("_C.*.so")) if found and found.origin else ()


@dataclass(frozen=True)
class Model:
    """A model of the corpus, as make_models.py lists it."""

    name: str
    group: str
    how: str  # "scripted" or "traced"


@dataclass
class Corpus:
    """All that make_models.py lists."""

    models: dict[str, Model]
    impossible: list[str]  # Sentences: who cannot be made, and why.


@dataclass
class Cuts:
    """The places where a model could be cut, and how many are refused for which reason."""

    total: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def valid(self) -> int:
        return self.total - sum(self.refused.values())

    @staticmethod
    def of(total: int, reasons: Iterable[str]) -> "Cuts":
        """From the reasons of those refused, each 'code: sentence'."""
        return Cuts(total, dict(collections.Counter(reason.split(":")[0] for reason in reasons)))


@dataclass
class Verdict:
    """What `amp4ec verify` said in one mode."""

    outcome: str  # "done", "random", "timed out", "crashed" or "failed"
    reason: str = ""  # Of any outcome but "done".
    tried: int = 0
    equal: int = 0
    unequal: list[tuple[int, str]] = field(default_factory=list)  # After which layer, and why.
    error: float | None = None  # The largest relative one.
    seconds: float = 0  # For the cuts alone.

    def faults(self) -> Iterator[str]:
        """What is wrong, a sentence each."""
        if self.outcome not in ("done", "random"):
            yield f"{self.outcome}: {self.reason}"
        for after, reason in self.unequal:
            yield f"not equal when cut after layer {after}: {reason}"
        if self.tried - self.equal != len(self.unequal):
            yield f"{self.equal} of {self.tried} cuts are equal, but {len(self.unequal)} are told as unequal"


@dataclass
class Cost:
    """What lowering a model and taking segments out of it takes, as `lowering_cost` says."""

    lower_seconds: float
    extract_seconds: float
    peak_bytes: int  # Above a process with LibTorch loaded, the model's weights included.

    @property
    def seconds(self) -> float:
        return self.lower_seconds + self.extract_seconds


@dataclass
class Record:
    """What was found out about a model: a line of the results."""

    name: str
    failure: str = ""  # Why there are no verdicts.
    weight_bytes: int = 0
    examples: int = 0
    cuts: Cuts = field(default_factory=Cuts)
    wanted: str = ""  # The argument of --cuts.
    budget: float = BUDGET
    verdicts: dict[str, Verdict] = field(default_factory=dict)  # By mode.
    seconds: float = 0  # For inspecting and verifying.
    cost: Cost | None = None

    @staticmethod
    def from_json(line: str) -> "Record":
        values = json.loads(line)
        values["cuts"] = Cuts(**values["cuts"])
        values["cost"] = Cost(**values["cost"]) if values.get("cost") else None
        values["verdicts"] = {mode: Verdict(**verdict) for mode, verdict in values["verdicts"].items()}
        return Record(**values)

    @property
    def tried(self) -> int:
        return max((verdict.tried for verdict in self.verdicts.values()), default=0)

    @property
    def random(self) -> bool:
        return any(verdict.outcome == "random" for verdict in self.verdicts.values())

    def faults(self) -> Iterator[str]:
        """What is wrong, a sentence each."""
        if self.failure:
            yield self.failure
        for mode in MODES:
            for fault in self.verdicts[mode].faults() if mode in self.verdicts else ():
                yield f"{mode}: {fault}"


# -- Running commands ------------------------------------------------------------------------------------------------


class Stopped(Exception):
    """The run is over before its end."""


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    status: int  # Negative: the signal that ended it.
    output: str
    complaint: str  # The last line on stderr.
    limit: float | None  # The seconds that it overstepped.

    def ending(self) -> tuple[str, str]:
        """An outcome and its reason, for a command that gave no answer."""
        if self.limit is not None:
            return "timed out", f"after {self.limit:g} s"
        if self.status < 0:
            with contextlib.suppress(ValueError):
                return "crashed", f"{signal.Signals(-self.status).name} {self.complaint}".strip()
            return "crashed", f"signal {-self.status}"
        return "failed", self.complaint or f"exit status {self.status} and no answer"


class Commands:
    """Runs commands from any thread, each in a session of its own, and ends them all when told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._stopped = False

    def run(self, command: list[str], limit: float) -> Finished:
        """Waits for a command, for so many seconds. Raises Stopped when all were stopped meanwhile."""
        with self._lock:
            if self._stopped:
                raise Stopped
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
            self._running.add(process)
        overstepped = None
        try:
            output, complaint = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            overstepped = limit
            self._kill(process)
            output, complaint = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        if self._stopped:
            raise Stopped
        lines = complaint.strip().splitlines() or [""]
        return Finished(process.returncode, output, lines[-1].strip().removeprefix("amp4ec: "), overstepped)

    def stop(self) -> None:
        """Ends what runs, and lets nothing more start."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                self._kill(process)

    @staticmethod
    def _kill(process: subprocess.Popen) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# -- Proving one model -----------------------------------------------------------------------------------------------


class Unproved(Exception):
    """A model has no verdicts, for this reason."""


@dataclass(frozen=True)
class Files:
    """A model's files within a folder, of which `other` may be missing."""

    folder: pathlib.Path
    name: str

    @property
    def model(self) -> pathlib.Path:
        return self.folder / f"{self.name}.pt"

    @property
    def example(self) -> pathlib.Path:
        return self.folder / f"{self.name}.example.pt"

    @property
    def other(self) -> pathlib.Path:
        return self.folder / f"{self.name}.other.pt"

    def made(self) -> bool:
        return self.model.exists() and self.example.exists()

    def examples(self) -> list[pathlib.Path]:
        return [file for file in (self.example, self.other) if file.exists()]

    def arguments(self) -> list[str]:
        """What tells the model and its inputs to a verb of amp4ec."""
        words = [str(self.model), "--trusted"]
        words += [word for file in self.examples() for word in ("--example", str(file))]
        return words + [word for library in torchvision_operators() for word in ("--op-library", str(library))]

    def weight_bytes(self) -> int:
        """The size of all tensors that the model's archive holds."""
        with zipfile.ZipFile(self.model) as archive:
            return sum(entry.file_size for entry in archive.infolist()
                       if re.search(r"/(data|constants)/\d+$", entry.filename))


class Prover:
    """Makes, inspects and verifies models."""

    def __init__(self, amp4ec: pathlib.Path, lowering_cost: pathlib.Path, folder: pathlib.Path | None, budget: float,
                 limit: float) -> None:
        self._amp4ec = str(amp4ec)
        self._lowering_cost = str(lowering_cost)
        self._folder = folder
        self._budget = budget
        self._limit = limit
        self._commands = Commands()
        self._start_seconds = 0.0

    def measure_start(self) -> None:
        """Learns how long the command takes to start, which is no part of a model's time."""
        for _ in range(2):  # The second time it is in the page cache.
            begin = time.monotonic()
            finished = self._commands.run([self._amp4ec, "--version"], self._limit)
            self._start_seconds = time.monotonic() - begin
        if finished.status != 0:
            raise SystemExit(f"{self._amp4ec} does not run: {finished.ending()[1]}")

    def stop(self) -> None:
        """Ends what runs: prove() then raises Stopped."""
        self._commands.stop()

    def prove(self, model: Model, known: Record | None) -> Record:
        """Makes a model, or takes what is there, and lets amp4ec judge it. What is known is not judged again."""
        record = known or Record(model.name, budget=self._budget)
        with self._files(model) as files:
            try:
                if not files.made():
                    self._make(files)
                if not record.verdicts:
                    record.weight_bytes = files.weight_bytes()
                    record.examples = len(files.examples())
                    begin = time.monotonic()
                    self._inspect(files, record)
                    self._verify_modes(files, record)
                    record.seconds = round(time.monotonic() - begin, 2)
                self._measure_lowering(files, record)
            except Unproved as reason:
                record.failure = str(reason)
        return record

    def _measure_lowering(self, files: Files, record: Record) -> None:
        finished = self._commands.run([self._lowering_cost, str(files.model), *map(str, torchvision_operators())],
                                      self._limit)
        if finished.status != 0:
            raise Unproved("lowering it {}: {}".format(*finished.ending()))
        answer = json.loads(finished.output)
        record.cost = Cost(answer["lower_seconds"], answer["extract_seconds"], answer["peak_bytes"])

    @contextlib.contextmanager
    def _files(self, model: Model) -> Iterator[Files]:
        """A model's files: those that are kept, or temporary ones."""
        if self._folder is not None:
            yield Files(self._folder, model.name)
            return
        with tempfile.TemporaryDirectory(prefix="amp4ec-corpus-") as folder:
            yield Files(pathlib.Path(folder), model.name)

    def _make(self, files: Files) -> None:
        """Makes the files. They appear when all are whole, the model last."""
        with tempfile.TemporaryDirectory(prefix=".making-", dir=files.folder) as folder:
            finished = self._commands.run([*MAKE_MODELS, files.name, "-o", folder], MAKE_LIMIT)
            new = Files(pathlib.Path(folder), files.name)
            if finished.status != 0 or not new.made():
                outcome, reason = finished.ending()
                raise Unproved(f"making it {outcome}: {reason.removeprefix(files.name + ': ')}")
            files.other.unlink(missing_ok=True)
            for file in [*new.examples(), new.model]:
                file.replace(files.folder / file.name)

    def _run(self, files: Files, verb: str, *options: str) -> tuple[dict | None, Finished]:
        """The JSON that a verb gives for the model, or None, and how the command ended."""
        finished = self._commands.run([self._amp4ec, verb, *files.arguments(), *options, "--json"], self._limit)
        complaint = finished.complaint.replace(f"{files.folder}/", "")
        finished = dataclasses.replace(finished, complaint=complaint)
        if finished.limit is None and finished.status in (0, 1):
            with contextlib.suppress(json.JSONDecodeError):
                return json.loads(finished.output), finished
        return None, finished

    def _inspect(self, files: Files, record: Record) -> None:
        """Learns a model's cuts, and whether trying them all is fast for sure."""
        begin = time.monotonic()
        answer, finished = self._run(files, "inspect", "--no-profile")
        seconds = time.monotonic() - begin
        if answer is None:
            raise Unproved("inspecting it {}: {}".format(*finished.ending()))
        cuts = answer["cuts"]
        record.cuts = Cuts.of(len(cuts), (cut["reason"] for cut in cuts if not cut["valid"]))
        run = seconds - self._start_seconds
        estimate = record.cuts.valid * CALLS * MARGIN * max(run, SHORTEST_RUN)
        few = record.cuts.valid <= FEW_CUTS
        record.wanted = "all" if few or estimate < self._budget else str(SAMPLE)

    def _verify_modes(self, files: Files, record: Record) -> None:
        """Verifies in each mode. The estimate is too high for most models: a sample shows whether all fit after all."""
        if record.wanted != "all":
            sample = self._verify(files, record, SLOWEST_MODE)
            if sample.tried > 0 and sample.seconds / sample.tried * record.cuts.valid < self._budget:
                record.wanted = "all"
            else:
                record.verdicts[SLOWEST_MODE] = sample
        for mode in MODES:
            if mode not in record.verdicts:
                record.verdicts[mode] = self._verify(files, record, mode)

    def _verify(self, files: Files, record: Record, mode: str) -> Verdict:
        """Lets amp4ec try a model's cuts. It knows them best: the record takes them from its answer."""
        answer, finished = self._run(files, "verify", "--cuts", record.wanted, "--calls", str(CALLS), "--mode", mode)
        if answer is None:
            outcome, reason = finished.ending()
            if outcome == "failed" and "random" in reason.replace(files.name, ""):
                outcome = "random"
            return Verdict(outcome, reason)
        record.cuts = Cuts.of(answer["cuts_total"], (cut["reason"] for cut in answer["rejected"]))
        return Verdict("done", tried=answer["cuts_valid"], equal=answer["cuts_equal"],
                       unequal=[(cut["after"], cut["reason"]) for cut in answer["unequal"]],
                       error=answer["max_relative_error"], seconds=answer["seconds"])


# -- Proving many ----------------------------------------------------------------------------------------------------


class Results:
    """The file of results, to which each run adds. The last line of a model counts."""

    def __init__(self, file: pathlib.Path) -> None:
        self._file = file
        self.records: dict[str, Record] = {}
        text = file.read_text() if file.exists() else ""
        self._torn = bool(text) and not text.endswith("\n")  # It ends within a line: a run was killed.
        for number, line in enumerate(text.splitlines(), 1):
            try:
                record = Record.from_json(line)
            except (ValueError, TypeError, KeyError):
                print(f"{file}:{number} holds no result; it is passed over", file=sys.stderr)
                continue
            self.records[record.name] = record

    def add(self, record: Record) -> None:
        self.records[record.name] = record
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as stream:
            stream.write("\n" * self._torn + json.dumps(dataclasses.asdict(record)) + "\n")
        self._torn = False


class Progress:
    """A line on stderr, where that is a terminal: n of m, who is at work, and for how long."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._begin = time.monotonic()
        self._busy: dict[str, None] = {}  # In the order of their start.
        self._shown = sys.stderr.isatty()

    @contextlib.contextmanager
    def working(self, name: str) -> Iterator[None]:
        """While a model is at work, on any thread."""
        self._busy[name] = None
        try:
            yield
        finally:
            del self._busy[name]

    def done(self) -> None:
        self._done += 1

    def show(self) -> None:
        if not self._shown:
            return
        elapsed = int(time.monotonic() - self._begin)
        line = f"{self._done} of {self._total}, {' '.join(list(self._busy))}, {elapsed // 60}:{elapsed % 60:02}"
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def prove_all(models: list[Model], prover: Prover, results: Results, jobs: int, keep: bool) -> None:
    """Proves models, so many side by side, and adds each to the results. Nothing is left running, whatever happens."""
    progress = Progress(len(models))

    def prove(model: Model) -> Record:
        with progress.working(model.name):
            return prover.prove(model, results.records.get(model.name) if keep else None)

    with concurrent.futures.ThreadPoolExecutor(jobs) as executor:
        try:
            pending = {executor.submit(prove, model) for model in models}
            while pending:
                progress.show()
                finished, pending = concurrent.futures.wait(pending, 1, concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    results.add(future.result())
                    progress.done()
        except BaseException:
            prover.stop()
            executor.shutdown(cancel_futures=True)
            raise
        finally:
            progress.clear()


# -- The table -------------------------------------------------------------------------------------------------------

NOTHING = "–"
INTRODUCTION = f"""\
# Models on which the splitter is proved

`tests/corpus/make_models.py` makes each of these models as a TorchScript file, with random weights. `amp4ec verify`
cuts it at one place after the other, runs both parts, and compares their answer with the whole model's. Segments that
are *plain* must answer bit for bit the same; *optimised* ones within 1e-4 of the answer's scale. Each cut is tried
with {CALLS} different inputs. Where a model takes inputs of another size, every other call has that size: what was
learnt from the one must hold for the other.

This file is written by a command, which ends with 1 when a cut is not equal or a model fails:

```sh
cmake --preset release && cmake --build --preset release
cmake --preset dev -B build/test && cmake --build build/test --target lowering_cost
{{command}}
```

- **cuts** are the places between two layers; **valid** are those where amp4ec cuts, the others are **refused** for the
  reason shown.
- **tried** are all valid cuts, or {SAMPLE} spread evenly where all would take long on the machine at hand.
- **worst error** is the largest relative one of optimised segments; **seconds** are for inspecting the model and
  verifying it in both modes.
- **lowering** is the time of lowering the model and taking three segments out of it, **peak** the memory above that of
  a process with LibTorch loaded, the model's weights included.
- A model that draws random numbers answers otherwise each time, and cannot be compared.
"""


WORDY = {"model", "group", "how", "refused by reason"}  # Columns that hold no figures.


def percent(part: int, whole: int) -> str:
    """A share, which is 100 % only when nothing is missing."""
    if whole == 0:
        return NOTHING
    if part == whole:
        return "100 %"
    return f"{min(100 * part / whole, 99.9):.1f} %"


def counted(part: int, whole: int) -> str:
    return f"{part} ({percent(part, whole)})"


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """A table of Markdown, with figures on the right of their columns."""
    lines = [header, ["---" if title in WORDY else "---:" for title in header], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def show_mib(size: int) -> str:
    return f"{size / MIB:.1f}" if size >= MIB / 10 else "< 0.1"


def show_equal(verdict: Verdict | None) -> str:
    """How many cuts were equal, or why that is not known."""
    if verdict is None:
        return NOTHING
    if verdict.outcome == "random":
        return "draws random numbers"
    if verdict.outcome != "done":
        return f"**{verdict.outcome}**"
    return str(verdict.equal) if not any(verdict.faults()) else f"**{verdict.equal}**"


def show_error(verdict: Verdict | None) -> str:
    if verdict is None or verdict.error is None:
        return NOTHING
    return f"{verdict.error:.1e}" if verdict.error else "0"


def show_refused(refused: Mapping[str, int]) -> str:
    """The reasons, the most frequent first."""
    ordered = sorted(refused.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{code}: {count}" for code, count in ordered) or NOTHING


MODEL_HEADER = ["model", "group", "how", "weights (MiB)", "cuts", "valid", "tried", "equal plain", "equal optimised",
                "worst error optimised", "refused by reason", "seconds", "lowering (s)", "peak (MiB)"]


def model_row(model: Model, record: Record) -> list[str]:
    opening = [model.name, model.group, model.how]
    weights = show_mib(record.weight_bytes) if record.examples else NOTHING  # Examples: it could be made.
    if record.failure:
        return opening + [weights] + [NOTHING] * 3 + ["**failed**"] * 2 + [NOTHING] * 5
    plain, optimised = (record.verdicts.get(mode) for mode in MODES)
    return opening + [weights, str(record.cuts.total), counted(record.cuts.valid, record.cuts.total),
                      str(record.tried) if record.tried or not record.random else NOTHING, show_equal(plain),
                      show_equal(optimised), show_error(optimised), show_refused(record.cuts.refused),
                      f"{record.seconds:.1f}", f"{record.cost.seconds:.2f}" if record.cost else NOTHING,
                      show_mib(record.cost.peak_bytes) if record.cost else NOTHING]


SUMMARY_HEADER = ["group", "models", "draw random numbers", "failed", "cuts", "valid", "tried", "equal plain",
                  "equal optimised"]


def summary_row(title: str, records: list[Record]) -> list[str]:
    def equal(mode: str) -> str:
        verdicts = [record.verdicts[mode] for record in records if mode in record.verdicts]
        return counted(sum(verdict.equal for verdict in verdicts), sum(verdict.tried for verdict in verdicts))

    total = sum(record.cuts.total for record in records)
    return [title, str(len(records)), str(sum(record.random for record in records)),
            str(sum(any(record.faults()) for record in records)), str(total),
            counted(sum(record.cuts.valid for record in records), total),
            str(sum(record.tried for record in records)), *map(equal, MODES)]


def bullets(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines) or "None.\n"


def shown_faults(record: Record, most: int = 3) -> list[str]:
    """A model's faults with its name, not too many of them."""
    faults = list(record.faults())
    lines = [f"{record.name}: {fault}" for fault in faults[:most]]
    if len(faults) > most:
        lines.append(f"{record.name}: and {len(faults) - most} more")
    return lines


def command_line(records: Iterable[Record]) -> str:
    budget = max((record.budget for record in records), default=BUDGET)
    return "tests/corpus/prove_models.py" + (f" --budget {budget:g}" if budget != BUDGET else "")


def render(corpus: Corpus, results: Mapping[str, Record]) -> str:
    """The text of docs/models.md."""
    records = {name: results[name] for name in corpus.models if name in results}
    groups: dict[str, list[Model]] = {}
    for name in records:
        groups.setdefault(corpus.models[name].group, []).append(corpus.models[name])

    parts = [INTRODUCTION.format(command=command_line(records.values()))]
    summary = [summary_row(group, [records[model.name] for model in models]) for group, models in groups.items()]
    parts.append("## Summary\n\n" + table(SUMMARY_HEADER, summary + [summary_row("all", list(records.values()))]))
    missing = [name for name in corpus.models if name not in records]
    if missing:
        parts.append(f"Not proved yet: {', '.join(missing)}.\n")
    for group, models in groups.items():
        rows = [model_row(model, records[model.name]) for model in models]
        parts.append(f"## {group}\n\n" + table(MODEL_HEADER, rows))
    faults = [line for record in records.values() for line in shown_faults(record)]
    parts.append("## Failures\n\n" + bullets(faults))
    parts.append("## Models that cannot be made\n\n" + bullets(corpus.impossible))
    return "\n".join(parts)


def write(text: str, file: pathlib.Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


# -- The command -----------------------------------------------------------------------------------------------------


def list_corpus() -> Corpus:
    """Asks make_models.py for its models, and for those that it cannot make."""
    done = subprocess.run([*MAKE_MODELS, "--list"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit("make_models.py --list fails")
    lines = done.stdout.splitlines()
    models = (Model(*line.split()) for line in lines if not line.startswith("#"))
    return Corpus({model.name: model for model in models},
                  [line.lstrip("# ") for line in lines if line.startswith("#")])


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def parse_arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--group", action="append", default=[], metavar="G", help="its models too; repeatable")
    parser.add_argument("--amp4ec", type=pathlib.Path, default=REPOSITORY / "build/release/amp4ec", metavar="PATH",
                        help="the command (default: build/release/amp4ec)")
    parser.add_argument("--lowering-cost", type=pathlib.Path, default=REPOSITORY / "build/test/lowering_cost",
                        metavar="PATH", help="the program that measures lowering (default: build/test/lowering_cost)")
    parser.add_argument("--models", type=pathlib.Path, metavar="DIR",
                        help="take models from here, and keep here what is made (default: delete each after its turn)")
    parser.add_argument("--results", type=pathlib.Path, default=REPOSITORY / "build/models.jsonl", metavar="FILE",
                        help="where results are kept (default: build/models.jsonl)")
    parser.add_argument("--table", type=pathlib.Path, default=REPOSITORY / "docs/models.md", metavar="FILE",
                        help="where to write the table (default: docs/models.md)")
    parser.add_argument("--again", action="store_true", help="prove anew what has a result")
    parser.add_argument("--render", action="store_true", help="prove nothing, only write the table")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS",
                        help="try all cuts when that takes no longer for a model and mode (default: %(default)g)")
    parser.add_argument("--timeout", type=float, default=900, metavar="SECONDS",
                        help="how long amp4ec may take each time (default: %(default)g)")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="models side by side (default: 1)")
    return parser, parser.parse_args()


def select(corpus: Corpus, names: list[str], groups: list[str]) -> list[Model]:
    """The models of these names and groups; all when there are none. Raises ValueError for what there is not."""
    unknown = [name for name in names if name not in corpus.models]
    unknown += [group for group in groups if group not in {model.group for model in corpus.models.values()}]
    if unknown:
        raise ValueError(f"no such model or group: {' '.join(unknown)}; make_models.py --list shows them")
    return [model for model in corpus.models.values()
            if model.name in names or model.group in groups or not (names or groups)]


def prove_selected(models: list[Model], results: Results, arguments: argparse.Namespace) -> None:
    """Proves those that have no result yet."""
    def is_open(record: Record | None) -> bool:
        return record is None or (record.cost is None and not record.failure)

    todo = [model for model in models if arguments.again or is_open(results.records.get(model.name))]
    if not todo:
        return
    for option, command in (("--amp4ec", arguments.amp4ec), ("--lowering-cost", arguments.lowering_cost)):
        if not os.access(command, os.X_OK):
            raise SystemExit(f"there is no command {command}; build it, or name it with {option}")
    if arguments.models is not None:
        arguments.models.mkdir(parents=True, exist_ok=True)
    prover = Prover(arguments.amp4ec.absolute(), arguments.lowering_cost.absolute(), arguments.models, arguments.budget,
                    arguments.timeout)
    prover.measure_start()
    prove_all(todo, prover, results, arguments.jobs, keep=not arguments.again)


def interrupt(*_: object) -> None:
    """Ends the run in order, as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    parser, arguments = parse_arguments()
    signal.signal(signal.SIGTERM, interrupt)
    corpus = list_corpus()
    try:
        models = select(corpus, arguments.names, arguments.group)
    except ValueError as error:
        parser.error(str(error))
    results = Results(arguments.results)
    if not arguments.render:
        try:
            prove_selected(models, results, arguments)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here", file=sys.stderr)
            return 130
    write(render(corpus, results.records), arguments.table)

    records = [results.records[model.name] for model in models if model.name in results.records]
    failed = [record for record in records if any(record.faults())]
    print(f"{len(records)} models, {sum(record.cuts.total for record in records)} cuts, "
          f"{sum(record.tried for record in records)} tried; {len(failed)} models failed; {arguments.table}")
    for record in failed:
        print("\n".join(shown_faults(record)), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
