// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker_process.hpp"

#include "runtime/control_protocol.hpp"

#include <amp4ec/model/operator_library.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

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

constexpr int control_fd = 3;
constexpr std::chrono::milliseconds patience{1000};  ///< For a worker to end by itself before it is killed.

// Spinning OpenMP threads burn a CPU quota without computing; worker threads follow the quota.
std::vector<std::string> worker_environment(unsigned threads) {
  static constexpr std::array<std::string_view, 4> ours = {
      "OMP_NUM_THREADS=", "OPENBLAS_NUM_THREADS=", "MKL_NUM_THREADS=", "OMP_WAIT_POLICY="};
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool replaced =
        std::any_of(ours.begin(), ours.end(), [&](std::string_view name) { return text.starts_with(name); });
    if (!replaced) environment.emplace_back(text);
  }
  for (std::size_t i = 0; i < 3; ++i) environment.push_back(fmt::format("{}{}", ours[i], threads));
  environment.push_back(std::string(ours[3]) + "PASSIVE");
  return environment;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Runs in the child of a process that may have many threads: only async-signal-safe calls, no allocation.
[[noreturn]] void become_worker(int channel, const char* executable, char** arguments, char** environment) {
  // All signals are blocked. The host's handlers must not run here.
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  // An interrupt from the terminal reaches the whole process group; the host decides when its workers end.
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (channel == control_fd) {
    if (fcntl(control_fd, F_SETFD, 0) < 0) _exit(126);
  } else if (dup2(channel, control_fd) < 0) {
    _exit(126);
  }
  // The host's descriptors are not for workers. And with a copy of the host's end of a channel, its own or another
  // worker's, nobody would see the host die.
  syscall(SYS_close_range, control_fd + 1, ~0U, 0);
  char go = 0;
  if (read(control_fd, &go, 1) != 1) _exit(125);  // The host is gone or could not place this process.
  execve(executable, arguments, environment);
  _exit(127);
}

std::string in_words(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  if (WEXITSTATUS(status) == 127) return "could not be executed";
  return fmt::format("exited with status {}", WEXITSTATUS(status));
}

}  // namespace

Result<fs::path> find_worker(const fs::path& wanted) {
  std::vector<fs::path> places;
  if (!wanted.empty()) {
    places = {wanted};
  } else if (const char* named = std::getenv("AMP4EC_WORKER"); named != nullptr && *named != '\0') {
    places = {named};
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

Result<WorkerProcess> WorkerProcess::start(const fs::path& executable, unsigned threads,
                                           const std::function<Result<void>(pid_t)>& before_exec) {
  auto ends = ipc::ControlChannel::create_pair();
  if (!ends) return ends.error();
  auto& [host_end, worker_end] = *ends;

  const std::string path = executable.string();
  std::vector<std::string> arguments{path, std::to_string(control_fd)};
  std::vector<std::string> environment = worker_environment(threads);
  std::vector<char*> argv = pointers_to(arguments);
  std::vector<char*> envp = pointers_to(environment);

  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = fork();
  const int fork_errno = errno;
  if (pid == 0) become_worker(worker_end.fd(), path.c_str(), argv.data(), envp.data());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return Error{Errc::SystemCall, fmt::format("fork of a worker: {}", std::strerror(fork_errno))};

  ipc::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    const int pidfd_errno = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return Error{Errc::SystemCall, fmt::format("pidfd_open: {}", std::strerror(pidfd_errno))};
  }
  WorkerProcess worker(pid, std::move(pidfd), std::move(host_end));
  if (before_exec) {
    if (auto placed = before_exec(pid); !placed) return placed.error();
  }
  if (auto sent = worker.channel_.send("!"); !sent) return sent.error();
  return worker;
}

WorkerProcess::WorkerProcess(WorkerProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      channel_(std::move(other.channel_)),
      end_(std::move(other.end_)) {}

WorkerProcess& WorkerProcess::operator=(WorkerProcess&& other) noexcept {
  if (this != &other) {
    stop();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    channel_ = std::move(other.channel_);
    end_ = std::move(other.end_);
  }
  return *this;
}

WorkerProcess::~WorkerProcess() {
  stop();
}

void WorkerProcess::stop() noexcept {
  if (pid_ < 0 || !end_.empty()) return;
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

Result<void> WorkerProcess::send(const boost::json::object& request, std::span<const int> fds) {
  auto sent = channel_.send(boost::json::serialize(request), fds);
  if (!sent && sent.error().code == Errc::WorkerDied) {
    return Error{Errc::WorkerDied, fmt::format("the worker process {}", describe_end(patience))};
  }
  return sent;
}

Result<boost::json::object> WorkerProcess::receive(std::chrono::nanoseconds timeout) {
  auto message = channel_.receive(timeout);
  if (!message) {
    if (message.error().code != Errc::WorkerDied) return message.error();
    return Error{Errc::WorkerDied, fmt::format("the worker process {}", describe_end(patience))};
  }
  boost::system::error_code failed;
  auto answer = boost::json::parse(message->text, failed);
  if (failed || !answer.is_object()) return Error{Errc::ProtocolViolation, "a worker's answer is not a JSON object"};
  if (answer.get_object().contains("error")) return parse_error(message->text);
  return std::move(answer.get_object());
}

Result<boost::json::object> WorkerProcess::call(const boost::json::object& request, std::span<const int> fds,
                                                std::chrono::nanoseconds timeout) {
  if (auto sent = send(request, fds); !sent) return sent.error();
  return receive(timeout);
}

std::string WorkerProcess::describe_end(std::chrono::milliseconds timeout) {
  if (!end_.empty()) return end_;
  const auto ended = ipc::detail::poll_fd(pidfd_.get(), POLLIN, timeout);
  if (!ended || !*ended) return "is still running";
  int status = 0;
  pid_t reaped = -1;
  do reaped = waitpid(pid_, &status, 0);
  while (reaped < 0 && errno == EINTR);
  end_ = reaped == pid_ ? in_words(status) : "ended";  // Else the host's own SIGCHLD handler has reaped it.
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
