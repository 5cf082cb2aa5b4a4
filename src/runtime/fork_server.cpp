// SPDX-License-Identifier: Apache-2.0
#include "runtime/fork_server.hpp"

#include "runtime/control_protocol.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace amp4ec::detail {

namespace {

constexpr int control_fd = 3;
constexpr std::string_view mode = "--amp4ec-fork-server=";
constexpr std::chrono::seconds start_limit{60};      ///< LibTorch loads in one, from a cold disk in ten.
constexpr std::chrono::milliseconds patience{1000};  ///< For one that has closed its channel to end.
constexpr const char* server_name = "amp4ec-fork";   ///< So that nobody takes it for a worker.
constexpr const char* worker_name = "amp4ec-worker";

// -- in the host -----------------------------------------------------------------------------------------------------

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
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Runs in the child of a process that may have many threads: only async-signal-safe calls, no allocation.
[[noreturn]] void become_server(int channel, const char* executable, char** arguments, char** environment) {
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
  execve(executable, arguments, environment);
  _exit(127);
}

int open_pidfd(pid_t process) {
  return static_cast<int>(syscall(SYS_pidfd_open, process, 0));
}

Error system_error(std::string_view what, int number) {
  return {Errc::SystemCall, fmt::format("{}: {}", what, std::strerror(number))};
}

}  // namespace

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  if (WEXITSTATUS(status) == 127) return "could not be executed";
  return fmt::format("exited with status {}", WEXITSTATUS(status));
}

ForkServer::~ForkServer() {
  stop(std::chrono::milliseconds(0));  // It holds nothing that needs an orderly end.
}

pid_t ForkServer::pid() const {
  const std::lock_guard lock(mutex_);
  return process_ ? process_->pid : -1;
}

Result<ForkServer::Child> ForkServer::fork_worker() {
  const std::lock_guard lock(mutex_);
  const bool was_up = process_.has_value();
  if (!was_up) {
    if (auto started = start(); !started) return started.error();
  }
  auto child = ask();
  if (child || child.error().code == Errc::SystemCall) return child;
  // Whatever else went wrong, what it says from now on may belong to this request.
  const std::string end = stop(patience);
  if (child.error().code != Errc::WorkerDied) return child;
  if (!was_up) {
    return Error{Errc::WorkerDied, fmt::format("the process that forks workers, '{}', {}", executable_.string(), end)};
  }
  if (auto started = start(); !started) return started.error();
  return ask();
}

Result<void> ForkServer::start() {
  auto ends = ipc::ControlChannel::create_pair();
  if (!ends) return ends.error();
  auto& [host_end, server_end] = *ends;

  const std::string path = executable_.string();
  std::vector<std::string> arguments{path, fmt::format("{}{}", mode, control_fd)};
  std::vector<std::string> environment = worker_environment(threads_);
  std::vector<char*> argv = pointers_to(arguments);
  std::vector<char*> envp = pointers_to(environment);

  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = fork();
  const int fork_errno = errno;
  if (pid == 0) become_server(server_end.fd(), path.c_str(), argv.data(), envp.data());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return system_error("fork of a fork server", fork_errno);

  ipc::UniqueFd pidfd(open_pidfd(pid));
  if (!pidfd) {
    const int pidfd_errno = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return system_error("pidfd_open", pidfd_errno);
  }
  process_.emplace(Process{pid, std::move(pidfd), std::move(host_end)});
  return {};
}

Result<ForkServer::Child> ForkServer::ask() {
  auto ends = ipc::ControlChannel::create_pair();
  if (!ends) return ends.error();
  auto& [host_end, worker_end] = *ends;
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) < 0) return system_error("pipe2", errno);
  ipc::UniqueFd status(pipe[0]);
  const ipc::UniqueFd status_writer(pipe[1]);

  const std::array fds{worker_end.fd(), status_writer.get()};
  if (auto sent = process_->channel.send(R"({"op": "fork"})", fds); !sent) return sent.error();
  auto answer = process_->channel.receive(start_limit);
  if (!answer) return answer.error();
  boost::system::error_code failed;
  const auto value = boost::json::parse(answer->text, failed);
  const auto* pid = failed || !value.is_object() ? nullptr : value.get_object().if_contains("pid");
  if (pid == nullptr || !pid->is_int64() || answer->fds.size() != 1) return parse_error(answer->text);
  return Child{static_cast<pid_t>(pid->get_int64()), std::move(answer->fds.front()), std::move(status),
               std::move(host_end)};
}

