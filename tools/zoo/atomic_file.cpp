// SPDX-License-Identifier: Apache-2.0
#include "atomic_file.hpp"

#include <amp4ec/ipc/file_size_guard.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

namespace amp4ec::zoo {
namespace {

Error cannot_write(const std::filesystem::path& file, const char* call, int code) {
  return Error{Errc::SystemCall, fmt::format("cannot write '{}': {} failed: {} (errno {})", file.string(), call,
                                             std::generic_category().message(code), code)};
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path destination, std::filesystem::path temporary, int descriptor)
    : destination_(std::move(destination)), temporary_(std::move(temporary)), descriptor_(descriptor) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : destination_(std::move(other.destination_)),
      temporary_(std::exchange(other.temporary_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)),
      failed_call_(other.failed_call_),
      failed_errno_(other.failed_errno_) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<AtomicFile> AtomicFile::open(std::filesystem::path destination) {
  static std::atomic<unsigned> counter{0};
  std::error_code ignored;
  if (std::filesystem::is_directory(destination, ignored)) return cannot_write(destination, "open", EISDIR);
  std::filesystem::path temporary = destination;
  temporary += fmt::format(".{}.{}.tmp", ::getpid(), counter++);
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return cannot_write(destination, "open", errno);
  return AtomicFile(std::move(destination), std::move(temporary), descriptor);
}

void AtomicFile::write(const void* data, std::size_t size) {
  const ipc::FileSizeGuard guard;
  const char* next = static_cast<const char*>(data);
  while (size > 0 && failed_call_ == nullptr) {
    const ssize_t written = ::write(descriptor_, next, size);
    if (written >= 0) {
      next += written;
      size -= static_cast<std::size_t>(written);
    } else if (errno != EINTR) {
      fail("write");
    }
  }
}

Result<void> AtomicFile::commit() {
  if (failed_call_ == nullptr && ::fsync(descriptor_) != 0) fail("fsync");
  if (::close(std::exchange(descriptor_, -1)) != 0 && failed_call_ == nullptr) fail("close");
  if (failed_call_ == nullptr && ::rename(temporary_.c_str(), destination_.c_str()) != 0) fail("rename");
  if (failed_call_ != nullptr) return cannot_write(destination_, failed_call_, failed_errno_);
  temporary_.clear();
  return {};
}

void AtomicFile::fail(const char* call) {
  failed_errno_ = errno;
  failed_call_ = call;
}

}  // namespace amp4ec::zoo
