// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/ipc/unique_fd.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace amp4ec::detail {

/// A JSON array on disk that grows by whole elements, through a buffer. Not synchronised.
class EventFile {
 public:
  static Result<EventFile> create(const std::filesystem::path& path);

  /// `events` elements, joined by commas. The error comes from the first call that meets it; then everything is
  /// dropped.
  Result<void> add(std::string_view text, std::uint64_t events);

  /// Writes what is buffered and the end of the array. The error comes once, here or from `add`.
  Result<void> close();

  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t buffer_size = 64U * 1024;
  static constexpr std::chrono::seconds longest_wait{1};

  EventFile(ipc::UniqueFd fd, std::filesystem::path path) : fd_(std::move(fd)), path_(std::move(path)) {}

  /// All of it, or an errno.
  int write_all(std::string_view text);
  Result<void> flush();

  ipc::UniqueFd fd_;
  std::filesystem::path path_;
  std::string buffer_;
  std::uint64_t buffered_ = 0;  ///< Events in the buffer.
  std::uint64_t dropped_ = 0;
  off_t size_ = 0;  ///< Of the file, up to the last whole element.
  Clock::time_point last_write_ = Clock::now();
  bool failed_ = false;
};

}  // namespace amp4ec::detail
