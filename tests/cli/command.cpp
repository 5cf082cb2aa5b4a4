// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

#include "support/catch.hpp"

#include <amp4ec/plan/json_text.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

namespace amp4ec::test {

namespace fs = std::filesystem;

namespace {

/// Ends the child's life; nothing that could deadlock after fork is called.
[[noreturn]] void become_command(const std::vector<char*>& argv, const std::string& out, const std::string& err) {
  const int out_fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int err_fd = ::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(out_fd, STDOUT_FILENO);
  ::dup2(err_fd, STDERR_FILENO);
  ::execv(argv.front(), argv.data());
  ::_exit(127);
}

/// A worker or what forks them: "PID (NAME) STATE PPID ...". Nothing for others, and for one that is gone by now.
struct WorkerEntry {
  pid_t pid;
  pid_t parent;
};
std::optional<WorkerEntry> read_worker(const fs::path& process) {
  std::ifstream file(process / "stat");
  std::string stat;
  std::getline(file, stat);
  for (const std::string_view name : {"(amp4ec-worker) ", "(amp4ec-fork) "}) {
    const auto found = stat.find(name);
    if (found == std::string::npos) continue;
    return WorkerEntry{static_cast<pid_t>(std::strtol(stat.c_str(), nullptr, 10)),
                       static_cast<pid_t>(std::strtol(stat.c_str() + found + name.size() + 1, nullptr, 10))};
  }
  return std::nullopt;
}

}  // namespace

boost::json::value Outcome::json() const {
  INFO(out);
  INFO(err);
  const auto parsed = parse_json(out);
  REQUIRE(parsed.has_value());
  REQUIRE(parsed->is_object());
  return *parsed;
}

Command::Command(std::vector<std::string> arguments) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::string name = (fs::temp_directory_path() / "amp4ec-cli-test-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  folder_ = name;
  arguments.insert(arguments.begin(), AMP4EC_COMMAND);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const std::string out = folder_ / "out";
  const std::string err = folder_ / "err";
  pid_ = ::fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) become_command(argv, out, err);
}

Command::~Command() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

bool Command::wait_for_worker() {
  while (workers_of(pid_) < 2) {  // What forks them, and one of them.
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_)
      return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

void Command::signal(int number) const {
  ::kill(pid_, number);
}

Outcome Command::wait() {
  Outcome outcome;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  outcome.pid = std::exchange(pid_, -1);
  outcome.exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = read_text(folder_ / "out");
  outcome.err = read_text(folder_ / "err");
  return outcome;
}

Outcome run_command(std::vector<std::string> arguments) {
  Command command(std::move(arguments));
  Outcome outcome = command.wait();
  INFO(outcome.err);
  CHECK(workers_of(::getpid()) == 0);
  CHECK(groups_left(outcome.pid).empty());
  return outcome;
}

void check_refused(const std::vector<std::string>& arguments, int exit, const std::vector<std::string>& words) {
  const Outcome outcome = run_command(arguments);
  INFO(outcome.err);
  CHECK(outcome.exit == exit);
  CHECK(outcome.err.starts_with("amp4ec: "));
  CHECK(std::ranges::count(outcome.err, '\n') == 1);
  CHECK(outcome.err.ends_with('\n'));
  for (const std::string& word : words) {
    INFO(word);
    CHECK(outcome.err.find(word) != std::string::npos);
  }
}

std::vector<std::string> groups_left(pid_t pid) {
  const std::string prefix = fmt::format("amp4ec-{}-", pid);
  std::vector<std::string> left;
  std::error_code failed;
  const auto options = fs::directory_options::skip_permission_denied;
  fs::recursive_directory_iterator entry("/sys/fs/cgroup", options, failed);
  for (const fs::recursive_directory_iterator end; !failed && entry != end; entry.increment(failed)) {
    if (entry->path().filename().string().starts_with(prefix)) left.push_back(entry->path().string());
  }
  return left;
}

std::size_t workers_of(pid_t ancestor) {
  std::vector<WorkerEntry> all;
  std::error_code failed;
  for (fs::directory_iterator entry("/proc", failed), end; !failed && entry != end; entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;  // not a process
    if (const auto worker = read_worker(entry->path())) all.push_back(*worker);
  }
  return static_cast<std::size_t>(std::ranges::count_if(all, [&](const WorkerEntry& worker) {
    return worker.parent == ancestor || std::ranges::any_of(all, [&](const WorkerEntry& server) {
             return worker.parent == server.pid && server.parent == ancestor;
           });
  }));
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "amp4ec-cli-files-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

const std::string& lstm_profile() {
  static const TemporaryFolder folder;
  static const std::string file = [] {
    const std::string path = folder.file("lstm.profile.json");
    const Outcome outcome = run_command({"plan", "lstm", "--node", "a:1.0:0", "--profile", path});
    INFO(outcome.err);
    REQUIRE(outcome.exit == 0);
    return path;
  }();
  return file;
}

std::string read_text(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

void write_text(const fs::path& file, std::string_view text) {
  std::ofstream(file, std::ios::binary) << text;
}

}  // namespace amp4ec::test
