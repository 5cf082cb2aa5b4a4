// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>
#include <amp4ec/ipc/control_channel.hpp>
#include <amp4ec/ipc/detail/edge_layout.hpp>
#include <amp4ec/ipc/memory_file.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>

namespace amp4ec::ipc {

/// Tells an onlooker how full an edge is, from what its two ends claim: any figure up to the number of slots.
class EdgeGauge {
 public:
  /// Messages that were published and whose slots the consumer still holds: they wait or are in execution.
  [[nodiscard]] std::uint64_t held() const noexcept {
    const std::uint64_t freed = counter(detail::EdgeLayout::freed_at);  // First: the difference is never too small.
    const std::uint64_t published = counter(detail::EdgeLayout::published_at);
    return std::min<std::uint64_t>(published - freed, slots_);
  }

 private:
  friend class Edge;
  EdgeGauge(Mapping<const std::byte> mapping, std::uint32_t slots) noexcept
      : mapping_(std::move(mapping)), slots_(slots) {}

  [[nodiscard]] std::uint64_t counter(std::uint64_t offset) const noexcept {
    // C++20 has no atomic_ref of a const object; a lock-free load writes nothing.
    auto* word = const_cast<std::byte*>(mapping_.bytes().data() + offset);
    return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(word)).load(std::memory_order_acquire);
  }

  Mapping<const std::byte> mapping_;
  std::uint32_t slots_;
};

/// A directed link from one producer to one consumer, in one sealed memory file: payload slots that stay in place, a
/// ring of descriptors forward and a ring of freed slot numbers back. Lock-free atomics only: a peer that dies at any
/// instruction leaves nothing locked. A message too large for its slot goes in a memory file of its own, which crosses
/// on a socket beside the rings; it takes a slot all the same, so order and back-pressure are those of the rings.
///
/// An Edge is the memory and its geometry; EdgeProducer and EdgeConsumer are its two ends, each attached once, in the
/// same process or in two. The host creates the edge and passes its descriptors to whoever is not the host. When an end
/// dies the edge is thrown away: nothing here is ever repaired or reused.
class Edge {
 public:
  /// A fresh edge with `slots` payload slots of `slot_bytes` (rounded up to 64). Its pages are allocated, and charged
  /// to the caller's cgroup, here. @error InvalidArgument, SystemCall.
  static Result<Edge> create(std::uint32_t slots, Bytes slot_bytes) {
    if (slot_bytes.count > detail::EdgeLayout::max_slot_bytes) return bad_geometry(slots, slot_bytes.count);
    const detail::EdgeLayout layout{slots, detail::EdgeLayout::round_up(slot_bytes.count, detail::EdgeLayout::line)};
    if (!layout.valid()) return bad_geometry(slots, slot_bytes.count);
    auto file = MemoryFile::create("amp4ec-edge", Bytes{layout.file_bytes()});
    if (!file) return file.error();
    detail::EdgeHeader header;
    header.slots = layout.slots;
    header.slot_bytes = layout.slot_bytes;
    if (::pwrite(file->fd(), &header, sizeof header, 0) != sizeof header) {
      return detail::system_error("pwrite of an edge's header");
    }
    auto files = ControlChannel::create_pair();
    if (!files) return files.error();
    return Edge(std::move(*file), layout, std::move(files->first), std::move(files->second));
  }

  /// Takes an edge that another process created, to attach the end that the socket `files` belongs to: checks seals,
  /// magic, version and that the geometry fills the file exactly. The geometry is read once; what a peer writes into
  /// the header later has no effect. @error ProtocolViolation, InvalidArgument (no such socket), SystemCall.
  static Result<Edge> open(UniqueFd memory, UniqueFd files) {
    auto file = MemoryFile::adopt(std::move(memory));
    if (!file) return file.error();
    detail::EdgeHeader header;
    if (::pread(file->fd(), &header, sizeof header, 0) != sizeof header) {
      return Error{Errc::ProtocolViolation, "a peer sent a memory file that is too small to be an edge"};
    }
    if (header.magic != detail::EdgeHeader::expected_magic || header.version != detail::EdgeHeader::expected_version) {
      return Error{Errc::ProtocolViolation,
                   fmt::format("a peer sent a memory file that is not an edge of version {} (magic {:#x}, version {})",
                               detail::EdgeHeader::expected_version, header.magic, header.version)};
    }
    const detail::EdgeLayout layout{header.slots, header.slot_bytes};
    if (!layout.valid() || layout.file_bytes() != file->size().count) {
      return Error{Errc::ProtocolViolation,
                   fmt::format("an edge of {} slots of {} bytes does not fill its file of {} bytes", header.slots,
                               header.slot_bytes, file->size().count)};
    }
    auto channel = ControlChannel::adopt(std::move(files));
    if (!channel) return channel.error();
    auto same = channel->duplicate();
    if (!same) return same.error();
    return Edge(std::move(*file), layout, std::move(*channel), std::move(*same));
  }

  [[nodiscard]] std::uint32_t slots() const noexcept { return layout_.slots; }
  [[nodiscard]] Bytes slot_bytes() const noexcept { return Bytes{layout_.slot_bytes}; }
  /// An onlooker's view. @error SystemCall.
  [[nodiscard]] Result<EdgeGauge> gauge() const {
    auto mapping = file_.map_read_only();
    if (!mapping) return mapping.error();
    return EdgeGauge(std::move(*mapping), layout_.slots);
  }

  /// Of the whole memory file.
  [[nodiscard]] Bytes size() const noexcept { return file_.size(); }
  /// To be sent to a peer, who calls `open`: the memory, and with it the socket of the end that the peer will be.
  [[nodiscard]] int fd() const noexcept { return file_.fd(); }
  [[nodiscard]] int producer_files_fd() const noexcept { return producer_files_.fd(); }
  [[nodiscard]] int consumer_files_fd() const noexcept { return consumer_files_.fd(); }

 private:
  friend class EdgeProducer;
  friend class EdgeConsumer;

  Edge(MemoryFile file, detail::EdgeLayout layout, ControlChannel producer_files,
       ControlChannel consumer_files) noexcept
      : file_(std::move(file)),
        layout_(layout),
        producer_files_(std::move(producer_files)),
        consumer_files_(std::move(consumer_files)) {}

  static Error bad_geometry(std::uint32_t slots, std::uint64_t slot_bytes) {
    return Error{Errc::InvalidArgument,
                 fmt::format("edge of {} slots of {} bytes; allowed are 1 to {} slots of 1 to {} bytes", slots,
                             slot_bytes, detail::EdgeLayout::max_slots, detail::EdgeLayout::max_slot_bytes)};
  }

  [[nodiscard]] Result<detail::EdgeMemory> map() const {
    auto mapping = file_.map(MemoryFile::Prefault::yes);
    if (!mapping) return mapping.error();
    return detail::EdgeMemory(std::move(*mapping), layout_);
  }

  MemoryFile file_;
  detail::EdgeLayout layout_;
  ControlChannel producer_files_;
  ControlChannel consumer_files_;
};

}  // namespace amp4ec::ipc
