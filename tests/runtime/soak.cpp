// SPDX-License-Identifier: Apache-2.0
// soak [REQUESTS [FAULTS [SEED]]]: random workers are killed or stopped, at random moments, while requests run through
// a session with replicas and pipelines. Shows that each request was answered once and equally, or with an error that
// the documentation names, and that nothing was left: memory, descriptors, processes, groups. Exits with 1 otherwise.
#include "runtime/support.hpp"

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
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <random>
#include <thread>

namespace {

using namespace amp4ec;
using namespace amp4ec::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

std::size_t open_descriptors() {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

std::uint64_t anonymous_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::strtoull(line.c_str() + 8, nullptr, 10);
  }
  return 0;
}

/// Children of this process that have ended and were not reaped.
std::size_t zombies() {
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    std::string line;
    if (!std::getline(file, line)) continue;
    const auto name_end = line.rfind(')');
    char state = 0;
    int parent = 0;
    if (name_end != std::string::npos && std::sscanf(line.c_str() + name_end + 1, " %c %d", &state, &parent) == 2 &&
        state == 'Z' && parent == ::getpid()) {
      ++count;
    }
  }
  return count;
}

struct Tally {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t in_flight = 0;
  std::size_t answered = 0;
  std::size_t wrong = 0;
  std::size_t twice = 0;
  std::map<std::string, std::size_t> errors;
};

class Soak {
 public:
  Soak(std::size_t requests, std::size_t faults, unsigned seed) : requests_(requests), faults_(faults), random_(seed) {
    for (std::size_t i = 0; i < 16; ++i) {
      inputs_.push_back({at::full({3, 4}, 0.1 * static_cast<double>(i) + 0.05)});
      expected_.push_back(whole_answer(model_, inputs_.back()));
    }
  }

  int run() {
    const std::size_t groups_before = groups_left();
    {
      auto runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 1.0_cpu, 1_GiB}, {"c", 1.0_cpu, 1_GiB}}).value();
      const std::size_t last = model_.layer_count() - 1;
      const Plan plan = plan_of({pipeline({{"a", 0, 0}, {"b", 1, last}}), pipeline({{"a", 0, 0}, {"c", 1, last}}),
                                 pipeline({{"c", 0, last}})});
      SessionOptions options;
      options.form = Form::Plain;
      options.stall_timeout = 300ms;
      options.on_event = [this](const SessionEvent& event) { count(event); };
      Session session = runtime.open(model_, plan, inputs_.front(), options).value();
      flood(session);
    }
    const std::size_t groups = groups_left() - groups_before;
    const std::size_t dead = zombies();
    fmt::print("{} requests: {} answered, {} wrong, {} twice\n", requests_, tally_.answered, tally_.wrong,
               tally_.twice);
    for (const auto& [error, times] : tally_.errors) fmt::print("  {} times {}\n", times, error);
    fmt::print("{} faults: {} deaths, {} stalls, {} restarts, {} failed restarts, {} quarantines\n",
               done_faults_.load(), events_[SessionEvent::Kind::worker_died],
               events_[SessionEvent::Kind::worker_stalled], events_[SessionEvent::Kind::worker_restarted],
               events_[SessionEvent::Kind::restart_failed], events_[SessionEvent::Kind::worker_quarantined]);
    fmt::print("anonymous memory {} -> {} KiB, descriptors {} -> {} while open; left: {} groups, {} zombies\n",
               memory_before_, memory_after_, descriptors_before_, descriptors_after_, groups, dead);
    const bool complete = tally_.answered == requests_ && tally_.wrong == 0 && tally_.twice == 0;
    // Half of the requests run before the first reading: what grows with each request shows in the other half.
    const bool flat = memory_after_ < memory_before_ + memory_before_ / 4 + 16 * 1024 &&
                      descriptors_after_ <= descriptors_before_ + 8;
    return complete && flat && groups == 0 && dead == 0 && done_faults_ == faults_ ? 0 : 1;
  }

 private:
  void count(const SessionEvent& event) {
    const std::lock_guard lock(tally_.mutex);
    ++events_[event.kind];
  }

  void flood(Session& session) {
    std::thread killer([&] { strike(session); });
    const std::size_t most = session.max_in_flight();
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
      send(session, sent % inputs_.size());
      sent_ = sent + 1;
      if (sent == requests_ / 2) read_use(memory_before_, descriptors_before_);
    }
    std::unique_lock lock(tally_.mutex);
    tally_.changed.wait(lock, [&] { return tally_.in_flight == 0; });
    lock.unlock();
    killer.join();
    read_use(memory_after_, descriptors_after_);
  }

  static void read_use(std::uint64_t& memory, std::size_t& descriptors) {
    memory = anonymous_kib();
    descriptors = open_descriptors();
  }

  void send(Session& session, std::size_t which) {
    auto completions = std::make_shared<std::atomic<int>>(0);
    session.async_infer(inputs_[which], [this, which, completions](const Result<Value>& answer) {
      const bool again = completions->fetch_add(1) > 0;
      const bool right = answer && compare(*answer, expected_[which]).bit_equal;
      const std::lock_guard lock(tally_.mutex);
      tally_.twice += again ? 1U : 0U;
      if (again) return;
      ++tally_.answered;
      // RequestKillsWorker is documented: chance may hit the same request twice.
      const bool documented = !answer && answer.error().code == Errc::RequestKillsWorker;
      if (!answer) ++tally_.errors[answer.error().what()];
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

  const std::size_t requests_;
  const std::size_t faults_;
  std::mt19937 random_;
  const Model model_ = small_model();
  std::vector<Values> inputs_;
  std::vector<Value> expected_;
  Tally tally_;
  std::map<SessionEvent::Kind, std::size_t> events_;
  std::atomic<std::size_t> sent_ = 0;
  std::atomic<std::size_t> done_faults_ = 0;
  std::uint64_t memory_before_ = 0, memory_after_ = 0;
  std::size_t descriptors_before_ = 0, descriptors_after_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int index, unsigned long otherwise) {
    return argc > index ? std::strtoul(argv[index], nullptr, 10) : otherwise;
  };
  return Soak(number(1, 50'000), number(2, 1'000), static_cast<unsigned>(number(3, 1))).run();
}
