// SPDX-License-Identifier: Apache-2.0
// soak [REQUESTS [FAULTS [SEED]]]: random workers are killed or stopped, at random moments, while requests of many
// sizes run through a session with replicas and pipelines. Shows that each request was answered once and equally, or
// with an error that the documentation names and chance explains, and that nothing is left: while the session is open,
// at checkpoints where no request is under way, memory, mappings, descriptors and processes; after it is closed,
// workers, zombies, memory files and groups. Exits with 1 otherwise.
#include "runtime/process_tree.hpp"
#include "runtime/support.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <string_view>
#include <thread>

#include <malloc.h>
#include <unistd.h>

namespace {

using namespace amp4ec;
using namespace amp4ec::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool keeps_freed_memory = true;
#elif defined(__has_feature)
constexpr bool keeps_freed_memory = __has_feature(address_sanitizer);
#else
constexpr bool keeps_freed_memory = false;
#endif

/// What this process's allocator has given out and not got back: what leaks, without what it keeps for later.
std::uint64_t heap_kib() {
  const auto info = ::mallinfo2();
  return (info.uordblks + info.hblkhd) / 1024;
}

/// This process's workers and those who fork them, and what has gone wrong with them.
struct Family {
  std::vector<ProcessEntry> servers;
  std::vector<ProcessEntry> workers;
  std::size_t zombies = 0;    ///< Whoever should have reaped them.
  std::size_t strays = 0;     ///< Children of this process that are none of its own: their parent ended before them.
  std::size_t strangers = 0;  ///< With a name that nobody knows.
};

Family family() {
  Family found;
  for (ProcessEntry& process : descendants()) {
    if (process.is_zombie()) ++found.zombies;
    const bool is_server = process.name == "amp4ec-fork";
    const bool is_worker = process.name == "amp4ec-worker";
    if (is_worker && process.parent == ::getpid()) ++found.strays;
    if (!is_server && !is_worker) ++found.strangers;
    if (is_server) found.servers.push_back(std::move(process));
    if (is_worker) found.workers.push_back(std::move(process));
  }
  return found;
}

/// What was in use at one checkpoint.
struct Reading {
  std::size_t deaths = 0;
  ProcessUse host;
  std::uint64_t heap = 0;
  std::size_t server_descriptors = 0;
};

/// By how much a value may grow: so much for the noise of the measurement, and for each death. The second is far below
/// what any mapping, descriptor or object of a worker takes that would be left with each.
struct Bound {
  std::string_view name;
  std::string_view unit;
  double (*value)(const Reading&);
  double noise;
  double each;
};

constexpr std::array bounds{
    // 10 KiB left by each of 500 deaths are 5,000 KiB; allowed are 3,048.
    Bound{"private memory", " KiB", [](const Reading& r) { return static_cast<double>(r.host.anonymous_kib); }, 2048,
          2},
    Bound{"heap in use", " KiB", [](const Reading& r) { return static_cast<double>(r.heap); }, 512, 1},
    Bound{"shared memory", " KiB", [](const Reading& r) { return static_cast<double>(r.host.shared_kib); }, 512, 1},
    Bound{"mappings", "", [](const Reading& r) { return static_cast<double>(r.host.mappings); }, 16, 0.02},
    Bound{"memory files mapped", "", [](const Reading& r) { return static_cast<double>(r.host.memory_files); }, 4,
          0.01},
    Bound{"descriptors", "", [](const Reading& r) { return static_cast<double>(r.host.descriptors); }, 4, 0.01},
    Bound{"descriptors of those who fork", "",
          [](const Reading& r) { return static_cast<double>(r.server_descriptors); }, 2, 0.01},
};

/// Theil and Sen: the median over all pairs of readings of how much the value grows with a death. A single reading
/// during a restart, when the replacement has its descriptors already, does not move it.
double slope(const std::vector<Reading>& readings, const Bound& bound) {
  std::vector<double> slopes;
  for (std::size_t a = 0; a < readings.size(); ++a) {
    for (std::size_t b = a + 1; b < readings.size(); ++b) {
      const double deaths = static_cast<double>(readings[b].deaths) - static_cast<double>(readings[a].deaths);
      if (deaths > 0) slopes.push_back((bound.value(readings[b]) - bound.value(readings[a])) / deaths);
    }
  }
  if (slopes.empty()) return 0;
  const auto middle = slopes.begin() + static_cast<std::ptrdiff_t>(slopes.size() / 2);
  std::ranges::nth_element(slopes, middle);
  return *middle;
}

struct Tally {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t in_flight = 0;
  std::size_t answered = 0;
  std::size_t large = 0;  ///< Of the answered, those that no slot of the session's example holds.
  std::size_t wrong = 0;
  std::size_t twice = 0;
  std::size_t poison = 0;                     ///< RequestKillsWorker.
  std::map<std::string, std::size_t> errors;  ///< By the first words of their message.
};

class Soak {
 public:
  Soak(std::size_t requests, std::size_t faults, unsigned seed) : requests_(requests), faults_(faults), random_(seed) {
    // The first is the session's example. Those of many elements get a memory file of their own on each hop.
    for (std::int64_t i = 0; i < 24; ++i) {
      const bool is_large = i % 3 == 2;
      const std::vector<std::int64_t> sizes =
          is_large ? std::vector<std::int64_t>{20 + 15 * i, 97 + i} : std::vector<std::int64_t>{1 + (i + 2) % 6, 4};
      const auto count = sizes[0] * sizes[1];
      const at::Tensor values = at::linspace(0.05 + 0.1 * static_cast<double>(i), 3.0, count).reshape(sizes);
      inputs_.push_back({{values}, is_large, {}});
      inputs_.back().expected = whole_answer(model_, inputs_.back().values).clone();
    }
  }