/// Waits so long for it to end by itself, which says more than our signal. Returns how it ended.
std::string ForkServer::stop(std::chrono::milliseconds wait) noexcept try {
  if (!process_) return {};
  const auto process = std::exchange(process_, std::nullopt);
  (void)ipc::detail::poll_fd(process->pidfd.get(), POLLIN, wait);
  syscall(SYS_pidfd_send_signal, process->pidfd.get(), SIGKILL, nullptr, 0);
  int status = 0;
  pid_t reaped = -1;
  do reaped = waitpid(process->pid, &status, 0);
  while (reaped < 0 && errno == EINTR);
  return reaped == process->pid ? how_it_ended(status) : "ended";  // Else the host's own SIGCHLD handler has reaped it.
} catch (...) {
  return {};
}

// -- in the server ---------------------------------------------------------------------------------------------------

namespace {

/// Its workers that have not ended yet, each with the host's pipe for its status.
using Children = std::map<pid_t, ipc::UniqueFd>;

void reap(Children& children) {
  int status = 0;
  for (pid_t pid = 0; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    const auto child = children.find(pid);
    if (child == children.end()) continue;
    // A pipe takes so few bytes at once; where the host is gone, nobody wants them.
    [[maybe_unused]] const auto written = ::write(child->second.get(), &status, sizeof status);
    children.erase(child);
  }
}

/// Asks `fork` and answers. Returns the channel in the child, nothing in the server.
std::optional<ipc::ControlChannel> fork_one(const ipc::ControlChannel& host, ipc::ControlMessage message,
                                            Children& children) {
  const auto refuse = [&](const Error& error) { (void)host.send(error_text(error)); };
  if (message.fds.size() != 2) {
    refuse({Errc::ProtocolViolation, fmt::format("a fork with {} descriptors", message.fds.size())});
    return std::nullopt;
  }
  auto channel = ipc::ControlChannel::adopt(std::move(message.fds[0]));
  if (!channel) {
    refuse(channel.error());
    return std::nullopt;
  }
  const pid_t pid = ::fork();
  if (pid == 0) return std::move(*channel);
  if (pid < 0) {
    refuse(system_error("fork of a worker", errno));
    return std::nullopt;
  }
  const ipc::UniqueFd pidfd(open_pidfd(pid));
  if (!pidfd) {
    refuse(system_error("pidfd_open", errno));
    ::kill(pid, SIGKILL);  // Reaped like any other; nobody waits for its status.
    return std::nullopt;
  }
  children.emplace(pid, std::move(message.fds[1]));
  (void)host.send(boost::json::serialize(boost::json::object{{"pid", pid}}), std::array{pidfd.get()});
  return std::nullopt;
}

}  // namespace

std::optional<ipc::ControlChannel> serve_forks(ipc::ControlChannel host) {
  ::prctl(PR_SET_NAME, server_name);
  sigset_t child_ended;
  sigemptyset(&child_ended);
  sigaddset(&child_ended, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child_ended, nullptr);
  const ipc::UniqueFd signals(::signalfd(-1, &child_ended, SFD_CLOEXEC | SFD_NONBLOCK));
  Children children;
  while (true) {
    std::array<pollfd, 2> waits{{{host.fd(), POLLIN, 0}, {signals.get(), POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[1].revents != 0) {
      signalfd_siginfo ignored{};
      while (::read(signals.get(), &ignored, sizeof ignored) > 0) continue;
      reap(children);
    }
    if (waits[0].revents == 0) continue;
    auto message = host.receive(patience);
    if (!message) {
      if (message.error().code == Errc::WorkerUnresponsive) continue;
      // The host is gone. Its workers see that themselves, but for those that are stopped.
      for (const auto& child : children) ::kill(child.first, SIGKILL);
      return std::nullopt;
    }
    auto worker = fork_one(host, std::move(*message), children);
    if (!worker) continue;
    // This is the worker. What the server holds is closed on the way out.
    ::prctl(PR_SET_NAME, worker_name);
    ::sigprocmask(SIG_UNBLOCK, &child_ended, nullptr);
    return worker;
  }
}

int fork_server_channel(int argc, char** argv) {
  int fd = -1;
  const std::string_view argument = argc == 2 ? argv[1] : "";
  if (argument.starts_with(mode)) {
    const std::string_view digits = argument.substr(mode.size());
    std::from_chars(digits.data(), digits.data() + digits.size(), fd);
  }
  return fd;
}

}  // namespace amp4ec::detail
