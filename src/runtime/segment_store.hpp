// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/memory_file.hpp>
#include <amp4ec/model/segment.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace amp4ec::detail {

/// The archives of segments, each once, in memory that nobody can change: all replicas of a segment, and all workers
/// that take the place of dead ones, map the same. An archive goes with the last who holds it; what was learnt of it
/// stays. Thread-safe.
class SegmentStore {
 public:
  /// Blocks while the archive is written, where nobody holds it. @error as Segment::archive; SystemCall.
  Result<std::shared_ptr<const ipc::MemoryFile>> archive_of(const Segment& segment);

  /// The form in which a segment was found to run fastest with so many threads; empty where that is not known.
  [[nodiscard]] std::string form_of(const Segment& segment, unsigned threads);
  void remember_form(const std::string& hash, unsigned threads, std::string form);

 private:
  std::mutex mutex_;
  std::map<std::pair<std::string, unsigned>, std::string> forms_;         ///< By hash and threads.
  std::map<std::string, std::weak_ptr<const ipc::MemoryFile>> archives_;  ///< By the segment's hash.
};

}  // namespace amp4ec::detail
