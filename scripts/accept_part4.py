#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The promises of part 4, one row each. Run by accept.sh, which builds first.

    accept_part4.py REPOSITORY

Takes about half an hour. Wants root, and a machine that has nothing else to do: it measures.
"""
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

from acceptance import print_table, row

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


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"


def hop():
    load = os.getloadavg()[0]
    if load > 1.5:
        print(f"   the machine has other work: load {load:.1f}", file=sys.stderr, flush=True)
    command = "build/bench/amp4ec_hop_bench"
    done = run(BENCH, "--benchmark_format=json")
    entries = json.loads(done.stdout)["benchmarks"] if done.stdout else []
    p50 = {entry["name"].removesuffix("/real_time"): entry["p50_us"] for entry in entries
           if not entry.get("error_occurred")}

    def us(name):
        return p50.get(name, float("nan"))

    for edge, other, most, line in (
            ("edge/one_cpu", "one_cpu", 15, "a hop with both sides on one CPU: at most 15 us"),
            ("edge/across_spinning", "across", 15, "a hop across CPUs, spinning: at most 15 us"),
            ("edge/across", "across", 60, "a hop across CPUs, blocking: at most 60 us")):
        measured = us(f"{edge}/{SMALL}")
        row(line, f"{measured:.1f} us; Unix socket {us(f'unix_stream/{other}/{SMALL}'):.1f}, message_queue "
            f"{us(f'boost_message_queue/{other}/{SMALL}'):.1f}", measured <= most, command)
    for way in ("one_cpu", "across_spinning", "across"):
        copy = us(f"plain_memcpy/{TENSOR}")
        limit = 1.3 * copy + us(f"wake_up/{way}")
        other = way.removesuffix("_spinning")
        measured = us(f"edge/{way}/{TENSOR}")
        row(f"4 MiB, {way.replace('_', ' ')}: at most 1.3 copies and the wake-up",
            f"{measured:.0f} us of {limit:.0f} (copy {copy:.0f}, into memory that the other side has read "
            f"{us(f'shared_memcpy/{other}/{TENSOR}'):.0f}, wake-up {us(f'wake_up/{way}'):.1f}); Unix socket "
            f"{us(f'unix_stream/{other}/{TENSOR}'):.0f}, message_queue "
            f"{us(f'boost_message_queue/{other}/{TENSOR}'):.0f}", measured <= limit, command)


def efficiency(folder):
    for model, most_replicas, one_pipeline in (("mobilenet_v2", 0.97, 0.90), ("resnet50", 0.97, 0.93)):
        file, profile = folder / f"{model}.pt", folder / f"{model}.profile.json"
        run(AMP4EC, "zoo", model, "-o", file)
        for options, least in (((), most_replicas), (("--pipelines", "1"), one_pipeline)):
            command = ("run", file, "--input", "1x3x224x224", *THREE_NODES, *options, "--profile", profile,
                       "--seconds", "44")
            done = run(AMP4EC, *command, "--json")
            report = json.loads(done.stdout) if done.stdout else {}
            spread = report.get("spread", {}).get("efficiency", {})
            measured = report.get("efficiency", float("nan"))
            row(f"{model}, {'one pipeline' if options else 'replicas allowed'}: at least {least} of the limit",
                f"{measured:.3f} ({spread.get('min', 0):.3f} to {spread.get('max', 0):.3f} in {report.get('rounds')} "
                f"pairs), {report.get('throughput_rps', 0):.1f} requests/s of {report.get('limit_rps', 0):.1f}, "
                f"{len(report.get('pipelines', []))} pipelines, equal {report.get('equal')}",
                measured >= least and report.get("equal") is True,
                " ".join(["build/bench/amp4ec", *map(str, command)]).replace(f"{folder}/", ""))


def worker_threads():
    done = run(SESSION_BENCH, "threads", "--json", OMP_NUM_THREADS="1")
    for entry in json.loads(done.stdout) if done.stdout else []:
        row(f"{entry['model']}: a worker thread adds at most 2 % or 60 us",
            f"{entry['added_us']:.0f} us ({entry['added_us_q25']:.0f} to {entry['added_us_q75']:.0f}) to "
            f"{entry['direct_us']:.0f}, allowed {entry['allowed_us']:.0f}", entry["added_us"] <= entry["allowed_us"],
            "OMP_NUM_THREADS=1 build/bench/amp4ec_session_bench threads")


def respawn():
    command = "build/bench/amp4ec_session_bench respawn"
    done = run(SESSION_BENCH, "respawn", "--json")
    for entry in json.loads(done.stdout) if done.stdout else []:
        most = 150 if entry["standby"] else 300
        row(f"kill to first answer, {'with' if entry['standby'] else 'without'} a standby: at most {most} ms",
            f"{entry['answered_ms']:.0f} ms ({entry['answered_ms_min']:.0f} to {entry['answered_ms_max']:.0f})",
            entry["answered_ms"] <= most, command)
        row("a death is seen within 50 ms", f"{entry['detected_ms']:.1f} ms, at most {entry['detected_ms_max']:.1f}",
            entry["detected_ms_max"] < 50, command)


def soak():
    done = run(REPOSITORY / "build/test/soak", 50000, 1000)
    row("1,000 faults in 50,000 requests: each answered once and equal, nothing left",
        "; ".join(line.strip() for line in done.stdout.splitlines()) or "no output", done.returncode == 0,
        "build/test/soak 50000 1000")


def processes_of(name):
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text(encoding="utf-8").startswith(name):
                found.add(entry.name)
        except OSError:
            pass  # It has ended meanwhile.
    return found


def dead_host():
    before = processes_of("amp4ec-")
    rounds, left, most_workers = 10, 0, 0
    for _ in range(rounds):
        with subprocess.Popen([AMP4EC, "run", "lstm", *THREE_NODES, "--pipelines", "1", "--seconds", "600"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as host:
            while len(processes_of("amp4ec-worker") - before) < 3:
                time.sleep(0.05)
            time.sleep(1)  # Into the load.
            most_workers = max(most_workers, len(processes_of("amp4ec-") - before))
            host.send_signal(signal.SIGKILL)
        time.sleep(1)
        left += len(processes_of("amp4ec-") - before)
    row("a host that is killed leaves no worker after 1 s",
        f"{left} of {most_workers} processes left, {rounds} rounds", left == 0 and most_workers > 3,
        "build/bench/amp4ec run lstm, killed under load")


def hostile_peers():
    tests = "*rubbish*,*refuses*,*whatever*,*a few bytes*,*a damaged message*"
    for binary in ("test_ipc", "test_model"):
        done = run(REPOSITORY / f"build/asan/{binary}", tests, AMP4EC_FUZZ_SECONDS="20")
        row("garbage from a worker: no look out of bounds, no end", f"{binary}: {last_line(done.stdout)}",
            done.returncode == 0, f"AMP4EC_FUZZ_SECONDS=20 build/asan/{binary} \"{tests}\"")


def threads():
    # ThreadSanitizer of older compilers does not bear the randomness of addresses that newer kernels have.
    done = run("setarch", platform.machine(), "--addr-no-randomize", "ctest", "--preset", "tsan")
    row("ThreadSanitizer finds nothing where LibTorch is not", last_line(done.stdout), done.returncode == 0,
        "ctest --preset tsan")


def main():
    hop()
    with tempfile.TemporaryDirectory() as folder:
        efficiency(pathlib.Path(folder))
    worker_threads()
    respawn()
    soak()
    dead_host()
    hostile_peers()
    threads()
    return print_table()


if __name__ == "__main__":
    sys.exit(main())
