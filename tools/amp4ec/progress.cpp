// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace amp4ec::cli {

Progress::Progress(std::string label) : label_(std::move(label)), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

void Progress::update(std::size_t done, std::size_t total) {
  constexpr std::chrono::seconds patience{2};
  constexpr std::size_t width = 30;
  if (!is_terminal_ || total == 0 || std::chrono::steady_clock::now() - start_ < patience) return;
  const std::size_t filled = width * std::min(done, total) / total;
  fmt::print(stderr, "\r\033[K{} [{:#<{}}{:.<{}}] {}/{}", label_, "", filled, "", width - filled, done, total);
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace amp4ec::cli
