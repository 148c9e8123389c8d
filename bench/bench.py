#!/usr/bin/env python3
"""bench: our node and the peers that Debian packages, the same work in one run, in turn.

Each row is the median of --rounds runs of each side; ratios are of medians. Every client checks count and order of what it
receives. Durability of each side is stated: ours is fdatasync before each acknowledgement.
  bench.py --bin build/release/bin [--rounds 3] [--only publish,read] [--quick]      BENCH_OUT=file.json keeps the result
"""
import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, process, seconds=15):
    end = time.time() + seconds
    while time.time() < end:
        if process.poll() is not None:
            sys.exit(f"a server ended at once: {process.args}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on port {port}")


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    if result["lost"] or result["out_of_order"] or result["duplicates"]:
        result["bad"] = True
    return result


class Server:
    """A peer or our node: start in a fresh folder, tell its processes, stop."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="rgb-", dir=os.environ.get("BENCH_DIR", "/var/tmp"))
        self.pids = []

    def cpu_seconds(self):
        total = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def memory(self, field="VmHWM"):
        total = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/status") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith(field + ":"))
        return total * 1024

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


class Railgun(Server):
    name = "railgun"

    def __init__(self, binaries):
        super().__init__()
        self.ctl = [os.path.join(binaries, "adminctl"), "--dir", self.dir]
        subprocess.run(self.ctl + ["up", "--port", "0", "--detach"], check=True, stdout=subprocess.DEVNULL)
        status = json.loads(subprocess.check_output(self.ctl + ["status", "-o", "json"]))
        self.pids = [d["pid"] for d in status["daemons"]]

    def ensure(self, streams):
        pass  # bench makes its streams itself

    def bench(self, work, **options):
        command = self.ctl + ["bench", work, "s", "--json"]
        for key, value in options.items():
            command += [f"--{key}"] + ([] if value is True else [str(value)])
        if work == "consume":
            command += ["-g", "bench"]
        return run_json(command)

    def close(self):
        subprocess.run(self.ctl + ["down"], stdout=subprocess.DEVNULL)
        super().close()


class JetStream(Server):
    name = "jetstream"

    def __init__(self, client):
        super().__init__()
        self.client = client
        self.port = free_port()
        self.process = subprocess.Popen(["nats-server", "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", self.dir],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pids = [self.process.pid]
        wait_port(self.port, self.process)

    def call(self, work, **options):
        command = [self.client, work, "-url", f"nats://127.0.0.1:{self.port}"]
        for key, value in options.items():
            command += [f"-{key}", str(value)]
        return run_json(command)

    def ensure(self, streams):
        self.call("ensure", streams=streams)

    def bench(self, work, **options):
        return self.call(work, **options)

    def close(self):
        self.process.terminate()
        self.process.wait()
        super().close()


class NatsCore(JetStream):
    name = "nats"

    def ensure(self, streams):
        pass


class Mosquitto(Server):
    name = "mosquitto"

    def __init__(self, client):
        super().__init__()
        self.client = client
        self.port = free_port()
        path = os.path.join(self.dir, "mosquitto.conf")
        with open(path, "w") as f:
            f.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\n")
        self.process = subprocess.Popen(["mosquitto", "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pids = [self.process.pid]
        wait_port(self.port, self.process)

    def ensure(self, streams):
        pass

    def bench(self, work, count, size, subs=1, topics=1, window=50000):
        return run_json([self.client, str(self.port), str(count), str(size), str(subs), str(topics), str(window)])

    def close(self):
        self.process.terminate()
        self.process.wait()
        super().close()


class Redis(Server):
    name = "redis"

    def __init__(self, client):
        super().__init__()
        self.client = client
        self.port = free_port()
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.dir,
                                         "--appendonly", "yes", "--appendfsync", "always", "--save", ""],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pids = [self.process.pid]
        wait_port(self.port, self.process)

    def ensure(self, streams):
        pass

    def bench(self, work, count, size, pipeline):
        return run_json([self.client, work, str(self.port), str(count), str(size), str(pipeline)])

    def close(self):
        self.process.terminate()
        self.process.wait()
        super().close()


def build_peers(out):
    """The peers' own clients: name -> program."""
    os.makedirs(out, exist_ok=True)
    programs = {name: os.path.join(out, name) for name in ("redis", "mosquitto", "nats", "nats_core")}
    for name, library in (("redis", "-lhiredis"), ("mosquitto", "-lmosquitto")):
        subprocess.run(["gcc", "-O2", "-o", programs[name], os.path.join(HERE, f"peers/{name}.c"), library], check=True)
    env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", GOCACHE=os.path.join(out, "gocache"))
    for name in ("nats", "nats_core"):
        subprocess.run(["go", "build", "-o", programs[name], os.path.join(HERE, f"peers/{name}.go")], check=True, env=env)
    return programs


