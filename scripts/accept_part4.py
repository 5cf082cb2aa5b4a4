#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The promises of part 4, one row each. Run by accept.sh, which builds first.

    accept_part4.py REPOSITORY

Takes about an hour. Wants root, and a machine that has nothing else to do: it measures. What could not be measured is a
row that does not hold.
"""
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time

from acceptance import last_line, parsed, print_table, row

REPOSITORY = pathlib.Path(sys.argv[1])
BENCH = REPOSITORY / "build/bench/amp4ec_hop_bench"
SESSION_BENCH = REPOSITORY / "build/bench/amp4ec_session_bench"
AMP4EC = REPOSITORY / "build/bench/amp4ec"
THREE_NODES = ("--node", "high:1.0:1GiB", "--node", "medium:0.6:1GiB", "--node", "low:0.4:1GiB")
SMALL = 64
TENSOR = 4 << 20


def run(*command, **environment):
    print("-- " + " ".join(map(str, command)).replace(f"{REPOSITORY}/", ""), file=sys.stderr, flush=True)
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **environment}, cwd=REPOSITORY, check=False)


def not_measured(done):
    return f"not measured: exit status {done.returncode}"


def warn_of_load():
    load = os.getloadavg()[0]
    if load > 1.5:
        print(f"   the machine has other work: load {load:.1f}", file=sys.stderr, flush=True)


def hop():
    warn_of_load()
    command = "build/bench/amp4ec_hop_bench"
    done = run(BENCH, "--benchmark_format=json")
    p50 = {entry["name"].removesuffix("/real_time"): entry["p50_us"]
           for entry in parsed(done, {}).get("benchmarks", []) if not entry.get("error_occurred")}
    in_session_command = "build/bench/amp4ec_session_bench hop"
    sessions = run(SESSION_BENCH, "hop", "--json")
    in_session = {(entry["place"], entry["bytes"]): entry for entry in parsed(sessions, [])}

    def us(name):
        return p50.get(name, float("nan"))

    def session_row(line, place, size, limit):
        entry = in_session.get((place, size))
        figure = not_measured(sessions) if entry is None else (
            f"{entry['p50_us']:.1f} us of {limit:.1f}, of which {entry['counted_p50_us']:.1f} from hand-over to "
            f"receipt; p99 {entry['p99_us']:.1f}, {entry['requests']} requests"
            + (f"; one copy there {entry['copy_p50_us']:.0f}" if size == TENSOR else ""))
        row(line, figure, entry is not None and entry["p50_us"] <= limit, in_session_command)

    for edge, other, most, line in (
            ("edge/one_cpu", "one_cpu", 15, "a bare edge's hop with both sides on one CPU: at most 15 us"),
            ("edge/across_spinning", "across", 15, "a bare edge's hop across CPUs, spinning: at most 15 us"),
            ("edge/across", "across", 60, "a bare edge's hop across CPUs, blocking: at most 60 us")):
        measured = us(f"{edge}/{SMALL}")
        row(line, f"{measured:.1f} us; Unix socket {us(f'unix_stream/{other}/{SMALL}'):.1f}, message_queue "
            f"{us(f'boost_message_queue/{other}/{SMALL}'):.1f}", measured <= most, command)
    for place, how, most in (("one_cpu", "one cpu, blocking", 15), ("spinning", "across CPUs, spinning", 15),
                             ("across", "across CPUs, blocking", 60)):
        session_row(f"a hop in a session, decode and loop included, {how}: at most {most} us", place, SMALL, most)
    for way in ("one_cpu", "across_spinning", "across"):
        copy = us(f"plain_memcpy/{TENSOR}")
        limit = 1.3 * copy + us(f"wake_up/{way}")
        other = way.removesuffix("_spinning")
        measured = us(f"edge/{way}/{TENSOR}")
        row(f"4 MiB, bare edge, {way.replace('_', ' ')}: at most 1.3 copies and the wake-up",
            f"{measured:.0f} us of {limit:.0f} (copy {copy:.0f}, into memory that the other side has read "
            f"{us(f'shared_memcpy/{other}/{TENSOR}'):.0f}, wake-up {us(f'wake_up/{way}'):.1f}; a copy and a bell alone "
            f"{us(f'shared_memcpy/{other}_woken/{TENSOR}'):.0f}); Unix socket "
            f"{us(f'unix_stream/{other}/{TENSOR}'):.0f}, message_queue "
            f"{us(f'boost_message_queue/{other}/{TENSOR}'):.0f}", measured <= limit, command)
        # In a session a tensor comes from other memory than the benchmark's: the copy is one of the same bytes there.
        place = way.removeprefix("across_")
        there = in_session.get((place, TENSOR), {}).get("copy_p50_us", float("nan"))
        session_row(f"4 MiB, in a session, {way.replace('_', ' ')}: at most 1.3 copies there and the wake-up", place,
                    TENSOR, 1.3 * there + us(f"wake_up/{way}"))


def efficiency(folder):
    for model, most_replicas, one_pipeline in (("mobilenet_v2", 0.97, 0.90), ("resnet50", 0.97, 0.93)):
        file, profile = folder / f"{model}.pt", folder / f"{model}.profile.json"
        run(AMP4EC, "zoo", model, "-o", file)
        for options, least in (((), most_replicas), (("--pipelines", "1"), one_pipeline)):
            warn_of_load()
            command = ("run", file, "--input", "1x3x224x224", *THREE_NODES, *options, "--profile", profile,
                       "--seconds", "44")
            done = run(AMP4EC, *command, "--json")
            report = parsed(done, {})
            spread = report.get("spread", {}).get("efficiency", {})
            measured, pairs = report.get("efficiency", float("nan")), report.get("rounds", 0)
            sound = (report.get("equal") is True and report.get("lost") == 0 and report.get("duplicated") == 0
                     and pairs >= 10 and {"min", "max"} <= spread.keys())
            figure = not_measured(done) if not report else (
                f"{measured:.3f} ({spread.get('min', float('nan')):.3f} to {spread.get('max', float('nan')):.3f} in "
                f"{pairs} pairs), {report.get('throughput_rps', 0):.1f} requests/s of "
                f"{report.get('limit_rps', 0):.1f}, {len(report.get('pipelines', []))} pipelines, equal "
                f"{report.get('equal')}, lost {report.get('lost')}, twice {report.get('duplicated')}")
            how = "one pipeline" if options else "replicas allowed"
            row(f"{model}, {how}: at least {least} of the limit, 10 pairs", figure, sound and measured >= least,
                " ".join(["build/bench/amp4ec", *map(str, command)]).replace(f"{folder}/", ""))


def worker_threads():
    command = "OMP_NUM_THREADS=1 build/bench/amp4ec_session_bench threads"
    models = [entry["name"] for entry in parsed(run(AMP4EC, "zoo", "--json"), {}).get("models", [])]
    done = run(SESSION_BENCH, "threads", "--json", OMP_NUM_THREADS="1")
    measured = {entry["model"]: entry for entry in parsed(done, [])}
    if not models:
        row("every model of the zoo on a worker thread", "the list of models could not be read", False,
            "build/bench/amp4ec zoo --json")
    for model in models or measured:
        entry = measured.get(model)
        figure = not_measured(done) if entry is None else (
            f"{entry['added_us']:.0f} us (quartiles {entry['added_us_q25']:.0f} and {entry['added_us_q75']:.0f}, "
            f"{entry['added_us_min']:.0f} to {entry['added_us_max']:.0f} in {entry['pairs']} pairs) to "
            f"{entry['direct_us']:.0f}, both {entry['form']}{'' if entry['same_form'] else ' (NOT KNOWN)'}, allowed "
            f"{entry['allowed_us']:.0f}")
        row(f"{model}: a worker thread adds at most 2 % or 60 us", figure,
            entry is not None and entry["same_form"] and entry["pairs"] >= 20
            and entry["added_us"] <= entry["allowed_us"], command)


def respawn():
    command = "build/bench/amp4ec_session_bench respawn"
    done = run(SESSION_BENCH, "respawn", "--json")
    measured = {entry["standby"]: entry for entry in parsed(done, [])}
    for standby, most in ((False, 300), (True, 150)):
        entry, how = measured.get(standby), "with" if standby else "without"
        row(f"kill to first answer, {how} a standby: at most {most} ms",
            not_measured(done) if entry is None else
            f"{entry['answered_ms']:.0f} ms ({entry['answered_ms_min']:.0f} to {entry['answered_ms_max']:.0f})",
            entry is not None and entry["answered_ms"] <= most, command)
        row(f"a death is seen within 50 ms, {how} a standby",
            not_measured(done) if entry is None else
            f"{entry['detected_ms']:.1f} ms, at most {entry['detected_ms_max']:.1f}",
            entry is not None and entry["detected_ms_max"] < 50, command)


def stall():
    done = run(SESSION_BENCH, "stall", "--json")
    entry = next(iter(parsed(done, [])), None)
    figure = not_measured(done) if entry is None else (
        f"median {entry['seen_ms']:.0f} ms, at most {entry['seen_ms_max']:.0f} of {entry['rounds']}; limit "
        f"{entry['limit_ms']:.0f}, with one sweep and 50 ms {entry['allowed_ms']:.0f}; {entry['false_alarms']} false "
        f"alarms, {entry['failed_requests']} failed requests")
    row("a stall is seen within its configured limit", figure,
        entry is not None and entry["rounds"] >= 11 and entry["seen_ms_max"] <= entry["allowed_ms"]
        and entry["false_alarms"] == 0 and entry["failed_requests"] == 0, "build/bench/amp4ec_session_bench stall")


def soak():
    done = run(REPOSITORY / "build/test/soak", 50000, 1000)
    row("1,000 faults in 50,000 requests: each answered once and equal, nothing left",
        "; ".join(line.strip() for line in done.stdout.splitlines()) or "no output", done.returncode == 0,
        "build/test/soak 50000 1000")


def processes_of(mark):
    """Processes of ours that have inherited the mark, with their names; the state tells those that have ended."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                name = (entry / "comm").read_text(encoding="utf-8").strip()
                if name.startswith("amp4ec-"):
                    found[int(entry.name)] = name
        except OSError:
            pass  # It has ended meanwhile.
    return found


