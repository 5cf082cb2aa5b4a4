#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The promises of part 1, one row each. Run by accept.sh, which builds first.

    accept_part1.py REPOSITORY
"""
import glob
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

from acceptance import print_table, row

REPOSITORY = pathlib.Path(sys.argv[1])
MODEL = "mobilenet_v2"  # A reference model: the command makes it and knows its inputs.
THREE_NODES = ["--node", "high:1.0:1GiB", "--node", "medium:0.6:512MiB", "--node", "low:0.4:512MiB"]
GOLDEN = {2: [116, 25], 3: [108, 16, 17], 4: [100, 16, 16, 9]}
ZOO = {"mobilenet_v2": "all", "resnet18": "all", "resnet50": "20", "vit_tiny": "20", "lstm": "all"}

def shown(command):
    words = " ".join(str(part) for part in command)
    return re.sub(r"\S*/accept-[^/]*/", "", words.replace(str(REPOSITORY) + "/", ""))


def run(command, **options):
    print(f"-- {shown(command)}", file=sys.stderr, flush=True)
    options.setdefault("timeout", 900)
    return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)


def answer(command):
    """The JSON object of a command, or None with its complaint on stderr."""
    done = run(command + ["--json"])
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        print(f"exit {done.returncode}, no JSON: {done.stderr.strip()}", file=sys.stderr)
        return None


def run_on_terminal(command):
    """Exit status and output of a command that believes to be on a terminal."""
    print(f"-- {shown(command)} (on a terminal)", file=sys.stderr, flush=True)
    chunks = []

    def read(descriptor):
        chunks.append(os.read(descriptor, 65536))
        return chunks[-1]

    # The child's output goes on to our stderr, so that our stdout is the table alone.
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        status = pty.spawn([str(part) for part in command], read, lambda descriptor: b"")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    return os.waitstatus_to_exitcode(status), b"".join(chunks).decode(errors="replace")


def left_behind():
    """Worker processes and cgroup folders of ours that are still there."""
    workers = run(["pgrep", "amp4ec-worker"]).stdout.split()
    folders = [found for depth in ("*", "*/*", "*/*/*") for found in glob.glob(f"/sys/fs/cgroup/{depth}/amp4ec*")]
    return workers + folders


def demo():
    command = [REPOSITORY / "scripts/demo.sh"]
    status, output = run_on_terminal(command)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    lower = text.lower()
    lines = lower.splitlines()
    stage_table = any(all(word in line for word in ("node", "layers", "cpu", "memory", "busy")) for line in lines)
    row("demo: table of stages (node, layers, CPU, memory, busy)", "there" if stage_table else "missing",
        status == 0 and stage_table, shown(command))
    monoliths = [name for name in ("high", "medium", "low", "all") if re.search(rf"alone: {name}\b.*\d", lower)]
    compared = "this plan" in lower and "requests/s" in lower and len(monoliths) == 4
    row("demo: split against each node alone and all CPUs", "split; " + " ".join(monoliths) if monoliths else "missing", status == 0 and compared, shown(command))
    equal = [line.strip() for line in lines if "every answer equal" in line]
    row("demo: the line that every answer was equal", f"{len(equal)} runs of 3", status == 0 and len(equal) == 3, shown(command))
    bars = re.findall(r"\r\x1b\[K([^\r\n\[]+) \[[#.]+\] \d+/\d+", output)
    row("demo: progress is shown", f"{len(bars)} updates: {', '.join(sorted(set(bars)))}", len(bars) > 1, shown(command))


def golden(amp4ec):
    for parts, expected in GOLDEN.items():
        nodes = [word for index in range(parts) for word in ("--node", f"n{index}:1.0:2GiB")]
        command = [amp4ec, "plan", MODEL, "--strategy", "amp4ec-greedy", *nodes]
        plan = answer(command)
        counts = [stage["leaf_modules"] for stage in plan["pipelines"][0]["stages"]] if plan else None
        row(f"golden: amp4ec-greedy, {parts} nodes, {expected}", counts, counts == expected, shown(command))


def answers(amp4ec):
    for name, cuts in ZOO.items():
        for mode in ("plain", "optimized"):
            command = [amp4ec, "verify", name, "--cuts", cuts, "--mode", mode]
            result = answer(command)
            if result is None:
                row(f"answers: {name}, {mode}", "no result", False, shown(command))
                continue
            bound = 0 if mode == "plain" else 1e-4
            error = result["max_relative_error"]
            equal, tried = result["cuts_equal"], result["cuts_valid"]
            enough = tried > 0 if cuts == "all" else tried >= min(int(cuts), 20)
            # `verify` refuses outputs near zero, where any comparison passes.
            row(f"answers: {name}, {mode}, error <= {bound:g}", f"{equal}/{tried} cuts, error {error:.1e}",
                enough and equal == tried and error <= bound, shown(command))


def limits(amp4ec):
    command = [amp4ec, "run", MODEL, *THREE_NODES, "--pipelines", "1", "--seconds", "15"]
    result = answer(command)
    if result is None:
        row("limits: efficiency >= 0.6", "no result", False, shown(command))
        return
    text = shown(command)
    row("limits: efficiency >= 0.6", f"{result['efficiency']:.3f} of {result['limit_rps']:.0f} requests/s",
        result["efficiency"] >= 0.6, text)
    row("limits: every answer equal", result["equal"], result["equal"] is True, text)
    stages = result["stages"]
    shares = [stage["cpu_share"] for stage in stages]
    # A share of 0 is one that could not be read.
    row("limits: no worker above 1.02 of its CPU quota", " ".join(f"{stage['node']} {stage['cpu_share']:.3f}" for stage in stages),
        bool(stages) and all(0 < share <= 1.02 for share in shares), text)
    row("limits: no worker above its memory limit",
        " ".join(f"{stage['node']} {stage['memory_peak_bytes'] >> 20}/{stage['memory_limit_bytes'] >> 20} MiB" for stage in stages),
        bool(stages) and all(0 < stage["memory_peak_bytes"] <= stage["memory_limit_bytes"] for stage in stages), text)


def bad_cases(amp4ec, models):
    good = models / "mobilenet_v2.pt"
    run([amp4ec, "zoo", MODEL, "-o", good], check=True)
    fits = ["--input", "1x3x224x224"]
    text_file, cut_short, no_code = models / "text.pt", models / "cut_short.pt", models / "no_code.pt"
    text_file.write_text("this is not a model\n")
    cut_short.write_bytes(good.read_bytes()[:1 << 20])
    with zipfile.ZipFile(no_code, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/version", b"3\n")
    nodes = ["--node", "a:1.0:1GiB", "--node", "b:0.5:1GiB"]
    short = ["--requests", "20"]
    cases = [
        ("wrong file", 2, [amp4ec, "run", models / "absent.pt", *fits, *nodes, *short]),
        ("corrupt file", 2, [amp4ec, "run", cut_short, *fits, *nodes, *short]),
        ("not TorchScript: text", 2, [amp4ec, "run", text_file, *fits, *nodes, *short]),
        ("not TorchScript: archive without code", 2, [amp4ec, "run", no_code, *fits, *nodes, *short]),
        ("wrong shape", 2, [amp4ec, "run", good, "--input", "1x4x224x224", *nodes, *short]),
        ("wrong type", 2, [amp4ec, "run", good, "--input", "1x3x224x224:int64:9", *nodes, *short]),
        ("node too small", 1, [amp4ec, "run", good, *fits, "--node", "tiny:1.0:16MiB", *short]),
    ]
    for name, status, command in cases:
        done = run(command)
        lines = done.stderr.strip().splitlines()
        row(f"bad case: {name}: one line, exit {status}", f"exit {done.returncode}, {len(lines)} line(s): {' | '.join(lines)[:90]}",
            done.returncode == status and len(lines) == 1 and lines[0].startswith("amp4ec:"), shown(command))


def degraded(amp4ec):
    """Without rights and without cgroups work goes on, and one line for each limit says that it does not bind."""
    work = ["run", MODEL, *THREE_NODES, "--pipelines", "1", "--requests", "60", "--json"]
    no_cgroups = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
    cases = [
        ("no privileges", ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", amp4ec, *work]),
        ("no cgroups", ["unshare", "--mount", "--propagation", "private", "sh", "-c", no_cgroups, "sh", amp4ec, *work]),
    ]
    for name, command in cases:
        if os.geteuid() != 0:
            row(f"bad case: {name}: works, and says what does not bind", "needs root to try", False, shown(command))
            continue
        done = run(command, cwd="/")
        lines = done.stderr.strip().splitlines()
        notes = [line for line in lines if line.startswith("amp4ec: note:")]
        try:
            equal = json.loads(done.stdout)["equal"]
        except (json.JSONDecodeError, KeyError):
            equal = False
        row(f"bad case: {name}: works, and says what does not bind",
            f"exit {done.returncode}, {len(notes)} note(s): {' | '.join(lines)[:90]}",
            done.returncode == 0 and equal is True and notes and notes == lines, shown(command))


def main():
    before = left_behind()
    # Copied out of the build folder, so that a user without rights may run it.
    with tempfile.TemporaryDirectory(prefix="accept-") as folder:
        os.chmod(folder, 0o755)
        models = pathlib.Path(folder)
        amp4ec = models / "amp4ec"
        for program in ("amp4ec", "amp4ec-worker"):
            shutil.copy(REPOSITORY / "build/release" / program, models / program)
        demo()
        golden(amp4ec)
        answers(amp4ec)
        limits(amp4ec)
        bad_cases(amp4ec, models)
        degraded(amp4ec)
    left = [thing for thing in left_behind() if thing not in before]
    row("nothing left: no amp4ec-worker, no cgroup amp4ec*", " ".join(left) or "nothing", not left,
        "pgrep amp4ec-worker; find /sys/fs/cgroup -name 'amp4ec*'")
    return print_table()


if __name__ == "__main__":
    sys.exit(main())
