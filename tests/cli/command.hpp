// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/value.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace amp4ec::test {

/// What a run of the built command left behind.
struct Outcome {
  pid_t pid = -1;
  int exit = -1;  ///< Exit status; 128 + signal when one ended it.
  std::string out;
  std::string err;

  /// Standard output as the one JSON object that `--json` promises; fails the test if it is anything else.
  [[nodiscard]] boost::json::value json() const;
};

/// A command that was started. Its orphans become children of the test, so that none escapes `workers_left`.
class Command {
 public:
  explicit Command(std::vector<std::string> arguments);
  ~Command();  ///< Kills it if it still runs.
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Waits until it has a worker process; false if it ends before.
  bool wait_for_worker();
  void signal(int number) const;
  Outcome wait();

 private:
  std::filesystem::path folder_;
  pid_t pid_ = -1;
};

/// Runs the command to its end and checks that it leaves no worker and no cgroup.
Outcome run_command(std::vector<std::string> arguments);

/// Exit status as given, one line on standard error that begins with "amp4ec: " and holds each of the words, and
/// nothing left running.
void check_refused(const std::vector<std::string>& arguments, int exit, const std::vector<std::string>& words);

/// Names of cgroup folders that the process made and left.
std::vector<std::string> groups_left(pid_t pid);
/// Worker processes, and those that fork them, whose parent or grandparent is this one.
std::size_t workers_of(pid_t ancestor);

/// A folder that goes away with its owner.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string file(std::string_view name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// A file with the profile of the reference LSTM, for `--profile`: measured once, as that takes seconds.
const std::string& lstm_profile();

std::string read_text(const std::filesystem::path& file);
void write_text(const std::filesystem::path& file, std::string_view text);

}  // namespace amp4ec::test
