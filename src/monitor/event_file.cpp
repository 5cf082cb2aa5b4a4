// SPDX-License-Identifier: Apache-2.0
#include "monitor/event_file.hpp"

#include <amp4ec/ipc/file_size_guard.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace amp4ec::detail {
namespace {

Error file_error(int code, std::string_view what, const std::filesystem::path& path) {
  return Error{Errc::SystemCall, fmt::format("{} {}: {}", what, path.string(), std::generic_category().message(code))};
}

}  // namespace

Result<EventFile> EventFile::create(const std::filesystem::path& path) {
  // Not blocking: a pipe without a reader must be refused, not waited for.
  ipc::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666));
  if (!fd) return file_error(errno, "cannot create", path);
  struct stat status {};
  if (::fstat(fd.get(), &status) < 0) return file_error(errno, "cannot look at", path);
  if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode)) {
    // Writing to one whose reader has gone would raise SIGPIPE in the host.
    return Error{Errc::InvalidArgument, fmt::format("{} is not a file; a trace needs one", path.string())};
  }
  EventFile file(std::move(fd), path);
  file.buffer_.reserve(buffer_size);
  file.buffer_.push_back('[');
  return file;
}

Result<void> EventFile::add(std::string_view text, std::uint64_t events) {
  if (failed_) dropped_ += events;
  if (failed_ || !fd_) return {};
  const bool is_first = size_ == 0 && buffer_.size() == 1;
  buffer_.append(is_first ? "\n" : ",\n");
  buffer_ += text;
  buffered_ += events;
  if (buffer_.size() < buffer_size && Clock::now() - last_write_ < longest_wait) return {};
  return flush();
}

Result<void> EventFile::flush() {
  const int failure = write_all(buffer_);
  if (failure == 0) {
    size_ += static_cast<off_t>(buffer_.size());
  } else {
    failed_ = true;
    dropped_ += buffered_;
    // Half an element at the end would make all of the array unreadable; this also frees room for its end.
    (void)!::ftruncate(fd_.get(), size_);
    (void)::lseek(fd_.get(), size_, SEEK_SET);
  }
  buffer_.clear();
  buffered_ = 0;
  last_write_ = Clock::now();
  if (failure != 0) return file_error(failure, "cannot write the trace", path_);
  return {};
}

Result<void> EventFile::close() {
  if (!fd_) return {};
  Result<void> result;
  if (!failed_) result = flush();
  const int failure = write_all(size_ == 0 ? "[\n]\n" : "\n]\n");
  if (failure != 0 && !failed_) result = file_error(failure, "cannot write the trace", path_);
  const int fd = fd_.release();
  if (::close(fd) < 0 && result && !failed_) result = file_error(errno, "cannot close the trace", path_);
  return result;
}

int EventFile::write_all(std::string_view text) {
  const ipc::FileSizeGuard guard;
  while (!text.empty()) {
    const ssize_t count = ::write(fd_.get(), text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return 0;
}

}  // namespace amp4ec::detail