  int run() {
    adopt_orphans();
    const std::size_t groups_before = groups_left();
    const ProcessUse before = use_of(::getpid());
    ProcessUse closed;
    Family after_session;
    {
      auto runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 1.0_cpu, 1_GiB}, {"c", 1.0_cpu, 1_GiB}}).value();
      {
        Session session = open(runtime);
        flood(session);
        session.close();
      }
      closed = use_of(::getpid());
      after_session = family();
    }
    const Family after_runtime = family();
    const ProcessUse after = use_of(::getpid());
    const std::size_t groups = groups_left() - groups_before;

    fmt::print("{} requests: {} answered, {} of them larger than the example, {} wrong, {} twice\n", requests_,
               tally_.answered, tally_.large, tally_.wrong, tally_.twice);
    for (const auto& [error, times] : tally_.errors) fmt::print("  {} times {}\n", times, error);
    check(tally_.answered == requests_ && tally_.wrong == 0 && tally_.twice == 0,
          "not every request was answered once and equally");
    check(tally_.large > 0 || requests_ < inputs_.size(), "no large request was among them");
    // Chance may kill two workers over one request, but rarely.
    const std::size_t by_chance = std::max<std::size_t>(1, faults_ / 50);
    fmt::print("{} requests were taken for poison, of which chance explains up to {}\n", tally_.poison, by_chance);
    check(tally_.poison <= by_chance, "requests were taken for poison that are none");

    fmt::print("{} faults: {} deaths, {} stalls, {} restarts, {} failed restarts, {} quarantines\n",
               done_faults_.load(), events_[SessionEvent::Kind::worker_died],
               events_[SessionEvent::Kind::worker_stalled], events_[SessionEvent::Kind::worker_restarted],
               events_[SessionEvent::Kind::restart_failed], events_[SessionEvent::Kind::worker_quarantined]);
    check(done_faults_ == faults_, "not all faults could be done");

    report_growth();
    fmt::print("checkpoints that did not come to rest: {} of {}{}\n", restless_, readings_.size(), restless_why_);
    check(restless_ == 0, "workers are missing, left over or not reaped while the session is open");

    fmt::print("after the session: {} workers, {} zombies, {} strays; memory files: {} mapped, {} open\n",
               after_session.workers.size(), after_session.zombies, after_session.strays, closed.memory_files,
               closed.memory_file_descriptors);
    check(after_session.workers.empty() && after_session.zombies == 0 && after_session.strays == 0,
          "processes are left after the session");
    check(closed.memory_files == 0 && closed.memory_file_descriptors == 0, "shared memory is left after the session");

    const std::size_t processes = after_runtime.workers.size() + after_runtime.servers.size() + after_runtime.strangers;
    fmt::print(
        "after the runtime: {} processes, {} zombies, {} groups, {} memory files, descriptors {} -> {}, "
        "mappings {} -> {}\n",
        processes, after_runtime.zombies, groups, after.memory_files + after.memory_file_descriptors,
        before.descriptors, after.descriptors, before.mappings, after.mappings);
    check(processes == 0 && after_runtime.zombies == 0, "processes are left after the runtime");
    check(groups == 0, "groups are left after the runtime");
    check(after.memory_files == 0 && after.memory_file_descriptors == 0, "shared memory is left after the runtime");
    check(after.descriptors <= before.descriptors, "descriptors are left after the runtime");
    return failed_ ? 1 : 0;
  }

 private:
  struct Input {
    Values values;
    bool is_large;
    Value expected;
  };

  void check(bool holds, std::string_view otherwise) {
    if (holds) return;
    failed_ = true;
    fmt::print("FAILED: {}\n", otherwise);
  }

  Session open(Runtime& runtime) {
    const std::size_t last = model_.layer_count() - 1;
    const Plan plan = plan_of(
        {pipeline({{"a", 0, 0}, {"b", 1, last}}), pipeline({{"a", 0, 0}, {"c", 1, last}}), pipeline({{"c", 0, last}})});
    SessionOptions options;
    options.form = Form::Plain;
    options.stall_timeout = 300ms;
    options.on_event = [this](const SessionEvent& event) { count(event); };
    return runtime.open(model_, plan, inputs_.front().values, options).value();
  }

  void count(const SessionEvent& event) {
    const std::lock_guard lock(tally_.mutex);
    ++events_[event.kind];
  }

  void flood(Session& session) {
    std::thread killer([&] { strike(session); });
    const std::size_t most = session.max_in_flight();
    const std::size_t between = std::max<std::size_t>(1, requests_ / checkpoints);
    for (std::size_t sent = 0; sent < requests_; ++sent) {
      {
        std::unique_lock lock(tally_.mutex);
        // Never ahead of the faults: each is to find requests under way.
        tally_.changed.wait(lock, [&] {
          return tally_.in_flight < most &&
                 (done_faults_ == faults_ || sent * faults_ <= (done_faults_ + 1) * requests_);
        });
        ++tally_.in_flight;
      }
      send(session, inputs_[sent % inputs_.size()]);
      sent_ = sent + 1;
      show_progress();
      if (sent_ % between == 0 && sent_ < requests_) take_reading(session);
    }
    killer.join();
    take_reading(session);
    if (is_terminal_) fmt::print(stderr, "\r\033[K");
  }

  void send(Session& session, const Input& input) {
    auto completions = std::make_shared<std::atomic<int>>(0);
    session.async_infer(input.values, [this, &input, completions](const Result<Value>& answer) {
      const bool again = completions->fetch_add(1) > 0;
      const bool right = answer && compare(*answer, input.expected).bit_equal;
      const std::lock_guard lock(tally_.mutex);
      tally_.twice += again ? 1U : 0U;
      if (again) return;
      ++tally_.answered;
      tally_.large += input.is_large ? 1U : 0U;
      const bool documented = !answer && answer.error().code == Errc::RequestKillsWorker;
      tally_.poison += documented ? 1U : 0U;
      if (!answer) ++tally_.errors[answer.error().what().substr(0, 60)];
      tally_.wrong += right || documented ? 0U : 1U;
      --tally_.in_flight;
      tally_.changed.notify_all();
    });
  }

  /// Strikes so often that all faults are over with the requests.
  void strike(Session& session) {
    std::array<pid_t, 1024> struck{};  // Nobody dies twice.
    // Five in a row that die without an answer are quarantined: that is for another test.
    std::map<std::size_t, std::pair<std::uint64_t, int>> fruitless;
    while (done_faults_ < faults_) {
      if (sent_ * faults_ < done_faults_ * requests_ && sent_ < requests_) {
        std::this_thread::sleep_for(1ms);
        continue;
      }
      const std::lock_guard rest(rest_);
      const auto stages = session.stages();
      const std::size_t stage = random_() % stages.size();
      const auto& victim = stages[stage];
      if (!victim.alive || victim.pid == struck[victim.pid % struck.size()]) {
        std::this_thread::sleep_for(1ms);
        continue;
      }
      auto& [requests, deaths] = fruitless[stage];
      deaths = victim.requests > requests ? 0 : deaths + 1;
      requests = victim.requests;
      if (deaths > 2) continue;
      std::this_thread::sleep_for(std::chrono::microseconds(random_() % 5000));
      ::kill(victim.pid, random_() % 8 == 0 ? SIGSTOP : SIGKILL);
      struck[victim.pid % struck.size()] = victim.pid;
      const std::lock_guard lock(tally_.mutex);
      ++done_faults_;
      tally_.changed.notify_all();
    }
  }

  /// Waits until every request is answered, every worker replaced and every dead one reaped, and reads what is in use.
  void take_reading(Session& session) {
    {
      std::unique_lock lock(tally_.mutex);
      tally_.changed.wait(lock, [&] { return tally_.in_flight == 0; });
    }
    const std::lock_guard rest(rest_);  // Nobody is struck meanwhile.
    const auto start = Clock::now();
    std::string why = what_is_amiss(session, false);
    while (!why.empty() && Clock::now() - start < 10s) {
      std::this_thread::sleep_for(10ms);
      why = what_is_amiss(session, Clock::now() - start > 1s);
    }
    if (!why.empty()) {
      ++restless_;
      restless_why_ = fmt::format("; the last: {}", why);
    }
    std::this_thread::sleep_for(50ms);  // The replaced are let go of a moment after their successors are up.
    ::malloc_trim(0);
    Reading reading;
    reading.host = use_of(::getpid());
    reading.heap = heap_kib();
    for (const ProcessEntry& server : family().servers) reading.server_descriptors += use_of(server.pid).descriptors;
    const std::lock_guard lock(tally_.mutex);
    reading.deaths = events_[SessionEvent::Kind::worker_died];
    readings_.push_back(reading);
  }

  /// Empty when as many workers live as the session has stages, nobody more, and nobody waits to be reaped. A worker
  /// that was stopped while nobody asked anything of it is not stalled: `kill_idle` ends it.
  static std::string what_is_amiss(const Session& session, bool kill_idle) {
    const Family now = family();
    const auto stages = session.stages();
    std::size_t dead = 0;
    for (const StageReport& stage : stages) {
      const auto found = std::find_if(now.workers.begin(), now.workers.end(),
                                      [&](const ProcessEntry& worker) { return worker.pid == stage.pid; });
      const bool stopped = found != now.workers.end() && found->state == 'T';
      if (!stage.alive || stopped || found == now.workers.end() || found->is_zombie()) ++dead;
      if (stopped && kill_idle) ::kill(stage.pid, SIGKILL);
    }
    if (dead == 0 && now.workers.size() == stages.size() && now.zombies == 0 && now.strays == 0 && now.strangers == 0)
      return {};
    return fmt::format("{} workers for {} stages, {} of which have none; {} zombies, {} strays, {} strangers",
                       now.workers.size(), stages.size(), dead, now.zombies, now.strays, now.strangers);
  }

  /// In the first third of the readings the allocator and the threads find their sizes.
  void report_growth() {
    const std::vector<Reading> settled(readings_.begin() + static_cast<std::ptrdiff_t>(readings_.size() / 3),
                                       readings_.end());
    const auto deaths = static_cast<double>(settled.back().deaths - settled.front().deaths);
    fmt::print("while open, over the last {} deaths ({} readings):\n", deaths, settled.size());
    for (const Bound& bound : bounds) {
      const double grown = slope(settled, bound) * deaths;
      const double most = bound.noise + bound.each * deaths;
      const auto range = std::ranges::minmax(settled, {}, bound.value);
      fmt::print("  {:<30} {} -> {} ({} to {}){}, grown by {:.1f}, at most {:.0f}\n", bound.name,
                 bound.value(settled.front()), bound.value(settled.back()), bound.value(range.min),
                 bound.value(range.max), bound.unit, grown, most);
      if (keeps_freed_memory && bound.unit == " KiB") continue;  // AddressSanitizer has an allocator of its own.
      check(grown <= most, fmt::format("{} grows with the deaths", bound.name));
    }
  }

  void show_progress() {
    if (!is_terminal_ || Clock::now() - shown_ < 500ms) return;
    shown_ = Clock::now();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(shown_ - start_).count();
    fmt::print(stderr, "\r\033[Ksoak: {} of {} requests, {} of {} faults, {} s", sent_.load(), requests_,
               done_faults_.load(), faults_, seconds);
  }

  static constexpr std::size_t checkpoints = 24;

  const std::size_t requests_;
  const std::size_t faults_;
  std::mt19937 random_;
  const Model model_ = small_model();
  std::vector<Input> inputs_;
  Tally tally_;
  std::map<SessionEvent::Kind, std::size_t> events_;
  std::atomic<std::size_t> sent_ = 0;
  std::atomic<std::size_t> done_faults_ = 0;
  std::mutex rest_;
  std::vector<Reading> readings_;
  std::size_t restless_ = 0;
  std::string restless_why_;
  bool failed_ = false;
  const bool is_terminal_ = ::isatty(STDERR_FILENO) == 1;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point shown_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int index, unsigned long otherwise) {
    return argc > index ? std::strtoul(argv[index], nullptr, 10) : otherwise;
  };
  at::set_num_threads(1);  // As the workers: answers are compared bit by bit.
  return Soak(number(1, 50'000), number(2, 1'000), static_cast<unsigned>(number(3, 1))).run();
}
