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
#include <string>
#include <system_error>
#include <thread>

namespace amp4ec::cli {
namespace {

/// The parent of a process called `amp4ec-worker`; nothing for any other process.
std::optional<pid_t> parent_of_worker(const std::filesystem::path& process) {
  std::ifstream file(process / "stat");
  std::string stat;
  std::getline(file, stat);  // "PID (NAME) STATE PPID ..."
  constexpr std::string_view name = "(amp4ec-worker) ";
  const auto found = stat.find(name);
  if (found == std::string::npos) return std::nullopt;
  const char* first = stat.data() + found + name.size() + 2;  // after "STATE "
  pid_t parent = 0;
  if (first >= stat.data() + stat.size()) return std::nullopt;
  if (std::from_chars(first, stat.data() + stat.size(), parent).ec != std::errc{}) return std::nullopt;
  return parent;
}

void end_workers() {
  std::error_code failed;
  for (std::filesystem::directory_iterator entry("/proc", failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    pid_t pid = 0;
    const auto [last, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc{} || last != name.data() + name.size()) continue;
    if (parent_of_worker(entry->path()) == ::getpid()) ::kill(pid, SIGKILL);
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
