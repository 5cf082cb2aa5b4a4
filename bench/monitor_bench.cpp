// SPDX-License-Identifier: Apache-2.0
// What watching costs, in CPU time of the thread that samples, over real groups with a process in each, read as a
// Runtime reads its nodes; skipped where groups cannot be made. "Time" is what the name says: a node and round in a
// tight loop (`fast_tier`, `all_tiers`), or a node and round by the Monitor's own timer, with caches as cold as they
// get in between (`timer`). There, `cpu_share` is the share of one CPU that all nodes together take; with 0 nodes the
// time is that of a round, which only wakes up. `threads`: 1 for a node that has a worker thread as well, hence a
// second group. `floor`: a thread that sleeps and reads the files of one node's fast tier (three on v1) into a buffer,
// and does nothing else: what no watching by these files can go below, wake-up included in "Time" and alone in
// `wake_up_us`.
#include <amp4ec/cgroup/group.hpp>
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/cgroup/thread_group.hpp>
#include <amp4ec/monitor/monitor.hpp>
#include <amp4ec/monitor/network_reader.hpp>
#include <amp4ec/monitor/node_workers.hpp>

#include <benchmark/benchmark.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <sys/prctl.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace {

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace std::chrono_literals;

double cpu_seconds(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// A node with its group, and one worker in a group below: a process that has memory and works a little now and then.
/// With threads, this process's main thread is a worker as well.
class BenchNode {
 public:
  static Result<std::unique_ptr<BenchNode>> make(const cgroup::Hierarchy& hierarchy, int number, bool with_threads) {
    const auto host = cgroup::host_group_name();
    if (!host) return host.error();
    const auto path = fmt::format("{}/node-{}", *host, number);
    auto group = cgroup::Group::create(hierarchy, path, {.cpus = 0.5_cpu, .memory = 512_MiB});
    if (!group) return group.error();
    auto worker_group = cgroup::Group::create(hierarchy, path + "/worker-0");
    if (!worker_group) return worker_group.error();
    auto counters = ipc::WorkerCounters::create();
    if (!counters) return counters.error();
    std::unique_ptr<BenchNode> node(new BenchNode(std::move(*group), std::move(*worker_group), std::move(*counters)));
    if (auto attached = node->worker_group_.attach(node->worker_); !attached) return attached.error();
    if (!with_threads) return node;
    auto threads = cgroup::ThreadGroup::create(
        hierarchy, fmt::format("{}/node-{}", *cgroup::thread_group_name(), number), {.cpus = 2.0_cpu});
    if (!threads) return threads.error();
    node->thread_group_.emplace(std::move(*threads));
    if (auto attached = node->thread_group_->attach(::gettid()); !attached) return attached.error();
    return node;
  }
  BenchNode(const BenchNode&) = delete;
  BenchNode& operator=(const BenchNode&) = delete;
  ~BenchNode() {
    ::kill(worker_, SIGKILL);
    ::waitpid(worker_, nullptr, 0);
  }

  /// As `RuntimeState::create` makes it.
  NodeSource source(const NetworkReader& network) {
    NodeSource source{group_.path(), group_.limits().cpus, group_.limits().memory};
    source.read_usage = [this] { return usage(); };
    source.read_inactive_file = [this] { return group_.read_inactive_file(); };
    source.read_details = [this] { return group_.read_details(); };
    source.read_workers = [this] { return workers_.read(); };
    source.read_service_times = [this] { return workers_.service_times(); };
    source.read_network = network;
    return source;
  }

  /// The files that a fast sample reads, opened once more.
  [[nodiscard]] std::vector<ipc::UniqueFd> fast_files() const {
    std::vector<ipc::UniqueFd> files;
    const auto hierarchy = cgroup::Hierarchy::detect();
    for (const auto& tree : hierarchy->trees()) {
      const bool v2 = tree.version == 2;
      const auto open = [&](bool has, std::string_view name) {
        if (!has) return;
        const auto path = fmt::format("{}/{}", tree.folder(group_.path()), name);
        if (ipc::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); file) files.push_back(std::move(file));
      };
      open(tree.has(cgroup::Controller::Cpu), cgroup::files::cpu_stat);
      open(!v2 && tree.has(cgroup::Controller::CpuAccounting), cgroup::files::cpu_usage);
      open(tree.has(cgroup::Controller::Memory), v2 ? cgroup::files::memory_current : cgroup::files::memory_usage);
    }
    return files;
  }

 private:
  BenchNode(cgroup::Group group, cgroup::Group worker_group, ipc::WorkerCounters counters)
      : group_(std::move(group)),
        worker_group_(std::move(worker_group)),
        counters_(std::make_shared<ipc::WorkerCounters>(std::move(counters))) {
    workers_.watch(counters_);
    worker_ = ::fork();
    if (worker_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (std::vector<char> memory;;) {
      if (memory.size() < (16U << 20U)) memory.resize(memory.size() + (1U << 20U), 1);
      counters_->begin(1, 1us);
      counters_->complete(1ms, true);
      ::usleep(10'000);
    }
  }

  /// As `Node::usage` of a runtime.
  [[nodiscard]] Result<cgroup::Usage> usage() const {
    auto usage = group_.read();
    const std::lock_guard lock(threads_mutex_);
    if (!usage || !thread_group_) return usage;
    const auto of_threads = thread_group_->read();
    if (!of_threads) return of_threads;
    usage->cpu_time += of_threads->cpu_time;
    usage->throttled_time += of_threads->throttled_time;
    usage->nr_throttled += of_threads->nr_throttled;
    return usage;
  }

  cgroup::Group group_;
  cgroup::Group worker_group_;
  mutable std::mutex threads_mutex_;
  std::optional<cgroup::ThreadGroup> thread_group_;
  std::shared_ptr<ipc::WorkerCounters> counters_;
  NodeWorkers workers_;
  pid_t worker_ = -1;
};

/// Empty, and the benchmark told why, where groups cannot be made.
std::vector<std::unique_ptr<BenchNode>> make_nodes(benchmark::State& state, int count, bool with_threads = false) {
  std::vector<std::unique_ptr<BenchNode>> nodes;
  const auto hierarchy = cgroup::Hierarchy::detect();
  for (int number = 0; hierarchy && number < count; ++number) {
    auto node = BenchNode::make(*hierarchy, number, with_threads);
    if (!node) {
      state.SkipWithError(node.error().what().c_str());
      return {};
    }
    nodes.push_back(std::move(*node));
  }
  if (nodes.empty() && count > 0) state.SkipWithError("no cgroups here");
  return nodes;
}

/// Rounds by hand, as fast as they go. `slow_after`: 0 reads the slow tier each time. range(0): with threads.
void in_a_loop(benchmark::State& state, std::chrono::nanoseconds slow_after) {
  auto nodes = make_nodes(state, 1, state.range(0) != 0);
  if (nodes.empty()) return;
  detail::Sampler sampler(nodes[0]->source(NetworkReader::open().value()));
  sampler.begin(detail::Sampler::Clock::now());
  Sample sample;
  for (auto _ : state) {
    const double before = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    sampler.next(detail::Sampler::Clock::now(), slow_after, sample);
    state.SetIterationTime(cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - before);
  }
}
void fast_tier(benchmark::State& state) {
  in_a_loop(state, 1h);
}
void all_tiers(benchmark::State& state) {
  in_a_loop(state, 0s);
}

/// range(0): nodes; range(1): interval in ms; range(2): slow interval in ms; range(3): rounds to measure.
void timer(benchmark::State& state) {
  const auto count = static_cast<int>(state.range(0));
  auto nodes = make_nodes(state, count);
  if (nodes.empty() && count > 0) return;
  const auto network = NetworkReader::open().value();
  boost::asio::io_context context;
  const auto guard = boost::asio::make_work_guard(context);
  std::thread thread([&] { context.run(); });
  clockid_t clock{};
  ::pthread_getcpuclockid(thread.native_handle(), &clock);
  for (auto _ : state) {
    Monitor monitor(context.get_executor());
    for (auto& node : nodes) (void)monitor.add_node(node->source(network));
    const std::chrono::milliseconds interval(state.range(1));
    (void)monitor.start(interval, std::chrono::milliseconds(state.range(2)));
    std::this_thread::sleep_for(interval * 3 / 2);  // the first round is not of the steady state
    const double before = cpu_seconds(clock);
    std::this_thread::sleep_for(interval * state.range(3));
    const double used = cpu_seconds(clock) - before;
    const std::chrono::duration<double> wall = interval * state.range(3);
    state.SetIterationTime(used / static_cast<double>(state.range(3)) / std::max(count, 1));
    state.counters["cpu_share"] = used / wall.count();
  }
  context.stop();
  thread.join();
}

/// range(0): interval in ms; range(1): rounds.
void floor(benchmark::State& state) {
  const auto nodes = make_nodes(state, 1);
  if (nodes.empty()) return;
  const auto files = nodes[0]->fast_files();
  const auto in_rounds = [&](bool reading) {
    const double before = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    for (std::int64_t round = 0; round < state.range(1); ++round) {
      std::this_thread::sleep_for(std::chrono::milliseconds(state.range(0)));
      std::array<char, 4096> buffer;
      for (const auto& file : files) {
        if (reading && ::pread(file.get(), buffer.data(), buffer.size(), 0) < 0) state.SkipWithError("cannot read");
      }
    }
    return (cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - before) / static_cast<double>(state.range(1));
  };
  for (auto _ : state) {
    state.counters["wake_up_us"] = in_rounds(false) * 1e6;
    state.SetIterationTime(in_rounds(true));
  }
}

/// What a request pays.
void view(benchmark::State& state) {
  boost::asio::io_context context;
  Monitor monitor(context.get_executor());
  (void)monitor.add_node({"node", 1.0_cpu, 1_GiB});
  monitor.sample();
  const auto view = monitor.view("node").value();
  for (auto _ : state) benchmark::DoNotOptimize(view.load());
}

BENCHMARK(fast_tier)->ArgName("threads")->Arg(0)->Arg(1)->UseManualTime()->MinTime(0.2)->Unit(benchmark::kMicrosecond);
BENCHMARK(all_tiers)->ArgName("threads")->Arg(0)->Arg(1)->UseManualTime()->MinTime(0.2)->Unit(benchmark::kMicrosecond);
BENCHMARK(timer)
    ->ArgNames({"nodes", "ms", "slow_ms", "rounds"})
    ->Args({0, 10, 3'600'000, 500})  // the wake-up alone
    ->Args({1, 10, 3'600'000, 500})  // the fast tier alone
    ->Args({4, 10, 3'600'000, 500})
    ->Args({16, 10, 3'600'000, 500})
    ->Args({16, 10, 5000, 1500})
    ->Args({16, 1000, 5000, 30})
    ->UseManualTime()
    ->Iterations(1)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(floor)
    ->ArgNames({"ms", "rounds"})
    ->Args({10, 500})
    ->UseManualTime()
    ->Iterations(1)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(view);

}  // namespace
