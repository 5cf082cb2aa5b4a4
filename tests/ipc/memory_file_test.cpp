// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/ipc/memory_file.hpp>

#include "helpers.hpp"

#include <algorithm>
#include <array>
#include <csignal>

#include <sys/resource.h>

using namespace amp4ec;
using namespace amp4ec::ipc;

TEST_CASE("memory is shared by all its mappings, and zero at first") {
  const auto file = MemoryFile::create("test", 1_MiB).value();
  CHECK(file.size() == 1_MiB);
  const auto writer = file.map(MemoryFile::Prefault::yes).value();
  const auto reader = MemoryFile::adopt(UniqueFd(::dup(file.fd()))).value().map_read_only().value();
  REQUIRE(writer.bytes().size() == 1 << 20);
  REQUIRE(reader.bytes().size() == 1 << 20);
  CHECK(std::all_of(reader.bytes().begin(), reader.bytes().end(), [](std::byte b) { return b == std::byte{0}; }));
  writer.bytes()[12345] = std::byte{7};
  CHECK(reader.bytes()[12345] == std::byte{7});
}

TEST_CASE("a new memory file has all its pages, before anyone touches them") {
  const auto file = MemoryFile::create("test", Bytes{3 * 4096 + 1}).value();
  struct stat status {};
  REQUIRE(::fstat(file.fd(), &status) == 0);
  CHECK(status.st_blocks * 512 >= 4 * 4096);
}

TEST_CASE("nobody can change the size or the seals of a memory file") {
  const auto file = MemoryFile::create("test", 64_KiB).value();
  CHECK(::ftruncate(file.fd(), 4096) < 0);
  CHECK(::ftruncate(file.fd(), 1 << 20) < 0);
  CHECK(::fcntl(file.fd(), F_ADD_SEALS, F_SEAL_WRITE) < 0);
}

TEST_CASE("constant memory cannot be changed; what is written to a private mapping stays there") {
  const std::array bytes{std::byte{1}, std::byte{2}, std::byte{3}};
  const auto file = MemoryFile::create_constant("test", bytes).value();
  CHECK(file.size() == 3_B);
  CHECK(::pwrite(file.fd(), "x", 1, 0) < 0);
  CHECK(::ftruncate(file.fd(), 4096) < 0);
  CHECK(file.map().has_error());
  const auto one = file.map_private().value();
  const auto other = MemoryFile::adopt(UniqueFd(::dup(file.fd()))).value().map_private().value();
  one.bytes()[1] = std::byte{9};
  CHECK(one.bytes()[1] == std::byte{9});
  CHECK(std::ranges::equal(other.bytes(), bytes));
  CHECK(MemoryFile::create_constant("test", {}).error().code == Errc::InvalidArgument);
}

TEST_CASE("a mapping outlives its file") {
  auto file = std::make_unique<MemoryFile>(MemoryFile::create("test", 4_KiB).value());
  auto first = file->map().value();
  file.reset();
  first.bytes()[0] = std::byte{1};
  const auto moved = std::move(first);
  CHECK(moved.bytes()[0] == std::byte{1});
}

TEST_CASE("impossible sizes are refused") {
  CHECK(MemoryFile::create("test", 0_B).error().code == Errc::InvalidArgument);
  CHECK(MemoryFile::create("test", Bytes{~std::uint64_t{0}}).error().code == Errc::InvalidArgument);
}

TEST_CASE("memory beyond the limit on file sizes is an error, not a signal") {
  test::Child child([] {
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    limit.rlim_cur = 4096;
    if (::signal(SIGXFSZ, SIG_DFL) == SIG_ERR || ::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    if (!MemoryFile::create("test", 4_KiB)) return 3;
    const auto file = MemoryFile::create("test", 1_MiB);
    return file.has_error() && file.error().code == Errc::SystemCall ? 0 : 4;
  });
  CHECK(child.join() == 0);
}

TEST_CASE("a signal of its own that waits already is left to the host") {
  test::Child child([] {
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGXFSZ);
    if (::pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0 || ::raise(SIGXFSZ) != 0) return 1;
    { const FileSizeGuard guard; }
    if (::sigpending(&signals) != 0 || ::sigismember(&signals, SIGXFSZ) != 1) return 2;
    return ::pthread_sigmask(SIG_BLOCK, nullptr, &signals) == 0 && ::sigismember(&signals, SIGXFSZ) == 1 ? 0 : 3;
  });
  CHECK(child.join() == 0);
}

TEST_CASE("memory that a peer can take away, or that does not exist yet, is not adopted") {
  const auto refused = [](int fd) { return MemoryFile::adopt(UniqueFd(fd)).error().code; };
  CHECK(refused(-1) == Errc::SystemCall);
  CHECK(refused(::open("/dev/null", O_RDWR | O_CLOEXEC)) == Errc::ProtocolViolation);

  const int unsealed = ::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  REQUIRE(::ftruncate(unsealed, 4096) == 0);
  CHECK(refused(unsealed) == Errc::ProtocolViolation);

  const int sparse = ::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  REQUIRE(::ftruncate(sparse, off_t{1} << 40) == 0);
  REQUIRE(::fcntl(sparse, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
  CHECK(refused(sparse) == Errc::ProtocolViolation);
}

TEST_CASE("failing to map is an error with the call's name") {
  // A read-only descriptor of the same file cannot be mapped for writing.
  const auto file = MemoryFile::create("test", 4_KiB).value();
  const UniqueFd read_only(::open(fmt::format("/proc/self/fd/{}", file.fd()).c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(read_only);
  const auto same = MemoryFile::adopt(read_only.duplicate().value()).value();
  CHECK(same.map_read_only().has_value());
  const auto mapping = same.map();
  REQUIRE_FALSE(mapping.has_value());
  CHECK(mapping.error().code == Errc::SystemCall);
  CHECK(mapping.error().message.find("mmap") != std::string::npos);
  CHECK(mapping.error().message.find("Permission denied") != std::string::npos);
}
