// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>
#include <amp4ec/ipc/detail/edge_layout.hpp>
#include <amp4ec/ipc/memory_file.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace amp4ec::ipc {

/// A directed link from one producer to one consumer, in one sealed memory file: payload slots that stay in place, a
/// ring of descriptors forward and a ring of freed slot numbers back. Lock-free atomics only: a peer that dies at any
/// instruction leaves nothing locked.
///
/// An Edge is the memory and its geometry; EdgeProducer and EdgeConsumer are its two ends, each attached once, in the
/// same process or in two. The host creates the edge and passes its descriptor to whoever is not the host. When an end
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
    return Edge(std::move(*file), layout);
  }

  /// Takes an edge that another process created: checks seals, magic, version and that the geometry fills the file
  /// exactly. The geometry is read once; what a peer writes into the header later has no effect.
  /// @error ProtocolViolation, SystemCall.
  static Result<Edge> open(UniqueFd fd) {
    auto file = MemoryFile::adopt(std::move(fd));
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
    return Edge(std::move(*file), layout);
  }

  [[nodiscard]] std::uint32_t slots() const noexcept { return layout_.slots; }
  [[nodiscard]] Bytes slot_bytes() const noexcept { return Bytes{layout_.slot_bytes}; }
  /// Of the whole memory file.
  [[nodiscard]] Bytes size() const noexcept { return file_.size(); }
  /// To be sent to a peer, who calls `open`.
  [[nodiscard]] int fd() const noexcept { return file_.fd(); }

 private:
  friend class EdgeProducer;
  friend class EdgeConsumer;

  Edge(MemoryFile file, detail::EdgeLayout layout) noexcept : file_(std::move(file)), layout_(layout) {}

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
};

}  // namespace amp4ec::ipc