def frame_hello():
    """Frame{corr: 1, hello: {version_min: 1, version_max: 1}} with its length before it."""
    body = bytes([0x10, 1, 0x82, 0x01, 4, 0x08, 1, 0x10, 1])
    return len(body).to_bytes(4, "little") + body


def bare_sync(directory, size, seconds=1.0):
    """The floor: write + fdatasync of `size` bytes over a file that exists already."""
    path = os.path.join(directory, "bare")
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    block = b"x" * size
    span = max(1, (32 << 20) // size)
    for i in range(span):
        os.pwrite(fd, block, i * size)
    os.fsync(fd)
    latencies, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds:
        t = time.perf_counter()
        os.pwrite(fd, block, (len(latencies) % span) * size)
        os.fdatasync(fd)
        latencies.append(time.perf_counter() - t)
    took = time.perf_counter() - start
    os.close(fd)
    os.unlink(path)
    latencies.sort()
    return {"per_s": len(latencies) / took, "mb_per_s": len(latencies) * size / took / 1e6,
            "p50_us": latencies[len(latencies) // 2] * 1e6}


RAFT_LINE = re.compile(r"(\d+) B +(\d+) outstanding, +(\d+) at once: +([\d.]+) ns/entry +([\d.]+) messages/entry(.*)")
# CPU of all three replicas, ns an entry; and messages an entry.
RAFT_TARGETS = {(16, 1, 1): (250, None), (16, 64, 1): (110, 0.07), (16, 64, 64): (110, 0.07)}


def raft_lines(program, size):
    out = subprocess.run([program, "300000", str(size)], capture_output=True, text=True, check=True).stdout
    return {(int(b), int(depth), int(batch), rest.strip()): (float(ns), float(messages))
            for b, depth, batch, ns, messages, rest in RAFT_LINE.findall(out)}


def raft(programs):
    """The consensus core beside Debian's libraft: three replicas in one thread, no disk, no network, CPU of all three."""
    rows = []
    print("\nconsensus core: CPU of all three replicas an entry, in memory, applied on all three (libraft keeps its whole log, we a window)")
    for size in (16, 256):
        ours = raft_lines(os.path.join(programs, "raft_bench"), size)
        theirs = raft_lines(os.path.join(programs, "libraft"), size)
        for key, (ns, messages) in ours.items():
            line = f"  {key[0]:4} B  {key[1]:2} outstanding, {key[2]:2} at once: railgun {ns:7.1f} ns  {messages:.3f} messages"
            if key in theirs:
                line += f"   libraft {theirs[key][0]:7.1f} ns  {theirs[key][1]:.3f} messages   {theirs[key][0] / ns:5.2f} x"
            wanted = RAFT_TARGETS.get(key[:3]) if not key[3] else None
            if wanted:
                missed = ns > wanted[0] or (wanted[1] is not None and messages > wanted[1])
                line += f"  (target {wanted[0]} ns{f', {wanted[1]} messages' if wanted[1] else ''}{': MISSED' if missed else ''})"
            print(line + (f"  ({key[3]})" if key[3] else ""))
            rows.append({"title": "raft", "size": key[0], "depth": key[1], "batch": key[2], "until": key[3] or "applied by the leader",
                         "railgun": [ns, messages], "libraft": theirs.get(key)})
    idle = subprocess.run([os.path.join(programs, "raft_idle")], capture_output=True, text=True, check=True).stdout.strip()
    print(f"  {idle}  (target: 0 messages, 0.05 %, 1024 B)")
    rows.append({"title": "raft idle", "result": idle})
    return rows


class Bench:
    def __init__(self, args):
        self.args = args
        self.peers = build_peers(os.path.abspath(os.path.join("build", "peers")))
        self.rows = []

    def makers(self):
        return {"railgun": lambda: Railgun(self.args.bin), "jetstream": lambda: JetStream(self.peers["nats"]),
                "nats": lambda: NatsCore(self.peers["nats_core"]), "mosquitto": lambda: Mosquitto(self.peers["mosquitto"]),
                "redis": lambda: Redis(self.peers["redis"])}

    def row(self, title, steps, targets, streams=1):
        """steps: {server: [(work, options), ...]}; the last step of each is measured, the others prepare."""
        if self.args.only and not any(word in title for word in self.args.only.split(",")):
            return
        seen = {name: [] for name in steps}
        for _ in range(self.args.rounds):
            for name, works in steps.items():
                server = self.makers()[name]()
                try:
                    server.ensure(streams)
                    for work, options in works[:-1]:
                        server.bench(work, **options)
                    cpu = server.cpu_seconds()
                    result = server.bench(works[-1][0], **works[-1][1])
                    result["cpu_s"] = server.cpu_seconds() - cpu
                    result["memory"] = server.memory()
                    seen[name].append(result)
                finally:
                    server.close()
        median = {name: statistics.median(r["msgs_per_s"] for r in runs) for name, runs in seen.items()}
        print(f"\n{title}")
        for name, runs in seen.items():
            middle = sorted(runs, key=lambda r: r["msgs_per_s"])[len(runs) // 2]
            ratio = "" if name == "railgun" else f"  railgun is {median['railgun'] / median[name]:.2f} x"
            wanted = f" (target {targets[name]} x)" if name in targets else ""
            bad = "  WRONG: lost, duplicate or out of order" if any(r.get("bad") for r in runs) else ""
            print(f"  {name:10} {median[name]:12,.0f} msg/s {middle['mb_per_s']:9.1f} MB/s  p50 {middle['p50_us']:8.1f} us"
                  f"  p99 {middle['p99_us']:8.1f} us  cpu {middle['cpu_s'] / middle['count'] * 1e6:7.2f} us/msg"
                  f"  peak {middle['memory'] / 2**20:6.1f} MiB{ratio}{wanted}{bad}")
        self.rows.append({"title": title, "median_msgs_per_s": median, "runs": seen, "targets": targets})
        return median

    def idle(self):
        node = Railgun(self.args.bin)
        try:
            time.sleep(2)
            cpu, start = node.cpu_seconds(), time.time()
            time.sleep(10)
            percent = (node.cpu_seconds() - cpu) / (time.time() - start) * 100
            rss = node.memory("VmRSS")
            print(f"\nidle node of four daemons: {rss / 2**20:.1f} MiB RSS (target 48), {percent:.2f} % of a core (target 0.5)")
            self.rows.append({"title": "idle", "rss": rss, "cpu_percent": percent})
        finally:
            node.close()

    def latency(self, title, steps, targets):
        """Like row, for works whose result is a time: ratios of p50 and p99, less is better."""
        if self.args.only and not any(word in title for word in self.args.only.split(",")):
            return
        seen = {name: [] for name in steps}
        for _ in range(self.args.rounds):
            for name, (work, options) in steps.items():
                server = self.makers()[name]()
                try:
                    seen[name].append(server.bench(work, **options))
                finally:
                    server.close()
        print(f"\n{title}")
        median = {name: [statistics.median(r[key] for r in runs) for key in ("p50_us", "p99_us")] for name, runs in seen.items()}
        for name, (p50, p99) in median.items():
            bad = "  WRONG: lost or wrong replies" if any(r.get("bad") for r in seen[name]) else ""
            ratio = "" if name == "railgun" else (f"  railgun's p50 is {median['railgun'][0] / p50:.2f} x (target {targets[0]}),"
                                                  f" p99 {median['railgun'][1] / p99:.2f} x (target {targets[1]})")
            print(f"  {name:10} p50 {p50:8.1f} us  p99 {p99:8.1f} us{ratio}{bad}")
        self.rows.append({"title": title, "median_us": median, "runs": seen, "targets": targets})

    def ephemeral(self, n):
        """At most once, no durability on any side."""
        window = 100000
        for size, big, peer in ((16, 16_000_000, 4_000_000), (100, 12_000_000, 3_000_000), (1024, 3_000_000, 1_000_000)):
            self.row(f"ephemeral publish -> 1 subscriber, {size} B",
                     {"railgun": [("ephemeral", {"count": big // n, "size": size})],
                      "nats": [("ephemeral", {"count": peer // n, "size": size, "window": window})],
                      "mosquitto": [("ephemeral", {"count": 200_000 // n, "size": size})]}, {"nats": 4})
        self.row("ephemeral publish -> 4 subscribers, 100 B",
                 {"railgun": [("ephemeral", {"count": 4_000_000 // n, "size": 100, "subs": 4})],
                  "nats": [("ephemeral", {"count": 1_000_000 // n, "size": 100, "subs": 4, "window": window})],
                  "mosquitto": [("ephemeral", {"count": 100_000 // n, "size": 100, "subs": 4})]}, {"nats": 4})
        self.row("ephemeral, 100,000 topics, 10,000 wildcard subscriptions, 100 B",
                 {"railgun": [("ephemeral", {"count": 4_000_000 // n, "size": 100, "subs": 10000, "topics": 100000})],
                  "nats": [("ephemeral", {"count": 1_000_000 // n, "size": 100, "subs": 10000, "topics": 100000, "window": window})],
                  "mosquitto": [("ephemeral", {"count": 200_000 // n, "size": 100, "subs": 10000, "topics": 100000})]}, {"nats": 4})
        self.latency("request -> reply, 100 B, one outstanding",
                     {"railgun": ("request", {"count": 20000 // n, "size": 100}),
                      "nats": ("request", {"count": 20000 // n, "size": 100})}, (0.6, 0.8))

    def idle_connections(self, count):
        node = Railgun(self.args.bin)
        try:
            with open(os.path.join(node.dir, "run", "frontd-0.port")) as f:
                port = int(f.read())
            hello = frame_hello()
            before = node.memory("VmRSS")
            sockets = []
            for _ in range(count):
                s = socket.create_connection(("127.0.0.1", port))
                s.sendall(hello)
                sockets.append(s)
            for s in sockets:
                s.recv(1)
            time.sleep(1)
            each = (node.memory("VmRSS") - before) / count
            print(f"\n{count:,} idle connections: {each / 1024:.2f} KiB each, all daemons (target 10)")
            self.rows.append({"title": "idle connections", "count": count, "bytes_each": each})
            for s in sockets:
                s.close()
        finally:
            node.close()

    def run(self):
        n = 10 if self.args.quick else 1
        big, small = 4_000_000 // n, 20_000 // n
        peer = 300_000 // n
        directory = os.environ.get("BENCH_DIR", "/var/tmp")
        for size in (4096, 65536, 1 << 20):
            bare = bare_sync(directory, size)
            print(f"bare write + fdatasync of {size:8} B: {bare['per_s']:8.0f} /s {bare['mb_per_s']:8.1f} MB/s p50 {bare['p50_us']:6.1f} us")
            self.rows.append({"title": f"bare sync {size}", **bare})
        print("durability: railgun fdatasync before each ack; redis appendfsync always; jetstream acknowledges before any sync (its default)")
        publish = {"railgun": [("publish", {"count": big, "size": 100})],
                   "jetstream": [("publish", {"count": peer, "inflight": 4000, "size": 100})],
                   "redis": [("publish", {"count": peer, "size": 100, "pipeline": 512})]}
        one = self.row("durable publish, 100 B, pipelined", publish, {"jetstream": 8, "redis": 2})
        with_ids = self.row("durable publish, 100 B, random 16-byte message ids, window 10 min",
                            {"railgun": [("publish", {"count": big, "size": 100, "ids": True})]}, {})
        if one and with_ids:
            print(f"  with ids {with_ids['railgun'] / one['railgun'] * 100:.0f} % of without (target 60 %)")
        self.row("durable publish, 100 B, one outstanding",
                 {"railgun": [("publish", {"count": small, "size": 100, "inflight": 1, "batch": 1})],
                  "jetstream": [("publish", {"count": small, "size": 100, "inflight": 1})],
                  "redis": [("publish", {"count": small, "size": 100, "pipeline": 1})]}, {"redis": 1})
        many = self.row("durable publish, 100 B, over 10,000 streams",
                        {"railgun": [("publish", {"count": big, "size": 100, "streams": 10000})]}, {})
        if one and many:
            print(f"  10,000 streams are {many['railgun'] / one['railgun'] * 100:.0f} % of one (target 70 %)")
        self.row("group consume + ack, 100 B",
                 {"railgun": [("publish", {"count": big, "size": 100}), ("consume", {"count": big})],
                  "jetstream": [("publish", {"count": peer, "size": 100, "inflight": 4000}), ("consume", {"count": peer, "batch": 500})],
                  "redis": [("publish", {"count": peer, "size": 100, "pipeline": 512}), ("consume", {"count": peer, "size": 100, "pipeline": 512})]},
                 {"jetstream": 8})
        self.row("group consume + ack, 100 B, 4 members",
                 {"railgun": [("publish", {"count": big, "size": 100}), ("consume", {"count": big, "members": 4})],
                  "jetstream": [("publish", {"count": peer, "size": 100, "inflight": 4000}), ("consume", {"count": peer, "batch": 500, "members": 4})]},
                 {"jetstream": 8})
        self.row("ordered read from the start, 100 B",
                 {"railgun": [("publish", {"count": big, "size": 100}), ("read", {"count": big})],
                  "jetstream": [("publish", {"count": peer, "size": 100, "inflight": 4000}), ("read", {"count": peer})],
                  "redis": [("publish", {"count": peer, "size": 100, "pipeline": 512}), ("read", {"count": peer, "size": 100, "pipeline": 1000})]},
                 {"jetstream": 5})
        self.ephemeral(n)
        self.idle()
        self.idle_connections(10000 // n)
        if not self.args.only or "raft" in self.args.only:
            self.rows += raft(os.path.join(os.path.dirname(os.path.abspath(self.args.bin)), "bench"))
        if os.environ.get("BENCH_OUT"):
            with open(os.environ["BENCH_OUT"], "w") as f:
                json.dump(self.rows, f, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="comma-separated words of row titles")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--only-raft", metavar="FOLDER", help="only the consensus core's rows, with the programs in this folder")
    args = parser.parse_args()
    if args.only_raft:
        raft(args.only_raft)
        return
    Bench(args).run()


if __name__ == "__main__":
    main()
