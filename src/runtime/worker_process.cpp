// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker_process.hpp"

#include <amp4ec/model/operator_library.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

// Where the build says that the worker will be.
#ifndef AMP4EC_INSTALLED_WORKER
#define AMP4EC_INSTALLED_WORKER ""
#endif
#ifndef AMP4EC_BUILT_WORKER
#define AMP4EC_BUILT_WORKER ""
#endif

namespace amp4ec::detail {

namespace fs = std::filesystem;

namespace {

std::atomic<bool> host_is_worker = false;

}  // namespace

void host_can_be_worker() noexcept {
  host_is_worker = true;
}

Result<fs::path> find_worker(const fs::path& wanted) {
  std::vector<fs::path> places;
  if (!wanted.empty()) {
    places = {wanted};
  } else if (const char* named = std::getenv("AMP4EC_WORKER"); named != nullptr && *named != '\0') {
    places = {named};
  } else if (host_is_worker) {
    places = {"/proc/self/exe"};  // The child that executes it is still this program; also when its file is replaced.
  } else {
    std::error_code failed;
    const fs::path here = fs::read_symlink("/proc/self/exe", failed).parent_path();
    places = {here / "amp4ec-worker", here.parent_path() / "libexec/amp4ec/amp4ec-worker"};
    for (const fs::path known : {AMP4EC_BUILT_WORKER, AMP4EC_INSTALLED_WORKER}) {
      if (!known.empty()) places.push_back(known);
    }
  }
  std::vector<std::string> tried;
  for (const fs::path& place : places) {
    std::error_code failed;
    if (fs::is_regular_file(place, failed) && access(place.c_str(), X_OK) == 0) return place;
    tried.push_back(place.string());
  }
  return Error{Errc::WorkerNotFound, fmt::format("no worker executable at {}; set RuntimeOptions::worker_executable or "
                                                 "the environment variable AMP4EC_WORKER",
                                                 fmt::join(tried, ", "))};
}

ResidentMemory resident_memory(pid_t process) {
  std::ifstream status(fmt::format("/proc/{}/status", process));
  ResidentMemory memory;
  for (std::string line; std::getline(status, line);) {
    const auto read = [&](std::string_view key, Bytes& bytes) {
      if (line.starts_with(key)) bytes = std::strtoull(line.c_str() + key.size(), nullptr, 10) * 1_KiB;
    };
    read("VmRSS:", memory.now);
    read("VmHWM:", memory.peak);
    read("RssAnon:", memory.anonymous);
    read("VmData:", memory.data);
  }
  return memory;
}

Result<WorkerProcess> WorkerProcess::start(ForkServer& server, const std::function<Result<void>(pid_t)>& before_start) {
  auto child = server.fork_worker();
  if (!child) return child.error();
  WorkerProcess worker(std::move(*child));
  if (before_start) {
    if (auto placed = before_start(worker.pid()); !placed) return placed.error();
  }
  if (auto sent = worker.channel_.send("!"); !sent) return sent.error();
  return worker;
}

WorkerProcess::WorkerProcess(WorkerProcess&& other) noexcept
    : Worker(std::move(other)),
      pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      status_(std::move(other.status_)),
      end_mutex_(std::move(other.end_mutex_)),
      end_(std::move(other.end_)) {}

WorkerProcess& WorkerProcess::operator=(WorkerProcess&& other) noexcept {
  if (this != &other) {
    stop();
    Worker::operator=(std::move(other));
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    status_ = std::move(other.status_);
    end_mutex_ = std::move(other.end_mutex_);
    end_ = std::move(other.end_);
  }
  return *this;
}

WorkerProcess::~WorkerProcess() {
  stop();
}

void WorkerProcess::stop() noexcept {
  if (pid_ < 0) return;
  kill_now();  // It holds nothing that needs an orderly end.
  try {
    (void)describe_end(patience);
  } catch (...) {
    // Out of memory for a sentence: the process is reaped all the same.
  }
}

void WorkerProcess::kill_now() const noexcept {
  // Through the pidfd: a number could belong to another process by now.
  if (pidfd_) syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
}

std::string WorkerProcess::name() const {
  return fmt::format("process {}", pid_);
}

std::string WorkerProcess::describe_end(std::chrono::milliseconds timeout) {
  const std::lock_guard lock(*end_mutex_);
  if (!end_.empty()) return end_;
  const auto ended = ipc::detail::poll_fd(pidfd_.get(), POLLIN, timeout);
  if (!ended || !*ended) return "is still running";
  // Its parent reaps it and says how it ended.
  int status = 0;
  const auto told = ipc::detail::poll_fd(status_.get(), POLLIN, patience);
  const bool known = told && *told && ::read(status_.get(), &status, sizeof status) == sizeof status;
  end_ = known ? how_it_ended(status) : "ended";  // Else the fork server has died before it.
  return end_;
}

Result<void> teach_operators(WorkerProcess& worker) {
  constexpr std::chrono::seconds limit{60};
  for (const fs::path& library : loaded_operator_libraries()) {
    auto done = worker.call({{"op", "operators"}, {"library", library.string()}}, {}, limit);
    if (!done) return done.error();
  }
  return {};
}

}  // namespace amp4ec::detail
