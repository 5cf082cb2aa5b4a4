// SPDX-License-Identifier: Apache-2.0
#include "interrupt.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace amp4ec::cli {
namespace {

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;
  std::string name;
};

/// Nothing for one that is gone by now.
std::optional<Process> read_process(const std::filesystem::path& folder) {
  std::ifstream file(folder / "stat");
  std::string stat;
  std::getline(file, stat);  // "PID (NAME) STATE PPID ..."
  const std::size_t open = stat.find('(');
  const std::size_t close = stat.rfind(") ");
  constexpr std::size_t to_parent = 4;  // after ") STATE "
  if (open == std::string::npos || close == std::string::npos || close + to_parent > stat.size()) return std::nullopt;
  Process process;
  const char* last = stat.data() + stat.size();
  if (std::from_chars(stat.data(), last, process.pid).ec != std::errc{}) return std::nullopt;
  if (std::from_chars(stat.data() + close + to_parent, last, process.parent).ec != std::errc{}) return std::nullopt;
  process.name = stat.substr(open + 1, close - open - 1);
  return process;
}

/// Workers are children of fork servers, which are children of this process. The servers are left: without one, a new
/// one would be started.
void end_workers() {
  std::vector<Process> workers;
  std::set<pid_t> parents{::getpid()};
  std::error_code failed;
  for (std::filesystem::directory_iterator entry("/proc", failed), end; !failed && entry != end;
       entry.increment(failed)) {
    auto process = read_process(entry->path());
    if (!process) continue;
    if (process->name == "amp4ec-fork" && process->parent == ::getpid()) parents.insert(process->pid);
    if (process->name == "amp4ec-worker") workers.push_back(std::move(*process));
  }
  for (const Process& worker : workers) {
    if (parents.contains(worker.parent)) ::kill(worker.pid, SIGKILL);
  }
}

}  // namespace

struct Interrupt::State {
  boost::asio::io_context context{1};
  boost::asio::signal_set signals{context, SIGINT, SIGTERM};
  std::atomic<int> signal{0};
  std::thread thread;
};

Interrupt::Interrupt() : state_(std::make_unique<State>()) {
  state_->signals.async_wait([state = state_.get()](const boost::system::error_code& error, int number) {
    if (error) return;
    boost::system::error_code ignored;
    state->signals.clear(ignored);  // the next one ends the process
    state->signal = number;
    end_workers();
  });
  state_->thread = std::thread([state = state_.get()] { state->context.run(); });
}

Interrupt::~Interrupt() {
  state_->context.stop();
  state_->thread.join();
}

int Interrupt::signal() const noexcept {
  return state_->signal;
}

}  // namespace amp4ec::cli