def workers_of(processes):
    return [pid for pid, name in processes.items() if name == "amp4ec-worker"]


def is_there(pid, name):
    """Whether it lives; one that waits for init to reap it does not, and one whose parent is ours leaves its parent."""
    try:
        head, _, tail = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")
        return head.endswith("(" + name) and tail.split()[0] != "Z"
    except OSError:
        return False


def wait_for_workers(host, mark, count):
    for _ in range(1200):
        processes = processes_of(mark)
        if len(workers_of(processes)) >= count or host.poll() is not None:
            return
        time.sleep(0.05)


def dead_host_round(profile, stopped):
    """Kills a host under load; before, stops one of its workers. Returns how many workers and processes were there, and
    how many processes are left."""
    mark = f"AMP4EC_ACCEPTANCE={os.getpid()}-{time.monotonic_ns()}"
    name, value = mark.split("=")
    with subprocess.Popen([AMP4EC, "run", "lstm", *THREE_NODES, "--pipelines", "1", "--profile", profile,
                           "--seconds", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env={**os.environ, name: value}) as host:
        wait_for_workers(host, mark.encode(), 3)
        time.sleep(1)  # Into the load.
        before = processes_of(mark.encode())
        workers = workers_of(before)
        if stopped is not None and workers:
            os.kill(workers[stopped % len(workers)], signal.SIGSTOP)
            time.sleep(0.05)
        host.send_signal(signal.SIGKILL)
    time.sleep(1)
    left = {pid: name for pid, name in {**before, **processes_of(mark.encode())}.items() if is_there(pid, name)}
    for pid in left:  # They are ours, and the next round has its own.
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    return len(workers), len(before), len(left)


def dead_host(folder):
    rounds = 10
    profile = folder / "lstm.profile.json"  # Measured once, not in each round.
    run(AMP4EC, "run", "lstm", *THREE_NODES, "--pipelines", "1", "--profile", profile, "--requests", "10")
    for what, stops in (("a host that is killed", False),
                        ("a host that is killed while one of its workers is stopped", True)):
        ends = [dead_host_round(profile, number if stops else None) for number in range(rounds)]
        left = sum(end[2] for end in ends)
        fewest = min(end[0] for end in ends)
        row(f"{what} leaves no worker after 1 s",
            f"{left} processes left of {sum(end[1] for end in ends)} in {rounds} rounds, at least {fewest} workers "
            "each", left == 0 and fewest >= 3, "build/bench/amp4ec run lstm, killed under load")


def hostile_peers():
    tests = "*rubbish*,*refuses*,*whatever*,*a few bytes*,*a damaged message*"
    for binary in ("test_ipc", "test_model"):
        done = run(REPOSITORY / f"build/asan/{binary}", tests, AMP4EC_FUZZ_SECONDS="20")
        row("garbage from a worker: no look out of bounds, no end", f"{binary}: {last_line(done.stdout)}",
            done.returncode == 0, f"AMP4EC_FUZZ_SECONDS=20 build/asan/{binary} \"{tests}\"")


def hostile_worker():
    """A worker that writes garbage into ring and arena of a live session. Without such a test nothing is shown."""
    test = "*hostile*"
    done = run(REPOSITORY / "build/asan/test_runtime", test)
    matched = re.search(r"\b[1-9]\d* (?:test cases?|assertions?)\b", done.stdout) is not None
    row("a hostile worker against a live session: no look out of bounds, no end",
        last_line(done.stdout) if matched else "no test matches", done.returncode == 0 and matched,
        f'build/asan/test_runtime "{test}"')


def excluded_tests():
    """What .ci/run leaves out under AddressSanitizer, and its reason: the comment above the step."""
    lines = (REPOSITORY / ".ci/run").read_text(encoding="utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("step ") and "asan-ubsan" in line)
    first = at
    while lines[first - 1].startswith("#"):
        first -= 1
    reason = " ".join(line.lstrip("# ") for line in lines[first:at])
    found = re.search(r"--exclude-regex '([^']*)'", lines[at])
    return (found.group(1), reason) if found else ("", "")


def sanitizers():
    # Sanitizers of older compilers do not bear the randomness of addresses that newer kernels have.
    fixed = ("setarch", platform.machine(), "--addr-no-randomize")
    excluded, reason = excluded_tests()
    for preset, line, options in (
            ("asan-ubsan", "AddressSanitizer and UBSan find nothing in all tests", ("--exclude-regex", excluded)),
            ("tsan", "ThreadSanitizer finds nothing where LibTorch is not", ())):
        options = options if all(options) else ()
        done = run(*fixed, "ctest", "--preset", preset, *options)
        summary = next((line.strip() for line in done.stdout.splitlines() if "tests passed" in line),
                       last_line(done.stdout))
        failed = re.findall(r"^\s*\d+ - (\S+) \(", done.stdout, re.MULTILINE)
        figure = summary + (f": {', '.join(failed)}" if failed else "")
        if options:
            figure += f"; without {excluded}: {reason}"
        row(line, figure, done.returncode == 0 and "tests passed" in summary,
            " ".join(["ctest --preset", preset, *(f"'{option}'" if "|" in option else option for option in options)]))


def main():
    hop()
    with tempfile.TemporaryDirectory() as folder:
        efficiency(pathlib.Path(folder))
        worker_threads()
        respawn()
        stall()
        soak()
        dead_host(pathlib.Path(folder))
    hostile_peers()
    hostile_worker()
    sanitizers()
    return print_table()


if __name__ == "__main__":
    sys.exit(main())
