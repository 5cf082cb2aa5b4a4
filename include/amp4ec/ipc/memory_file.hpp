// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>
#include <amp4ec/ipc/file_size_guard.hpp>
#include <amp4ec/ipc/unique_fd.hpp>

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include <sys/mman.h>
#include <sys/stat.h>

#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

namespace amp4ec::ipc {

/// A view of a whole MemoryFile in this process; unmapped when it goes. Outlives the file's descriptor.
/// `Byte` is `std::byte` (read-write) or `const std::byte` (read-only: writing is a segmentation fault). Move-only.
template <class Byte>
class Mapping {
  static_assert(std::is_same_v<std::remove_const_t<Byte>, std::byte>);

 public:
  [[nodiscard]] std::span<Byte> bytes() const noexcept {
    return {static_cast<Byte*>(region_.get_address()), region_.get_size()};
  }

 private:
  friend class MemoryFile;
  explicit Mapping(boost::interprocess::mapped_region region) noexcept : region_(std::move(region)) {}
  boost::interprocess::mapped_region region_;
};

/// Anonymous memory behind a descriptor: it has no name in any file system, so nothing is left when its users are gone,
/// SIGKILL included. Its size is sealed: no holder can shrink it and turn another's read into SIGBUS. Not synchronised.
class MemoryFile {
 public:
  /// Whether a mapping gets its page table entries at once, so that no first access faults later.
  enum class Prefault { no, yes };

  /// Memory of `size` bytes, zeroed. All its pages are allocated here, so they are charged to the caller's cgroup,
  /// whoever touches them first. `name` only shows in /proc/PID/maps.
  /// @error InvalidArgument for size 0, SystemCall (among others ENOMEM: the memory is not there).
  static Result<MemoryFile> create(const std::string& name, Bytes size) {
    auto file = allocate(name, size);
    if (!file) return file;
    if (auto sealed = file->seal(size_seals); !sealed) return sealed.error();
    return file;
  }

  /// As `create`, with the only mapping that can ever write it: no other holder changes its content or gives its pages
  /// back. @error as `create`.
  static Result<std::pair<MemoryFile, Mapping<std::byte>>> create_with_one_writer(const std::string& name, Bytes size) {
    auto file = allocate(name, size);
    if (!file) return file.error();
    auto writer = file->map(Prefault::yes);
    if (!writer) return writer.error();
    if (auto sealed = file->seal(size_seals | F_SEAL_FUTURE_WRITE); !sealed) return sealed.error();
    return std::pair{std::move(*file), std::move(*writer)};
  }

  /// Memory that holds a copy of `bytes` and that nobody can ever change, its maker included (F_SEAL_WRITE). It is
  /// mapped with `map_private` alone. @error as `create`.
  static Result<MemoryFile> create_constant(const std::string& name, std::span<const std::byte> bytes) {
    if (bytes.empty()) return Error{Errc::InvalidArgument, fmt::format("memory file '{}': nothing to hold", name)};
    const FileSizeGuard guard;
    UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd) return detail::system_error("memfd_create");
    for (auto left = bytes; !left.empty();) {
      const ssize_t written = ::write(fd.get(), left.data(), left.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return detail::system_error(fmt::format("write to '{}'", name));
      left = left.subspan(static_cast<std::size_t>(written));
    }
    if (::fcntl(fd.get(), F_ADD_SEALS, size_seals | F_SEAL_WRITE) < 0)
      return detail::system_error("fcntl(F_ADD_SEALS)");
    return MemoryFile(std::move(fd), Bytes{bytes.size()});
  }

  /// Takes a file that a peer made. Accepts it only when its size is sealed and all its pages exist, so that mapping it
  /// cannot allocate memory on the caller's account. @error ProtocolViolation, SystemCall.
  static Result<MemoryFile> adopt(UniqueFd fd) { return adopt_sealed(std::move(fd), size_seals); }

  /// As `adopt`, for a file from `create_with_one_writer`: its pages stay, so reading it later cannot allocate memory
  /// on the caller's account either. To be mapped read-only. @error ProtocolViolation, SystemCall.
  static Result<MemoryFile> adopt_with_one_writer(UniqueFd fd) {
    return adopt_sealed(std::move(fd), size_seals | F_SEAL_FUTURE_WRITE);
  }

