// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace amp4ec::cli {

/// A bar on standard error for what takes longer than two seconds; nothing where that is no terminal.
class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();  ///< Wipes the bar.
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::size_t done, std::size_t total);

 private:
  std::string label_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool is_terminal_;
  bool drawn_ = false;
};

}  // namespace amp4ec::cli
