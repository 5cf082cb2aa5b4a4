// SPDX-License-Identifier: Apache-2.0
#include "runtime/segment_store.hpp"

#include <span>
#include <utility>

namespace amp4ec::detail {

Result<std::shared_ptr<const ipc::MemoryFile>> SegmentStore::archive_of(const Segment& segment) {
  const std::lock_guard lock(mutex_);
  if (const auto found = archives_.find(segment.hash()); found != archives_.end()) {
    if (auto archive = found->second.lock()) return archive;
  }
  auto bytes = segment.archive();
  if (!bytes) return bytes.error();
  auto file = ipc::MemoryFile::create_constant("amp4ec-segment", std::as_bytes(std::span(*bytes)));
  if (!file) return file.error();
  auto archive = std::make_shared<const ipc::MemoryFile>(std::move(*file));
  std::erase_if(archives_, [](const auto& entry) { return entry.second.expired(); });
  archives_[segment.hash()] = archive;
  return archive;
}

std::string SegmentStore::form_of(const Segment& segment, unsigned threads) {
  const std::lock_guard lock(mutex_);
  const auto found = forms_.find({segment.hash(), threads});
  return found == forms_.end() ? std::string() : found->second;
}

void SegmentStore::remember_form(const std::string& hash, unsigned threads, std::string form) {
  const std::lock_guard lock(mutex_);
  forms_[{hash, threads}] = std::move(form);
}

}  // namespace amp4ec::detail