  [[nodiscard]] Bytes size() const noexcept { return size_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// The same memory under a second descriptor. @error SystemCall.
  [[nodiscard]] Result<MemoryFile> duplicate() const {
    auto fd = fd_.duplicate();
    if (!fd) return fd.error();
    return MemoryFile(std::move(*fd), size_);
  }

  /// @error SystemCall.
  [[nodiscard]] Result<Mapping<std::byte>> map(Prefault prefault = Prefault::no) const {
    return map_as<std::byte>(boost::interprocess::read_write, prefault);
  }
  /// @error SystemCall.
  [[nodiscard]] Result<Mapping<const std::byte>> map_read_only(Prefault prefault = Prefault::no) const {
    return map_as<const std::byte>(boost::interprocess::read_only, prefault);
  }
  /// What is written here is seen by nobody else: the page becomes this process's own. @error SystemCall.
  [[nodiscard]] Result<Mapping<std::byte>> map_private() const {
    return map_as<std::byte>(boost::interprocess::copy_on_write, Prefault::no);
  }

 private:
  static constexpr int size_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

  MemoryFile(UniqueFd fd, Bytes size) noexcept : fd_(std::move(fd)), size_(size) {}

  static Result<MemoryFile> allocate(const std::string& name, Bytes size) {
    if (size.count == 0 || size.count > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
      return Error{Errc::InvalidArgument, fmt::format("memory file '{}': impossible size {}", name, size.count)};
    }
    const FileSizeGuard guard;
    UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd) return detail::system_error("memfd_create");
    if (::ftruncate(fd.get(), static_cast<off_t>(size.count)) < 0) return detail::system_error("ftruncate of a memfd");
    while (::fallocate(fd.get(), 0, 0, static_cast<off_t>(size.count)) < 0) {
      if (errno != EINTR)
        return detail::system_error(fmt::format("fallocate of {} for '{}'", format_bytes(size), name));
    }
    return MemoryFile(std::move(fd), size);
  }

  [[nodiscard]] Result<void> seal(int seals) const {
    if (::fcntl(fd_.get(), F_ADD_SEALS, seals) < 0) return detail::system_error("fcntl(F_ADD_SEALS)");
    return {};
  }

  static Result<MemoryFile> adopt_sealed(UniqueFd fd, int required) {
    const int seals = ::fcntl(fd.get(), F_GET_SEALS);
    if (seals < 0 && errno != EINVAL) return detail::system_error("fcntl(F_GET_SEALS)");
    if (seals < 0 || (seals & required) != required) {
      return Error{Errc::ProtocolViolation, "a peer sent a file that is not memory, or not sealed as it must be"};
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) < 0) return detail::system_error("fstat of a memfd");
    constexpr off_t block = 512;  // the unit of st_blocks, whatever the file system
    if (status.st_size <= 0 || status.st_blocks < status.st_size / block) {
      return Error{Errc::ProtocolViolation,
                   fmt::format("a peer sent a memory file of {} bytes of which {} blocks of 512 are allocated",
                               status.st_size, status.st_blocks)};
    }
    return MemoryFile(std::move(fd), Bytes{static_cast<std::uint64_t>(status.st_size)});
  }

  template <class Byte>
  Result<Mapping<Byte>> map_as(boost::interprocess::mode_t mode, Prefault prefault) const {
    // Boost maps anything that can name its handle.
    struct Mappable {
      int fd;
      [[nodiscard]] boost::interprocess::mapping_handle_t get_mapping_handle() const noexcept { return {fd, false}; }
    };
    try {
      const int flags = prefault == Prefault::yes ? MAP_POPULATE : 0;
      return Mapping<Byte>(
          boost::interprocess::mapped_region(Mappable{fd_.get()}, mode, 0, size_.count, nullptr, flags));
    } catch (const boost::interprocess::interprocess_exception& failure) {
      return detail::system_error(fmt::format("mmap of {}", format_bytes(size_)), failure.get_native_error());
    }
  }

  UniqueFd fd_;
  Bytes size_;
};

}  // namespace amp4ec::ipc
