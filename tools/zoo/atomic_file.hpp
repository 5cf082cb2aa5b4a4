// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <cstddef>
#include <filesystem>

namespace amp4ec::zoo {

/// A file that appears under its name whole or not at all. Written beside its destination; `commit` renames it,
/// destruction without a successful `commit` removes what was written. Owned by one thread.
class AtomicFile {
 public:
  /// @error SystemCall when no file can be made in the destination's folder.
  static Result<AtomicFile> open(std::filesystem::path destination);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  /// Appends bytes. A failure is kept for `commit`; later writes then do nothing.
  void write(const void* data, std::size_t size);

  /// Synchronises and renames. @error SystemCall with the first failure since `open`.
  Result<void> commit();

 private:
  AtomicFile(std::filesystem::path destination, std::filesystem::path temporary, int descriptor);
  void fail(const char* call);

  std::filesystem::path destination_;
  std::filesystem::path temporary_;  // empty once renamed
  int descriptor_ = -1;
  const char* failed_call_ = nullptr;
  int failed_errno_ = 0;
};

}  // namespace amp4ec::zoo
