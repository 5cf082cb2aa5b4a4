// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace amp4ec::cgroup::detail {

/// Owns a file descriptor; -1 is none. Closed on exec.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int get() const noexcept { return number_; }
  explicit operator bool() const noexcept { return number_ >= 0; }

 private:
  int number_ = -1;
};

/// An errno as an Error. "No privilege" and "no such file" keep their own codes: callers degrade on those.
inline Error system_error(int code, std::string_view what) {
  const auto reason = std::generic_category().message(code);
  if (code == EACCES || code == EPERM || code == EROFS) {
    return Error{
        Errc::PermissionDenied,
        fmt::format("{}: {}; run as root, or below a group that is delegated to this user and mounted writable", what,
                    reason)};
  }
  if (code == ENOENT) return Error{Errc::CgroupUnavailable, fmt::format("{}: {}", what, reason)};
  return Error{Errc::CgroupFailed, fmt::format("{}: {}", what, reason)};
}

inline std::string join(std::string_view folder, std::string_view file) {
  return fmt::format("{}{}{}", folder, folder.ends_with('/') || file.starts_with('/') ? "" : "/", file);
}

inline Result<std::string> read_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return system_error(errno, "reading " + path);
  std::string text;
  char buffer[4096];
  for (;;) {
    const auto count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error(errno, "reading " + path);
    if (count == 0) return text;
    text.append(buffer, static_cast<std::size_t>(count));
  }
}

/// One write of the whole value, as kernel files want it. Never creates the file.
inline Result<void> write_file(const std::string& path, std::string_view value) {
  const auto what = [&] { return fmt::format("writing '{}' to {}", value, path); };
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return system_error(errno, what());
  ssize_t count = 0;
  do {
    count = ::write(file.get(), value.data(), value.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0) return system_error(errno, what());
  return {};
}

inline bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

inline bool writable(const std::string& path) {
  return ::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0;
}

/// Names of the folders inside a folder; with an error, those that were listed before it.
inline std::vector<std::string> subfolders(const std::string& folder, std::error_code& error) {
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code vanished;
    if (entry->is_directory(vanished) && !entry->is_symlink(vanished)) {
      names.push_back(entry->path().filename().string());
    }
  }
  return names;
}

/// Names of the folders inside a folder; empty if it cannot be listed.
inline std::vector<std::string> subfolders(const std::string& folder) {
  std::error_code ignored;
  return subfolders(folder, ignored);
}

}  // namespace amp4ec::cgroup::detail
